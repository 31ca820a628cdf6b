//! Default values: what a column is in files that were written before it was added (`initial-default`,
//! Iceberg specification, "Default values").
//!
//! DataFusion fills columns that a file lacks with nulls, where it adapts the expressions of a scan to
//! the file. Columns with a default become constants there, before that happens.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
    replace_columns_with_literals,
};
use iceberg::spec::Schema;

use crate::error::Result;
use crate::metadata_table::scalar_of_literal;
use crate::schema::query_schema_of;

/// Adapts the expressions of a scan to files that lack columns with default values.
#[derive(Debug)]
pub(super) struct DefaultValues {
    by_column: HashMap<String, ScalarValue>,
}

impl DefaultValues {
    /// The defaults of the top-level columns of a read schema; `None` when there are none.
    ///
    /// # Errors
    /// `InvalidInput` for a default that is no value of its column's type.
    pub(super) fn of(schema: &Schema) -> Result<Option<Arc<Self>>> {
        let arrow_schema = query_schema_of(schema)?;
        let mut by_column = HashMap::new();
        let fields = schema.as_struct().fields().iter();
        for (field, arrow_field) in fields.zip(arrow_schema.fields()) {
            if let Some(default) = &field.initial_default {
                let value = scalar_of_literal(default, arrow_field)?;
                by_column.insert(field.name.clone(), value);
            }
        }
        Ok((!by_column.is_empty()).then(|| Arc::new(Self { by_column })))
    }
}

impl PhysicalExprAdapterFactory for DefaultValues {
    fn create(
        &self,
        logical_file_schema: SchemaRef,
        physical_file_schema: SchemaRef,
    ) -> DataFusionResult<Arc<dyn PhysicalExprAdapter>> {
        let lacks = |name: &str| physical_file_schema.index_of(name).is_err();
        let missing = self.by_column.iter().filter(|(name, _)| lacks(name));
        let missing = missing.map(|(name, value)| (name.clone(), value.clone()));
        let missing = missing.collect();
        let others =
            DefaultPhysicalExprAdapterFactory.create(logical_file_schema, physical_file_schema)?;
        Ok(Arc::new(WithDefaults { missing, others }))
    }
}

/// The adapter of one file.
#[derive(Debug)]
struct WithDefaults {
    /// Values of the columns that the file lacks.
    missing: HashMap<String, ScalarValue>,
    others: Arc<dyn PhysicalExprAdapter>,
}

impl PhysicalExprAdapter for WithDefaults {
    fn rewrite(
        &self,
        expression: Arc<dyn PhysicalExpr>,
    ) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
        let expression = replace_columns_with_literals(expression, &self.missing)?;
        self.others.rewrite(expression)
    }
}
