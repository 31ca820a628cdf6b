//! The sample pipelines, compiled into the binary.

use std::path::Path;

use include_dir::{Dir, include_dir};

use crate::error::{PipelinesError, Result};
use crate::sink::write_file;

static ECOMMERCE: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/ecommerce");

/// Samples by name.
static SAMPLES: [(&str, &Dir<'static>); 1] = [("ecommerce", &ECOMMERCE)];

/// Names of the samples.
pub fn sample_names() -> impl Iterator<Item = &'static str> {
    SAMPLES.iter().map(|(name, _)| *name)
}

/// The files of a sample.
pub fn sample(name: &str) -> Option<&'static Dir<'static>> {
    SAMPLES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, files)| *files)
}

/// Writes the files of a sample into a folder, which is created when missing. Files of
/// the same names are replaced, others are left alone.
///
/// # Errors
/// `UnknownSample`, or `WriteSample` naming the file.
pub fn write_sample(name: &str, folder: &Path) -> Result<()> {
    let files = sample(name).ok_or_else(|| unknown_sample(name))?;
    write_folder(files, folder)
}

fn write_folder(files: &Dir<'static>, folder: &Path) -> Result<()> {
    for file in files.files() {
        let path = folder.join(file.path());
        write_file(&path, file.contents())
            .map_err(|source| PipelinesError::WriteSample { path, source })?;
    }
    for inner in files.dirs() {
        write_folder(inner, folder)?;
    }
    Ok(())
}

/// The error for a sample that does not exist.
pub(crate) fn unknown_sample(name: &str) -> PipelinesError {
    PipelinesError::UnknownSample {
        name: name.to_string(),
        known: sample_names().collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        for name in sample_names() {
            let target = folder.path().join(name);
            write_sample(name, &target).unwrap();
            assert!(target.join("pipeline.yaml").is_file(), "{name}");
            assert!(target.join("gold").is_dir(), "{name}");
        }
        let error = write_sample("ecomerce", folder.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "sample pipeline ecomerce does not exist: the samples are ecommerce"
        );
    }
}
