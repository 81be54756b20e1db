//! What a suite prints: shown as it comes, and of a failed one said again at the end, where the
//! reader of a long log looks first.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, IsTerminal, PipeReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

/// Lines after one that tells of a failure that belong to it.
const LINES_AFTER: usize = 14;
/// Lines that are said again at most: the first failures say more than the last.
const MOST_LINES: usize = 120;
/// The last lines of a suite, which are always among them.
const LAST_LINES: usize = 15;

/// The end of a suite's output: processes that a suite leaves behind may hold the pipe open.
const END: &str = "\u{1e}end of the suite";

/// Calls `suite`; gives its result, and the lines of its output that tell of failures.
///
/// On a terminal nothing stands between a person and the suite's progress, and nothing is kept.
pub(crate) fn listening<T>(suite: impl FnOnce() -> T) -> (T, Vec<String>) {
    if io::stdout().is_terminal() {
        return (suite(), Vec::new());
    }
    match Diverted::begin() {
        Ok(diverted) => {
            let result = suite();
            (result, diverted.end())
        }
        Err(error) => {
            println!("(the output is not kept: {error})");
            (suite(), Vec::new())
        }
    }
}

/// Standard output and error of this process and its children, led through a pipe.
struct Diverted {
    output: OwnedFd,
    error: OwnedFd,
    reader: JoinHandle<Vec<String>>,
}

impl Diverted {
    fn begin() -> io::Result<Self> {
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        let error = io::stderr().as_fd().try_clone_to_owned()?;
        let shown = std::fs::File::from(output.try_clone()?);
        let (read, write) = io::pipe()?;
        io::stdout().flush()?;
        nix::unistd::dup2_stdout(&write)?;
        nix::unistd::dup2_stderr(&write)?;
        let reader = std::thread::spawn(move || show_and_keep(read, shown));
        Ok(Self {
            output,
            error,
            reader,
        })
    }

    fn end(self) -> Vec<String> {
        println!("{END}");
        let restored =
            nix::unistd::dup2_stdout(&self.output).and(nix::unistd::dup2_stderr(&self.error));
        let lines = self.reader.join().unwrap_or_default();
        match restored {
            Ok(()) => lines,
            Err(errno) => vec![format!("the output can't be restored: {errno}")],
        }
    }
}

fn show_and_keep(read: PipeReader, mut shown: impl Write) -> Vec<String> {
    let mut kept = Kept::default();
    let mut line = Vec::new();
    let mut read = BufReader::new(read);
    while matches!(read.read_until(b'\n', &mut line), Ok(1..)) {
        let text = String::from_utf8_lossy(&line);
        if let Some((before, _)) = text.split_once(END) {
            // What a program has printed without an end of line stands before it.
            let _unseen = shown.write_all(before.as_bytes());
            break;
        }
        // A log that nobody takes any more must not keep the tests from ending.
        let _unseen = shown.write_all(&line);
        kept.take(text.trim_end());
        line.clear();
    }
    kept.lines()
}

/// The telling lines of an output.
#[derive(Default)]
struct Kept {
    telling: Vec<String>,
    /// How many of the next lines belong to the failure before them.
    belonging: usize,
    last: VecDeque<String>,
}

impl Kept {
    fn take(&mut self, line: &str) {
        if tells_of_failure(line) {
            self.belonging = LINES_AFTER;
        }
        if self.belonging > 0 {
            self.belonging -= 1;
            if self.telling.len() < MOST_LINES {
                self.telling.push(line.to_owned());
            }
            self.last.clear();
            return;
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
    }

    fn lines(mut self) -> Vec<String> {
        self.telling.extend(self.last);
        self.telling
    }
}

/// Whether a line begins to tell what failed: tests' names, panics, errors of the compiler, and
/// surprises of the conformance suites.
fn tells_of_failure(line: &str) -> bool {
    let begins = ["error", "Diff in ", "xtask: "];
    let has = [
        "panicked at",
        " FAILED",
        " is not as ",
        " fails and is not listed",
        " passes: take it from the list",
        "is not as it was",
    ];
    begins.iter().any(|word| line.starts_with(word)) || has.iter().any(|word| line.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(lines: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut kept = Kept::default();
        for line in lines {
            kept.take(&line);
        }
        kept.lines()
    }

    #[test]
    fn a_failure_is_kept_with_what_follows_and_the_end() {
        let before = (0..500).map(|n| format!("test t{n} ... ok"));
        let failure = ["thread 'x' panicked at a.rs:1:2:".to_owned()];
        let after = (0..500).map(|n| format!("line {n}"));
        let lines = kept(before.chain(failure).chain(after));
        assert_eq!(lines.len(), LINES_AFTER + LAST_LINES);
        assert!(lines[0].contains("panicked at"));
        assert_eq!(lines[1], "line 0");
        assert_eq!(lines.last().map(String::as_str), Some("line 499"));
    }

    #[test]
    fn of_very_many_failures_the_first_are_kept() {
        let lines = kept((0..5000).map(|n| format!("test t{n} ... FAILED")));
        assert_eq!(lines.len(), MOST_LINES);
        assert_eq!(lines[0], "test t0 ... FAILED");
    }

    #[test]
    fn what_the_suites_print_of_a_failure_tells_of_it() {
        for line in [
            "test a::b ... FAILED",
            "error[E0308]: mismatched types",
            "runc (v1) is not as conformance/known/runc.txt says:",
            "spec/x fails and is not listed",
            "the host is not as it was before the tests:",
        ] {
            assert!(tells_of_failure(line), "{line}");
        }
        assert!(!tells_of_failure("test a::an_error_is_named ... ok"));
    }

    #[test]
    fn a_reader_shows_everything_and_ends_at_the_end_though_the_pipe_is_open() {
        let (read, mut write) = io::pipe().unwrap();
        let mut shown = Vec::new();
        write
            .write_all(format!("one\nerror: two\nthree{END}\n").as_bytes())
            .unwrap();
        let kept = show_and_keep(read, &mut shown);
        assert_eq!(shown, b"one\nerror: two\nthree");
        assert_eq!(kept, ["error: two"]);
        drop(write);
    }
}
