//! Where generated files go.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A place for generated files: a folder, a bucket.
pub trait FileSink: Sync {
    /// Begins a file, replacing one of the same name once it is finished.
    ///
    /// # Errors
    /// Whatever keeps the file from being created.
    fn create(&self, file_name: &str) -> io::Result<Box<dyn GeneratedFile>>;
}

/// A file being generated. Dropped without `finish`, it must not become visible.
pub trait GeneratedFile: Write {
    /// Makes the file complete and visible.
    ///
    /// # Errors
    /// Whatever keeps the last bytes from being kept.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Files in a local folder, which is created when missing.
#[derive(Debug)]
pub struct FolderSink {
    folder: PathBuf,
}

impl FolderSink {
    /// Files go into this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }
}

impl FileSink for FolderSink {
    fn create(&self, file_name: &str) -> io::Result<Box<dyn GeneratedFile>> {
        std::fs::create_dir_all(&self.folder)?;
        let path = self.folder.join(file_name);
        let unfinished = self.folder.join(format!("{file_name}.unfinished"));
        let writer = BufWriter::with_capacity(1 << 20, File::create(&unfinished)?);
        Ok(Box::new(LocalFile {
            path,
            unfinished,
            writer: Some(writer),
        }))
    }
}

/// A local file that gets its name when it is complete.
struct LocalFile {
    path: PathBuf,
    unfinished: PathBuf,
    /// `None` once finished.
    writer: Option<BufWriter<File>>,
}

impl LocalFile {
    fn writer(&mut self) -> io::Result<&mut BufWriter<File>> {
        self.writer
            .as_mut()
            .ok_or_else(|| io::Error::other("the file is finished"))
    }
}

impl Write for LocalFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer()?.flush()
    }
}

impl GeneratedFile for LocalFile {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.flush()?;
        std::fs::rename(&self.unfinished, &self.path)?;
        self.writer = None;
        Ok(())
    }
}

impl Drop for LocalFile {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            // Nothing else can be done about a half file that cannot be removed.
            let _ = std::fs::remove_file(&self.unfinished);
        }
    }
}

/// Writes one small file of a sample.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_when_finished_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let sink = FolderSink::new(folder.path().join("new"));
        let mut file = sink.create("a.csv").unwrap();
        file.write_all(b"x\n").unwrap();
        assert!(!folder.path().join("new/a.csv").exists());
        file.finish().unwrap();
        assert_eq!(
            std::fs::read(folder.path().join("new/a.csv")).unwrap(),
            b"x\n"
        );
        drop(sink.create("b.csv").unwrap());
        let names: Vec<_> = std::fs::read_dir(folder.path().join("new"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["a.csv"]);
    }
}
