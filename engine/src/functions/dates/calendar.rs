//! Adding units of time to instants, and counting them between two.

use arrow::array::StringArray;
use arrow::array::timezone::Tz;
use chrono::{DateTime, Datelike, LocalResult, Months, NaiveDateTime, Offset, TimeDelta, TimeZone};
use datafusion::common::{DataFusionError, Result};

use crate::time_zone::instant_of;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// A unit of time as Trino calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// So many microseconds, whatever clocks show.
    Micros(i64),
    /// So many days of the calendar.
    Days(i64),
    /// So many months of the calendar.
    Months(i64),
}

impl Unit {
    fn of(name: &str) -> Result<Self> {
        Ok(match name.to_lowercase().as_str() {
            "microsecond" => Self::Micros(1),
            "millisecond" => Self::Micros(1000),
            "second" => Self::Micros(SECOND),
            "minute" => Self::Micros(60 * SECOND),
            "hour" => Self::Micros(3600 * SECOND),
            "day" => Self::Days(1),
            "week" => Self::Days(7),
            "month" => Self::Months(1),
            "quarter" => Self::Months(3),
            "year" => Self::Months(12),
            _ => {
                return Err(DataFusionError::Execution(format!(
                    "there is no unit of time '{name}': write 'millisecond', 'second', 'minute', \
                     'hour', 'day', 'week', 'month', 'quarter' or 'year'"
                )));
            }
        })
    }

    /// The units that a column names.
    pub(super) fn column(names: &StringArray) -> impl Iterator<Item = Result<Option<Self>>> {
        // Most columns are a constant.
        let mut last: Option<(&str, Self)> = None;
        names.iter().map(move |name| {
            let Some(name) = name else {
                return Ok(None);
            };
            match last {
                Some((known, unit)) if known == name => Ok(Some(unit)),
                _ => {
                    let unit = Self::of(name)?;
                    last = Some((name, unit));
                    Ok(Some(unit))
                }
            }
        })
    }

    /// Whether a date can be moved by it.
    pub(super) fn is_of_dates(self) -> bool {
        !matches!(self, Self::Micros(_))
    }
}

/// What a clock in `zone` shows at an instant.
pub(super) fn local_of(instant: i64, zone: Tz) -> Option<NaiveDateTime> {
    let utc = DateTime::from_timestamp_micros(instant)?.naive_utc();
    utc.checked_add_offset(zone.offset_from_utc_datetime(&utc).fix())
}

/// The instant `count` units after another. Days and months keep the time of the day; where it is
/// there twice, also the offset. A month without the day ends at its last one.
pub(super) fn add(unit: Unit, count: i64, instant: i64, zone: Tz) -> Option<i64> {
    let (days, months) = match unit {
        Unit::Micros(micros) => return instant.checked_add(micros.checked_mul(count)?),
        Unit::Days(days) => (days.checked_mul(count)?, 0),
        Unit::Months(months) => (0, months.checked_mul(count)?),
    };
    let local = local_of(instant, zone)?;
    let moved = add_months(local, months)?.checked_add_signed(TimeDelta::try_days(days)?)?;
    let utc = DateTime::from_timestamp_micros(instant)?.naive_utc();
    let offset = zone.offset_from_utc_datetime(&utc).fix();
    if let LocalResult::Ambiguous(_, later) = zone.offset_from_local_datetime(&moved)
        && later.fix() == offset
    {
        return Some(
            moved
                .checked_sub_offset(offset)?
                .and_utc()
                .timestamp_micros(),
        );
    }
    instant_of(moved.and_utc().timestamp_micros(), zone)
}

fn add_months(local: NaiveDateTime, months: i64) -> Option<NaiveDateTime> {
    let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    match months < 0 {
        true => local.checked_sub_months(count),
        false => local.checked_add_months(count),
    }
}

/// The whole units from one instant to another, negative when it is earlier.
pub(super) fn difference(unit: Unit, from: i64, to: i64, zone: Tz) -> Option<i64> {
    if let Unit::Micros(micros) = unit {
        return Some(to.checked_sub(from)? / micros);
    }
    let (start, end) = (local_of(from, zone)?, local_of(to, zone)?);
    match unit {
        Unit::Micros(_) => None,
        Unit::Days(days) => Some((end - start).num_microseconds()? / (DAY * days)),
        Unit::Months(months) if start <= end => Some(whole_months(start, end)? / months),
        Unit::Months(months) => Some(-(whole_months(end, start)? / months)),
    }
}

