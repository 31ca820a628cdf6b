//! Some CSV files as a table.

use std::sync::Arc;

use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::datasource::physical_plan::FileScanConfigBuilder;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_datasource::TableSchema;
use ingot_catalog::storage::Scheme;
use ingot_catalog::{FileInfo, Location, Storage};
use object_store::ObjectStoreExt;

use super::CsvOptions;
use super::header::{cannot_read, unreadable};
use super::pieces::file_groups;
use super::records::null_pattern;
use super::source::CsvFileSource;
use crate::error::{EngineError, Result};

/// Bytes of the first file that types are guessed from.
const SAMPLE_BYTES: u64 = 4 * 1024 * 1024;
/// A guess only: rows are not counted before they are read.
const ASSUMED_BYTES_PER_ROW: usize = 100;

/// CSV files of one store with the columns of one schema.
#[derive(Debug)]
pub struct CsvTable {
    storage: Arc<Storage>,
    files: Vec<FileInfo>,
    schema: SchemaRef,
    options: CsvOptions,
    store_url: ObjectStoreUrl,
    location_prefix: String,
}

impl CsvTable {
    /// Files with a given schema. Every column may be null, whatever the schema says: who
    /// needs more checks it.
    ///
    /// # Errors
    /// `InvalidInput` without files, `Unsupported` for files in several stores and for types
    /// that CSV cannot hold.
    pub fn try_new(
        storage: Arc<Storage>,
        files: Vec<FileInfo>,
        schema: &Schema,
        options: CsvOptions,
    ) -> Result<Self> {
        let Some(first) = files.first() else {
            return Err(EngineError::InvalidInput(
                "there are no csv files to read".to_string(),
            ));
        };
        let location = Location::parse(&first.location)?;
        for file in &files {
            if Location::parse(&file.location)?.scheme != location.scheme {
                return Err(EngineError::Unsupported(
                    "reading csv files of several buckets at once".to_string(),
                ));
            }
        }
        let (store_url, location_prefix) = match &location.scheme {
            Scheme::File => (ObjectStoreUrl::local_filesystem(), "file:///".to_string()),
            Scheme::S3 { bucket } => {
                let prefix = format!("s3://{bucket}/");
                (ObjectStoreUrl::parse(&prefix)?, prefix)
            }
        };
        let mut fields = Vec::new();
        for field in schema.fields() {
            if !is_readable(field.data_type()) {
                return Err(EngineError::Unsupported(format!(
                    "reading csv into column {} of type {}",
                    field.name(),
                    field.data_type()
                )));
            }
            fields.push(Field::new(field.name(), field.data_type().clone(), true));
        }
        Ok(Self {
            storage,
            files,
            schema: Arc::new(Schema::new(fields)),
            options,
            store_url,
            location_prefix,
        })
    }

    /// Files whose columns are named by the header of the first one (`column_1`, … without
    /// header) and typed by its first 4 MiB. A later value of another type is an error that
    /// names it.
    ///
    /// # Errors
    /// As [`CsvTable::try_new`], and when the first file cannot be read.
    pub async fn infer(
        storage: Arc<Storage>,
        files: Vec<FileInfo>,
        options: CsvOptions,
    ) -> Result<Self> {
        let Some(first) = files.first() else {
            return Err(EngineError::InvalidInput(
                "there are no csv files to read".to_string(),
            ));
        };
        let schema = infer_schema(&storage, first, &options).await?;
        Self::try_new(storage, files, &schema, options)
    }

    /// The files, as they were listed.
    pub fn files(&self) -> &[FileInfo] {
        &self.files
    }

    /// A scan of some or all columns in at most `partitions` partitions.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub async fn plan(
        &self,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
        partitions: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let dialect = &self.options.dialect;
        let groups = file_groups(&self.storage, &self.files, dialect, partitions).await?;
        let source = CsvFileSource::new(
            TableSchema::from(Arc::clone(&self.schema)),
            self.options.clone(),
            self.location_prefix.clone(),
            Arc::clone(&self.storage),
        );
        let config = FileScanConfigBuilder::new(self.store_url.clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(self.estimates())
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    fn estimates(&self) -> Statistics {
        let bytes: u64 = self.files.iter().map(|file| file.size).sum();
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.total_byte_size = Precision::Inexact(bytes as usize);
        statistics.num_rows = Precision::Inexact(bytes as usize / ASSUMED_BYTES_PER_ROW);
        statistics
    }
}

#[async_trait]
impl TableProvider for CsvTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(self.estimates())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let partitions = session.config().target_partitions();
        Ok(self.plan(projection, limit, partitions).await?)
    }
}

fn is_readable(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
            | DataType::Float32
            | DataType::Float64
            | DataType::Decimal128(_, _)
            | DataType::Date32
            | DataType::Time64(TimeUnit::Microsecond)
            | DataType::Timestamp(TimeUnit::Microsecond, _)
            | DataType::Utf8
    )
}

async fn infer_schema(storage: &Storage, file: &FileInfo, options: &CsvOptions) -> Result<Schema> {
    let dialect = &options.dialect;
    if file.size == 0 {
        return Err(unreadable(
            &file.location,
            "it is empty, so that nothing tells its columns",
        ));
    }
    let (store, path) = storage.store_for(&file.location)?;
    let sample = store
        .get_range(&path, 0..SAMPLE_BYTES.min(file.size))
        .await
        .map_err(|source| cannot_read(&file.location, source))?;
    // A sample that ends in the middle of a record must not count it.
    let end = match file.size > SAMPLE_BYTES {
        true => sample
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |last| last + 1),
        false => sample.len(),
    };
    let mut format = Format::default()
        .with_header(dialect.has_header)
        .with_delimiter(dialect.delimiter)
        .with_quote(dialect.quote)
        .with_truncated_rows(true);
    if let Some(escape) = dialect.escape {
        format = format.with_escape(escape);
    }
    if let Some(pattern) = null_pattern(&options.null_value)? {
        format = format.with_null_regex(pattern);
    }
    let (schema, _) = format
        .infer_schema(&sample[..end], None)
        .map_err(|error| unreadable(&file.location, &error.to_string()))?;
    if schema.fields().is_empty() {
        return Err(unreadable(&file.location, "it has no columns"));
    }
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            let data_type = match field.data_type() {
                DataType::Timestamp(_, zone) => {
                    DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
                }
                DataType::Date64 => DataType::Timestamp(TimeUnit::Microsecond, None),
                other if is_readable(other) => other.clone(),
                // A column of nulls only, and whatever else there may be.
                _ => DataType::Utf8,
            };
            Field::new(field.name().trim(), data_type, true)
        })
        .collect();
    Ok(Schema::new(fields))
}
