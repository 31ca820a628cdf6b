//! Which local files statements may name.
//!
//! SQL from clients names files (`read_csv`, `COPY INTO` and its rejects), and the process can
//! read and write more of its machine than its clients should. Objects of S3 are ruled by the S3 credentials.

use std::path::{Path, PathBuf};

use super::{Location, Scheme, Storage};
use crate::error::{CatalogError, Result};

impl Storage {
    /// Refuses a file, folder or pattern (cut off before its first wildcard) outside of
    /// [`allowed_folders`](super::StorageConfig::allowed_folders). Symbolic links are
    /// followed first; what does not exist is judged by the folder it would be in.
    ///
    /// # Errors
    /// `NotAllowed` naming the path and the setting, `InvalidInput` for a location that is
    /// none.
    pub fn check_allowed(&self, location: &str) -> Result<()> {
        let Some(folders) = &self.config().allowed_folders else {
            return Ok(());
        };
        let parsed = Location::parse(location)?;
        if parsed.scheme != Scheme::File {
            return Ok(());
        }
        let path = PathBuf::from(format!("/{}", parsed.path));
        let real = resolved(&path);
        if folders
            .iter()
            .any(|folder| real.starts_with(resolved(folder)))
        {
            return Ok(());
        }
        Err(CatalogError::NotAllowed {
            path: location.to_string(),
        })
    }
}

/// The path without symbolic links, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    for ancestor in path.ancestors() {
        if let Ok(real) = ancestor.canonicalize() {
            return missing
                .iter()
                .rev()
                .fold(real, |path, name| path.join(name));
        }
        missing.extend(ancestor.file_name());
    }
    path.to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StorageConfig;

    #[test]
    fn only_files_below_the_folders_are_allowed() {
        let root = tempfile::tempdir().unwrap();
        let open = root.path().join("open");
        let closed = root.path().join("closed");
        std::fs::create_dir_all(open.join("x")).unwrap();
        std::fs::create_dir_all(&closed).unwrap();
        std::fs::write(closed.join("secret.csv"), "s").unwrap();
        std::os::unix::fs::symlink(&closed, open.join("link")).unwrap();
        let storage = Storage::new(StorageConfig {
            allowed_folders: Some(vec![open.clone()]),
            ..StorageConfig::default()
        });
        let check = |path: &Path| storage.check_allowed(&path.display().to_string());
        assert!(check(&open.join("x/a.csv")).is_ok());
        assert!(check(&open).is_ok());
        assert!(storage.check_allowed("s3://bucket/a.csv").is_ok());
        for path in [
            closed.join("secret.csv"),
            open.join("link/secret.csv"),
            open.join("link/not-yet.csv"),
            root.path().join("open2/a.csv"),
            PathBuf::from("/"),
        ] {
            let error = check(&path).unwrap_err();
            assert!(matches!(error, CatalogError::NotAllowed { .. }), "{error}");
        }
        assert!(check(&open.join("../closed/secret.csv")).is_err());

        let anywhere = Storage::new(StorageConfig::default());
        assert!(anywhere.check_allowed("/etc/hostname").is_ok());
    }
}
