//! Partition transforms applied to the literals of a predicate.

use iceberg::spec::{PrimitiveType, Transform};
use iceberg::transform::create_transform_function;

use super::values::Comparable;

const MICROS_PER_DAY: i128 = 86_400_000_000;
const MICROS_PER_HOUR: i128 = 3_600_000_000;
const NANOS_PER_MICRO: i128 = 1_000;

/// How partition values come from the values of a column.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    /// The transform; never `Void` or `Unknown`.
    transform: Transform,
    /// Type of the column.
    source_type: PrimitiveType,
}

impl Mapping {
    /// The values themselves.
    pub(super) fn identity(source_type: PrimitiveType) -> Self {
        Self {
            transform: Transform::Identity,
            source_type,
        }
    }

    /// `None` for transforms whose values say nothing about the column's.
    pub(super) fn new(transform: Transform, source_type: PrimitiveType) -> Option<Self> {
        match transform {
            Transform::Void | Transform::Unknown => None,
            Transform::Bucket(0) | Transform::Truncate(0) => None,
            _ => Some(Self {
                transform,
                source_type,
            }),
        }
    }

    pub(super) fn is_identity(&self) -> bool {
        self.transform == Transform::Identity
    }

    /// Whether a greater value never has a lesser partition value.
    pub(super) fn keeps_order(&self) -> bool {
        !matches!(self.transform, Transform::Bucket(_))
    }

    /// Whether old writers rounded values before 1970 up, not down, so that a stored value
    /// up to 0 may stand for the one before it.
    pub(super) fn may_be_rounded_up(&self) -> bool {
        matches!(
            self.transform,
            Transform::Year | Transform::Month | Transform::Day | Transform::Hour
        )
    }

    /// For integers truncated to a multiple: stored values greater than this may have
    /// wrapped around from below the smallest value.
    pub(super) fn wraps_above(&self) -> Option<i128> {
        let Transform::Truncate(width) = self.transform else {
            return None;
        };
        match self.source_type {
            PrimitiveType::Int => Some(i128::from(i32::MAX) - i128::from(width)),
            PrimitiveType::Long => Some(i128::from(i64::MAX) - i128::from(width)),
            _ => None,
        }
    }

    /// Whether a string's partition value is its beginning and shorter than `prefix`.
    pub(super) fn cuts(&self, prefix: &[u8]) -> bool {
        let Transform::Truncate(width) = self.transform else {
            return false;
        };
        truncate_bytes(prefix, width, &self.source_type).is_none_or(|cut| cut.len() < prefix.len())
    }

    /// The partition value of a value; `None` if it has none or it is not certain.
    pub(super) fn apply(&self, value: &Comparable) -> Option<Comparable> {
        match (self.transform, value) {
            (Transform::Identity, _) => Some(value.clone()),
            (Transform::Bucket(_), _) => self.bucket(value),
            (Transform::Truncate(width), Comparable::Integer(value)) => {
                let truncated = value.checked_sub(value.rem_euclid(i128::from(width)))?;
                let smallest = match self.source_type {
                    PrimitiveType::Int => i128::from(i32::MIN),
                    PrimitiveType::Long => i128::from(i64::MIN),
                    _ => i128::MIN,
                };
                (truncated >= smallest).then_some(Comparable::Integer(truncated))
            }
            (Transform::Truncate(width), Comparable::Bytes(value)) => {
                let cut = truncate_bytes(value, width, &self.source_type)?;
                Some(Comparable::Bytes(cut.to_vec()))
            }
            (Transform::Hour, Comparable::Integer(value)) => {
                let hours = self.micros(*value)?.div_euclid(MICROS_PER_HOUR);
                Some(Comparable::Integer(hours))
            }
            (Transform::Day, Comparable::Integer(value)) => {
                Some(Comparable::Integer(self.days(*value)?))
            }
            (Transform::Month, Comparable::Integer(value)) => {
                let (year, month) = year_and_month(self.days(*value)?)?;
                Some(Comparable::Integer((year - 1970) * 12 + month - 1))
            }
            (Transform::Year, Comparable::Integer(value)) => {
                let (year, _) = year_and_month(self.days(*value)?)?;
                Some(Comparable::Integer(year - 1970))
            }
            _ => None,
        }
    }

    fn bucket(&self, value: &Comparable) -> Option<Comparable> {
        let datum = value.to_datum(&self.source_type)?;
        let function = create_transform_function(&self.transform).ok()?;
        match function.transform_literal(&datum).ok()??.literal() {
            iceberg::spec::PrimitiveLiteral::Int(bucket) => {
                Some(Comparable::Integer(i128::from(*bucket)))
            }
            _ => None,
        }
    }

    /// Microseconds since the epoch; `None` for columns that are not timestamps.
    fn micros(&self, value: i128) -> Option<i128> {
        match self.source_type {
            PrimitiveType::Timestamp | PrimitiveType::Timestamptz => Some(value),
            PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs => {
                Some(value.div_euclid(NANOS_PER_MICRO))
            }
            _ => None,
        }
    }

    /// Days since the epoch.
    fn days(&self, value: i128) -> Option<i128> {
        match self.source_type {
            PrimitiveType::Date => Some(value),
            _ => Some(self.micros(value)?.div_euclid(MICROS_PER_DAY)),
        }
    }
}

