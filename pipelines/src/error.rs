//! Errors of samples and generators.

use std::path::PathBuf;

/// Result of every operation on samples.
pub type Result<T, E = PipelinesError> = std::result::Result<T, E>;

/// What can go wrong when a sample is generated or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelinesError {
    /// There is no such sample.
    #[error("sample pipeline {name} does not exist: the samples are {known}")]
    UnknownSample {
        /// The name that was given.
        name: String,
        /// Those that exist.
        known: String,
    },

    /// The scale is outside of what makes sense.
    #[error("scale {scale} is not valid: choose a number from {least} to {most}")]
    InvalidScale {
        /// What was asked for.
        scale: f64,
        /// The smallest scale.
        least: f64,
        /// The largest scale.
        most: f64,
    },

    /// A generated file cannot be written.
    #[error("cannot write {file}: {source}")]
    WriteGenerated {
        /// Name of the file.
        file: String,
        /// What the system says.
        source: std::io::Error,
    },

    /// A file of a sample cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    WriteSample {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },

    /// A thread that generated rows ended in a panic.
    #[error("generating {file} failed: this is a bug in ingot")]
    Generator {
        /// Name of the file.
        file: String,
    },
}
