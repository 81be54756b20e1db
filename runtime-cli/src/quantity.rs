//! Quantities as people write them: `512`, `64m`, `1.5GiB`.

/// A number of bytes, or -1.
pub(crate) fn bytes_or_unlimited(text: &str) -> Option<i64> {
    match text {
        "-1" => Some(-1),
        text => bytes(text),
    }
}

/// A number of bytes in units of 1024: digits, perhaps a fraction, perhaps one space, then
/// perhaps `k`, `m`, `g`, `t` or `p`, perhaps followed by `b` or `ib`; or `b` alone. Upper case
/// is the same.
fn bytes(text: &str) -> Option<i64> {
    let is_number = |letter: char| letter.is_ascii_digit() || letter == '.';
    let end = text.find(|letter| !is_number(letter)).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = match unit.strip_prefix(' ') {
        Some("") => return None,
        after_space => after_space.unwrap_or(unit),
    };
    let shift = shift(&unit.to_ascii_lowercase())?;
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (number, ""),
    };
    let whole = digits(whole)?.checked_mul(1 << shift)?;
    let part = match fraction {
        "" => 0,
        // More digits than these don't make a byte.
        _ => (digits(fraction)? << shift) / 10u128.pow(u32::try_from(fraction.len()).ok()?),
    };
    i64::try_from(whole + part).ok()
}

/// Digits only, and not so many that arithmetic could overflow.
fn digits(text: &str) -> Option<u128> {
    let is_number = (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

/// What a unit multiplies by, as a power of two.
fn shift(unit: &str) -> Option<u32> {
    let prefix = match unit {
        "" | "b" => return Some(0),
        unit => unit
            .strip_suffix("ib")
            .or_else(|| unit.strip_suffix('b'))
            .unwrap_or(unit),
    };
    Some(match prefix {
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_runcs_callers_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("-1", -1),
            ("32", 32),
            ("32b", 32),
            ("32B", 32),
            ("32k", 32 << 10),
            ("32K", 32 << 10),
            ("32kb", 32 << 10),
            ("32Kb", 32 << 10),
            ("32Mb", 32 << 20),
            ("32MiB", 32 << 20),
            ("32Gb", 32 << 30),
            ("32Tb", 32 << 40),
            ("32Pb", 32 << 50),
            ("32 mb", 32 << 20),
            ("32.5kB", 33280),
            ("1.5g", 1_610_612_736),
            ("0.1", 0),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(bytes_or_unlimited(text), Some(bytes), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_size_is_none() {
        for text in [
            "",
            "hello",
            "-32",
            "-1k",
            "+1",
            " 32",
            "32 ",
            "32  mb",
            "32m b",
            "32bm",
            ".5g",
            "5.g",
            "1.2.3",
            "1ib",
            "k",
            "1e5",
            "0x10",
            "9223372036854775808",
            "8192p",
            "1,5g",
            "99999999999999999999p",
            "1.999999999999999999999g",
            "١",
        ] {
            assert_eq!(bytes_or_unlimited(text), None, "{text:?}");
        }
    }
}
