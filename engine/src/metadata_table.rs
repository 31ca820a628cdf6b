//! Metadata tables (`"t$snapshots"`) as DataFusion tables.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder,
    FixedSizeBinaryBuilder, Float32Builder, Float64Builder, Int32Builder, Int64Builder, ListArray,
    MapArray, RecordBatch, StringBuilder, StructArray, Time64MicrosecondBuilder,
    TimestampMicrosecondBuilder, TimestampNanosecondBuilder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use iceberg::spec::{Literal, PrimitiveLiteral};
use ingot_catalog::scan::metadata_tables::{
    MetadataRows, MetadataTableKind, metadata_table_rows, metadata_table_schema,
};
use ingot_catalog::{Table, TableVersion};

use crate::error::{EngineError, Result};
use crate::schema::query_schema_of;
use crate::table::TableServices;

/// A metadata table of one table. Its rows are made when it is scanned, on the process
/// that plans.
#[derive(Debug)]
pub struct MetadataTableProvider {
    table: Table,
    kind: MetadataTableKind,
    version: TableVersion,
    schema: SchemaRef,
    services: TableServices,
}

impl MetadataTableProvider {
    /// The metadata table `kind` of `version` of `table`.
    ///
    /// # Errors
    /// When the table metadata is inconsistent.
    pub fn new(
        table: Table,
        kind: MetadataTableKind,
        version: TableVersion,
        services: TableServices,
    ) -> Result<Self> {
        let schema = query_schema_of(metadata_table_schema(&table, kind)?.as_ref())?;
        Ok(Self {
            table,
            kind,
            version,
            schema,
            services,
        })
    }
}

#[async_trait]
impl TableProvider for MetadataTableProvider {
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
        let rows = metadata_table_rows(
            self.services.scans.storage(),
            &self.services.manifests,
            &self.table,
            self.kind,
            &self.version,
        )
        .await
        .map_err(EngineError::from)?;
        let batch = batch_of(&rows, &self.schema)?;
        let schema = Arc::clone(&self.schema);
        let plan = MemorySourceConfig::try_new_exec(&[vec![batch]], schema, projection.cloned())?;
        Ok(plan)
    }
}

/// An Iceberg value as a value of an Arrow field.
///
/// # Errors
/// `InvalidInput` for a value of another type.
pub(crate) fn scalar_of_literal(literal: &Literal, field: &Field) -> Result<ScalarValue> {
    let array = array_of(&[Some(literal)], field)?;
    Ok(ScalarValue::try_from_array(&array, 0)?)
}

/// Iceberg values as one Arrow batch.
fn batch_of(rows: &MetadataRows, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let values: Vec<Option<&Literal>> =
                rows.rows.iter().map(|row| row[index].as_ref()).collect();
            array_of(&values, field)
        })
        .collect::<Result<Vec<_>>>()?;
    let batch = RecordBatch::try_new(Arc::clone(schema), columns);
    batch.map_err(|error| EngineError::DataFusion(Box::new(error.into())))
}

