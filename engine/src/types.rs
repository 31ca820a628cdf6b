//! SQL types as Arrow types, where DataFusion's choice is not Iceberg's.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{DataType as SqlType, TimezoneInfo};
use ingot_sql::ColumnType;

use crate::error::EngineError;
use crate::schema::UTC;

/// Timestamps and times are microseconds, whatever precision is written (up to 6), instants
/// are in UTC, and text is plain text.
#[derive(Debug)]
pub struct IngotTypePlanner;

impl TypePlanner for IngotTypePlanner {
    fn plan_type_field(&self, sql_type: &SqlType) -> DataFusionResult<Option<FieldRef>> {
        let data_type = match sql_type {
            SqlType::Timestamp(precision, zone) => {
                check_precision(*precision, sql_type)?;
                let zone = match zone {
                    TimezoneInfo::Tz | TimezoneInfo::WithTimeZone => Some(Arc::from(UTC)),
                    TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => None,
                };
                DataType::Timestamp(TimeUnit::Microsecond, zone)
            }
            SqlType::Datetime(precision) => {
                check_precision(*precision, sql_type)?;
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            SqlType::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                check_precision(*precision, sql_type)?;
                DataType::Time64(TimeUnit::Microsecond)
            }
            SqlType::Varbinary(_) | SqlType::Blob(_) => DataType::Binary,
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}

fn check_precision(precision: Option<u64>, sql_type: &SqlType) -> DataFusionResult<()> {
    match precision {
        Some(digits) if digits > 6 => {
            let what = format!("type {sql_type}, finer than a microsecond,");
            Err(EngineError::Unsupported(what).into())
        }
        _ => Ok(()),
    }
}

/// The Arrow type of a column type of the dialect.
pub fn arrow_type_of_column(column_type: &ColumnType) -> DataType {
    let field = |name: &str, column_type: &ColumnType, nullable: bool| {
        Arc::new(Field::new(
            name,
            arrow_type_of_column(column_type),
            nullable,
        ))
    };
    match column_type {
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::Integer => DataType::Int32,
        ColumnType::Bigint => DataType::Int64,
        ColumnType::Real => DataType::Float32,
        ColumnType::Double => DataType::Float64,
        ColumnType::Decimal { precision, scale } => {
            DataType::Decimal128(*precision, scale.cast_signed())
        }
        ColumnType::Varchar => DataType::Utf8,
        ColumnType::Varbinary => DataType::Binary,
        ColumnType::Fixed(length) => {
            DataType::FixedSizeBinary(i32::try_from(*length).unwrap_or(i32::MAX))
        }
        ColumnType::Uuid => DataType::FixedSizeBinary(16),
        ColumnType::Date => DataType::Date32,
        ColumnType::Time => DataType::Time64(TimeUnit::Microsecond),
        ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        ColumnType::TimestampWithTimeZone => {
            DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
        }
        ColumnType::Array(element) => DataType::List(field("element", element, true)),
        ColumnType::Map(key, value) => {
            let entries = vec![field("key", key, false), field("value", value, true)];
            let entries = Field::new("key_value", DataType::Struct(entries.into()), false);
            DataType::Map(Arc::new(entries), false)
        }
        ColumnType::Row(fields) => {
            let fields = fields.iter();
            DataType::Struct(
                fields
                    .map(|nested| field(&nested.name, &nested.field_type, true))
                    .collect(),
            )
        }
    }
}
