//! Adapting the expressions of a scan to a file that was written under another schema.
//!
//! DataFusion does most of it: it casts columns whose type was promoted, and fills those that a file
//! lacks with nulls. Before it come default values (`initial-default`, Iceberg specification, "Default
//! values"): a column that a file lacks and that has one becomes a constant. After it come nested
//! columns that DataFusion's cast would refuse or get wrong: see [`RebuiltColumn`].

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema as ArrowSchema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DataFusionResult;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
    replace_columns_with_literals,
};
use iceberg::spec::Schema;

use super::nested::{RebuiltColumn, TargetField};
use crate::error::Result;
use crate::schema::query_schema_of;

/// Adapts the expressions of a scan to files that lack fields with default values, or whose
/// structs have other fields.
#[derive(Debug)]
pub(super) struct Adaptation {
    /// Defaults of columns.
    defaults: HashMap<String, ScalarValue>,
    /// Columns with a struct somewhere in their type.
    with_structs: HashMap<String, Arc<TargetField>>,
}

impl Adaptation {
    /// What the columns of a read schema need; `None` when DataFusion's own adaptation does.
    ///
    /// # Errors
    /// `InvalidInput` for a default that is no value of its field's type.
    pub(super) fn of(schema: &Schema) -> Result<Option<Arc<Self>>> {
        let arrow_schema = query_schema_of(schema)?;
        let mut defaults = HashMap::new();
        let mut with_structs = HashMap::new();
        let fields = schema.as_struct().fields().iter();
        for (field, arrow_field) in fields.zip(arrow_schema.fields()) {
            let target = TargetField::new(field, arrow_field)?;
            if let Some(default) = target.default() {
                defaults.insert(field.name.clone(), default.clone());
            }
            if target.has_struct() {
                with_structs.insert(field.name.clone(), Arc::new(target));
            }
        }
        let is_needed = !defaults.is_empty() || !with_structs.is_empty();
        Ok(is_needed.then(|| {
            Arc::new(Self {
                defaults,
                with_structs,
            })
        }))
    }

    /// Whether a filter may become one that Parquet's reader cannot evaluate while it reads, in
    /// files that need a column of it rebuilt. DataFusion decides on the read schema, before it
    /// knows the files.
    pub(super) fn may_obscure(&self, filter: &Arc<dyn PhysicalExpr>) -> bool {
        let columns = collect_columns(filter);
        let mut columns = columns.iter();
        columns.any(|column| self.with_structs.contains_key(column.name()))
    }
}

impl PhysicalExprAdapterFactory for Adaptation {
    fn create(
        &self,
        logical_file_schema: SchemaRef,
        physical_file_schema: SchemaRef,
    ) -> DataFusionResult<Arc<dyn PhysicalExprAdapter>> {
        let mut missing = HashMap::new();
        for (name, value) in &self.defaults {
            if physical_file_schema.index_of(name).is_err() {
                // Text may be read as views.
                let read_type = logical_file_schema.field_with_name(name)?.data_type();
                missing.insert(name.clone(), value.cast_to(read_type)?);
            }
        }
        let mut rebuilt = HashMap::new();
        for (name, target) in &self.with_structs {
            if let Ok(field) = physical_file_schema.field_with_name(name)
                && target.needs_rebuilding(field.data_type())
            {
                rebuilt.insert(name.clone(), Arc::clone(target));
            }
        }
        // What is rebuilt here is to DataFusion as the file has it.
        let logical_file_schema = match rebuilt.is_empty() {
            true => logical_file_schema,
            false => {
                let fields = logical_file_schema.fields().iter().map(|field| {
                    let is_rebuilt = rebuilt.contains_key(field.name());
                    let found = physical_file_schema.fields().find(field.name());
                    match found {
                        Some((_, physical)) if is_rebuilt => Arc::clone(physical),
                        _ => Arc::clone(field),
                    }
                });
                let fields = fields.collect::<Vec<FieldRef>>();
                let metadata = logical_file_schema.metadata().clone();
                Arc::new(ArrowSchema::new_with_metadata(fields, metadata))
            }
        };
        let others =
            DefaultPhysicalExprAdapterFactory.create(logical_file_schema, physical_file_schema)?;
        Ok(Arc::new(FileAdaptation {
            missing,
            rebuilt,
            others,
        }))
    }
}

/// The adaptation to one file.
#[derive(Debug)]
struct FileAdaptation {
    /// Values of the columns that the file lacks.
    missing: HashMap<String, ScalarValue>,
    /// What the columns become that DataFusion cannot cast.
    rebuilt: HashMap<String, Arc<TargetField>>,
    others: Arc<dyn PhysicalExprAdapter>,
}

impl PhysicalExprAdapter for FileAdaptation {
    fn rewrite(
        &self,
        expression: Arc<dyn PhysicalExpr>,
    ) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
        let expression = replace_columns_with_literals(expression, &self.missing)?;
        let expression = self.others.rewrite(expression)?;
        if self.rebuilt.is_empty() {
            return Ok(expression);
        }
        let rebuilt = expression.transform_down(|node| {
            let column = node.downcast_ref::<Column>();
            let target = column.and_then(|column| self.rebuilt.get(column.name()));
            let Some(target) = target.cloned() else {
                return Ok(Transformed::no(node));
            };
            let rebuilt: Arc<dyn PhysicalExpr> = Arc::new(RebuiltColumn::new(node, target));
            // Not into its own column, which stays as the file has it.
            Ok(Transformed::new(rebuilt, true, TreeNodeRecursion::Jump))
        })?;
        Ok(rebuilt.data)
    }
}