fn array_of(values: &[Option<&Literal>], field: &Field) -> Result<ArrayRef> {
    let mismatch = || {
        EngineError::InvalidInput(format!(
            "column {:?} has a value that is no {}",
            field.name(),
            field.data_type()
        ))
    };
    /// Appends to a builder the values that match a pattern.
    macro_rules! build {
        ($builder:expr, $pattern:pat => $value:expr) => {{
            let mut builder = $builder;
            for value in values {
                match value {
                    None => builder.append_null(),
                    Some(Literal::Primitive($pattern)) => builder.append_value($value),
                    Some(_) => return Err(mismatch()),
                }
            }
            let array: ArrayRef = ArrayBuilder::finish(&mut builder);
            array
        }};
    }
    use PrimitiveLiteral as P;
    Ok(match field.data_type() {
        DataType::Boolean => build!(BooleanBuilder::new(), P::Boolean(v) => *v),
        DataType::Int32 => build!(Int32Builder::new(), P::Int(v) => *v),
        DataType::Int64 => build!(Int64Builder::new(), P::Long(v) => *v),
        DataType::Float32 => build!(Float32Builder::new(), P::Float(v) => v.0),
        DataType::Float64 => build!(Float64Builder::new(), P::Double(v) => v.0),
        DataType::Date32 => build!(Date32Builder::new(), P::Int(v) => *v),
        DataType::Time64(TimeUnit::Microsecond) => {
            build!(Time64MicrosecondBuilder::new(), P::Long(v) => *v)
        }
        data_type @ DataType::Timestamp(TimeUnit::Microsecond, _) => build!(
            TimestampMicrosecondBuilder::new().with_data_type(data_type.clone()),
            P::Long(v) => *v
        ),
        data_type @ DataType::Timestamp(TimeUnit::Nanosecond, _) => build!(
            TimestampNanosecondBuilder::new().with_data_type(data_type.clone()),
            P::Long(v) => *v
        ),
        data_type @ DataType::Decimal128(_, _) => build!(
            Decimal128Builder::new().with_data_type(data_type.clone()),
            P::Int128(v) => *v
        ),
        DataType::Utf8 => build!(StringBuilder::new(), P::String(v) => v),
        DataType::Binary => build!(BinaryBuilder::new(), P::Binary(v) => v),
        DataType::FixedSizeBinary(width) => {
            let mut builder = FixedSizeBinaryBuilder::new(*width);
            for value in values {
                let appended = match value {
                    None => {
                        builder.append_null();
                        Ok(())
                    }
                    Some(Literal::Primitive(P::UInt128(v))) => {
                        builder.append_value(v.to_be_bytes())
                    }
                    Some(Literal::Primitive(P::Binary(v))) => builder.append_value(v),
                    Some(_) => return Err(mismatch()),
                };
                appended.map_err(|_| mismatch())?;
            }
            Arc::new(builder.finish())
        }
        DataType::Struct(fields) => {
            let children = fields
                .iter()
                .enumerate()
                .map(|(index, child)| {
                    let child_values = values
                        .iter()
                        .map(|value| match value {
                            None => Ok(None),
                            Some(Literal::Struct(v)) => Ok(v.fields()[index].as_ref()),
                            Some(_) => Err(mismatch()),
                        })
                        .collect::<Result<Vec<_>>>()?;
                    array_of(&child_values, child)
                })
                .collect::<Result<Vec<_>>>()?;
            let nulls = nulls_of(values);
            let array = if fields.is_empty() {
                Ok(StructArray::new_empty_fields(values.len(), nulls))
            } else {
                StructArray::try_new(fields.clone(), children, nulls)
            };
            Arc::new(array.map_err(|_| mismatch())?)
        }
        DataType::List(element) => {
            let mut lengths = Vec::with_capacity(values.len());
            let mut elements: Vec<Option<&Literal>> = Vec::new();
            for value in values {
                match value {
                    None => lengths.push(0),
                    Some(Literal::List(list)) => {
                        lengths.push(list.len());
                        elements.extend(list.iter().map(Option::as_ref));
                    }
                    Some(_) => return Err(mismatch()),
                }
            }
            let child = array_of(&elements, element)?;
            let offsets = OffsetBuffer::from_lengths(lengths);
            let array = ListArray::try_new(Arc::clone(element), offsets, child, nulls_of(values));
            Arc::new(array.map_err(|_| mismatch())?)
        }
        DataType::Map(entries, ordered) => {
            let DataType::Struct(key_and_value) = entries.data_type() else {
                return Err(mismatch());
            };
            let mut lengths = Vec::with_capacity(values.len());
            let mut pairs: Vec<(Literal, Option<Literal>)> = Vec::new();
            for value in values {
                match value {
                    None => lengths.push(0),
                    Some(Literal::Map(map)) => {
                        lengths.push(map.len());
                        pairs.extend(map.clone());
                    }
                    Some(_) => return Err(mismatch()),
                }
            }
            let keys: Vec<_> = pairs.iter().map(|(key, _)| Some(key)).collect();
            let map_values: Vec<_> = pairs.iter().map(|(_, value)| value.as_ref()).collect();
            let children = vec![
                array_of(&keys, &key_and_value[0])?,
                array_of(&map_values, &key_and_value[1])?,
            ];
            let pairs = StructArray::try_new(key_and_value.clone(), children, None)
                .map_err(|_| mismatch())?;
            let array = MapArray::try_new(
                Arc::clone(entries),
                OffsetBuffer::from_lengths(lengths),
                pairs,
                nulls_of(values),
                *ordered,
            );
            Arc::new(array.map_err(|_| mismatch())?)
        }
        _ => return Err(mismatch()),
    })
}

fn nulls_of(values: &[Option<&Literal>]) -> Option<NullBuffer> {
    let nulls: NullBuffer = values.iter().map(Option::is_some).collect();
    (nulls.null_count() > 0).then_some(nulls)
}
