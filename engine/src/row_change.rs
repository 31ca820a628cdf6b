//! The table of a statement that changes rows, as its query sees it.
//!
//! The query reads the table as it was when the statement began, with the columns of
//! [`row_ids`](crate::scan::row_ids) after the table's own, under a name that no user can
//! give; every other name means what it always means. Its hidden columns are there when the name
//! says so, as those of every table are.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use iceberg::expr::{Predicate, Reference};
use ingot_catalog::{Table, TableVersion};
use ingot_sql::RelationName;

use crate::error::{EngineError, Result};
use crate::scan::filters::predicate_of;
use crate::scan::hidden_columns::with_hidden_columns;
use crate::scan::row_ids::{FILE_COLUMN, POSITION_COLUMN, with_row_ids};
use crate::scan::{ScanRequest, ScannedFiles, plan_table_scan};
use crate::schema::query_schema_of;
use crate::table::{IcebergTable, TableServices};
use crate::write::{NEW_ROW_COLUMN, WriteOptions, plan_write};

/// The name that the query of a change knows its table by.
pub const CHANGED_TABLE_NAME: [&str; 3] = ["$changed", "table", "rows"];

/// The table of a statement that changes rows: it can be read with row ids, and written to.
#[derive(Debug)]
pub struct ChangedTable {
    table: Table,
    version: TableVersion,
    schema: SchemaRef,
    /// Whether the schema has the hidden columns, before those of the row ids.
    with_hidden_columns: bool,
    services: TableServices,
    scanned: Arc<ScannedFiles>,
}

impl ChangedTable {
    /// The rows of `table`, as it is passed here: the current ones, or those of a branch.
    ///
    /// # Errors
    /// `Unsupported` for a column type that Arrow cannot hold and for a column with a name
    /// that row ids have.
    pub fn new(table: Table, version: TableVersion, services: TableServices) -> Result<Arc<Self>> {
        let schema = query_schema_of(table.metadata.current_schema())?;
        for name in [FILE_COLUMN, POSITION_COLUMN, NEW_ROW_COLUMN] {
            if schema.field_with_name(name).is_ok() {
                return Err(EngineError::Unsupported(format!(
                    "changing rows of table {}, which has a column {name},",
                    table.name()
                )));
            }
        }
        Ok(Arc::new(Self {
            table,
            version,
            schema: with_row_ids(&schema),
            with_hidden_columns: false,
            services,
            scanned: Arc::default(),
        }))
    }

    /// The same table with its hidden columns; files that are read are noted for both.
    fn with_hidden_columns(&self) -> Result<Self> {
        let schema = query_schema_of(self.table.metadata.current_schema())?;
        Ok(Self {
            table: self.table.clone(),
            version: self.version.clone(),
            schema: with_row_ids(&with_hidden_columns(&schema)),
            with_hidden_columns: true,
            services: self.services.clone(),
            scanned: Arc::clone(&self.scanned),
        })
    }

    /// The table's state that the statement works on.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The version whose rows change.
    pub fn version(&self) -> &TableVersion {
        &self.version
    }

    /// The files that were planned to be read, by the numbers in their rows.
    pub fn scanned(&self) -> &ScannedFiles {
        &self.scanned
    }

    /// `state`, in which [`CHANGED_TABLE_NAME`] is this table.
    pub fn session(self: &Arc<Self>, state: &SessionState) -> SessionState {
        let catalogs = WithChangedTable {
            others: Arc::clone(state.catalog_list()),
            table: Arc::clone(self),
        };
        let config = state
            .config()
            .clone()
            .with_create_default_catalog_and_schema(false);
        SessionStateBuilder::new_from_existing(state.clone())
            .with_config(config)
            .with_catalog_list(Arc::new(catalogs))
            .build()
    }

    /// Whether a plan reads the same table a second time, for instance in a subquery.
    ///
    /// # Errors
    /// When the plan cannot be walked.
    pub fn is_read_elsewhere(&self, plan: &LogicalPlan) -> Result<bool> {
        let uuid = self.table.metadata.uuid();
        let mut found = false;
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node
                && let Ok(provider) = source_as_provider(&scan.source)
                && let Some(other) = provider.downcast_ref::<IcebergTable>()
                && other.table().metadata.uuid() == uuid
            {
                found = true;
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(found)
    }

    /// Which rows an optimized plan reads from this table, if that is all it does: project the
    /// rows that fulfil some conditions, of which there may be none.
    pub fn conditions_of_plain_read(&self, plan: &LogicalPlan) -> Option<Vec<Expr>> {
        match plan {
            LogicalPlan::Projection(projection) => self.conditions_of_plain_read(&projection.input),
            LogicalPlan::SubqueryAlias(alias) => self.conditions_of_plain_read(&alias.input),
            LogicalPlan::Filter(filter) => {
                let mut conditions = self.conditions_of_plain_read(&filter.input)?;
                conditions.push(filter.predicate.clone());
                Some(conditions)
            }
            LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
                let provider = source_as_provider(&scan.source).ok()?;
                provider.downcast_ref::<ChangedTable>()?;
                Some(Vec::new())
            }
            _ => None,
        }
    }

