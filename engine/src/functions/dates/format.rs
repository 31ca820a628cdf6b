//! MySQL's formats of dates, which Trino's `date_format` and `date_parse` take.

use chrono::format::{Parsed, StrftimeItems, parse};
use chrono::{NaiveDateTime, NaiveTime};
use datafusion::common::{DataFusionError, Result};

/// A format, kept for the rows that have the same.
#[derive(Debug, Default)]
pub(super) struct MySqlFormat {
    text: String,
    /// The same for `chrono`.
    strftime: String,
}

impl MySqlFormat {
    pub(super) fn set(&mut self, text: &str) -> Result<()> {
        if self.text != text || self.strftime.is_empty() {
            self.strftime = strftime_of(text)?;
            self.text = text.to_string();
        }
        Ok(())
    }

    pub(super) fn write(&self, local: NaiveDateTime) -> String {
        local.format(&self.strftime).to_string()
    }

    /// The timestamp that a text is, in microseconds; what the format leaves out is the beginning
    /// of 1970.
    pub(super) fn read(&self, text: &str) -> Result<i64> {
        let invalid = |reason: &str| {
            let message = format!(
                "'{text}' is not a timestamp in format '{}': {reason}",
                self.text
            );
            DataFusionError::Execution(message)
        };
        let mut parsed = Parsed::new();
        parse(&mut parsed, text, StrftimeItems::new(&self.strftime))
            .map_err(|error| invalid(&error.to_string()))?;
        let has_date = parsed.ordinal().is_some() || parsed.isoweek().is_some();
        if !has_date {
            if parsed.year().is_none() && parsed.year_mod_100().is_none() {
                parsed
                    .set_year(1970)
                    .map_err(|error| invalid(&error.to_string()))?;
            }
            if parsed.month().is_none() {
                parsed
                    .set_month(1)
                    .map_err(|error| invalid(&error.to_string()))?;
            }
            if parsed.day().is_none() {
                parsed
                    .set_day(1)
                    .map_err(|error| invalid(&error.to_string()))?;
            }
        }
        let date = parsed
            .to_naive_date()
            .map_err(|error| invalid(&error.to_string()))?;
        let has_time = parsed.hour_mod_12().is_some();
        let time = match has_time {
            false => NaiveTime::MIN,
            true => {
                if parsed.minute().is_none() {
                    parsed
                        .set_minute(0)
                        .map_err(|error| invalid(&error.to_string()))?;
                }
                if parsed.hour_div_12().is_none() {
                    parsed
                        .set_ampm(false)
                        .map_err(|error| invalid(&error.to_string()))?;
                }
                parsed
                    .to_naive_time()
                    .map_err(|error| invalid(&error.to_string()))?
            }
        };
        Ok(date.and_time(time).and_utc().timestamp_micros())
    }
}

fn strftime_of(format: &str) -> Result<String> {
    let mut strftime = String::with_capacity(format.len() * 2);
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            strftime.push(character);
            continue;
        }
        strftime.push_str(match characters.next() {
            Some('a') => "%a",
            Some('b') => "%b",
            Some('c') => "%-m",
            Some('d') => "%d",
            Some('e') => "%-d",
            Some('f') => "%6f",
            Some('H') => "%H",
            Some('h' | 'I') => "%I",
            Some('i') => "%M",
            Some('j') => "%j",
            Some('k') => "%-H",
            Some('l') => "%-I",
            Some('M') => "%B",
            Some('m') => "%m",
            Some('p') => "%p",
            Some('r') => "%I:%M:%S %p",
            Some('S' | 's') => "%S",
            Some('T') => "%H:%M:%S",
            Some('v') => "%V",
            Some('W') => "%A",
            Some('x') => "%G",
            Some('Y') => "%Y",
            Some('y') => "%y",
            Some('%') => "%%",
            Some(other) => {
                return Err(DataFusionError::Execution(format!(
                    "format '{format}' has %{other}, which date_format does not know (the formats \
                     are MySQL's: %Y-%m-%d %H:%i:%s)"
                )));
            }
            None => "%%",
        });
    }
    Ok(strftime)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(text: &str) -> MySqlFormat {
        let mut format = MySqlFormat::default();
        format.set(text).unwrap();
        format
    }

    #[test]
    fn formats_are_those_of_mysql() {
        let local = "2026-03-04T15:06:07.089012"
            .parse::<NaiveDateTime>()
            .unwrap();
        for (text, expected) in [
            ("%Y-%m-%d %H:%i:%s", "2026-03-04 15:06:07"),
            ("%y %c %e %k %l %p", "26 3 4 15 3 PM"),
            ("%M %b %W %a %j", "March Mar Wednesday Wed 063"),
            ("%T.%f | %r | %h", "15:06:07.089012 | 03:06:07 PM | 03"),
            ("100%% %x-W%v", "100% 2026-W10"),
            ("", ""),
        ] {
            assert_eq!(format(text).write(local), expected, "{text}");
        }
        assert!(MySqlFormat::default().set("%D").is_err());
    }

    #[test]
    fn texts_are_read_in_the_same_formats() {
        for (text, text_format, expected) in [
            (
                "2026-03-04 15:06:07",
                "%Y-%m-%d %H:%i:%s",
                "2026-03-04T15:06:07",
            ),
            ("04/Mar/2026", "%d/%b/%Y", "2026-03-04T00:00:00"),
            ("2026-03", "%Y-%m", "2026-03-01T00:00:00"),
            ("15:06", "%H:%i", "1970-01-01T15:06:00"),
            ("2026-063", "%Y-%j", "2026-03-04T00:00:00"),
            (
                "3/4/2026 3:06 PM",
                "%c/%e/%Y %l:%i %p",
                "2026-03-04T15:06:00",
            ),
        ] {
            let expected = expected.parse::<NaiveDateTime>().unwrap().and_utc();
            let found = format(text_format).read(text).unwrap();
            assert_eq!(found, expected.timestamp_micros(), "{text}");
        }
        let error = format("%Y-%m").read("soon").unwrap_err().to_string();
        assert!(error.contains("'soon' is not a timestamp"), "{error}");
    }
}
