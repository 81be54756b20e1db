//! What criu says about a failure: the last errors of its log, and where the log is.

use std::path::Path;

/// How much of the end of a log is looked at.
pub(super) const TAIL: u64 = 64 << 10;

/// How many lines are quoted, and how much of each.
const LINES: usize = 3;
const LINE_LENGTH: usize = 240;

/// Quotes the last error lines of a log, on one line; the last line when none says Error.
pub(super) fn quote(log: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let mut errors: Vec<&str> = lines
        .iter()
        .rev()
        .filter(|line| line.contains("Error"))
        .take(LINES)
        .copied()
        .collect();
    errors.reverse();
    if errors.is_empty() {
        errors.extend(lines.last());
    }
    let quoted: Vec<String> = errors.into_iter().map(readable).collect();
    (!quoted.is_empty()).then(|| quoted.join("; "))
}

/// The end of a message about a failure: the quoted lines, and the log's name.
pub(super) fn hint(quoted: Option<String>, log: &Path) -> String {
    match quoted {
        Some(lines) => format!(": criu says: {lines} (the whole log is {})", log.display()),
        None => format!(": criu has written nothing to its log {}", log.display()),
    }
}

fn readable(line: &str) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    let line: String = line.trim().chars().map(plain).take(LINE_LENGTH).collect();
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_errors_are_quoted_on_one_line() {
        let log = b"(00.001) start\n(00.002) Error (a.c:1): one\n(00.003) then\n\
                    (00.004) Error (a.c:2): two\n(00.005) Error (a.c:3): three\n\
                    (00.006) Error (a.c:4): four\x1b[1m\n(00.007) end\n";
        assert_eq!(
            quote(log).unwrap(),
            "(00.004) Error (a.c:2): two; (00.005) Error (a.c:3): three; (00.006) Error (a.c:4): four [1m"
        );
    }

    #[test]
    fn without_an_error_the_last_line_is_quoted() {
        assert_eq!(quote(b"one\ntwo\n\n").unwrap(), "two");
        assert_eq!(quote(b"\n"), None);
        assert!(quote(&[b'x'; 100_000]).unwrap().len() <= LINE_LENGTH);
        let hint = hint(None, Path::new("/w/dump.log"));
        assert_eq!(hint, ": criu has written nothing to its log /w/dump.log");
    }
}
