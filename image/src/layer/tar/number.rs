//! Numbers in headers: octal text, base-256, and decimal text with a fraction.

use super::Time;

/// What a numeric field holds: octal digits between spaces, ended by spaces or NULs, or GNU's
/// base-256 whose first byte is 0x80 or 0xff. An empty field is 0.
///
/// Readers differ on everything else (signs, digits after the end), so it is `None`.
pub(super) fn field(bytes: &[u8]) -> Option<i64> {
    match bytes.first() {
        Some(0x80) => base_256(&bytes[1..], 0),
        Some(0xff) => base_256(&bytes[1..], -1),
        _ => octal(bytes),
    }
}

fn base_256(bytes: &[u8], sign: i64) -> Option<i64> {
    let value = bytes.iter().try_fold(sign, |value, byte| {
        value.checked_mul(256)?.checked_add(i64::from(*byte))
    })?;
    // A first byte that says "negative" before a number that isn't is read in two ways.
    (sign == 0 || value < 0).then_some(value)
}

fn octal(bytes: &[u8]) -> Option<i64> {
    let bytes = bytes.trim_ascii_start();
    let is_end = |byte: &u8| matches!(byte, 0 | b' ');
    let digits = bytes.iter().take_while(|byte| !is_end(byte)).count();
    if !bytes[digits..].iter().all(is_end) {
        return None;
    }
    bytes[..digits].iter().try_fold(0_i64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value.checked_mul(8)?.checked_add(i64::from(digit))
    })
}

/// Digits and nothing else.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Seconds since 1970 with a sign and a fraction; what is finer than a nanosecond is cut off,
/// downwards. POSIX, pax, "mtime".
pub(super) fn time(text: &[u8]) -> Option<Time> {
    let (is_negative, text) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = i64::try_from(decimal(parts.next()?)?).ok()?;
    let (nanoseconds, is_finer) = fraction(parts.next().unwrap_or_default())?;
    if !is_negative {
        return Some(Time {
            seconds: whole,
            nanoseconds,
        });
    }
    // -1.25 is 0.75 s after -2.
    let nanoseconds = nanoseconds + u32::from(is_finer);
    Some(match nanoseconds {
        0 => Time {
            seconds: -whole,
            nanoseconds: 0,
        },
        n => Time {
            seconds: -whole - 1,
            nanoseconds: 1_000_000_000 - n,
        },
    })
}

/// Nanoseconds, and whether something finer was cut off.
fn fraction(digits: &[u8]) -> Option<(u32, bool)> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (kept, cut) = digits.split_at(digits.len().min(9));
    let value = kept
        .iter()
        .fold(0_u32, |value, digit| value * 10 + u32::from(digit - b'0'));
    let missing = u32::try_from(9 - kept.len()).ok()?;
    let is_finer = cut.iter().any(|digit| *digit != b'0');
    Some((value * 10_u32.pow(missing), is_finer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_fields_are_strict() {
        assert_eq!(field(b"0000644\0"), Some(0o644));
        assert_eq!(field(b"  644 \0\0"), Some(0o644));
        assert_eq!(field(b"77777777"), Some(0o77_777_777));
        assert_eq!(field(b"\0\0\0\0"), Some(0));
        for bad in [
            &b"648\0"[..],
            b"-644",
            b"64 4",
            b"644\x001",
            b"0x44",
            b"+644",
        ] {
            assert_eq!(field(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn base_256_has_a_sign_and_an_end() {
        assert_eq!(field(b"\x80\0\0\0\0\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(field(b"\xff\xff\xff\xff\xff\xff\xff\xff"), Some(-1));
        assert_eq!(field(b"\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(field(b"\x80\x01\0\0\0\0\0\0\0\0\0\0"), None);
        assert_eq!(field(b"\x81\0\0\0\0\0\0\0\0\0\0\0"), None);
    }

    #[test]
    fn times_have_fractions_and_signs() {
        let read = |text: &str| time(text.as_bytes()).map(|time| (time.seconds, time.nanoseconds));
        assert_eq!(read("12"), Some((12, 0)));
        assert_eq!(read("12.5"), Some((12, 500_000_000)));
        assert_eq!(read("12.0000000019"), Some((12, 1)));
        assert_eq!(read("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(read("-1"), Some((-1, 0)));
        assert_eq!(read("-0.9999999999"), Some((-1, 0)));
        for bad in ["", "-", "1e9", "1.-5", " 1", "99999999999999999999"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
