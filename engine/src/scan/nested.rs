//! Nested columns of files whose structs had other fields.
//!
//! DataFusion's cast of a struct takes fields by name, which are the names of the read schema
//! here and stand for field ids. It refuses a struct with none of the fields that are wanted,
//! which is what dropping all old fields leaves; it fills fields with nulls that have a default
//! value; and inside of a map it takes fields by position. Where that matters the column is put
//! together here.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, MapArray, RecordBatch, StructArray,
    new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, nullif};
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::ScalarValue;
use datafusion::common::nested_struct::cast_column;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use iceberg::spec::{NestedField, Type};

use crate::error::Result;
use crate::metadata_table::scalar_of_literal;

/// A field of the read schema and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TargetField {
    field: FieldRef,
    /// What it is in rows that were written before it was added.
    default: Option<ScalarValue>,
    /// The fields of a struct, the element of a list, key and value of a map.
    children: Vec<TargetField>,
}

impl TargetField {
    /// A field of a read schema, and the same one in Arrow's terms.
    ///
    /// # Errors
    /// `InvalidInput` for a default that is no value of its field's type.
    pub(super) fn new(field: &NestedField, arrow_field: &FieldRef) -> Result<Self> {
        let default = field.initial_default.as_ref();
        let default = default.map(|literal| scalar_of_literal(literal, arrow_field));
        let children = match (field.field_type.as_ref(), arrow_field.data_type()) {
            (Type::Struct(nested), DataType::Struct(fields)) => {
                let pairs = nested.fields().iter().zip(fields);
                pairs
                    .map(|(field, arrow_field)| Self::new(field, arrow_field))
                    .collect::<Result<Vec<_>>>()?
            }
            (Type::List(list), DataType::List(element)) => {
                vec![Self::new(&list.element_field, element)?]
            }
            (Type::Map(map), DataType::Map(entries, _)) => match entries.data_type() {
                DataType::Struct(fields) => {
                    let pairs = [&map.key_field, &map.value_field].into_iter().zip(fields);
                    pairs
                        .map(|(field, arrow_field)| Self::new(field, arrow_field))
                        .collect::<Result<Vec<_>>>()?
                }
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        Ok(Self {
            field: Arc::clone(arrow_field),
            default: default.transpose()?,
            children,
        })
    }

    /// What it is in files that lack it, unless null.
    pub(super) fn default(&self) -> Option<&ScalarValue> {
        self.default.as_ref()
    }

    fn data_type(&self) -> &DataType {
        self.field.data_type()
    }

    /// Whether it is a struct or has one in it.
    pub(super) fn has_struct(&self) -> bool {
        matches!(self.data_type(), DataType::Struct(_))
            || self.children.iter().any(Self::has_struct)
    }

    /// Whether DataFusion's cast from a file's type would fail or give other values.
    pub(super) fn needs_rebuilding(&self, physical: &DataType) -> bool {
        match (physical, self.data_type()) {
            (DataType::Struct(fields), DataType::Struct(_)) => {
                let mut has_common_field = false;
                for child in &self.children {
                    match fields.find(child.field.name()) {
                        Some((_, found)) if child.needs_rebuilding(found.data_type()) => {
                            return true;
                        }
                        Some(_) => has_common_field = true,
                        None if child.default.is_some() => return true,
                        None => {}
                    }
                }
                !has_common_field
            }
            (DataType::List(element), DataType::List(_)) => {
                let mut children = self.children.iter();
                children.any(|child| child.needs_rebuilding(element.data_type()))
            }
            (DataType::Map(..), DataType::Map(..)) => {
                physical != self.data_type() && self.children.iter().any(Self::has_struct)
            }
            _ => false,
        }
    }

    /// The values of a file's column as this field.
    fn rebuild(&self, source: &ArrayRef) -> DataFusionResult<ArrayRef> {
        if source.data_type() == self.data_type() {
            return Ok(Arc::clone(source));
        }
        match (source.data_type(), self.data_type(), &self.children[..]) {
            (DataType::Struct(_), DataType::Struct(fields), children) => {
                let source = source.as_struct();
                let columns =
                    children
                        .iter()
                        .map(|child| match source.column_by_name(child.field.name()) {
                            Some(column) => child.rebuild(column),
                            None => child.absent(source.len(), source.nulls()),
                        });
                let columns = columns.collect::<DataFusionResult<Vec<_>>>()?;
                let nulls = source.nulls().cloned();
                let length = source.len();
                let rebuilt =
                    StructArray::try_new_with_length(fields.clone(), columns, nulls, length)?;
                Ok(Arc::new(rebuilt))
            }
            (DataType::List(_), DataType::List(element), [child]) => {
                let source = source.as_list::<i32>();
                let values = child.rebuild(source.values())?;
                let nulls = source.nulls().cloned();
                let offsets = source.offsets().clone();
                let rebuilt = ListArray::try_new(Arc::clone(element), offsets, values, nulls)?;
                Ok(Arc::new(rebuilt))
            }
            (DataType::Map(..), DataType::Map(entries, is_sorted), [key, value]) => {
                let source = source.as_map();
                let DataType::Struct(fields) = entries.data_type() else {
                    return Err(DataFusionError::Internal(format!(
                        "the map {} has no entries",
                        self.field.name()
                    )));
                };
                let pairs = vec![key.rebuild(source.keys())?, value.rebuild(source.values())?];
                let nulls = source.entries().nulls().cloned();
                let pairs = StructArray::try_new(fields.clone(), pairs, nulls)?;
                let nulls = source.nulls().cloned();
                let offsets = source.offsets().clone();
                let entries = Arc::clone(entries);
                let rebuilt = MapArray::try_new(entries, offsets, pairs, nulls, *is_sorted)?;
                Ok(Arc::new(rebuilt))
            }
            _ => {
                let options = CastOptions {
                    safe: false,
                    ..CastOptions::default()
                };
                cast_column(source, self.data_type(), &options)
            }
        }
    }

    /// The values of this field in `length` structs that lack it, of which those are null that
    /// `parents` says.
    fn absent(&self, length: usize, parents: Option<&NullBuffer>) -> DataFusionResult<ArrayRef> {
        let Some(default) = &self.default else {
            return Ok(new_null_array(self.data_type(), length));
        };
        let values = default.to_array_of_size(length)?;
        // Fields are taken out of structs without a look at these: in a null struct a field is
        // null.
        match parents {
            None => Ok(values),
            Some(parents) => {
                let is_null = BooleanArray::new(!parents.inner(), None);
                Ok(nullif(values.as_ref(), &is_null)?)
            }
        }
    }
}

/// A nested column of a file as the read schema has it. It is made where a file is opened and
/// never leaves the process.
#[derive(Debug, Clone)]
pub(super) struct RebuiltColumn {
    column: Arc<dyn PhysicalExpr>,
    target: Arc<TargetField>,
}

impl RebuiltColumn {
    /// The column, which has the names of the read schema inside.
    pub(super) fn new(column: Arc<dyn PhysicalExpr>, target: Arc<TargetField>) -> Self {
        Self { column, target }
    }
}

// By hand: derived ones would move the column out of its `Arc`.
impl PartialEq for RebuiltColumn {
    fn eq(&self, other: &Self) -> bool {
        self.column.eq(&other.column) && self.target.eq(&other.target)
    }
}

impl Eq for RebuiltColumn {}

impl Hash for RebuiltColumn {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.column.hash(state);
        self.target.hash(state);
    }
}

impl fmt::Display for RebuiltColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "REBUILT({})", self.column)
    }
}

impl PhysicalExpr for RebuiltColumn {
    fn return_field(&self, _input_schema: &Schema) -> DataFusionResult<FieldRef> {
        Ok(Arc::clone(&self.target.field))
    }

    fn evaluate(&self, batch: &RecordBatch) -> DataFusionResult<ColumnarValue> {
        let value = self.column.evaluate(batch)?;
        let source = value.into_array(batch.num_rows())?;
        self.target.rebuild(&source).map(ColumnarValue::Array)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.column]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
        let [column] = <[_; 1]>::try_from(children).map_err(|children| {
            DataFusionError::Internal(format!("a rebuilt column is of {} columns", children.len()))
        })?;
        Ok(Arc::new(Self::new(column, Arc::clone(&self.target))))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.column.fmt_sql(f)
    }
}
