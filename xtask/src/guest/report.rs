//! What libtest printed in a guest, by name.

use std::fmt::Write as _;
use std::path::Path;

/// The tests of one program.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    passed: Vec<String>,
    failed: Vec<String>,
    /// Lines that `needs!` wrote: `SKIPPED name: it needs …`.
    skipped: Vec<String>,
    /// Why the program is no proof of anything, whatever its tests say.
    broken: Option<String>,
    seconds: u64,
    /// What the harness printed after `failures:`.
    details: String,
}

impl Report {
    /// What a program left in the guest's output directory: `NAME.stdout`, `NAME.stderr`,
    /// `NAME.code` (exit code and seconds).
    pub(super) fn read(directory: &Path, name: &str) -> Self {
        let read = |kind: &str| {
            let path = directory.join(format!("{}.{kind}", file_name(name)));
            String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
        };
        Self::of(&read("stdout"), &read("stderr"), &read("code"))
    }

    fn of(stdout: &str, stderr: &str, ending: &str) -> Self {
        let mut report = Self::default();
        for line in stdout.lines() {
            if let Some((name, result)) = result_of(line) {
                match result {
                    "ok" => report.passed.push(name.to_owned()),
                    "FAILED" => report.failed.push(name.to_owned()),
                    _ => (),
                }
            }
        }
        let skipped = stderr.lines().filter(|line| line.starts_with("SKIPPED "));
        report.skipped = skipped.map(str::to_owned).collect();
        report.skipped.sort_unstable();
        report.skipped.dedup();
        if let Some(start) = stdout.find("\nfailures:\n") {
            report.details = stdout[start..].trim().to_owned();
        }
        let mut ending = ending.split_whitespace().map(str::parse::<u64>);
        let mut number = || ending.next().and_then(Result::ok);
        let code = number();
        report.seconds = number().unwrap_or_default();
        report.broken = report.what_is_broken(code, stdout, stderr);
        report
    }

    /// A harness that ran to its end says how many tests passed, and its exit code agrees.
    fn what_is_broken(&self, code: Option<u64>, stdout: &str, stderr: &str) -> Option<String> {
        let tail = || {
            let lines: Vec<&str> = stdout.lines().chain(stderr.lines()).collect();
            lines[lines.len().saturating_sub(30)..].join("\n")
        };
        let is_complete = stdout.contains("\ntest result: ");
        match code {
            None => Some("it was not run".to_owned()),
            Some(124 | 137) => Some(format!("it was not at its end in time\n{}", tail())),
            Some(code) if !is_complete || (code == 0) != self.failed.is_empty() => {
                Some(format!("it ended with {code}\n{}", tail()))
            }
            Some(_) if self.passed.is_empty() && self.failed.is_empty() => {
                Some("no test was selected".to_owned())
            }
            Some(_) => None,
        }
    }

    /// Whether its tests prove something, and none failed.
    pub(super) fn is_good(&self) -> bool {
        self.failed.is_empty() && self.broken.is_none()
    }

    /// Tests that passed, without those that were skipped.
    pub(super) fn passed(&self) -> usize {
        self.passed.len() - self.skipped.len().min(self.passed.len())
    }

    /// Tests that were skipped.
    pub(super) fn skipped(&self) -> usize {
        self.skipped.len()
    }

    /// Every test's result, one a line.
    pub(super) fn names(&self, program: &str) -> String {
        let lines = |names: &[String], result: &str| -> String {
            let line = |name: &String| format!("{result} {program} {name}\n");
            names.iter().map(line).collect()
        };
        let is_skipped = |name: &String| {
            let prefix = format!("SKIPPED {name}:");
            self.skipped.iter().any(|line| line.starts_with(&prefix))
        };
        let (skipped, passed): (Vec<_>, Vec<_>) = self.passed.iter().cloned().partition(is_skipped);
        [
            lines(&passed, "passed"),
            lines(&skipped, "SKIPPED"),
            lines(&self.failed, "FAILED"),
        ]
        .concat()
    }

    /// For a person: one line if all is well, else everything that is known.
    pub(super) fn text(&self, name: &str) -> String {
        let mut text = format!(
            "{name:30} {:4} passed {:3} failed {:3} skipped {:4} s\n",
            self.passed(),
            self.failed.len(),
            self.skipped(),
            self.seconds
        );
        let mut line = |line: &str| writeln!(text, "    {line}").unwrap_or_default();
        self.skipped.iter().for_each(|skip| line(skip));
        self.failed
            .iter()
            .for_each(|name| line(&format!("FAILED {name}")));
        if let Some(broken) = &self.broken {
            line(&format!("BROKEN: {broken}"));
        }
        self.details.lines().for_each(line);
        text
    }
}

/// `(name, "ok")` of a line `test name ... ok`.
fn result_of(line: &str) -> Option<(&str, &str)> {
    let (name, result) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    Some((name.split(" - ").next()?, result.split(',').next()?))
}

/// The name of a test program as a file's.
pub(super) fn file_name(program: &str) -> String {
    program.replace('/', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\nrunning 2 tests\ntest a ... ok\ntest m::b - should panic ... ok\n\n\
                        test result: ok. 2 passed; 0 failed; 0 ignored\n";

    #[test]
    fn tests_are_known_by_name() {
        let report = Report::of(GOOD, "SKIPPED a: it needs root\nother\n", "0 7\n");
        assert_eq!(report.passed, ["a", "m::b"]);
        assert_eq!(
            (report.passed(), report.skipped(), report.seconds),
            (1, 1, 7)
        );
        assert!(report.is_good(), "{report:?}");
    }

    #[test]
    fn every_test_is_one_line_of_the_kept_names() {
        let report = Report::of(GOOD, "SKIPPED a: it needs root\n", "0 7\n");
        assert_eq!(report.names("p"), "passed p m::b\nSKIPPED p a\n");
    }

    #[test]
    fn a_failed_test_is_named_with_its_output() {
        let stdout = "\nrunning 1 test\ntest a ... FAILED\n\nfailures:\n\n---- a stdout ----\nwhy\n\n\
                      test result: FAILED. 0 passed; 1 failed\n";
        let report = Report::of(stdout, "", "101 1\n");
        assert!(!report.is_good());
        let text = report.text("p");
        assert!(
            text.contains("FAILED a\n") && text.contains("why"),
            "{text}"
        );
    }

    #[test]
    fn a_program_that_did_not_come_to_its_end_proves_nothing() {
        let half = "\nrunning 2 tests\ntest a ... ok\n";
        for (stdout, ending) in [
            (half, "124 60\n"),
            (half, "139 1\n"),
            ("", ""),
            (GOOD, "101 1\n"),
        ] {
            let report = Report::of(stdout, "", ending);
            assert!(!report.is_good(), "{stdout:?} {ending:?}");
        }
    }

    #[test]
    fn a_filter_that_selects_nothing_is_a_failure() {
        let none = "\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed\n";
        assert!(!Report::of(none, "", "0 0\n").is_good());
    }
}
