//! What the subcommands do.

pub mod config;
pub mod demo;
pub mod generate;
pub mod jobs;
mod object_sink;
mod report;
mod run_display;
pub mod serve;
pub mod sql;
pub mod worker;
