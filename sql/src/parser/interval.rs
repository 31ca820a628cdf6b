//! Intervals of a fixed length: `INTERVAL '10' MINUTE`, `INTERVAL '1 day 12 hours'`.

use sqlparser::parser::Parser;
use sqlparser::tokenizer::Location;

use super::tokens::{TokenReader, word_of};
use crate::error::SqlError;

/// Units from long to short, with their length in milliseconds.
const UNITS: [(&str, i64); 5] = [
    ("week", 7 * 86_400_000),
    ("day", 86_400_000),
    ("hour", 3_600_000),
    ("minute", 60_000),
    ("second", 1_000),
];

/// The interval after `GRACE PERIOD`, in milliseconds.
pub(super) fn parse_grace_period(parser: &mut Parser<'_>) -> Result<i64, SqlError> {
    parser.expect_word("interval")?;
    let location = parser.location();
    let text = parser.string_literal("the length of the interval")?;
    let unit = word_of(&parser.peek_token_ref().token).and_then(unit_of);
    let milliseconds = match unit {
        Some(unit) => {
            parser.advance_token();
            if parser.peek_word("to") {
                return Err(SqlError::unsupported_but(
                    "an interval with TO",
                    "write INTERVAL '1 day 12 hours'",
                    parser.location(),
                ));
            }
            quantity(&text, unit)
        }
        None => sum_of_quantities(&text),
    };
    milliseconds.ok_or_else(|| invalid(&text, location))
}

fn invalid(text: &str, location: Location) -> SqlError {
    SqlError::invalid(
        format!("interval '{text}'"),
        "expected a length such as INTERVAL '10' MINUTE or INTERVAL '1 day 12 hours', in weeks, \
         days, hours, minutes or seconds",
        location,
    )
}

/// The length of a unit, singular or plural, in milliseconds.
fn unit_of(word: &str) -> Option<i64> {
    let word = word.to_lowercase();
    let singular = word.strip_suffix('s').unwrap_or(&word);
    let found = UNITS.iter().find(|(name, _)| *name == singular);
    found.map(|(_, milliseconds)| *milliseconds)
}

/// `1 day 12 hours`
fn sum_of_quantities(text: &str) -> Option<i64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (pairs, rest) = words.as_chunks::<2>();
    if pairs.is_empty() || !rest.is_empty() {
        return None;
    }
    pairs.iter().try_fold(0_i64, |sum, [number, unit]| {
        sum.checked_add(quantity(number, unit_of(unit)?)?)
    })
}

/// A number, down to thousandths, of a unit.
fn quantity(number: &str, unit: i64) -> Option<i64> {
    let (whole, fraction) = number
        .trim()
        .split_once('.')
        .unwrap_or((number.trim(), "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > 3 {
        return None;
    }
    let thousandths: i64 = format!("{fraction:0<3}").parse().ok()?;
    let whole: i64 = whole.parse().ok()?;
    whole
        .checked_mul(unit)?
        .checked_add(thousandths * (unit / 1_000))
}

/// An interval of so many milliseconds as SQL, in the longest unit that it is a whole number of.
pub fn interval_text(milliseconds: i64) -> String {
    let fitting = UNITS
        .iter()
        .skip(1)
        .find(|(_, unit)| milliseconds > 0 && milliseconds % unit == 0);
    match fitting {
        Some((name, unit)) => {
            format!("INTERVAL '{}' {}", milliseconds / unit, name.to_uppercase())
        }
        None if milliseconds % 1_000 == 0 => format!("INTERVAL '{}' SECOND", milliseconds / 1_000),
        None => format!(
            "INTERVAL '{}.{:0>3}' SECOND",
            milliseconds / 1_000,
            milliseconds % 1_000
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::IngotDialect;

    fn parse(text: &str) -> Result<i64, SqlError> {
        let mut parser = Parser::new(&IngotDialect).try_with_sql(text).unwrap();
        parse_grace_period(&mut parser)
    }

    #[test]
    fn intervals_are_read_and_written() {
        for (text, milliseconds, written) in [
            ("INTERVAL '10' MINUTE", 600_000, "INTERVAL '10' MINUTE"),
            ("interval '60' minutes", 3_600_000, "INTERVAL '1' HOUR"),
            (
                "INTERVAL '1 day 12 hours'",
                129_600_000,
                "INTERVAL '36' HOUR",
            ),
            ("INTERVAL '2' WEEK", 1_209_600_000, "INTERVAL '14' DAY"),
            ("INTERVAL '0' SECOND", 0, "INTERVAL '0' SECOND"),
            ("INTERVAL '1.05' SECOND", 1_050, "INTERVAL '1.050' SECOND"),
            ("INTERVAL '0.5 hours'", 1_800_000, "INTERVAL '30' MINUTE"),
        ] {
            assert_eq!(parse(text).unwrap(), milliseconds, "{text}");
            assert_eq!(interval_text(milliseconds), written, "{text}");
            assert_eq!(parse(written).unwrap(), milliseconds, "{text}");
        }
    }

    #[test]
    fn intervals_without_a_fixed_length_are_refused() {
        for text in [
            "INTERVAL '1' MONTH",
            "INTERVAL '-1' DAY",
            "INTERVAL 'soon'",
            "INTERVAL '1 2' DAY",
            "INTERVAL '99999999999999999' DAY",
            "INTERVAL '1' DAY TO HOUR",
            "10 MINUTES",
        ] {
            parse(text).unwrap_err();
        }
    }
}