/// The largest number of months after which `start` is not later than `end`.
fn whole_months(start: NaiveDateTime, end: NaiveDateTime) -> Option<i64> {
    let years = i64::from(end.year()) - i64::from(start.year());
    let months = years * 12 + i64::from(end.month()) - i64::from(start.month());
    match add_months(start, months)? > end {
        true => Some(months - 1),
        false => Some(months),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> i64 {
        let parsed = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap();
        parsed.and_utc().timestamp_micros()
    }

    fn text(micros: i64) -> String {
        let instant = DateTime::from_timestamp_micros(micros).unwrap();
        instant.format("%Y-%m-%d %H:%M").to_string()
    }

    #[test]
    fn days_and_months_follow_the_clock() {
        for (unit, count, from, zone, expected) in [
            (
                "day",
                1,
                "2024-03-30 11:00",
                "Europe/Rome",
                "2024-03-31 10:00",
            ),
            (
                "hour",
                24,
                "2024-03-30 11:00",
                "Europe/Rome",
                "2024-03-31 11:00",
            ),
            ("day", 1, "2024-03-30 11:00", "UTC", "2024-03-31 11:00"),
            ("month", 1, "2024-01-31 00:00", "UTC", "2024-02-29 00:00"),
            ("quarter", -1, "2024-05-31 00:00", "UTC", "2024-02-29 00:00"),
            ("year", 1, "2024-02-29 12:00", "UTC", "2025-02-28 12:00"),
            ("week", -2, "2024-01-10 00:00", "UTC", "2023-12-27 00:00"),
            // The second half past two in Rome stays the second.
            (
                "day",
                0,
                "2024-10-27 01:30",
                "Europe/Rome",
                "2024-10-27 01:30",
            ),
            (
                "day",
                0,
                "2024-10-27 00:30",
                "Europe/Rome",
                "2024-10-27 00:30",
            ),
        ] {
            let unit = Unit::of(unit).unwrap();
            let sum = add(unit, count, micros(from), zone.parse().unwrap()).unwrap();
            assert_eq!(text(sum), expected, "{from} + {count} {unit:?} in {zone}");
        }
    }

    #[test]
    fn only_whole_units_count() {
        for (unit, from, to, zone, expected) in [
            ("day", "2024-01-01 12:00", "2024-01-03 11:59", "UTC", 1),
            ("day", "2024-01-03 11:59", "2024-01-01 12:00", "UTC", -1),
            (
                "hour",
                "2024-03-30 12:00",
                "2024-03-31 12:00",
                "Europe/Rome",
                24,
            ),
            (
                "day",
                "2024-03-30 12:00",
                "2024-03-31 11:00",
                "Europe/Rome",
                1,
            ),
            ("month", "2024-01-31 00:00", "2024-02-29 00:00", "UTC", 1),
            ("month", "2024-01-31 00:00", "2024-02-28 00:00", "UTC", 0),
            ("month", "2024-02-29 00:00", "2024-01-31 00:00", "UTC", -1),
            ("quarter", "2024-01-15 00:00", "2024-12-31 00:00", "UTC", 3),
            ("year", "2020-02-29 00:00", "2021-02-28 00:00", "UTC", 1),
            ("year", "2020-06-01 00:00", "2024-05-31 23:59", "UTC", 3),
            ("week", "2024-01-01 00:00", "2024-01-15 00:00", "UTC", 2),
        ] {
            let unit = Unit::of(unit).unwrap();
            let zone: Tz = zone.parse().unwrap();
            let found = difference(unit, micros(from), micros(to), zone).unwrap();
            assert_eq!(found, expected, "{unit:?} from {from} to {to}");
        }
    }

    /// What `add` adds is what `difference` counts.
    #[test]
    fn differences_undo_sums() {
        let zone: Tz = "America/New_York".parse().unwrap();
        for unit in ["hour", "day", "week", "month", "quarter", "year"] {
            let unit = Unit::of(unit).unwrap();
            for day in 0..800 {
                let start = micros("2023-01-15 17:00") + day * DAY;
                for count in [-13, -1, 0, 1, 7] {
                    let sum = add(unit, count, start, zone).unwrap();
                    let found = difference(unit, start, sum, zone).unwrap();
                    // A month without the day is shorter on the way back.
                    let is_clamped = matches!(unit, Unit::Months(_)) && count < 0;
                    if !is_clamped {
                        assert_eq!(found, count, "{unit:?} from {}", text(start));
                    }
                }
            }
        }
    }
}