    /// What the rows that fulfil `conditions` fulfil, and what the others do, as far as files
    /// can tell: a file that cannot match the second has only rows of the first kind.
    pub fn predicates_of(&self, conditions: &[Expr]) -> (Predicate, Predicate) {
        let schema = self.table.metadata.current_schema();
        let matching = predicate_of(conditions, schema);
        // A condition does not hold where it is false, and where it is unknown. The latter
        // takes a null: what else could make it unknown has no Iceberg predicate, and its
        // negation is then taken to be possible everywhere.
        let mut others = Predicate::AlwaysFalse;
        for condition in conditions {
            let negated = Expr::Not(Box::new(condition.clone()));
            others = others.or(predicate_of(&[negated], schema));
            for column in columns_that_leave_it_unknown(condition) {
                let is_known = schema
                    .as_struct()
                    .field_by_name(&column.name)
                    .is_some_and(|field| schema.field_id_by_name(&column.name) == Some(field.id));
                others = match is_known {
                    true => others.or(Reference::new(&column.name).is_null()),
                    false => Predicate::AlwaysTrue,
                };
            }
        }
        (matching, others)
    }
}

/// The columns whose nulls can make a condition unknown: all but those that it only compares with
/// null.
fn columns_that_leave_it_unknown(condition: &Expr) -> HashSet<Column> {
    let mut columns = HashSet::new();
    // The closure never fails.
    let _ = condition.apply(|expr| match expr {
        Expr::IsNull(inner) | Expr::IsNotNull(inner)
            if matches!(inner.as_ref(), Expr::Column(_)) =>
        {
            Ok(TreeNodeRecursion::Jump)
        }
        Expr::Column(column) => {
            columns.insert(column.clone());
            Ok(TreeNodeRecursion::Continue)
        }
        _ => Ok(TreeNodeRecursion::Continue),
    });
    columns
}

#[async_trait]
impl TableProvider for ChangedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

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
            text_views: false,
            row_ids: Some(&self.scanned),
        };
        let services = &self.services;
        Ok(plan_table_scan(&services.scans, &services.manifests, state, request).await?)
    }

    /// Plans the writing of changes (see [`WriteOptions::row_delta`]).
    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        _insert_op: InsertOp,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let options = state.config().get_extension::<WriteOptions>();
        let options = options.filter(|options| options.row_delta.is_some());
        let Some(options) = options else {
            let what = format!(
                "table {}: changing rows without a statement",
                self.table.name()
            );
            return Err(EngineError::Unsupported(what).into());
        };
        Ok(plan_write(&self.table, input, &options)?)
    }
}

/// The catalogs of a session, and the table that it changes.
#[derive(Debug)]
struct WithChangedTable {
    others: Arc<dyn CatalogProviderList>,
    table: Arc<ChangedTable>,
}

impl CatalogProviderList for WithChangedTable {
    fn register_catalog(
        &self,
        _name: String,
        _catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        self.others.catalog_names()
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        match name == CHANGED_TABLE_NAME[0] {
            true => Some(Arc::new(OnlyChangedTable(Arc::clone(&self.table)))),
            false => self.others.catalog(name),
        }
    }
}

/// A catalog with one schema with the one table.
#[derive(Debug, Clone)]
struct OnlyChangedTable(Arc<ChangedTable>);

impl CatalogProvider for OnlyChangedTable {
    fn schema_names(&self) -> Vec<String> {
        vec![CHANGED_TABLE_NAME[1].to_string()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        (name == CHANGED_TABLE_NAME[1]).then(|| Arc::new(self.clone()) as _)
    }
}

#[async_trait]
impl SchemaProvider for OnlyChangedTable {
    fn table_names(&self) -> Vec<String> {
        vec![CHANGED_TABLE_NAME[2].to_string()]
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        let Ok(relation) = RelationName::parse(name) else {
            return Ok(None);
        };
        Ok(match relation.table == CHANGED_TABLE_NAME[2] {
            true if relation.with_hidden_columns => Some(Arc::new(self.0.with_hidden_columns()?)),
            true => Some(Arc::clone(&self.0) as Arc<dyn TableProvider>),
            false => None,
        })
    }

    fn table_exist(&self, name: &str) -> bool {
        name == CHANGED_TABLE_NAME[2]
    }
}
