//! Values as people read them.

use chrono::DateTime;
use iceberg::spec::{PrimitiveLiteral, PrimitiveType};

/// A value of an Iceberg type as SQL would print it: dates and times in ISO form, decimals
/// with their point, binaries in hexadecimal. Values out of a calendar's range are printed
/// as their number.
pub fn value_text(literal: &PrimitiveLiteral, value_type: &PrimitiveType) -> String {
    match literal {
        PrimitiveLiteral::Boolean(value) => value.to_string(),
        PrimitiveLiteral::Int(value) if *value_type == PrimitiveType::Date => {
            let seconds = i64::from(*value) * 86_400;
            DateTime::from_timestamp(seconds, 0)
                .map_or_else(|| value.to_string(), |time| time.date_naive().to_string())
        }
        PrimitiveLiteral::Int(value) => value.to_string(),
        PrimitiveLiteral::Long(value) => long_text(*value, value_type),
        PrimitiveLiteral::Float(value) => value.to_string(),
        PrimitiveLiteral::Double(value) => value.to_string(),
        PrimitiveLiteral::String(value) => value.clone(),
        PrimitiveLiteral::Binary(value) => value.iter().map(|byte| format!("{byte:02x}")).collect(),
        PrimitiveLiteral::Int128(value) => match value_type {
            PrimitiveType::Decimal { scale, .. } => decimal_text(*value, *scale),
            _ => value.to_string(),
        },
        PrimitiveLiteral::UInt128(value) => uuid::Uuid::from_u128(*value).to_string(),
        PrimitiveLiteral::AboveMax => "above the largest value".to_string(),
        PrimitiveLiteral::BelowMin => "below the smallest value".to_string(),
    }
}

fn long_text(value: i64, value_type: &PrimitiveType) -> String {
    let time = match value_type {
        PrimitiveType::Timestamp | PrimitiveType::Timestamptz | PrimitiveType::Time => {
            DateTime::from_timestamp_micros(value)
        }
        PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs => {
            Some(DateTime::from_timestamp_nanos(value))
        }
        _ => None,
    };
    let Some(time) = time else {
        return value.to_string();
    };
    let format = match value_type {
        PrimitiveType::Time => "%H:%M:%S%.6f",
        PrimitiveType::Timestamp => "%Y-%m-%d %H:%M:%S%.6f",
        PrimitiveType::Timestamptz => "%Y-%m-%d %H:%M:%S%.6f UTC",
        PrimitiveType::TimestampNs => "%Y-%m-%d %H:%M:%S%.9f",
        _ => "%Y-%m-%d %H:%M:%S%.9f UTC",
    };
    time.format(format).to_string()
}

fn decimal_text(unscaled: i128, scale: u32) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let scale = usize::try_from(scale).unwrap_or(0);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    match fraction {
        "" => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use iceberg::spec::Datum;

    use super::*;

    #[test]
    fn values_read_as_sql_prints_them() {
        let text = |datum: Datum| value_text(datum.literal(), datum.data_type());
        assert_eq!(text(Datum::date(-1)), "1969-12-31");
        assert_eq!(
            text(Datum::timestamp_micros(-1)),
            "1969-12-31 23:59:59.999999"
        );
        assert_eq!(
            text(Datum::timestamptz_micros(0)),
            "1970-01-01 00:00:00.000000 UTC"
        );
        assert_eq!(
            text(Datum::timestamp_micros(i64::MAX)),
            i64::MAX.to_string()
        );
        assert_eq!(text(Datum::binary([0, 255])), "00ff");
        assert_eq!(text(Datum::double(1.5)), "1.5");
        assert_eq!(decimal_text(-5, 2), "-0.05");
        assert_eq!(decimal_text(12345, 2), "123.45");
        assert_eq!(decimal_text(0, 0), "0");
        assert_eq!(decimal_text(-7, 0), "-7");
    }
}
