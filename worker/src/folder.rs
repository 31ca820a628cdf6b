//! The folder in which a worker keeps shuffle files.
//!
//! Each worker makes a folder of its own, with a lock file beside it that it holds as long as it
//! lives. What workers that were killed left behind is recognised by its free lock and removed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::error::{Result, WorkerError};

const PREFIX: &str = "ingot-worker-";
const LOCK_SUFFIX: &str = ".lock";

/// Files of jobs that nobody has asked to remove for so long belong to no job any more.
const ORPHAN_AGE: Duration = Duration::from_secs(12 * 3600);

/// A worker's own folder; removed with everything in it when this is dropped.
#[derive(Debug)]
pub(crate) struct WorkFolder {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

impl WorkFolder {
    /// Makes a new folder below `base`, or below the system's temporary folder.
    pub(crate) fn create(base: Option<&Path>) -> Result<Self> {
        let base = match base {
            Some(base) => base.to_path_buf(),
            None => std::env::temp_dir(),
        };
        let make = || {
            fs::create_dir_all(&base)?;
            remove_abandoned(&base)?;
            loop {
                let name = format!("{PREFIX}{}", Uuid::new_v4());
                let lock_path = base.join(format!("{name}{LOCK_SUFFIX}"));
                let lock = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&lock_path)?;
                lock.lock()?;
                if !lock_path.try_exists()? {
                    // Another worker that starts now saw the file before it was locked.
                    continue;
                }
                let path = base.join(name);
                fs::create_dir(&path)?;
                return Ok(Self {
                    path,
                    lock_path,
                    _lock: lock,
                });
            }
        };
        make().map_err(|source| WorkerError::WorkFolder {
            path: base.clone(),
            source,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether files of jobs lie in it.
    pub(crate) fn holds_job_data(&self) -> bool {
        fs::read_dir(&self.path).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Removes the files of all jobs: the coordinator that knew them is gone.
    pub(crate) fn clear(&self) {
        self.remove_entries(|_| true);
    }

    /// Removes the files of jobs that nothing has happened to for hours.
    pub(crate) fn remove_orphans(&self) {
        let now = SystemTime::now();
        self.remove_entries(|path| {
            newest_change(path)
                .and_then(|changed| now.duration_since(changed).ok())
                .is_some_and(|age| age > ORPHAN_AGE)
        });
    }

    fn remove_entries(&self, should_go: impl Fn(&Path) -> bool) {
        let Ok(entries) = fs::read_dir(&self.path) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if should_go(&path)
                && let Err(error) = fs::remove_dir_all(&path)
            {
                tracing::warn!(path = %path.display(), %error, "shuffle files are not removed");
            }
        }
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the work folder is not removed");
        }
        let _ = fs::remove_file(&self.lock_path);
    }
}

/// Removes the folders of workers that no longer live.
fn remove_abandoned(base: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(base)?.flatten() {
        let name = entry.file_name();
        let Some(folder) = name
            .to_str()
            .filter(|name| name.starts_with(PREFIX))
            .and_then(|name| name.strip_suffix(LOCK_SUFFIX))
        else {
            continue;
        };
        let Ok(lock) = OpenOptions::new().write(true).open(entry.path()) else {
            continue;
        };
        match lock.try_lock() {
            Ok(()) => {
                let abandoned = base.join(folder);
                tracing::info!(path = %abandoned.display(), "removing what a dead worker left");
                match fs::remove_dir_all(&abandoned) {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
                let _ = fs::remove_file(entry.path());
            }
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
    Ok(())
}

fn newest_change(path: &Path) -> Option<SystemTime> {
    let mut newest = fs::metadata(path).and_then(|data| data.modified()).ok()?;
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let changed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => newest_change(&entry.path()),
            _ => entry.metadata().and_then(|data| data.modified()).ok(),
        };
        newest = newest.max(changed.unwrap_or(newest));
    }
    Some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_dead_workers_go_and_those_of_live_ones_stay() {
        let base = tempfile::tempdir().unwrap();
        let alive = WorkFolder::create(Some(base.path())).unwrap();
        fs::create_dir(alive.path().join("job")).unwrap();
        let dead = base.path().join(format!("{PREFIX}dead"));
        fs::create_dir_all(dead.join("job")).unwrap();
        File::create(base.path().join(format!("{PREFIX}dead{LOCK_SUFFIX}"))).unwrap();
        let unrelated = base.path().join("other");
        fs::create_dir(&unrelated).unwrap();

        let newcomer = WorkFolder::create(Some(base.path())).unwrap();
        assert!(!dead.exists());
        assert!(alive.holds_job_data());
        assert!(unrelated.exists());
        assert!(!newcomer.holds_job_data());

        alive.remove_orphans();
        assert!(alive.holds_job_data());
        alive.clear();
        assert!(!alive.holds_job_data());
        let path = alive.path().to_path_buf();
        drop(alive);
        assert!(!path.exists());
    }

    #[test]
    fn an_unusable_folder_is_named() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("file");
        File::create(&file).unwrap();
        let error = WorkFolder::create(Some(&file)).unwrap_err().to_string();
        assert!(error.contains("worker.work_dir"), "{error}");
        assert!(error.contains(&file.display().to_string()), "{error}");
    }
}
