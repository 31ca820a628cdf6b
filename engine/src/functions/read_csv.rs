//! `read_csv`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::error::Result as DataFusionResult;
use ingot_catalog::Storage;

use super::arguments::Arguments;
use super::file_listing::list_files;
use super::{CSV, wait_for};
use crate::csv::{CsvDialect, CsvOptions, CsvTable};

/// Arguments beside the path.
const ARGUMENTS: [&str; 6] = [
    "all_varchar",
    "columns",
    "delimiter",
    "escape",
    "header",
    "quote",
];

/// `read_csv('path', …)`: strict CSV. Columns are named by the header (`header => false`:
/// `column_1`, …) and typed by the first rows, or all text with `all_varchar => true`, or
/// as `columns => 'a bigint, …'` says, and then the header must name just these. A value
/// that is not of its column's type is an error that names file, line and column.
#[derive(Debug)]
pub(super) struct ReadCsv {
    storage: Arc<Storage>,
}

impl ReadCsv {
    pub(super) fn new(storage: Arc<Storage>) -> Self {
        Self { storage }
    }
}

impl TableFunctionImpl for ReadCsv {
    fn call_with_args(&self, args: TableFunctionArgs) -> DataFusionResult<Arc<dyn TableProvider>> {
        let mut arguments = Arguments::parse(CSV, args.exprs())?;
        let paths = arguments.take_paths()?;
        let columns = arguments.take_columns()?;
        let all_varchar = arguments.take_flag("all_varchar", false)?;
        let default = CsvDialect::default();
        let dialect = CsvDialect {
            delimiter: arguments
                .take_byte("delimiter")?
                .unwrap_or(default.delimiter),
            quote: arguments.take_byte("quote")?.unwrap_or(default.quote),
            escape: arguments.take_byte("escape")?.or(default.escape),
            has_header: arguments.take_flag("header", default.has_header)?,
        };
        arguments.finish(&ARGUMENTS)?;
        let options = CsvOptions {
            dialect,
            ..CsvOptions::default()
        };
        let storage = Arc::clone(&self.storage);
        let table = wait_for(async move {
            let files = list_files(&storage, &paths).await?;
            if let Some(schema) = columns {
                return CsvTable::try_new(storage, files, &schema, options);
            }
            let inferred = CsvTable::infer(Arc::clone(&storage), files, options.clone()).await?;
            if !all_varchar {
                return Ok(inferred);
            }
            let fields = TableProvider::schema(&inferred);
            let text = fields.fields().iter();
            let text = text.map(|field| Field::new(field.name(), DataType::Utf8, true));
            let schema = Schema::new(text.collect::<Vec<_>>());
            CsvTable::try_new(storage, inferred.files().to_vec(), &schema, options)
        })?;
        Ok(Arc::new(table))
    }
}
