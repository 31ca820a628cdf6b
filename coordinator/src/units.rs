//! Durations and sizes as people write them: `7d`, `128MB`.

use std::time::Duration;

const DURATION_UNITS: [(&str, f64); 6] = [
    ("ms", 0.001),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3_600.0),
    ("d", 86_400.0),
    ("w", 604_800.0),
];
/// As in Trino, `kB` and `MB` are powers of 1024. The case of letters does not matter.
const SIZE_UNITS: [(&str, u32); 12] = [
    ("", 0),
    ("B", 0),
    ("kB", 10),
    ("MB", 20),
    ("GB", 30),
    ("TB", 40),
    ("PB", 50),
    ("KiB", 10),
    ("MiB", 20),
    ("GiB", 30),
    ("TiB", 40),
    ("PiB", 50),
];

/// Reads a number and a unit: `ms`, `s`, `m`, `h`, `d` or `w`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let unit = unit.to_lowercase();
    let (_, seconds) = DURATION_UNITS.iter().find(|(name, _)| *name == unit)?;
    Duration::try_from_secs_f64(number * seconds).ok()
}

/// A duration in its largest whole unit.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = DURATION_UNITS.iter().rev().filter(|(name, _)| *name != "w");
    let mut whole = units.filter_map(|(name, seconds)| {
        let unit = (seconds * 1_000.0) as u128;
        let is_whole = millis >= unit && millis.is_multiple_of(unit);
        is_whole.then(|| format!("{}{name}", millis / unit))
    });
    whole.next().unwrap_or_else(|| "0s".to_owned())
}

/// Reads a number of bytes with a unit such as `MB`, or without one.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let mut units = SIZE_UNITS.iter();
    let (_, shift) = units.find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    let bytes = number * (1_u64 << shift) as f64;
    (bytes < u64::MAX as f64).then_some(bytes.round() as u64)
}

/// A number of bytes to three digits.
pub fn format_size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < units.len() {
        value /= 1_024.0;
        unit += 1;
    }
    match value {
        _ if unit == 0 => format!("{bytes} B"),
        value if value < 10.0 => format!("{value:.2} {}", units[unit]),
        value if value < 100.0 => format!("{value:.1} {}", units[unit]),
        value => format!("{value:.0} {}", units[unit]),
    }
}

fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let is_unit = |character: char| character.is_alphabetic();
    let (number, unit) = text.split_at(text.find(is_unit).unwrap_or(text.len()));
    let number: f64 = number.trim().parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some((number, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown() {
        for (text, seconds, shown) in [
            ("7d", 604_800.0, "7d"),
            ("1.50h", 5_400.0, "90m"),
            ("0s", 0.0, "0s"),
            ("250ms", 0.25, "250ms"),
            ("2 w", 1_209_600.0, "14d"),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration.as_secs_f64(), seconds, "{text}");
            assert_eq!(format_duration(duration), shown);
        }
        for text in ["", "7", "d", "-1d", "7 days", "1e400d", "nand"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes) in [
            ("128MB", 128 << 20),
            ("1.5kB", 1536),
            ("10", 10),
            ("7 B", 7),
            ("1GiB", 1 << 30),
            ("1gb", 1 << 30),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "MB", "-1B", "1 megabyte", "99999999PB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
        assert_eq!(format_size(12), "12 B");
        assert_eq!(format_size(1_500), "1.46 kB");
        assert_eq!(format_size(100 << 20), "100 MB");
    }
}
