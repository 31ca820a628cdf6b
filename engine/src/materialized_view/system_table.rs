//! `system.metadata.materialized_views`: the materialized views of all catalogs.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use iceberg::{NamespaceIdent, TableIdent};
use ingot_catalog::{Catalog, CatalogError};
use ingot_sql::interval_text;

use super::freshness::{Assessment, assess};
use crate::catalog_list::CatalogList;
use crate::error::Result;
use crate::schema::UTC;

/// The schema of tables about what the catalogs hold.
const METADATA: &str = "metadata";
/// Its one table.
const MATERIALIZED_VIEWS: &str = "materialized_views";

/// The catalog `system`.
#[derive(Debug)]
pub struct SystemCatalog {
    list: Arc<CatalogList>,
}

impl SystemCatalog {
    /// The system catalog over these catalogs.
    pub fn new(list: Arc<CatalogList>) -> Self {
        Self { list }
    }
}

impl CatalogProvider for SystemCatalog {
    fn schema_names(&self) -> Vec<String> {
        vec![METADATA.to_string()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        (name == METADATA).then(|| {
            Arc::new(MetadataSchema {
                list: Arc::clone(&self.list),
            }) as Arc<dyn SchemaProvider>
        })
    }
}

#[derive(Debug)]
struct MetadataSchema {
    list: Arc<CatalogList>,
}

#[async_trait]
impl SchemaProvider for MetadataSchema {
    fn table_names(&self) -> Vec<String> {
        vec![MATERIALIZED_VIEWS.to_string()]
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        Ok(self.table_exist(name).then(|| {
            Arc::new(MaterializedViews {
                list: Arc::clone(&self.list),
                schema: schema(),
            }) as Arc<dyn TableProvider>
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        name == MATERIALIZED_VIEWS
    }
}

/// Trino's columns, then when the last refresh began, the grace period and why the rows are not
/// known to be up to date.
fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let time = |name: &str| {
        let data_type = DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
        Field::new(name, data_type, true)
    };
    Arc::new(Schema::new(vec![
        text("catalog_name"),
        text("schema_name"),
        text("name"),
        text("storage_catalog"),
        text("storage_schema"),
        text("storage_table"),
        text("freshness"),
        time("last_fresh_time"),
        text("comment"),
        text("definition"),
        time("last_refresh_time"),
        text("grace_period"),
        text("reason"),
    ]))
}

/// The table: its rows are made when it is scanned, on the process that plans.
#[derive(Debug)]
struct MaterializedViews {
    list: Arc<CatalogList>,
    schema: SchemaRef,
}

/// One materialized view.
struct Row {
    catalog: String,
    view: TableIdent,
    storage_table: TableIdent,
    assessment: Assessment,
    comment: Option<String>,
    definition: Option<String>,
    grace_period_ms: Option<i64>,
}

#[async_trait]
impl TableProvider for MaterializedViews {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let mut rows = Vec::new();
        for catalog in self.list.iceberg_catalogs() {
            rows.extend(rows_of_catalog(&self.list, &catalog).await?);
        }
        let batch = batch_of(&rows, &self.schema)?;
        let schema = Arc::clone(&self.schema);
        let plan = MemorySourceConfig::try_new_exec(&[vec![batch]], schema, projection.cloned())?;
        Ok(plan)
    }
}

async fn rows_of_catalog(list: &Arc<CatalogList>, catalog: &Arc<dyn Catalog>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for schema in catalog.list_schemas().await? {
        let views = match catalog.list_views(&schema).await {
            // Dropped since it was listed.
            Err(CatalogError::SchemaNotFound { .. }) => continue,
            views => views?,
        };
        for name in views {
            let ident = TableIdent::new(NamespaceIdent::new(schema.clone()), name);
            match row_of(list, catalog, ident).await {
                Ok(row) => rows.extend(row),
                Err(error) if crate::catalog_list::is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(rows)
}

/// `None` for a view that is not materialized.
async fn row_of(
    list: &Arc<CatalogList>,
    catalog: &Arc<dyn Catalog>,
    ident: TableIdent,
) -> Result<Option<Row>> {
    let view = catalog.load_view(&ident).await?;
    let Some(materialization) = view.materialization()? else {
        return Ok(None);
    };
    let storage = catalog.load_table(&materialization.storage_table).await?;
    let assessment = assess(list, catalog.name(), &view, &storage).await?;
    let definition = view.definition().ok();
    Ok(Some(Row {
        catalog: catalog.name().to_string(),
        view: ident,
        storage_table: materialization.storage_table,
        assessment,
        comment: definition.as_ref().and_then(|view| view.comment.clone()),
        definition: definition.map(|view| view.sql),
        grace_period_ms: materialization.grace_period_ms,
    }))
}

fn batch_of(rows: &[Row], schema: &SchemaRef) -> DataFusionResult<RecordBatch> {
    let text = |value: &dyn Fn(&Row) -> Option<String>| {
        let mut builder = StringBuilder::new();
        for row in rows {
            builder.append_option(value(row));
        }
        Arc::new(builder.finish()) as ArrayRef
    };
    let time = |value: &dyn Fn(&Row) -> Option<i64>| {
        let mut builder = TimestampMicrosecondBuilder::new().with_timezone(UTC);
        for row in rows {
            builder.append_option(value(row).map(|millis| millis.saturating_mul(1_000)));
        }
        Arc::new(builder.finish()) as ArrayRef
    };
    let schema_of = |ident: &TableIdent| Some(ident.namespace().as_ref().join("."));
    let refreshed_ms = |row: &Row| {
        let refresh = row.assessment.refresh.as_ref()?;
        Some(refresh.state.refresh_start_timestamp_ms)
    };
    let columns = vec![
        text(&|row| Some(row.catalog.clone())),
        text(&|row| schema_of(&row.view)),
        text(&|row| Some(row.view.name().to_string())),
        text(&|row| Some(row.catalog.clone())),
        text(&|row| schema_of(&row.storage_table)),
        text(&|row| Some(row.storage_table.name().to_string())),
        text(&|row| Some(row.assessment.freshness.as_str().to_string())),
        time(&|row| row.assessment.last_fresh_ms),
        text(&|row| row.comment.clone()),
        text(&|row| row.definition.clone()),
        time(&refreshed_ms),
        text(&|row| row.grace_period_ms.map(interval_text)),
        text(&|row| row.assessment.reason.clone()),
    ];
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
