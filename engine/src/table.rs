//! One version of an Iceberg table as a DataFusion table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType, lit};
use datafusion::physical_plan::ExecutionPlan;
use iceberg::spec::Schema as IcebergSchema;
use ingot_catalog::scan::ManifestCache;
use ingot_catalog::{Catalog, Table, TableVersion};

use crate::error::{EngineError, Result};
use crate::metadata_table::scalar_of_literal;
use crate::scan::hidden_columns::with_hidden_columns;
use crate::scan::{ScanRequest, ScanServices, plan_table_scan};
use crate::schema::{query_schema_of, with_text_views};
use crate::write::{WriteOptions, plan_write};

/// The default values of new rows by column.
///
/// # Errors
/// `InvalidInput` for a default that is no value of its column's type.
pub fn write_defaults(schema: &IcebergSchema) -> Result<HashMap<String, Expr>> {
    let arrow_schema = query_schema_of(schema)?;
    let fields = schema
        .as_struct()
        .fields()
        .iter()
        .zip(arrow_schema.fields());
    let mut defaults = HashMap::new();
    for (field, arrow_field) in fields {
        if let Some(default) = &field.write_default {
            let value = scalar_of_literal(default, arrow_field)?;
            defaults.insert(field.name.clone(), lit(value));
        }
    }
    Ok(defaults)
}

/// What the tables of a process share.
#[derive(Debug, Clone)]
pub struct TableServices {
    /// Storage and caches of scans.
    pub scans: Arc<ScanServices>,
    /// Parsed manifests.
    pub manifests: Arc<ManifestCache>,
}

/// A version of a table of a catalog: its rows.
#[derive(Debug, Clone)]
pub struct IcebergTable {
    catalog: Arc<dyn Catalog>,
    table: Table,
    version: TableVersion,
    schema: SchemaRef,
    /// What columns are in new rows that do not say (`write-default`).
    defaults: HashMap<String, Expr>,
    with_hidden_columns: bool,
    /// Whether the table's own text columns are views.
    text_views: bool,
    services: TableServices,
}

impl IcebergTable {
    /// The rows of `version` of `table`.
    ///
    /// # Errors
    /// `VersionNotFound`, and `Unsupported` for a column type that Arrow cannot hold.
    pub fn new(
        catalog: Arc<dyn Catalog>,
        table: Table,
        version: TableVersion,
        services: TableServices,
    ) -> Result<Self> {
        let read_schema = table.schema_at(&version)?;
        let schema = query_schema_of(&read_schema)?;
        let defaults = write_defaults(&read_schema)?;
        Ok(Self {
            catalog,
            table,
            version,
            schema,
            defaults,
            with_hidden_columns: false,
            text_views: false,
            services,
        })
    }

    /// The same rows, with the table's [hidden columns](crate::scan::hidden_columns) after its own.
    pub fn with_hidden_columns(self) -> Self {
        Self {
            schema: with_hidden_columns(&self.schema),
            with_hidden_columns: true,
            ..self
        }
    }

    /// The same rows, with the table's own text columns as views of strings.
    ///
    /// # Errors
    /// As [`IcebergTable::new`].
    pub fn with_text_views(&self) -> Result<Self> {
        let own = query_schema_of(self.table.schema_at(&self.version)?.as_ref())?;
        let schema = with_text_views(&own);
        Ok(Self {
            schema: match self.with_hidden_columns {
                true => with_hidden_columns(&schema),
                false => schema,
            },
            text_views: true,
            ..self.clone()
        })
    }

    /// Whether its hidden columns follow its own.
    pub fn has_hidden_columns(&self) -> bool {
        self.with_hidden_columns
    }

    /// The catalog that the table is in.
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    /// The table's state when it was loaded for this query.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The version that is read.
    pub fn version(&self) -> &TableVersion {
        &self.version
    }
}

#[async_trait]
impl TableProvider for IcebergTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_column_default(&self, column: &str) -> Option<&Expr> {
        self.defaults.get(column)
    }

    /// All filters are worth seeing: they prune files, and the rows are filtered after.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let request = ScanRequest {
            table: &self.table,
            version: &self.version,
            projection,
            filters,
            limit,
            hidden_columns: self.with_hidden_columns,
            text_views: self.text_views,
            row_ids: None,
        };
        let services = &self.services;
        let plan = plan_table_scan(&services.scans, &services.manifests, state, request).await?;
        Ok(plan)
    }

    /// Plans the writing of data files (see [`plan_write`]); committing them is up to the
    /// caller, who chose the statement id with a [`WriteOptions`] session extension.
    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        insert_op: InsertOp,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        if insert_op != InsertOp::Append {
            let what = format!("table {}: inserting by {insert_op}", self.table.name());
            return Err(EngineError::Unsupported(what).into());
        }
        if self.version != TableVersion::Current || self.with_hidden_columns {
            let what = format!(
                "table {}: inserting into an old version or a hidden column",
                self.table.name()
            );
            return Err(EngineError::Unsupported(what).into());
        }
        let options = state.config().get_extension::<WriteOptions>();
        let Some(options) = options else {
            let what = format!(
                "table {}: inserting without a statement that commits",
                self.table.name()
            );
            return Err(EngineError::Unsupported(what).into());
        };
        Ok(plan_write(&self.table, input, &options)?)
    }
}
