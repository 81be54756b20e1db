//! Times as Go programs take them: `300ms`, `1.5h`, `2h45m`.

/// Nanoseconds in each unit.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    // The micro sign, and the Greek letter.
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
];

/// Reads a duration as Go's time.ParseDuration does, in nanoseconds: numbers, each with a unit,
/// or a bare 0; at most 63 bits.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (is_negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    loop {
        let (part, after) = parse_part(rest)?;
        total = total.checked_add(part)?;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    i64::try_from(if is_negative { -total } else { total }).ok()
}

/// One number with its unit, and what follows.
fn parse_part(text: &str) -> Option<(i128, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let end = rest.find(|letter: char| letter == '.' || letter.is_ascii_digit());
    let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
    let (_, unit) = UNITS.iter().find(|(known, _)| *known == name)?;
    let unit = i128::from(*unit);
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    Some((whole.checked_mul(unit)? + part_of(unit, fraction), rest))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

/// The decimal fraction of a unit, in whole nanoseconds.
fn part_of(unit: i128, fraction: &str) -> i128 {
    let mut place = unit;
    let mut part = 0;
    // No unit has more nanoseconds than 13 digits.
    for digit in fraction.bytes().take(18) {
        part = part * 10 + i128::from(digit - b'0');
        place *= 10;
    }
    part * unit / (place / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_reads_them() {
        for (text, ns) in [
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("5s", 5_000_000_000),
            ("+5s", 5_000_000_000),
            ("-1.5h", -5_400_000_000_000),
            ("300ms", 300_000_000),
            ("2h45m", 9_900_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1m0.25s", 60_250_000_000),
            ("10\u{b5}s", 10_000),
            ("10\u{3bc}s10us", 20_000),
            ("1.9ns", 1),
            ("0.1000000000000000055511151231257827s", 100_000_000),
            ("2562047h47m16.854775807s", i64::MAX),
        ] {
            assert_eq!(parse(text), Some(ns), "{text:?}");
        }
    }

    #[test]
    fn anything_else_is_no_time() {
        for bad in [
            "",
            "5",
            "s",
            ".",
            ".s",
            "-",
            "+-5s",
            "5 s",
            " 5s",
            "5s ",
            "5S",
            "1e3s",
            "5d",
            "1.2.3s",
            "2562047h47m16.854775808s",
            "99999999999999999999999999999999999999999999h",
            "5\u{fe}s",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
