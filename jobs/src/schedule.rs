//! The times of a schedule.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};

use crate::definition::Schedule;
use crate::folder::nearest;

/// A cron pattern in a time zone, ready to be asked.
#[derive(Debug, Clone)]
pub struct CronSchedule {
    cron: Cron,
    time_zone: Tz,
}

impl CronSchedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// One line: a pattern that is not valid or never comes, an unknown time zone.
    pub fn parse(schedule: &Schedule) -> Result<Self, String> {
        let time_zone: Tz = schedule.time_zone.parse().map_err(|_| {
            let names = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
            let hint = nearest(&schedule.time_zone, names)
                .map(|name| format!("; did you mean {name}?"))
                .unwrap_or_default();
            format!("unknown time zone {}{hint}", schedule.time_zone)
        })?;
        let parser = CronParser::builder().seconds(Seconds::Optional).build();
        let cron = parser.parse(&schedule.cron).map_err(|error| {
            let reason = error.to_string();
            format!(
                "cron pattern {:?} is not valid: {}",
                schedule.cron,
                reason.trim_end_matches('.').to_lowercase()
            )
        })?;
        let parsed = Self { cron, time_zone };
        if parsed.next_after(Utc::now()).is_none() {
            return Err(format!("cron pattern {:?} never comes", schedule.cron));
        }
        Ok(parsed)
    }

    /// The first time after another one; `None` when there is none.
    ///
    /// A time that the clocks skip in spring comes when they have been put forward; one
    /// that they repeat in autumn comes once for patterns with fixed hours.
    pub fn next_after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = time.with_timezone(&self.time_zone);
        let next = self.cron.find_next_occurrence(&local, false).ok()?;
        Some(next.with_timezone(&Utc))
    }

    /// The latest time in `(after, until]`, without walking through all of them.
    pub fn latest_between(
        &self,
        after: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let local = until.with_timezone(&self.time_zone);
        let latest = self.cron.find_previous_occurrence(&local, true).ok()?;
        let latest = latest.with_timezone(&Utc);
        (latest > after).then_some(latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::MissedFires;

    fn schedule(cron: &str, time_zone: &str) -> Result<CronSchedule, String> {
        CronSchedule::parse(&Schedule {
            cron: cron.to_string(),
            time_zone: time_zone.to_string(),
            missed: MissedFires::RunOnce,
        })
    }

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn times_are_those_of_the_time_zone() {
        let nightly = schedule("30 2 * * *", "Europe/Berlin").unwrap();
        let next = nightly.next_after(time("2026-01-15T12:00:00Z")).unwrap();
        assert_eq!(next, time("2026-01-16T01:30:00Z"));
        let next = nightly.next_after(time("2026-07-15T12:00:00Z")).unwrap();
        assert_eq!(next, time("2026-07-16T00:30:00Z"));
        // A time of the schedule is not after itself.
        assert!(nightly.next_after(next).unwrap() > next);
    }

    #[test]
    fn every_day_has_one_time_when_the_clocks_change() {
        let nightly = schedule("30 2 * * *", "Europe/Berlin").unwrap();
        for (from, until) in [
            ("2026-03-27T00:00:00Z", "2026-04-02T00:00:00Z"),
            ("2026-10-23T00:00:00Z", "2026-10-29T00:00:00Z"),
        ] {
            let mut times = vec![];
            let mut now = time(from);
            while let Some(next) = nightly.next_after(now).filter(|next| *next < time(until)) {
                times.push(next);
                now = next;
            }
            assert_eq!(times.len(), 6, "{times:?}");
        }
    }

    #[test]
    fn the_latest_missed_time_is_found() {
        let hourly = schedule("@hourly", "UTC").unwrap();
        let latest =
            hourly.latest_between(time("2026-01-01T00:00:00Z"), time("2026-01-03T12:59:00Z"));
        assert_eq!(latest, Some(time("2026-01-03T12:00:00Z")));
        let none =
            hourly.latest_between(time("2026-01-03T12:00:00Z"), time("2026-01-03T12:59:00Z"));
        assert_eq!(none, None);
        let now = hourly.latest_between(time("2026-01-03T12:00:00Z"), time("2026-01-03T13:00:00Z"));
        assert_eq!(now, Some(time("2026-01-03T13:00:00Z")));
    }

    #[test]
    fn mistakes_are_explained() {
        let error = schedule("30 2 * * *", "Europe/Berln").unwrap_err();
        assert_eq!(
            error,
            "unknown time zone Europe/Berln; did you mean Europe/Berlin?"
        );
        let error = schedule("61 * * * *", "UTC").unwrap_err();
        assert!(
            error.starts_with("cron pattern \"61 * * * *\" is not valid"),
            "{error}"
        );
        let error = schedule("0 0 30 2 *", "UTC").unwrap_err();
        assert!(
            error.contains("never comes") || error.contains("not valid"),
            "{error}"
        );
    }
}
