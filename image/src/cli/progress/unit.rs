//! Bytes as people read them.

/// `1.5 MB`: decimal units, as Docker shows them.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut scaled = count;
    let mut rest = 0;
    while scaled >= 1000 && unit + 1 < UNITS.len() {
        rest = scaled % 1000 / 100;
        scaled /= 1000;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 || scaled >= 100 {
        format!("{scaled} {name}")
    } else {
        format!("{scaled}.{rest} {name}")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn three_digits_are_enough() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1500, "1.5 kB"),
            (99_950_000, "99.9 MB"),
            (123_456_789, "123 MB"),
            (5_000_000_000_000_000, "5000 TB"),
        ] {
            assert_eq!(super::bytes(count), text);
        }
    }
}
