//! The sample pipelines and the generators of their source data.
//!
//! Samples are folders of SQL files ([`sample`], [`write_sample`]); their source files
//! come out of [`generate`]: the same bytes for the same scale and seed, on every
//! machine and for every number of threads.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod ecommerce;
pub mod error;
pub mod generate;
pub mod random;
pub mod samples;
pub mod sink;
pub mod text;

pub use error::{PipelinesError, Result};
pub use generate::{FileReport, GenerateOptions, GenerateProgress, GenerateReport, generate};
pub use samples::{sample, sample_names, write_sample};
pub use sink::{FileSink, FolderSink, GeneratedFile};
