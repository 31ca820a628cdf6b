//! Iceberg's partition transforms over Arrow arrays ("Partition Transforms" and
//! "Appendix B: 32-bit Hash Requirements" of the table specification).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BinaryBuilder, Int32Array,
    PrimitiveArray, StringArray, StringBuilder, new_null_array,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int32Type, Int64Type, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampNanosecondType,
};
use iceberg::spec::Transform;

use crate::error::{EngineError, Result};

const MICROS_PER_HOUR: i64 = 3_600_000_000;
const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;
const NANOS_PER_MICRO: i64 = 1_000;

/// The partition values of a column: an array of the same length, null where the input is
/// null (everywhere for `void`).
///
/// The input has one of the types of [`crate::schema::arrow_primitive_of`]. The result is
/// `Int32` for `bucket`, `year`, `month` and `hour`, `Date32` for `day`, and of the input's
/// type for the others.
///
/// # Errors
/// `Unsupported` when Iceberg does not define the transform for the type.
pub fn transform_array(transform: Transform, input: &ArrayRef) -> Result<ArrayRef> {
    let unsupported = || {
        EngineError::Unsupported(format!(
            "partition transform {transform} of type {}",
            input.data_type()
        ))
    };
    match transform {
        Transform::Identity => Ok(Arc::clone(input)),
        Transform::Void => Ok(new_null_array(input.data_type(), input.len())),
        Transform::Bucket(count) => bucket(input, count).ok_or_else(unsupported),
        Transform::Truncate(width) => truncate(input, width).ok_or_else(unsupported),
        Transform::Year => {
            from_days(input, |days| civil_from_days(days).0 - 1970).ok_or_else(unsupported)
        }
        Transform::Month => from_days(input, |days| {
            let (year, month) = civil_from_days(days);
            (year - 1970) * 12 + month - 1
        })
        .ok_or_else(unsupported),
        Transform::Day => days(input)
            .map(|days| Arc::new(days.reinterpret_cast::<Date32Type>()) as ArrayRef)
            .ok_or_else(unsupported),
        Transform::Hour => hours(input).ok_or_else(unsupported),
        Transform::Unknown => Err(unsupported()),
    }
}

/// Days since 1970-01-01, rounded down.
fn days(input: &ArrayRef) -> Option<Int32Array> {
    Some(match input.data_type() {
        DataType::Date32 => input.as_primitive::<Date32Type>().reinterpret_cast(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => input
            .as_primitive::<TimestampMicrosecondType>()
            .unary(|micros| micros.div_euclid(MICROS_PER_DAY) as i32),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => input
            .as_primitive::<TimestampNanosecondType>()
            .unary(|nanos| nanos.div_euclid(MICROS_PER_DAY * NANOS_PER_MICRO) as i32),
        _ => return None,
    })
}

fn from_days(input: &ArrayRef, value_of_day: impl Fn(i32) -> i32) -> Option<ArrayRef> {
    let days = days(input)?;
    Some(Arc::new(days.unary::<_, Int32Type>(value_of_day)))
}

/// Hours since 1970-01-01 00:00, rounded down.
fn hours(input: &ArrayRef) -> Option<ArrayRef> {
    let hours: Int32Array = match input.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => input
            .as_primitive::<TimestampMicrosecondType>()
            .unary(|micros| micros.div_euclid(MICROS_PER_HOUR) as i32),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => input
            .as_primitive::<TimestampNanosecondType>()
            .unary(|nanos| nanos.div_euclid(MICROS_PER_HOUR * NANOS_PER_MICRO) as i32),
        _ => return None,
    };
    Some(Arc::new(hours))
}

