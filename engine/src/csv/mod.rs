//! Strict, typed reading of CSV files: every value becomes its column's type or is an error
//! that names file, line and column.
//!
//! [`CsvTable`] is the table of some files, for `read_csv` and `COPY INTO`. Its scan is a
//! plain `DataSourceExec` over [`CsvFileSource`], which the cluster can split by file and by
//! part of a file.
//!
//! Fast path: Arrow's CSV decoder over large blocks. Only when it refuses a block the
//! records are looked at one by one, to say which one is wrong, or to set it aside.

mod header;
mod pieces;
mod reader;
mod records;
mod rejects;
mod source;
mod splits;
mod table;

#[cfg(test)]
mod tests;

pub use rejects::{Reject, read_rejects};
pub use source::{CsvFileSource, decode, encode};
pub use table::CsvTable;

use serde::{Deserialize, Serialize};

/// How CSV text is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvDialect {
    /// Between fields; a comma by default.
    pub delimiter: u8,
    /// Around fields that contain the delimiter, quotes or line ends; doubled inside them.
    pub quote: u8,
    /// Before a quote inside a quoted field, when they are not doubled.
    pub escape: Option<u8>,
    /// Whether the first record of each file names the columns. Columns are then found by
    /// name, in any order; otherwise by position.
    pub has_header: bool,
}

impl Default for CsvDialect {
    fn default() -> Self {
        Self {
            delimiter: b',',
            quote: b'"',
            escape: None,
            has_header: true,
        }
    }
}

/// What happens to a record with a malformed value or another number of fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MalformedRecords {
    /// The query fails, naming file, line and column.
    #[default]
    Fail,
    /// The record is left out and written, with the reason, to a file in this folder; see
    /// [`read_rejects`].
    SetAside {
        /// Location of the folder, without a slash at its end.
        folder: String,
    },
}

/// How files are read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvOptions {
    /// How the text is written.
    pub dialect: CsvDialect,
    /// What happens to wrong records.
    pub malformed: MalformedRecords,
    /// The text of a missing value, quoted or not; by default the empty one.
    pub null_value: String,
}
