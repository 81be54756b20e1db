//! Times as people say them.

use std::time::{SystemTime, UNIX_EPOCH};

/// `3 weeks ago`, for a time of RFC 3339; nothing if it is none, or makes no sense.
pub(crate) fn ago(text: &str) -> Option<String> {
    let then = seconds(text)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    // Reproducible images are of the year 1970, which tells nobody anything.
    if then <= 86_400 {
        return None;
    }
    Some(words(i64::try_from(now).ok()? - then))
}

fn words(seconds: i64) -> String {
    const UNITS: [(i64, &str); 6] = [
        (365 * 86_400, "year"),
        (30 * 86_400, "month"),
        (7 * 86_400, "week"),
        (86_400, "day"),
        (3_600, "hour"),
        (60, "minute"),
    ];
    for (length, unit) in UNITS {
        let count = seconds / length;
        if count > 0 {
            let plural = if count == 1 { "" } else { "s" };
            return format!("{count} {unit}{plural} ago");
        }
    }
    "just now".into()
}

/// Seconds since 1970, of `2024-02-29T12:00:00.5Z` or with `+01:00`.
fn seconds(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let rest = text.get(19..)?;
    let zone = rest.trim_start_matches(|letter: char| letter == '.' || letter.is_ascii_digit());
    let offset = match zone.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let minutes = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let of_day = hour * 3_600 + minute * 60 + second - offset * 60;
    Some(days(year, month, day) * 86_400 + of_day)
}

/// Days since 1970 in the Gregorian calendar, counted in years that begin in March, so that
/// the leap day is the last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-03-01T00:00:00Z", Some(951_868_800)),
            ("2024-02-29T12:34:56.789Z", Some(1_709_210_096)),
            ("2024-02-29T12:34:56+01:00", Some(1_709_206_496)),
            ("2024-02-29T12:34:56-00:30", Some(1_709_211_896)),
            ("2024-13-29T12:34:56Z", None),
            ("2024-02-29", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn ages_are_said_in_one_unit() {
        assert_eq!(words(5), "just now");
        assert_eq!(words(3_600), "1 hour ago");
        assert_eq!(words(20 * 86_400), "2 weeks ago");
        assert_eq!(words(800 * 86_400), "2 years ago");
        assert_eq!(ago("1970-01-01T00:00:00Z"), None);
    }
}