/// Year and month (1 to 12) of a day since 1970-01-01 in the proleptic Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last day of a year, in eras of
/// 400 years, which all have the same number of days.
fn civil_from_days(days: i32) -> (i32, i32) {
    const DAYS_PER_ERA: i64 = 146_097;
    const DAYS_FROM_MARCH_OF_YEAR_0_TO_1970: i64 = 719_468;
    let shifted = i64::from(days) + DAYS_FROM_MARCH_OF_YEAR_0_TO_1970;
    let era = shifted.div_euclid(DAYS_PER_ERA);
    let day_of_era = shifted.rem_euclid(DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let month = if months_since_march < 10 {
        months_since_march + 3
    } else {
        months_since_march - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year as i32, month as i32)
}

fn bucket(input: &ArrayRef, count: u32) -> Option<ArrayRef> {
    let count = i32::try_from(count).ok().filter(|count| *count > 0)?;
    let bucket_of = |hash: u32| (hash as i32 & i32::MAX) % count;
    let of_long = |value: i64| bucket_of(murmur3_x86_32(&value.to_le_bytes()));
    let buckets: Int32Array = match input.data_type() {
        DataType::Int32 => unary::<Int32Type>(input, |value| of_long(i64::from(value))),
        DataType::Date32 => unary::<Date32Type>(input, |value| of_long(i64::from(value))),
        DataType::Int64 => unary::<Int64Type>(input, of_long),
        DataType::Time64(TimeUnit::Microsecond) => unary::<Time64MicrosecondType>(input, of_long),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            unary::<TimestampMicrosecondType>(input, of_long)
        }
        // Equal instants hash alike in both units.
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            unary::<TimestampNanosecondType>(input, |value| {
                of_long(value.div_euclid(NANOS_PER_MICRO))
            })
        }
        DataType::Decimal128(_, _) => unary::<Decimal128Type>(input, |value| {
            let bytes = value.to_be_bytes();
            bucket_of(murmur3_x86_32(minimal_big_endian(&bytes)))
        }),
        DataType::Utf8 => input
            .as_string::<i32>()
            .iter()
            .map(|value| value.map(|text| bucket_of(murmur3_x86_32(text.as_bytes()))))
            .collect(),
        DataType::Binary => input
            .as_binary::<i32>()
            .iter()
            .map(|value| value.map(|bytes| bucket_of(murmur3_x86_32(bytes))))
            .collect(),
        DataType::FixedSizeBinary(_) => input
            .as_fixed_size_binary()
            .iter()
            .map(|value| value.map(|bytes| bucket_of(murmur3_x86_32(bytes))))
            .collect(),
        _ => return None,
    };
    Some(Arc::new(buckets))
}

fn unary<T: ArrowPrimitiveType>(
    input: &ArrayRef,
    bucket_of: impl Fn(T::Native) -> i32,
) -> Int32Array {
    input.as_primitive::<T>().unary(bucket_of)
}

/// The shortest two's complement of a big-endian number: at least one byte.
pub(super) fn minimal_big_endian(bytes: &[u8; 16]) -> &[u8] {
    let sign_byte = if bytes[0] & 0x80 == 0 { 0x00 } else { 0xff };
    let mut start = 0;
    while start < bytes.len() - 1
        && bytes[start] == sign_byte
        && (bytes[start + 1] ^ sign_byte) & 0x80 == 0
    {
        start += 1;
    }
    &bytes[start..]
}

/// MurmurHash3, x86, 32 bits, seed 0.
fn murmur3_x86_32(bytes: &[u8]) -> u32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let mix = |block: u32| block.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    let mut hash: u32 = 0;
    let (blocks, tail) = bytes.as_chunks::<4>();
    for block in blocks {
        hash ^= mix(u32::from_le_bytes(*block));
        hash = hash
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    if !tail.is_empty() {
        let mut last = [0; 4];
        last[..tail.len()].copy_from_slice(tail);
        hash ^= mix(u32::from_le_bytes(last));
    }
    hash ^= bytes.len() as u32;
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

fn truncate(input: &ArrayRef, width: u32) -> Option<ArrayRef> {
    if width == 0 {
        return None;
    }
    Some(match input.data_type() {
        DataType::Int32 => {
            let width = i32::try_from(width).ok()?;
            Arc::new(
                input
                    .as_primitive::<Int32Type>()
                    .unary::<_, Int32Type>(|value| value.wrapping_sub(value.rem_euclid(width))),
            )
        }
        DataType::Int64 => {
            let width = i64::from(width);
            Arc::new(
                input
                    .as_primitive::<Int64Type>()
                    .unary::<_, Int64Type>(|value| value.wrapping_sub(value.rem_euclid(width))),
            )
        }
        DataType::Decimal128(_, _) => {
            let width = i128::from(width);
            let truncated: PrimitiveArray<Decimal128Type> = input
                .as_primitive::<Decimal128Type>()
                .unary(|value: i128| value.wrapping_sub(value.rem_euclid(width)));
            Arc::new(truncated.with_data_type(input.data_type().clone()))
        }
        DataType::Utf8 => Arc::new(truncate_strings(input.as_string(), width as usize)),
        DataType::Binary => Arc::new(truncate_binary(input.as_binary(), width as usize)),
        _ => return None,
    })
}

fn truncate_strings(input: &StringArray, width: usize) -> StringArray {
    let mut builder = StringBuilder::with_capacity(input.len(), input.len() * width.min(16));
    for value in input {
        builder.append_option(value.map(|text| truncate_text(text, width)));
    }
    builder.finish()
}

/// The first `width` characters (code points).
pub(super) fn truncate_text(text: &str, width: usize) -> &str {
    match text.char_indices().nth(width) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

fn truncate_binary(input: &BinaryArray, width: usize) -> BinaryArray {
    let mut builder = BinaryBuilder::with_capacity(input.len(), input.len() * width.min(16));
    for value in input {
        builder.append_option(value.map(|bytes| &bytes[..bytes.len().min(width)]));
    }
    builder.finish()
}
