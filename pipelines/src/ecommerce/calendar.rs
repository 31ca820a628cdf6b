//! When things happen in a shop: growth over the year, weekends, a busy November, and
//! the hours of a day.

use crate::random;
use crate::text::{DAY, YEAR_START};

/// Days of 2024.
const DAYS: usize = 366;

/// How busy each hour of a day is, in thousandths of the day.
const HOURS: [(u64, i64); 24] = [
    (18, 0),
    (11, 1),
    (7, 2),
    (5, 3),
    (5, 4),
    (8, 5),
    (16, 6),
    (28, 7),
    (40, 8),
    (48, 9),
    (53, 10),
    (56, 11),
    (60, 12),
    (57, 13),
    (54, 14),
    (52, 15),
    (53, 16),
    (57, 17),
    (64, 18),
    (74, 19),
    (79, 20),
    (69, 21),
    (52, 22),
    (34, 23),
];

/// Turns a position in the year's business (0 to 1) into a day.
#[derive(Debug, Clone)]
pub(super) struct Calendar {
    /// Business before the end of each day.
    until: Vec<u64>,
}

impl Calendar {
    pub(super) fn new() -> Self {
        let mut sum = 0;
        let until = (0..DAYS as u64)
            .map(|day| {
                sum += weight(day);
                sum
            })
            .collect();
        Self { until }
    }

    /// The time of something at a position of the year, by its own random bits.
    pub(super) fn time(&self, position: f64, bits: u64) -> i64 {
        let total = self.until.last().copied().unwrap_or(1);
        let business = (position * total as f64) as u64;
        let day = self.until.partition_point(|until| *until <= business);
        let day = day.min(DAYS - 1) as i64;
        let hour = random::pick(bits, &HOURS);
        let second = random::scale(random::mix(bits), 3600) as i64;
        YEAR_START + day * DAY + hour * 3600 + second
    }
}

/// Business of one day, from 0 for 2024-01-01, a Monday.
fn weight(day: u64) -> u64 {
    let growth = 1000 + day;
    let weekday = match day % 7 {
        5 | 6 => 125,
        0 => 105,
        _ => 100,
    };
    let season = match day {
        // The week of Black Friday (29 November), then the weeks before Christmas.
        329..=336 => 220,
        337..=358 => 150,
        // Holidays in July and August.
        182..=243 => 90,
        _ => 100,
    };
    growth * weekday * season
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::YEAR_END;

    #[test]
    fn times_cover_the_year_in_order_of_position() {
        let calendar = Calendar::new();
        let day_of = |position| (calendar.time(position, 0) - YEAR_START) / DAY;
        assert_eq!(day_of(0.0), 0);
        assert_eq!(day_of(0.999_999), 365);
        let days: Vec<i64> = (0..10_000)
            .map(|step| day_of(f64::from(step) / 10_000.0))
            .collect();
        assert!(days.is_sorted());
        assert_eq!(
            days.iter()
                .copied()
                .collect::<std::collections::HashSet<_>>()
                .len(),
            366
        );
        assert!(calendar.time(1.0, u64::MAX) < YEAR_END);
    }

    #[test]
    fn evenings_are_busier_than_nights() {
        let calendar = Calendar::new();
        let hours: Vec<i64> = (0..10_000)
            .map(|index| calendar.time(0.5, random::hash(1, 1, index)) % DAY / 3600)
            .collect();
        let at = |wanted: i64| hours.iter().filter(|hour| **hour == wanted).count();
        assert!(at(20) > 5 * at(3), "{} {}", at(20), at(3));
    }
}
