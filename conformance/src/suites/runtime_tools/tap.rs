//! The Test Anything Protocol, as far as runtime-tools speak it: <https://testanything.org>.

use crate::case::{Verdict, failed};

/// Passes when the plan is kept and every line is `ok`.
pub(super) fn verdict(text: &str) -> Verdict {
    let planned = text
        .lines()
        .find_map(|line| line.strip_prefix("1..")?.trim().parse::<usize>().ok());
    let lines: Vec<&str> = text.lines().filter(|line| is_test(line)).collect();
    if planned != Some(lines.len()) || lines.is_empty() {
        return failed("a plan, and as many lines", text.trim());
    }
    let bad: Vec<&str> = lines.into_iter().filter(|line| !is_good(line)).collect();
    match bad.is_empty() {
        true => Ok(()),
        false => failed("every line ok", bad.join("\n")),
    }
}

fn is_test(line: &str) -> bool {
    line.starts_with("ok ") || line.starts_with("not ok ")
}

/// What is still to do or was skipped may fail.
fn is_good(line: &str) -> bool {
    let directive = line.rsplit_once('#').map(|(_, rest)| rest.trim_start());
    let is_excused = directive.is_some_and(|word| {
        let word = word.to_ascii_uppercase();
        word.starts_with("TODO") || word.starts_with("SKIP")
    });
    line.starts_with("ok ") || is_excused
}

#[cfg(test)]
mod tests {
    use super::verdict;

    #[test]
    fn all_ok_passes_and_one_not_ok_fails() {
        assert!(verdict("TAP version 13\nok 1 - a\nok 2\n1..2\n").is_ok());
        assert!(verdict("1..2\nok 1 - a\nnot ok 2 - b\n").is_err());
    }

    #[test]
    fn what_is_cut_off_or_says_nothing_fails() {
        assert!(verdict("1..3\nok 1\nok 2\n").is_err());
        assert!(verdict("ok 1\nok 2\n").is_err());
        assert!(verdict("1..0\n").is_err());
        assert!(verdict("").is_err());
    }

    #[test]
    fn what_is_to_do_may_fail() {
        assert!(verdict("not ok 1 - a # TODO later\n1..1\n").is_ok());
    }
}
