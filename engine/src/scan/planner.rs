//! From a table version and filters to the execution plan that reads it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::{ColumnStatistics, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, FileSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use iceberg::spec::SchemaRef as IcebergSchemaRef;
use ingot_catalog::scan::{FileFormat, FileTask, ManifestCache, plan_scan};
use ingot_catalog::statistics::distinct_values;
use ingot_catalog::storage::Scheme;
use ingot_catalog::{Location, Table, TableVersion};
use object_store::ObjectMeta;

use super::filters::predicate_of;
use super::hidden_columns::{FileWithValues, HiddenColumns, with_hidden_columns};
use super::packing::{Packing, packed_partitions_of};
use super::partitioning::partitions_of;
use super::row_ids::{ScannedFiles, with_row_ids};
use super::services::ScanServices;
use super::source::{FileDetails, IcebergFileSource, ScanDescription};
use super::statistics::{add_distinct_values, file_statistics, scan_statistics};
use crate::error::{EngineError, Result};
use crate::schema::{query_schema_of, with_text_views};

/// Table property that maps column names to field ids, for files without ids.
const NAME_MAPPING_PROPERTY: &str = "schema.name-mapping.default";

/// What to read.
#[derive(Debug, Clone, Copy)]
pub struct ScanRequest<'a> {
    /// The table.
    pub table: &'a Table,
    /// Which state of it.
    pub version: &'a TableVersion,
    /// Indices of the columns of the read schema wanted, in order; `None` is all.
    pub projection: Option<&'a Vec<usize>>,
    /// Conditions whose conjunction every row wanted fulfils. They prune files and
    /// partitions; rows that do not fulfil them may come out.
    pub filters: &'a [Expr],
    /// How many rows are enough, if no filter follows.
    pub limit: Option<usize>,
    /// Whether the [hidden columns](super::hidden_columns) follow the table's own.
    pub hidden_columns: bool,
    /// Whether the table's own text columns are views of strings.
    pub text_views: bool,
    /// Read the columns of [`row_ids`](super::row_ids) too, after all others, and note the
    /// files here.
    pub row_ids: Option<&'a ScannedFiles>,
}

/// Plans the scan of one table version: a `DataSourceExec` over `IcebergFileSource`, a
/// union of them when the files are in several buckets, or an empty plan.
///
/// # Errors
/// `VersionNotFound`, errors of the metadata files, and `Unsupported` for data files that
/// are not Parquet.
pub async fn plan_table_scan(
    services: &Arc<ScanServices>,
    manifests: &ManifestCache,
    state: &dyn Session,
    request: ScanRequest<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let table = request.table;
    let read_schema = table.schema_at(request.version)?;
    let mut arrow_schema = query_schema_of(&read_schema)?;
    if request.text_views {
        arrow_schema = with_text_views(&arrow_schema);
    }
    let predicate = predicate_of(request.filters, &read_schema);
    let mut hidden_columns = HiddenColumns::default();
    if request.hidden_columns {
        hidden_columns = HiddenColumns::of(&arrow_schema, request.projection, request.filters);
        arrow_schema = with_hidden_columns(&arrow_schema);
    }
    if let Some(scanned) = request.row_ids {
        arrow_schema = with_row_ids(&arrow_schema);
        scanned.note_predicate(&predicate);
    }
    let storage = services.storage();
    let plan = plan_scan(storage, manifests, table, request.version, &predicate).await?;
    tracing::debug!(table = table.name(), metrics = ?plan.metrics, "planned scan");

    let files = hidden_columns.read(plan.tasks, services, state, request.filters);
    let files = files.await?;
    if files.is_empty() {
        let schema = match request.projection {
            Some(projection) => Arc::new(
                arrow_schema
                    .project(projection)
                    .map_err(datafusion::error::DataFusionError::from)?,
            ),
            None => arrow_schema,
        };
        return Ok(Arc::new(EmptyExec::new(schema)));
    }

    let mut description = describe(table, Arc::clone(&plan.schema), services)?;
    description.constants = hidden_columns.fields;
    description.has_row_ids = request.row_ids.is_some();
    description.text_views = request.text_views;
    let snapshot = plan.snapshot.as_ref();
    description.snapshot_id = snapshot.map(|snapshot| snapshot.snapshot_id());
    let options = &state.config_options().execution.parquet;
    let source = IcebergFileSource::new(Arc::new(description), options)?;
    let snapshot = table.snapshot_at(request.version)?;
    let distinct_values = match snapshot {
        Some(snapshot) => distinct_values(&table.metadata, snapshot.snapshot_id()),
        None => HashMap::new(),
    };
    let wanted = Wanted {
        projection: request.projection,
        limit: request.limit,
        row_ids: request.row_ids,
        packing: None,
        distinct_values: Some(&distinct_values),
    };
    scan_of_files(&source, files, state, wanted)
}

/// The description of a scan of a table's files.
pub(super) fn describe(
    table: &Table,
    schema: IcebergSchemaRef,
    services: &Arc<ScanServices>,
) -> Result<ScanDescription> {
    let name_mapping = table.metadata.properties().get(NAME_MAPPING_PROPERTY);
    ScanDescription::new(
        table.name(),
        schema,
        name_mapping.cloned(),
        Arc::clone(services),
    )
}

/// What is wanted of the rows of some files.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    pub(super) projection: Option<&'a Vec<usize>>,
    pub(super) limit: Option<usize>,
    pub(super) row_ids: Option<&'a ScannedFiles>,
    /// Keep files together, for writing them again.
    pub(super) packing: Option<Packing>,
    /// What is known of how many distinct values columns have, by field id.
    pub(super) distinct_values: Option<&'a HashMap<i32, u64>>,
}

