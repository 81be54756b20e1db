//! The time of a log record.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, as RFC 3339 wants it: UTC, with nanoseconds.
pub(crate) fn now() -> String {
    // A clock before 1970 is a broken clock; the record is worth more than its time.
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    rfc3339(since_epoch.unwrap_or_default())
}

/// A time since the epoch as `2026-11-25T01:28:18.000000001Z`.
fn rfc3339(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let nanoseconds = since_epoch.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
}

/// Year, month and day of a day since 1970-01-01 in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is a year's last and month lengths
/// follow one linear rule; 400 years have 146,097 days.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_are_written_as_the_calendar_has_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000000Z"),
            (951_868_799, "2000-02-29T23:59:59.000000000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000000000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000000Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), text);
        }
        let fraction = Duration::new(1, 42);
        assert_eq!(rfc3339(fraction), "1970-01-01T00:00:01.000000042Z");
    }
}
