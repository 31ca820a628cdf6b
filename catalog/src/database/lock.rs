//! One coordinator per SQLite file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::Database;
use crate::error::{CatalogError, Result};

/// Keeps other coordinators out of a SQLite database for as long as it lives. The
/// operating system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct DatabaseLock {
    /// `None` for databases that several coordinators may share.
    _file: Option<File>,
}

impl Database {
    /// Claims the database for one coordinator. `holder` says who it is, for the error
    /// that the next one gets (`process 4711 on port 8815`).
    ///
    /// PostgreSQL may be shared by several coordinators: there, this always succeeds.
    ///
    /// # Errors
    /// `Locked`, naming the holder, when another process has it.
    pub fn lock_exclusive(&self, holder: &str) -> Result<DatabaseLock> {
        let Some(path) = &self.path else {
            return Ok(DatabaseLock { _file: None });
        };
        let mut lock_path = path.clone().into_os_string();
        lock_path.push(".lock");
        let lock_path = PathBuf::from(lock_path);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|error| Self::io_error(self.name(), error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut other = String::new();
                // The name is a courtesy: without it the error still says what to do.
                let _ = file.read_to_string(&mut other);
                let other = other.trim();
                return Err(CatalogError::Locked {
                    database: self.name().to_string(),
                    holder: if other.is_empty() { "unknown" } else { other }.to_string(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(Self::io_error(self.name(), error)),
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(holder.as_bytes()));
        written.map_err(|error| Self::io_error(self.name(), error))?;
        Ok(DatabaseLock { _file: Some(file) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_coordinator_is_refused_until_the_first_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.db");
        let first = Database::connect_sqlite(&path).await.unwrap();
        let second = Database::connect_sqlite(&path).await.unwrap();
        let lock = first.lock_exclusive("process 12 on port 8815").unwrap();
        let error = second.lock_exclusive("process 13").unwrap_err();
        assert!(
            error.to_string().contains("process 12 on port 8815"),
            "{error}"
        );
        drop(lock);
        second.lock_exclusive("process 13").unwrap();
    }
}
