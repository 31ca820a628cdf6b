//! Generating the source files of a sample: chunks in parallel, written in order.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use crate::ecommerce;
use crate::error::{PipelinesError, Result};
use crate::samples::unknown_sample;
use crate::sink::FileSink;

/// What to generate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GenerateOptions {
    /// Factor for the number of rows; 1 is the documented size.
    pub scale: f64,
    /// Another seed gives other data of the same kind.
    pub seed: u64,
    /// How many threads make rows; the files do not depend on it.
    pub threads: usize,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            scale: 1.0,
            seed: 42,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
        }
    }
}

impl GenerateOptions {
    /// The smallest scale that leaves every table some rows.
    pub const LEAST_SCALE: f64 = 0.0001;
    /// The largest scale that was thought about (380 GB of CSV files for `ecommerce`).
    pub const MOST_SCALE: f64 = 1000.0;
}

/// How far the generator is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerateProgress<'a> {
    /// The file being written.
    pub file: &'a str,
    /// Its rows so far.
    pub rows: u64,
    /// Its rows in the end.
    pub rows_total: u64,
}

/// What was generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerateReport {
    /// In the order in which they were written.
    pub files: Vec<FileReport>,
}

/// One generated file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Its name: `customer_events.csv`.
    pub file: String,
    /// Rows without the header.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// What was made dirty on purpose, and in how many rows. A row has one defect at most.
    pub planted: BTreeMap<&'static str, u64>,
}

/// Counts of defects by what they are.
#[derive(Debug, Default)]
pub struct Planted(BTreeMap<&'static str, u64>);

impl Planted {
    /// Counts one defect.
    pub fn add(&mut self, defect: &'static str) {
        *self.0.entry(defect).or_default() += 1;
    }
}

/// A file that is made chunk by chunk, each independent of the others.
pub trait ChunkedFile: Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// The header, without end of line.
    fn header(&self) -> &'static str;
    /// Rows in all.
    fn rows(&self) -> u64;
    /// Number of chunks.
    fn chunks(&self) -> u64;
    /// Rows of a chunk.
    fn rows_of_chunk(&self, chunk: u64) -> u64;
    /// Appends the rows of a chunk.
    fn write_chunk(&self, chunk: u64, buffer: &mut Vec<u8>, planted: &mut Planted);
}

/// Generates the source files of a sample. `progress` is called about once per 20,000 rows.
///
/// # Errors
/// `UnknownSample`, `InvalidScale`, or `WriteGenerated` naming the file.
pub fn generate(
    name: &str,
    options: &GenerateOptions,
    sink: &dyn FileSink,
    progress: &(dyn Fn(GenerateProgress<'_>) + Sync),
) -> Result<GenerateReport> {
    let (least, most) = (GenerateOptions::LEAST_SCALE, GenerateOptions::MOST_SCALE);
    if !(least..=most).contains(&options.scale) {
        return Err(PipelinesError::InvalidScale {
            scale: options.scale,
            least,
            most,
        });
    }
    let files = match name {
        ecommerce::NAME => ecommerce::files(options.scale, options.seed),
        _ => return Err(unknown_sample(name)),
    };
    let mut reports = Vec::with_capacity(files.len());
    for file in &files {
        reports.push(write_file(file.as_ref(), options.threads, sink, progress)?);
    }
    Ok(GenerateReport { files: reports })
}

/// The rows of one chunk.
struct Chunk {
    index: u64,
    bytes: Vec<u8>,
    planted: Planted,
}

fn write_file(
    file: &dyn ChunkedFile,
    threads: usize,
    sink: &dyn FileSink,
    progress: &(dyn Fn(GenerateProgress<'_>) + Sync),
) -> Result<FileReport> {
    let failed = |source| PipelinesError::WriteGenerated {
        file: file.name().to_string(),
        source,
    };
    let mut output = sink.create(file.name()).map_err(failed)?;
    let mut report = FileReport {
        file: file.name().to_string(),
        rows: 0,
        bytes: 0,
        planted: BTreeMap::new(),
    };
    let mut write = |bytes: &[u8], report: &mut FileReport| {
        report.bytes += bytes.len() as u64;
        output.write_all(bytes).map_err(failed)
    };
    write(file.header().as_bytes(), &mut report)?;
    write(b"\n", &mut report)?;

    let next_chunk = AtomicU64::new(0);
    let threads = threads.max(1);
    std::thread::scope(|scope| {
        // Bounded, so that a slow disk holds the generators back.
        let (sender, receiver) = mpsc::sync_channel(threads);
        let mut generators = Vec::with_capacity(threads);
        for _ in 0..threads {
            let (sender, next_chunk) = (sender.clone(), &next_chunk);
            generators.push(scope.spawn(move || {
                loop {
                    let index = next_chunk.fetch_add(1, Ordering::Relaxed);
                    if index >= file.chunks() {
                        return;
                    }
                    let mut bytes = Vec::with_capacity(1 << 22);
                    let mut planted = Planted::default();
                    file.write_chunk(index, &mut bytes, &mut planted);
                    let chunk = Chunk {
                        index,
                        bytes,
                        planted,
                    };
                    if sender.send(chunk).is_err() {
                        // The writer has failed.
                        return;
                    }
                }
            }));
        }
        drop(sender);
        let mut early: BTreeMap<u64, Chunk> = BTreeMap::new();
        let mut expected = 0;
        for received in receiver {
            early.insert(received.index, received);
            while let Some(chunk) = early.remove(&expected) {
                write(&chunk.bytes, &mut report)?;
                for (defect, count) in chunk.planted.0 {
                    *report.planted.entry(defect).or_default() += count;
                }
                report.rows += file.rows_of_chunk(expected);
                expected += 1;
                progress(GenerateProgress {
                    file: file.name(),
                    rows: report.rows,
                    rows_total: file.rows(),
                });
            }
        }
        let panicked = generators.into_iter().any(|thread| thread.join().is_err());
        if panicked || expected < file.chunks() {
            return Err(PipelinesError::Generator {
                file: file.name().to_string(),
            });
        }
        Ok(())
    })?;
    output.finish().map_err(failed)?;
    Ok(report)
}
