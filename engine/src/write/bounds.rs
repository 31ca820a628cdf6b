//! Lower and upper bounds of a column over the row groups of a file.

use std::cmp::Ordering;

use iceberg::spec::PrimitiveType;
use parquet::file::statistics::Statistics;

use super::properties::MetricsMode;
use super::transform::{minimal_big_endian, truncate_text};

/// A bound in the column's own order.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Boolean(bool),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Decimal(i128),
    Text(String),
    Bytes(Vec<u8>),
}

/// The bounds of one column, widened by each row group in turn.
#[derive(Debug, Clone, Default)]
pub(super) struct ColumnBounds {
    lower: Option<Value>,
    upper: Option<Value>,
    /// Set when a row group had values and no bounds: then the file has none.
    unknown: bool,
}

impl ColumnBounds {
    /// Takes in one row group; `statistics` of a row group that has only nulls (or only NaN
    /// or nulls) have no bounds, which `has_values` tells from unknown ones.
    pub(super) fn widen(
        &mut self,
        primitive: &PrimitiveType,
        statistics: Option<&Statistics>,
        has_values: bool,
    ) {
        if !has_values || self.unknown {
            return;
        }
        match statistics.and_then(|statistics| bounds_of(primitive, statistics)) {
            Some((lower, upper)) => {
                self.lower = extreme(self.lower.take(), lower, Ordering::Less);
                self.upper = extreme(self.upper.take(), upper, Ordering::Greater);
            }
            None => {
                *self = Self {
                    unknown: true,
                    ..Self::default()
                };
            }
        }
    }

    /// Iceberg's single-value bytes of the lower bound.
    pub(super) fn lower_bytes(&self, mode: MetricsMode) -> Option<Vec<u8>> {
        let bytes = match (self.lower.as_ref()?, mode) {
            (_, MetricsMode::None | MetricsMode::Counts) => return None,
            (Value::Text(text), MetricsMode::Truncate(length)) => {
                truncate_text(text, length).as_bytes().to_vec()
            }
            (Value::Bytes(bytes), MetricsMode::Truncate(length)) => {
                bytes[..bytes.len().min(length)].to_vec()
            }
            (value, _) => single_value_bytes(value),
        };
        Some(bytes)
    }

    /// Iceberg's single-value bytes of the upper bound; `None` also when no value of the
    /// allowed length is above it.
    pub(super) fn upper_bytes(&self, mode: MetricsMode) -> Option<Vec<u8>> {
        let bytes = match (self.upper.as_ref()?, mode) {
            (_, MetricsMode::None | MetricsMode::Counts) => return None,
            (Value::Text(text), MetricsMode::Truncate(length)) => {
                truncate_text_up(text, length)?.into_bytes()
            }
            (Value::Bytes(bytes), MetricsMode::Truncate(length)) => {
                truncate_bytes_up(bytes, length)?
            }
            (value, _) => single_value_bytes(value),
        };
        Some(bytes)
    }
}

fn extreme(current: Option<Value>, candidate: Value, wanted: Ordering) -> Option<Value> {
    match current {
        Some(current) if compare(&candidate, &current) != Some(wanted) => Some(current),
        _ => Some(candidate),
    }
}

fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Boolean(left), Value::Boolean(right)) => left.partial_cmp(right),
        (Value::Int(left), Value::Int(right)) => left.partial_cmp(right),
        (Value::Long(left), Value::Long(right)) => left.partial_cmp(right),
        (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::Decimal(left), Value::Decimal(right)) => left.partial_cmp(right),
        // UTF-8 orders as its code points do.
        (Value::Text(left), Value::Text(right)) => left.partial_cmp(right),
        (Value::Bytes(left), Value::Bytes(right)) => left.partial_cmp(right),
        _ => None,
    }
}

/// The bounds of a row group, if they are known and can be trusted.
fn bounds_of(primitive: &PrimitiveType, statistics: &Statistics) -> Option<(Value, Value)> {
    match (primitive, statistics) {
        (PrimitiveType::Boolean, Statistics::Boolean(values)) => Some((
            Value::Boolean(*values.min_opt()?),
            Value::Boolean(*values.max_opt()?),
        )),
        (PrimitiveType::Int | PrimitiveType::Date, Statistics::Int32(values)) => Some((
            Value::Int(*values.min_opt()?),
            Value::Int(*values.max_opt()?),
        )),
        (
            PrimitiveType::Long
            | PrimitiveType::Time
            | PrimitiveType::Timestamp
            | PrimitiveType::Timestamptz
            | PrimitiveType::TimestampNs
            | PrimitiveType::TimestamptzNs,
            Statistics::Int64(values),
        ) => Some((
            Value::Long(*values.min_opt()?),
            Value::Long(*values.max_opt()?),
        )),
        (PrimitiveType::Float, Statistics::Float(values)) => {
            let (min, max) = (*values.min_opt()?, *values.max_opt()?);
            // Zeros compare equal and are written either way: take the wider one.
            let min = if min == 0.0 { -0.0 } else { min };
            let max = if max == 0.0 { 0.0 } else { max };
            (!min.is_nan() && !max.is_nan()).then_some((Value::Float(min), Value::Float(max)))
        }
        (PrimitiveType::Double, Statistics::Double(values)) => {
            let (min, max) = (*values.min_opt()?, *values.max_opt()?);
            let min = if min == 0.0 { -0.0 } else { min };
            let max = if max == 0.0 { 0.0 } else { max };
            (!min.is_nan() && !max.is_nan()).then_some((Value::Double(min), Value::Double(max)))
        }
        (PrimitiveType::Decimal { .. }, Statistics::Int32(values)) => Some((
            Value::Decimal(i128::from(*values.min_opt()?)),
            Value::Decimal(i128::from(*values.max_opt()?)),
        )),
        (PrimitiveType::Decimal { .. }, Statistics::Int64(values)) => Some((
            Value::Decimal(i128::from(*values.min_opt()?)),
            Value::Decimal(i128::from(*values.max_opt()?)),
        )),
        (PrimitiveType::Decimal { .. }, Statistics::FixedLenByteArray(values)) => {
            // A cut decimal would be another number.
            let exact = values.min_is_exact() && values.max_is_exact();
            let min = i128_of(values.min_opt()?.data())?;
            let max = i128_of(values.max_opt()?.data())?;
            exact.then_some((Value::Decimal(min), Value::Decimal(max)))
        }
        (PrimitiveType::String, Statistics::ByteArray(values)) => {
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_string);
            Some((
                Value::Text(text(values.min_opt()?.data())?),
                Value::Text(text(values.max_opt()?.data())?),
            ))
        }
        (PrimitiveType::Binary, Statistics::ByteArray(values)) => Some((
            Value::Bytes(values.min_opt()?.data().to_vec()),
            Value::Bytes(values.max_opt()?.data().to_vec()),
        )),
        (PrimitiveType::Fixed(_), Statistics::FixedLenByteArray(values)) => Some((
            Value::Bytes(values.min_opt()?.data().to_vec()),
            Value::Bytes(values.max_opt()?.data().to_vec()),
        )),
        // UUIDs: readers disagree on their order (Java compares signed halves), so that
        // bounds would make some of them skip rows.
        _ => None,
    }
}

