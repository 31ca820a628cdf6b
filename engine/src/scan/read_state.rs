//! Which state of a table a scan reads, as errors about its files name it.

use std::sync::Arc;

use datafusion::error::DataFusionError;
use ingot_catalog::CatalogError;
use parquet::errors::ParquetError;

use super::services::ScanServices;
use super::source::FileDetails;
use crate::error::EngineError;

/// What Parquet readers of DataFusion say before the reason, with a file's path between.
const NO_FOOTER: &str = "Failed to fetch metadata for file ";

/// A table at one of its snapshots. Every error about a file of a scan gets both from here.
#[derive(Debug, Clone)]
pub(super) struct ReadState {
    table: Arc<str>,
    /// Not known where files of several snapshots are read.
    snapshot_id: Option<i64>,
    services: Arc<ScanServices>,
}

impl ReadState {
    pub(super) fn new(table: &str, snapshot_id: Option<i64>, services: &Arc<ScanServices>) -> Self {
        Self {
            table: table.into(),
            snapshot_id,
            services: Arc::clone(services),
        }
    }

    /// An error about a file, with the table and the snapshot.
    pub(super) fn explain(&self, error: EngineError) -> EngineError {
        error.in_snapshot(&self.table, self.snapshot_id)
    }

    /// An error of reading a data file. Parquet's do not tell whether the reason is that the file
    /// is gone, nor which file it is.
    pub(super) async fn explain_data_file(&self, error: ParquetError, path: &str) -> ParquetError {
        let explained = match self.missing("data", path).await {
            Ok(Some(missing)) => missing,
            Ok(None) | Err(_) => self.explain(error_of_file(error, path)),
        };
        ParquetError::External(Box::new(explained))
    }

    /// An error of reading the deletes of a data file.
    pub(super) async fn explain_deletes(
        &self,
        error: EngineError,
        file: &FileDetails,
    ) -> EngineError {
        if matches!(error, EngineError::Unsupported(_)) {
            return error;
        }
        let deletes = file.deletes.iter();
        let mut files: Vec<(&'static str, &str)> = deletes
            .map(|delete| ("delete", delete.path.as_str()))
            .collect();
        // Equality deletes are compared with its rows.
        files.push(("data", &*file.location));
        for (kind, path) in files {
            match self.missing(kind, path).await {
                Ok(Some(missing)) => return missing,
                Ok(None) => {}
                // A store that is down would be waited for again with each of the others.
                Err(_) => break,
            }
        }
        self.explain(error)
    }

    /// That a file is not there, if it is not. The error of this request says less than the one that
    /// is to be explained.
    async fn missing(
        &self,
        kind: &'static str,
        path: &str,
    ) -> Result<Option<EngineError>, CatalogError> {
        let is_there = self.services.storage().exists(path).await?;
        Ok((!is_there).then(|| EngineError::FileMissing {
            table: self.table.to_string(),
            snapshot_id: self.snapshot_id,
            kind,
            path: path.to_string(),
        }))
    }
}

/// An error of a Parquet reader, about this file.
fn error_of_file(error: ParquetError, path: &str) -> EngineError {
    let path = path.to_string();
    let corrupt = |path: String, message: &str| {
        let reason = match message.strip_prefix(NO_FOOTER) {
            Some(message) => message
                .split_once(": ")
                .map_or(message, |(_, reason)| reason),
            None => message,
        };
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        EngineError::CorruptFile { path, reason }
    };
    match error {
        ParquetError::External(source) => match source.downcast::<object_store::Error>() {
            Ok(source) => EngineError::Catalog(CatalogError::Storage {
                action: "read",
                path,
                source: *source,
            }),
            Err(source) => EngineError::from(DataFusionError::External(source)),
        },
        ParquetError::NYI(message) => EngineError::Unsupported(format!("file {path}: {message}")),
        ParquetError::General(message) | ParquetError::EOF(message) => corrupt(path, &message),
        other => corrupt(path, &other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use ingot_catalog::error::LOST_FILE_REMEDY;

    use super::*;

    #[test]
    fn errors_name_the_table_where_the_snapshot_is_not_known() {
        let error = error_of_file(ParquetError::EOF("cut short".to_string()), "/wh/a.parquet");
        assert_eq!(
            error.in_snapshot("s.t", None).to_string(),
            "table s.t: file /wh/a.parquet: cut short"
        );
    }

    #[test]
    fn errors_of_readers_name_their_file_once() {
        let message = format!("{NO_FOOTER}wh/a.parquet: Parquet error: Corrupt footer\n at end");
        let error = error_of_file(ParquetError::General(message), "s3://b/wh/a.parquet");
        assert_eq!(
            error.in_snapshot("s.t", Some(7)).to_string(),
            "table s.t, snapshot 7: file s3://b/wh/a.parquet: Parquet error: Corrupt footer at end"
        );
        let lost = object_store::Error::NotFound {
            path: "wh/a.parquet".to_string(),
            source: "gone".into(),
        };
        let error = error_of_file(
            ParquetError::External(Box::new(lost)),
            "s3://b/wh/a.parquet",
        );
        assert_eq!(
            error.in_snapshot("s.t", Some(7)).to_string(),
            format!(
                "table s.t, snapshot 7: cannot read s3://b/wh/a.parquet: no such file: \
                 {LOST_FILE_REMEDY}"
            )
        );
    }
}
