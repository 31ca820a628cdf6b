//! The folder of a partition, spelled as Iceberg's own writers spell it.
//!
//! Readers take partition values from the metadata, never from paths; the spelling serves
//! people and tools that list folders.

use iceberg::spec::{Datum, Literal, Struct, StructType};
use iceberg::spec::{PartitionSpec, PrimitiveLiteral, PrimitiveType, Transform, Type};
use ingot_catalog::scan::PartitionValue;

/// `name=value/name=value`, empty for an unpartitioned spec. Names and values are encoded
/// as in HTML forms (`a b/c` is `a+b%2Fc`), which is what Iceberg's Java library does.
pub fn partition_path(spec: &PartitionSpec, types: &StructType, values: &Struct) -> String {
    let segments = spec.fields().iter().zip(types.fields()).zip(values.iter());
    let segments = segments.map(|((field, value_type), value)| {
        let value = value.map(|literal| (&*value_type.field_type, literal));
        shorten(segment(&field.name, field.transform, value))
    });
    segments.collect::<Vec<_>>().join("/")
}

/// The same text for the partition of a file that exists, with long values in full. Fields whose
/// values nobody can read any more are left out.
pub(crate) fn partition_text(partition: &[PartitionValue]) -> String {
    let segments = partition.iter().map(|value| {
        let typed = value.value.as_ref().map(|datum| {
            let value_type = Type::Primitive(datum.data_type().clone());
            (value_type, Literal::Primitive(datum.literal().clone()))
        });
        let typed = typed
            .as_ref()
            .map(|(value_type, value)| (value_type, value));
        segment(&value.name, value.transform, typed)
    });
    segments.collect::<Vec<_>>().join("/")
}

fn segment(name: &str, transform: Transform, value: Option<(&Type, &Literal)>) -> String {
    let text = match value {
        Some((value_type, literal)) => human_text(transform, value_type, literal),
        None => "null".to_string(),
    };
    format!("{}={}", form_encode(name), form_encode(&text))
}

fn human_text(transform: Transform, value_type: &Type, literal: &Literal) -> String {
    match (transform, literal) {
        (Transform::Year, Literal::Primitive(PrimitiveLiteral::Int(year))) => {
            format!("{:04}", year + 1970)
        }
        (Transform::Month, Literal::Primitive(PrimitiveLiteral::Int(month))) => {
            format!(
                "{:04}-{:02}",
                1970 + month.div_euclid(12),
                month.rem_euclid(12) + 1
            )
        }
        (Transform::Hour, Literal::Primitive(PrimitiveLiteral::Int(hour))) => {
            let day = Datum::date(hour.div_euclid(24));
            format!("{day}-{:02}", hour.rem_euclid(24))
        }
        (_, Literal::Primitive(primitive)) => primitive_text(value_type, primitive),
        // Partition values are never nested.
        _ => String::new(),
    }
}

fn primitive_text(value_type: &Type, literal: &PrimitiveLiteral) -> String {
    match (value_type.as_primitive_type(), literal) {
        (Some(PrimitiveType::Date), PrimitiveLiteral::Int(days)) => Datum::date(*days).to_string(),
        (Some(PrimitiveType::Timestamp), PrimitiveLiteral::Long(micros)) => timestamp_text(*micros),
        (Some(PrimitiveType::Timestamptz), PrimitiveLiteral::Long(micros)) => {
            format!("{}+00:00", timestamp_text(*micros))
        }
        (Some(PrimitiveType::Decimal { scale, .. }), PrimitiveLiteral::Int128(unscaled)) => {
            decimal_text(*unscaled, *scale as usize)
        }
        (Some(PrimitiveType::Uuid), PrimitiveLiteral::UInt128(value)) => {
            uuid::Uuid::from_u128(*value).to_string()
        }
        (_, PrimitiveLiteral::Boolean(value)) => value.to_string(),
        (_, PrimitiveLiteral::Int(value)) => value.to_string(),
        (_, PrimitiveLiteral::Long(value)) => value.to_string(),
        (_, PrimitiveLiteral::Float(value)) => value.to_string(),
        (_, PrimitiveLiteral::Double(value)) => value.to_string(),
        (_, PrimitiveLiteral::String(value)) => value.clone(),
        (_, PrimitiveLiteral::Binary(bytes)) => base64(bytes),
        (_, PrimitiveLiteral::Int128(value)) => value.to_string(),
        (_, PrimitiveLiteral::UInt128(value)) => value.to_string(),
        (_, PrimitiveLiteral::AboveMax | PrimitiveLiteral::BelowMin) => String::new(),
    }
}

fn timestamp_text(micros: i64) -> String {
    match chrono::DateTime::from_timestamp_micros(micros) {
        Some(time) => time.format("%Y-%m-%dT%H:%M:%S%.6f").to_string(),
        None => micros.to_string(),
    }
}

fn decimal_text(unscaled: i128, scale: usize) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for position in 0..4 {
            if position <= chunk.len() {
                let index = (bits >> (18 - 6 * position)) & 0x3f;
                text.push(char::from(ALPHABET[index as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// File systems allow names of 255 bytes. Folders of two long values may then be one, which
/// is no matter: file names are unique.
fn shorten(mut segment: String) -> String {
    const LONGEST_SEGMENT: usize = 200;
    if segment.len() > LONGEST_SEGMENT {
        let bytes = segment.as_bytes();
        // Not in the middle of an encoded byte, `%2F`.
        let end = match (bytes[LONGEST_SEGMENT - 2], bytes[LONGEST_SEGMENT - 1]) {
            (b'%', _) => LONGEST_SEGMENT - 2,
            (_, b'%') => LONGEST_SEGMENT - 1,
            _ => LONGEST_SEGMENT,
        };
        segment.truncate(end);
    }
    segment
}

/// `application/x-www-form-urlencoded`.
fn form_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_spelled_as_iceberg_spells_them() {
        assert_eq!(form_encode("a b/c=é"), "a+b%2Fc%3D%C3%A9");
        assert_eq!(decimal_text(-5, 2), "-0.05");
        assert_eq!(decimal_text(12345, 2), "123.45");
        assert_eq!(decimal_text(7, 0), "7");
        let long = shorten(form_encode(&"é".repeat(100)));
        assert_eq!(long, "%C3%A9".repeat(33));
        assert_eq!(base64(b"ab"), "YWI=");
        assert_eq!(base64(b"abc"), "YWJj");
        assert_eq!(timestamp_text(1), "1970-01-01T00:00:00.000001");
        let human = |transform, value| {
            human_text(
                transform,
                &Type::Primitive(PrimitiveType::Int),
                &Literal::int(value),
            )
        };
        assert_eq!(human(Transform::Year, -1), "1969");
        assert_eq!(human(Transform::Month, -1), "1969-12");
        assert_eq!(human(Transform::Hour, -1), "1969-12-31-23");
        assert_eq!(human(Transform::Bucket(4), 3), "3");
    }
}