fn i128_of(big_endian: &[u8]) -> Option<i128> {
    let first = *big_endian.first()?;
    let padding = 16_usize.checked_sub(big_endian.len())?;
    let mut bytes = [if first & 0x80 == 0 { 0 } else { 0xff }; 16];
    bytes[padding..].copy_from_slice(big_endian);
    Some(i128::from_be_bytes(bytes))
}

fn single_value_bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::Boolean(value) => vec![u8::from(*value)],
        Value::Int(value) => value.to_le_bytes().to_vec(),
        Value::Long(value) => value.to_le_bytes().to_vec(),
        Value::Float(value) => value.to_le_bytes().to_vec(),
        Value::Double(value) => value.to_le_bytes().to_vec(),
        Value::Decimal(value) => minimal_big_endian(&value.to_be_bytes()).to_vec(),
        Value::Text(value) => value.as_bytes().to_vec(),
        Value::Bytes(value) => value.clone(),
    }
}

/// The least text of at most `length` characters that is not below `text`, nearly: the cut
/// text with its last character that has a successor raised.
fn truncate_text_up(text: &str, length: usize) -> Option<String> {
    let cut = truncate_text(text, length);
    if cut.len() == text.len() {
        return Some(text.to_string());
    }
    let mut characters: Vec<char> = cut.chars().collect();
    while let Some(last) = characters.pop() {
        if let Some(next) = next_character(last) {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

fn next_character(character: char) -> Option<char> {
    const LAST_BEFORE_SURROGATES: char = '\u{D7FF}';
    const FIRST_AFTER_SURROGATES: char = '\u{E000}';
    if character == LAST_BEFORE_SURROGATES {
        return Some(FIRST_AFTER_SURROGATES);
    }
    char::from_u32(u32::from(character) + 1)
}

fn truncate_bytes_up(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    if bytes.len() <= length {
        return Some(bytes.to_vec());
    }
    let mut cut = bytes[..length].to_vec();
    while let Some(last) = cut.pop() {
        if last < u8::MAX {
            cut.push(last + 1);
            return Some(cut);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_bounds_round_up_and_stay_valid_text() {
        assert_eq!(truncate_text_up("abc", 3).as_deref(), Some("abc"));
        assert_eq!(truncate_text_up("abcd", 3).as_deref(), Some("abd"));
        assert_eq!(truncate_text_up("ab\u{10FFFF}d", 3).as_deref(), Some("ac"));
        assert_eq!(truncate_text_up("\u{10FFFF}\u{10FFFF}", 1), None);
        assert_eq!(
            truncate_text_up("\u{D7FF}x", 1).as_deref(),
            Some("\u{E000}")
        );
        assert_eq!(truncate_text_up("éàx", 2).as_deref(), Some("éá"));
        assert_eq!(truncate_bytes_up(&[1, 255, 7], 2), Some(vec![2]));
        assert_eq!(truncate_bytes_up(&[255, 255, 7], 2), None);
        assert_eq!(truncate_bytes_up(&[255], 2), Some(vec![255]));
    }

    #[test]
    fn several_row_groups_keep_the_widest_bounds() {
        let mut bounds = ColumnBounds::default();
        for (min, max) in [(3, 9), (-5, 4), (0, 20)] {
            let statistics = Statistics::int32(Some(min), Some(max), None, Some(0), false);
            bounds.widen(&PrimitiveType::Int, Some(&statistics), true);
        }
        bounds.widen(&PrimitiveType::Int, None, false);
        let mode = MetricsMode::Truncate(16);
        assert_eq!(
            bounds.lower_bytes(mode),
            Some((-5_i32).to_le_bytes().to_vec())
        );
        assert_eq!(
            bounds.upper_bytes(mode),
            Some(20_i32.to_le_bytes().to_vec())
        );
        bounds.widen(&PrimitiveType::Int, None, true);
        assert_eq!(bounds.lower_bytes(mode), None);
        assert_eq!(bounds.upper_bytes(mode), None);
    }
}