/// The first `width` characters of a string, or bytes of a binary value.
fn truncate_bytes<'a>(
    value: &'a [u8],
    width: u32,
    source_type: &PrimitiveType,
) -> Option<&'a [u8]> {
    let width = usize::try_from(width).ok()?;
    let length = match source_type {
        PrimitiveType::String => {
            let text = std::str::from_utf8(value).ok()?;
            text.char_indices()
                .nth(width)
                .map_or(value.len(), |(at, _)| at)
        }
        _ => width.min(value.len()),
    };
    value.get(..length)
}

/// The proleptic Gregorian year and month (1 to 12) of a day since 1970-01-01.
fn year_and_month(days: i128) -> Option<(i128, i128)> {
    // 400-year cycles that begin on 1 March of year 0, so that leap days end a year.
    let shifted = days.checked_add(719_468)?;
    let cycle = shifted.div_euclid(146_097);
    let day_of_cycle = shifted.rem_euclid(146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524
        - day_of_cycle / 146_096)
        / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_cycle + cycle * 400 + i128::from(month <= 2);
    Some((year, month))
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, Days, NaiveDate};
    use iceberg::spec::{Datum, PrimitiveLiteral};

    use super::*;

    #[test]
    fn years_and_months_equal_those_of_chrono() {
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        let first = NaiveDate::from_ymd_opt(-801, 1, 1).unwrap();
        let mut date = first;
        for step in 0..40_000_u64 {
            let days = i128::from((date - epoch).num_days());
            let expected = (i128::from(date.year()), i128::from(date.month()));
            assert_eq!(year_and_month(days), Some(expected), "{date}");
            date = date.checked_add_days(Days::new(1 + step % 61)).unwrap();
        }
        assert!(date.year() > 2500);
    }

    /// Temporal and truncate transforms equal those of the `iceberg` crate.
    #[test]
    fn transforms_equal_the_iceberg_crates() {
        let micros = [
            0,
            1,
            -1,
            86_399_999_999,
            86_400_000_000,
            -86_400_000_000,
            1_700_000_000_000_001,
        ];
        let mut cases = Vec::new();
        for value in micros {
            for transform in [
                Transform::Year,
                Transform::Month,
                Transform::Day,
                Transform::Hour,
            ] {
                cases.push((transform, Datum::timestamp_micros(value)));
                cases.push((transform, Datum::timestamptz_micros(value)));
            }
        }
        for days in [0, 1, -1, 365, -366, 19_000] {
            for transform in [Transform::Year, Transform::Month, Transform::Day] {
                cases.push((transform, Datum::date(days)));
            }
        }
        for value in [0, 1, -1, 99, 100, -100, -101] {
            cases.push((Transform::Truncate(10), Datum::int(value)));
            cases.push((Transform::Truncate(7), Datum::long(value)));
        }
        for text in ["", "a", "añ\u{1F600}b", "abcdef"] {
            cases.push((Transform::Truncate(3), Datum::string(text)));
        }
        for (transform, datum) in cases {
            let mapping = Mapping::new(transform, datum.data_type().clone()).unwrap();
            let value =
                Comparable::new(datum.literal(), datum.data_type(), datum.data_type()).unwrap();
            let expected = create_transform_function(&transform)
                .unwrap()
                .transform_literal(&datum)
                .unwrap()
                .unwrap();
            let expected = match expected.literal() {
                PrimitiveLiteral::Int(value) => Comparable::Integer(i128::from(*value)),
                PrimitiveLiteral::Long(value) => Comparable::Integer(i128::from(*value)),
                PrimitiveLiteral::String(text) => Comparable::Bytes(text.as_bytes().to_vec()),
                other => panic!("{other:?}"),
            };
            assert_eq!(mapping.apply(&value), Some(expected), "{transform} {datum}");
        }
    }

    /// The hashes of the specification's appendix B.
    #[test]
    fn buckets_are_those_of_the_specification() {
        let bucket_of = |value: Comparable, source_type: PrimitiveType| {
            let mapping = Mapping::new(Transform::Bucket(1 << 30), source_type).unwrap();
            mapping.apply(&value)
        };
        let expected =
            |hash: i32| Some(Comparable::Integer(i128::from(hash & i32::MAX) % (1 << 30)));
        let decimal = PrimitiveType::Decimal {
            precision: 9,
            scale: 2,
        };
        let integer = Comparable::Integer;
        assert_eq!(
            bucket_of(integer(34), PrimitiveType::Int),
            expected(2017239379)
        );
        assert_eq!(
            bucket_of(integer(34), PrimitiveType::Long),
            expected(2017239379)
        );
        assert_eq!(bucket_of(integer(1420), decimal), expected(-500754589));
        assert_eq!(
            bucket_of(integer(17486), PrimitiveType::Date),
            expected(-653330422)
        );
        let text = Comparable::Bytes(b"iceberg".to_vec());
        assert_eq!(bucket_of(text, PrimitiveType::String), expected(1210000089));
        let uuid = Comparable::Uuid(0xf79c_3e09_677c_4bbd_a479_3f34_9cb7_85e7);
        assert_eq!(bucket_of(uuid, PrimitiveType::Uuid), expected(1488055340));
        let bytes = Comparable::Bytes(vec![0, 1, 2, 3]);
        assert_eq!(
            bucket_of(bytes, PrimitiveType::Binary),
            expected(-188683207)
        );
        // A literal that an int column cannot hold has no bucket.
        assert_eq!(bucket_of(integer(1 << 40), PrimitiveType::Int), None);
    }
}