/// The scan of these files, of which there is at least one, without hidden columns.
pub(super) fn scan_of_tasks(
    source: &IcebergFileSource,
    tasks: Vec<FileTask>,
    state: &dyn Session,
    wanted: Wanted<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let files = tasks.into_iter().map(|task| (task, Vec::new()));
    scan_of_files(source, files.collect(), state, wanted)
}

/// The scan of these files, of which there is at least one, with the values that each has for
/// the hidden columns.
pub(super) fn scan_of_files(
    source: &IcebergFileSource,
    files: Vec<FileWithValues>,
    state: &dyn Session,
    wanted: Wanted<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut scans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
    for (store_url, files) in by_store(files)? {
        let scan = store_scan(source, store_url, files, state, wanted)?;
        scans.push(scan);
    }
    match scans.len() {
        1 => Ok(scans.swap_remove(0)),
        _ => Ok(UnionExec::try_new(scans)?),
    }
}

/// Files by the object store they are in: a scan reads from one.
fn by_store(files: Vec<FileWithValues>) -> Result<BTreeMap<String, Vec<FileWithValues>>> {
    let mut stores: BTreeMap<String, Vec<FileWithValues>> = BTreeMap::new();
    for (task, values) in files {
        if task.format != FileFormat::Parquet {
            return Err(EngineError::Unsupported(format!(
                "file {}: data in {} format",
                task.path, task.format
            )));
        }
        let store_url = match Location::parse(&task.path)?.scheme {
            Scheme::File => "file:///".to_string(),
            Scheme::S3 { bucket } => format!("s3://{bucket}/"),
        };
        let store = stores.entry(store_url).or_default();
        store.push((task, values));
    }
    Ok(stores)
}

fn store_scan(
    source: &IcebergFileSource,
    store_url: String,
    files_with_values: Vec<FileWithValues>,
    state: &dyn Session,
    wanted: Wanted<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let iceberg_schema = source.description().schema();
    let arrow_schema = source.description().query_schema()?;
    let (tasks, values): (Vec<FileTask>, Vec<Vec<ScalarValue>>) =
        files_with_values.into_iter().unzip();
    let mut files = Vec::with_capacity(tasks.len());
    let mut statistics = Vec::with_capacity(tasks.len());
    for (task, mut values) in tasks.iter().zip(values) {
        let (file_statistics, columns_that_must_exist) =
            file_statistics(task, iceberg_schema, &arrow_schema);
        let file_statistics = Arc::new(file_statistics);
        let details = FileDetails {
            location: task.path.as_str().into(),
            record_count: task.record_count,
            deletes: task.deletes.clone().into(),
            columns_that_must_exist: columns_that_must_exist.into(),
        };
        let file = PartitionedFile::new_from_meta(ObjectMeta {
            location: Location::parse(&task.path)?.path,
            last_modified: chrono::DateTime::UNIX_EPOCH,
            size: task.file_size_in_bytes,
            e_tag: None,
            version: None,
        });
        let file = match wanted.row_ids {
            // Statistics would have to cover the position too, of which there are none.
            Some(scanned) => {
                values.push(ScalarValue::Int32(Some(scanned.number_of(task))));
                file.with_partition_values(values)
            }
            None => file
                .with_partition_values(values)
                .with_statistics(Arc::clone(&file_statistics)),
        };
        files.push(file.with_extension(details));
        statistics.push(file_statistics);
    }
    let settings = state.config_options();
    let target_partitions = settings.execution.target_partitions;
    let min_bytes = settings.optimizer.repartition_file_min_size as u64;
    let partitions = match wanted.packing {
        Some(packing) => packed_partitions_of(&tasks, target_partitions, packing),
        None => partitions_of(&tasks, target_partitions, min_bytes),
    };
    let file_groups = partitions
        .into_iter()
        .map(|pieces| {
            let files = pieces.into_iter().map(|piece| {
                let file = files[piece.task].clone();
                match piece.range {
                    Some(range) => {
                        let file = match wanted.row_ids {
                            Some(_) => file,
                            None => {
                                // A part of a file has at most, and not exactly, its rows.
                                let mut part = statistics[piece.task].as_ref().clone();
                                part.num_rows = part.num_rows.to_inexact();
                                file.with_statistics(Arc::new(part))
                            }
                        };
                        file.with_range(range.start as i64, range.end as i64)
                    }
                    None => file,
                }
            });
            FileGroup::new(files.collect())
        })
        .collect();
    let columns = arrow_schema.fields().len();
    let read_columns = wanted.projection.map(|projection| {
        let of_table = projection.iter().filter(|index| **index < columns);
        of_table.copied().collect::<Vec<_>>()
    });
    let mut scan_statistics = scan_statistics(&statistics, &arrow_schema, read_columns.as_ref());
    if let Some(distinct_values) = wanted.distinct_values {
        add_distinct_values(&mut scan_statistics, iceberg_schema, distinct_values);
    }
    // Of hidden columns and row ids.
    scan_statistics.column_statistics.resize(
        source.table_schema().table_schema().fields().len(),
        ColumnStatistics::new_unknown(),
    );
    let store_url = ObjectStoreUrl::parse(store_url)?;
    let config = FileScanConfigBuilder::new(store_url, Arc::new(source.clone()))
        .with_file_groups(file_groups)
        .with_statistics(scan_statistics)
        .with_limit(wanted.limit)
        .with_projection_indices(wanted.projection.cloned())?
        // Files that were packed together are written together: no partition takes those of another.
        .with_preserve_order(wanted.packing.is_some())
        .build();
    Ok(DataSourceExec::from_data_source(config))
}
