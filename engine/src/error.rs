//! What can go wrong between a plan and the rows of a table.

use datafusion::error::DataFusionError;
use ingot_catalog::CatalogError;
use ingot_catalog::error::LOST_FILE_REMEDY;
use ingot_sql::SqlError;
use parquet::errors::ParquetError;

/// Result of the engine's own operations; inside DataFusion they travel as
/// [`DataFusionError::External`].
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// Errors of the engine crate: each message is one lower-case line that names the
/// table, file, column or setting concerned and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The catalog, its metadata or the storage failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),

    /// A name inside a statement cannot be understood.
    #[error(transparent)]
    Sql(#[from] SqlError),

    /// DataFusion failed. Use [`EngineError::from`] to get back an engine error that
    /// travelled through DataFusion.
    #[error("{}", one_line(&.0.strip_backtrace()))]
    DataFusion(#[source] Box<DataFusionError>),

    /// An `iceberg` value (schema, partition, literal) cannot be made or read.
    #[error("{context}: {}", one_line(&.source.to_string()))]
    Iceberg {
        /// The table, file or column concerned.
        context: String,
        /// The cause.
        source: Box<iceberg::Error>,
    },

    /// An Arrow type that Iceberg does not have.
    #[error("column {column} has type {data_type}, which iceberg does not have: {remedy}")]
    UnsupportedType {
        /// Name of the column, dotted when it is nested.
        column: String,
        /// The Arrow type.
        data_type: String,
        /// What to write instead.
        remedy: &'static str,
    },

    /// A data or delete file does not hold what the table's metadata says.
    #[error("file {path}: {reason}")]
    CorruptFile {
        /// Location of the file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A data or delete file is not there any more.
    #[error(
        "table {table}{}: {kind} file {path} does not exist: {}",
        in_words(.snapshot_id),
        LOST_FILE_REMEDY
    )]
    FileMissing {
        /// Name of the table.
        table: String,
        /// The snapshot that is read, where it is one.
        snapshot_id: Option<i64>,
        /// `data` or `delete`.
        kind: &'static str,
        /// Location of the file.
        path: String,
    },

    /// Something is wrong with a file that a snapshot of a table needs.
    #[error("table {table}{}: {source}", in_words(.snapshot_id))]
    InSnapshot {
        /// Name of the table.
        table: String,
        /// The snapshot that is read, where it is one.
        snapshot_id: Option<i64>,
        /// What is wrong.
        source: Box<EngineError>,
    },

    /// A value of an input file cannot be read as the column's type.
    #[error("file {path}, line {line}, column {column}: {reason}")]
    MalformedValue {
        /// Location of the file.
        path: String,
        /// Line number, from 1, the header included.
        line: u64,
        /// Column name.
        column: String,
        /// What was expected and found.
        reason: String,
    },

    /// The query of a view cannot be planned.
    #[error("view {view}: {}", one_line(&.source.strip_backtrace()))]
    View {
        /// `catalog.schema.view`.
        view: String,
        /// Why not.
        source: Box<DataFusionError>,
    },

    /// The request itself cannot be right: a bad argument, name or expression.
    #[error("{0}")]
    InvalidInput(String),

    /// Valid Iceberg or SQL that Ingot does not do.
    #[error("{0} is not supported")]
    Unsupported(String),
}

impl EngineError {
    /// An error of the `iceberg` crate about one table, file or column.
    pub fn iceberg(context: impl Into<String>, source: iceberg::Error) -> Self {
        Self::Iceberg {
            context: context.into(),
            source: Box::new(source),
        }
    }
}

impl EngineError {
    /// Names the table and the snapshot, where it is one, that were read when a file failed. Errors
    /// that are about no file of the table stay as they are, and so do those that name a snapshot
    /// already.
    pub fn in_snapshot(self, table: &str, snapshot_id: Option<i64>) -> Self {
        match (self, snapshot_id) {
            (Self::Catalog(error), Some(snapshot_id)) => {
                Self::Catalog(error.in_snapshot(table, snapshot_id))
            }
            (
                error @ (Self::CorruptFile { .. }
                | Self::Catalog(
                    CatalogError::Storage { .. } | CatalogError::Metadata { .. },
                )),
                snapshot_id,
            ) => Self::InSnapshot {
                table: table.to_string(),
                snapshot_id,
                source: Box::new(error),
            },
            (error, _) => error,
        }
    }
}

impl From<DataFusionError> for EngineError {
    /// Takes an engine error out of its DataFusion wrapping, or keeps the DataFusion error.
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(source) => match source.downcast::<EngineError>() {
                Ok(engine_error) => *engine_error,
                Err(source) => match source.downcast::<CatalogError>() {
                    Ok(catalog_error) => Self::Catalog(*catalog_error),
                    Err(source) => Self::DataFusion(Box::new(DataFusionError::External(source))),
                },
            },
            DataFusionError::Context(_, source) => Self::from(*source),
            // Errors of our file readers come out through Parquet's.
            DataFusionError::ParquetError(source) => match *source {
                ParquetError::External(source) => Self::from(DataFusionError::External(source)),
                other => Self::DataFusion(Box::new(other.into())),
            },
            other => Self::DataFusion(Box::new(other)),
        }
    }
}

impl From<EngineError> for DataFusionError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::DataFusion(source) => *source,
            other => Self::External(Box::new(other)),
        }
    }
}

/// What messages say of a snapshot after the table's name.
fn in_words(snapshot_id: &Option<i64>) -> String {
    match snapshot_id {
        Some(id) => format!(", snapshot {id}"),
        None => String::new(),
    }
}

/// Collapses white space, so that an error of a library stays on one line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_error_survives_the_way_through_datafusion() {
        let error = EngineError::Unsupported("flying".to_string());
        let through = DataFusionError::from(error).context("while planning");
        let back = EngineError::from(through);
        assert_eq!(back.to_string(), "flying is not supported");
        let through = ParquetError::External(Box::new(back));
        let back = EngineError::from(DataFusionError::from(through));
        assert_eq!(back.to_string(), "flying is not supported");
    }
}
