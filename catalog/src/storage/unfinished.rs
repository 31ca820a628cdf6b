//! Files of the local file system whose writer ended before they were finished.
//!
//! `object_store` writes a local file under a name of its own, `name#1`, and renames it at the end.
//! Such a file is no object of the store: its listings leave it out and its name is refused, so
//! these files are found and deleted without it.

use std::io::{ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::FileInfo;
use super::location::{Location, Scheme};

/// Where an unfinished file is, if the location names one.
pub(super) fn unfinished_file(location: &Location) -> Option<PathBuf> {
    let name = location.path.filename()?;
    (location.scheme == Scheme::File && is_unfinished(name)).then(|| local_path(location))
}

/// The path of a location of the local file system.
fn local_path(location: &Location) -> PathBuf {
    PathBuf::from(format!("/{}", location.path))
}

/// As `object_store` tells these names.
fn is_unfinished(name: &str) -> bool {
    let number = name.split_once('#').map_or("", |(_, number)| number);
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The unfinished files below a folder; none elsewhere than in the local file system. Symbolic
/// links are not followed.
pub(super) fn list_unfinished(folder: &Location) -> Result<Vec<FileInfo>> {
    let mut found = Vec::new();
    if folder.scheme == Scheme::File {
        collect(&local_path(folder), folder.root(), &mut found)?;
    }
    Ok(found)
}

fn collect(folder: &Path, root: &str, found: &mut Vec<FileInfo>) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), root, found)?;
            continue;
        }
        let name = entry.file_name();
        if !name.to_str().is_some_and(is_unfinished) {
            continue;
        }
        let metadata = match entry.metadata() {
            // Finished since the folder was read.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        let path = entry.path();
        // A location is text: a folder that is none was made by nobody who writes tables.
        let Some(path) = path.to_str().filter(|_| metadata.is_file()) else {
            continue;
        };
        let age = metadata.modified()?.duration_since(UNIX_EPOCH);
        let modified_ms = age.map_or(0, |age| age.as_millis());
        found.push(FileInfo {
            location: format!("{root}{}", path.trim_start_matches('/')),
            size: metadata.len(),
            last_modified_ms: i64::try_from(modified_ms).unwrap_or(i64::MAX),
        });
    }
    Ok(())
}

/// Deletes an unfinished file. One that is not there counts as deleted.
pub(super) fn delete_unfinished(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::is_unfinished;

    #[test]
    fn names_of_unfinished_files() {
        for name in ["a.parquet#1", "#12"] {
            assert!(is_unfinished(name), "{name}");
        }
        for name in ["a.parquet", "a#", "a#x", "a#1.parquet", "a#b#1"] {
            assert!(!is_unfinished(name), "{name}");
        }
    }
}
