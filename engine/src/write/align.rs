//! Bringing rows of a query to the types of a table, and refusing what does not fit.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Schema as ArrowSchema, SchemaRef as ArrowSchemaRef};
use arrow::util::display::FormatOptions;
use iceberg::spec::{NestedField, Schema, SchemaRef, Type};

use crate::error::{EngineError, Result};
use crate::schema::arrow_schema_of;

/// Casts batches to a table's schema, column by column in order, and checks NOT NULL.
#[derive(Debug, Clone)]
pub(super) struct Aligner {
    table_name: String,
    schema: SchemaRef,
    arrow_schema: ArrowSchemaRef,
}

impl Aligner {
    /// # Errors
    /// `InvalidInput` when the query has another number of columns than the table, or a
    /// column of a type that cannot become the table's.
    pub(super) fn new(table_name: &str, schema: &SchemaRef, input: &ArrowSchema) -> Result<Self> {
        let arrow_schema = arrow_schema_of(schema)?;
        let expected = arrow_schema.fields().len();
        let found = input.fields().len();
        if expected != found {
            return Err(EngineError::InvalidInput(format!(
                "table {table_name} has {expected} columns, the query returns {found}"
            )));
        }
        for (target, source) in arrow_schema.fields().iter().zip(input.fields()) {
            let is_same = target.data_type() == source.data_type();
            if !is_same && !can_cast_types(source.data_type(), target.data_type()) {
                return Err(EngineError::InvalidInput(format!(
                    "column {} of table {table_name} cannot hold the query's {}: cast it",
                    target.name(),
                    source.data_type(),
                )));
            }
        }
        Ok(Self {
            table_name: table_name.to_string(),
            schema: Arc::clone(schema),
            arrow_schema,
        })
    }

    /// The schema that [`Aligner::align`] gives: with field ids.
    pub(super) fn arrow_schema(&self) -> &ArrowSchemaRef {
        &self.arrow_schema
    }

    /// # Errors
    /// `InvalidInput` naming the table and the column, for a value that does not fit the
    /// type and for a null in a required column.
    pub(super) fn align(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(batch.num_columns());
        let fields = self.schema.as_struct().fields();
        for ((column, target), field) in batch
            .columns()
            .iter()
            .zip(self.arrow_schema.fields())
            .zip(fields)
        {
            let column = self.cast(column, target.data_type(), &field.name)?;
            self.check_required(&column, field, &field.name)?;
            columns.push(column);
        }
        RecordBatch::try_new(Arc::clone(&self.arrow_schema), columns)
            .map_err(|error| self.invalid("", &error.to_string()))
    }

    fn cast(&self, column: &ArrayRef, target: &DataType, name: &str) -> Result<ArrayRef> {
        if column.data_type() == target {
            return Ok(Arc::clone(column));
        }
        let options = CastOptions {
            safe: false,
            format_options: FormatOptions::default(),
        };
        cast_with_options(column, target, &options)
            .map_err(|error| self.invalid(name, &error.to_string()))
    }

    fn invalid(&self, column: &str, reason: &str) -> EngineError {
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        EngineError::InvalidInput(format!(
            "column {column} of table {}: {reason}",
            self.table_name
        ))
    }

    fn check_required(&self, array: &ArrayRef, field: &NestedField, path: &str) -> Result<()> {
        if field.required && array.null_count() > 0 {
            return Err(EngineError::InvalidInput(format!(
                "null value in column {path} of table {}, which is not null",
                self.table_name
            )));
        }
        if let Type::Struct(nested) = field.field_type.as_ref() {
            // Children of a null struct are absent, not null.
            let present = match array.nulls() {
                Some(_) => {
                    let is_present = arrow::compute::is_not_null(array)
                        .map_err(|error| self.invalid(path, &error.to_string()))?;
                    arrow::compute::filter(array, &is_present)
                        .map_err(|error| self.invalid(path, &error.to_string()))?
                }
                None => Arc::clone(array),
            };
            let children = present.as_struct().columns();
            for (child, child_field) in children.iter().zip(nested.fields()) {
                let child_path = format!("{path}.{}", child_field.name);
                self.check_required(child, child_field, &child_path)?;
            }
        }
        Ok(())
    }
}

/// Indexes of a column and of the struct fields below it that lead to a field; `None` for
/// fields inside lists and maps.
pub(super) fn path_of_field(schema: &Schema, field_id: i32) -> Option<Vec<usize>> {
    fn search(
        fields: &[iceberg::spec::NestedFieldRef],
        field_id: i32,
        path: &mut Vec<usize>,
    ) -> bool {
        for (index, field) in fields.iter().enumerate() {
            path.push(index);
            if field.id == field_id {
                return true;
            }
            if let Type::Struct(nested) = field.field_type.as_ref()
                && search(nested.fields(), field_id, path)
            {
                return true;
            }
            path.pop();
        }
        false
    }
    let mut path = Vec::new();
    search(schema.as_struct().fields(), field_id, &mut path).then_some(path)
}
