//! Records that were set aside.

use std::sync::Arc;

use ingot_catalog::Storage;
use uuid::Uuid;

use super::header::unreadable;
use crate::error::{EngineError, Result};

const COLUMNS: [&str; 6] = ["file", "line", "column", "value", "reason", "record"];

/// A record that was not read, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reject {
    /// Location of its file.
    pub file: String,
    /// Line of the file where the record begins, from 1.
    pub line: u64,
    /// Column of the malformed value; empty when the record as a whole is wrong.
    pub column: String,
    /// The malformed value.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
    /// The record as it is in the file; bytes that are not UTF-8 are replaced.
    pub record: String,
}

impl Reject {
    /// The error that it is when records are not set aside.
    pub(super) fn into_error(self) -> EngineError {
        if self.column.is_empty() {
            return EngineError::CorruptFile {
                path: self.file,
                reason: format!("line {}: {}", self.line, self.reason),
            };
        }
        EngineError::MalformedValue {
            path: self.file,
            line: self.line,
            column: self.column,
            reason: self.reason,
        }
    }
}

/// Writes rejects as a CSV file of their own: a task writes one or several.
pub(super) async fn write_rejects(
    storage: &Arc<Storage>,
    folder: &str,
    rejects: &[Reject],
) -> Result<()> {
    let location = format!("{folder}/{}.csv", Uuid::new_v4());
    let mut writer = csv::Writer::from_writer(Vec::new());
    let cannot_write =
        |error: csv::Error| EngineError::InvalidInput(format!("{location}: {error}"));
    writer.write_record(COLUMNS).map_err(cannot_write)?;
    for reject in rejects {
        let line = reject.line.to_string();
        let fields = [
            reject.file.as_str(),
            line.as_str(),
            reject.column.as_str(),
            reject.value.as_str(),
            reject.reason.as_str(),
            reject.record.as_str(),
        ];
        writer.write_record(fields).map_err(cannot_write)?;
    }
    let bytes = writer
        .into_inner()
        .map_err(|error| EngineError::InvalidInput(format!("{location}: {error}")))?;
    storage.write(&location, bytes.into()).await?;
    Ok(())
}

/// The rejects in a folder, by file and line. A task that was tried again has written its
/// rejects twice; they are counted once.
///
/// # Errors
/// When the folder or a file in it cannot be read.
pub async fn read_rejects(storage: &Arc<Storage>, folder: &str) -> Result<Vec<Reject>> {
    let mut rejects = Vec::new();
    for file in storage.list(folder).await? {
        let bytes = storage.read(&file.location).await?;
        let mut reader = csv::Reader::from_reader(bytes.as_ref());
        for record in reader.records() {
            let record = record.map_err(|error| unreadable(&file.location, &error.to_string()))?;
            let field = |index: usize| record.get(index).unwrap_or_default().to_string();
            let line = field(1)
                .parse()
                .map_err(|_| unreadable(&file.location, "a line number is none"))?;
            rejects.push(Reject {
                file: field(0),
                line,
                column: field(2),
                value: field(3),
                reason: field(4),
                record: field(5),
            });
        }
    }
    rejects.sort();
    rejects.dedup_by(|left, right| left.file == right.file && left.line == right.line);
    Ok(rejects)
}
