//! Fields of CSV files, appended to a buffer without a detour over `format!`.

/// Appends a number in decimal.
pub fn push_number(buffer: &mut Vec<u8>, number: u64) {
    push_padded(buffer, number, 1);
}

/// Appends a number with leading zeros up to a width; longer numbers stay whole.
pub fn push_padded(buffer: &mut Vec<u8>, mut number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    while number > 0 {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    let start = start.min(digits.len() - width.clamp(1, digits.len()));
    buffer.extend_from_slice(&digits[start..]);
}

/// Appends an amount of cents as `123.45`.
pub fn push_cents(buffer: &mut Vec<u8>, cents: u64) {
    push_number(buffer, cents / 100);
    buffer.push(b'.');
    push_padded(buffer, cents % 100, 2);
}

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// 2024-01-01 00:00:00, in seconds since 1970.
pub const YEAR_START: i64 = 1_704_067_200;

/// 2025-01-01 00:00:00: generated times are before it.
pub const YEAR_END: i64 = YEAR_START + 366 * DAY;

/// Appends seconds since 1970 as `YYYY-MM-DD HH:MM:SS`.
pub fn push_timestamp(buffer: &mut Vec<u8>, seconds: i64) {
    push_date(buffer, seconds);
    let second = seconds.rem_euclid(DAY) as u64;
    buffer.push(b' ');
    push_padded(buffer, second / 3600, 2);
    buffer.push(b':');
    push_padded(buffer, second / 60 % 60, 2);
    buffer.push(b':');
    push_padded(buffer, second % 60, 2);
}

/// Appends the date of seconds since 1970 as `YYYY-MM-DD`.
pub fn push_date(buffer: &mut Vec<u8>, seconds: i64) {
    // The calendar as years that begin in March, so that the leap day comes last.
    let days_since_march_0000 = seconds.div_euclid(DAY) + 719_468;
    let era = days_since_march_0000.div_euclid(146_097);
    let day_of_era = days_since_march_0000.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    push_padded(buffer, year.unsigned_abs(), 4);
    buffer.push(b'-');
    push_padded(buffer, month.unsigned_abs(), 2);
    buffer.push(b'-');
    push_padded(buffer, day.unsigned_abs(), 2);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl Fn(&mut Vec<u8>)) -> String {
        let mut buffer = Vec::new();
        push(&mut buffer);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn numbers_and_amounts() {
        assert_eq!(text(|b| push_number(b, 0)), "0");
        assert_eq!(text(|b| push_number(b, u64::MAX)), u64::MAX.to_string());
        assert_eq!(text(|b| push_padded(b, 42, 5)), "00042");
        assert_eq!(text(|b| push_padded(b, 123_456, 5)), "123456");
        assert_eq!(text(|b| push_cents(b, 7)), "0.07");
        assert_eq!(text(|b| push_cents(b, 123_450)), "1234.50");
    }

    #[test]
    fn dates_and_times() {
        let cases = [
            (0, "1970-01-01 00:00:00"),
            (YEAR_START, "2024-01-01 00:00:00"),
            (YEAR_START - 1, "2023-12-31 23:59:59"),
            (
                YEAR_START + 59 * DAY + 3600 * 13 + 62,
                "2024-02-29 13:01:02",
            ),
            (YEAR_START + 60 * DAY, "2024-03-01 00:00:00"),
            (YEAR_END - 1, "2024-12-31 23:59:59"),
            (YEAR_END, "2025-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(text(|b| push_timestamp(b, seconds)), expected);
        }
    }
}
