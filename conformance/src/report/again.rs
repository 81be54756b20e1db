//! The command that repeats one case.

use crate::arguments::Arguments;
use crate::outcome::Result;

/// How the cases of a run were run.
#[derive(Clone, Debug)]
pub struct Again {
    words: Vec<String>,
}

impl Again {
    /// As with these arguments.
    #[must_use]
    pub fn new(arguments: &Arguments) -> Self {
        let own = || {
            std::env::current_exe()
                .map_or("conformance".into(), |path| quoted(path.to_string_lossy()))
        };
        let called = arguments.called.clone().unwrap_or_else(own);
        let runtime = quoted(arguments.runtime.to_string_lossy());
        let manner = arguments.manner.iter().map(quoted);
        let words = [called, "--runtime".to_owned(), runtime];
        Self {
            words: words.into_iter().chain(manner).collect(),
        }
    }

    /// The command for this case alone; of bundles by chance for the first one that differed.
    #[must_use]
    pub fn command(&self, result: &Result) -> String {
        let case = ["--suite", &result.suite, "--case", &result.case];
        let words = self.words.iter().map(String::as_str).chain(case);
        words
            .chain(seed(&result.detail))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// `--seed N --count 1` of a detail that says so.
fn seed(detail: &str) -> impl Iterator<Item = &str> {
    let start = detail.find("--seed ").map(|at| &detail[at..]);
    let line = start.and_then(|text| text.split(':').next());
    line.unwrap_or_default()
        .split(' ')
        .filter(|word| !word.is_empty())
}

/// A word as a shell takes it.
fn quoted(word: impl AsRef<str>) -> String {
    let word = word.as_ref();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=,:+@".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;

    fn told(detail: &str) -> Result {
        Result {
            suite: "s".to_owned(),
            area: "a".to_owned(),
            case: "c".to_owned(),
            outcome: Outcome::Fail,
            sentence: String::new(),
            detail: detail.to_owned(),
        }
    }

    fn again(line: &str) -> Again {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Again::new(&Arguments::parse(&words).unwrap())
    }

    #[test]
    fn the_command_says_how_and_not_what_else_was_run() {
        let again = again("--called x --runtime /r --suite other --view v1 --format md --long");
        assert_eq!(
            again.command(&told("expected: a\nseen: b")),
            "x --runtime /r --view v1 --long --suite s --case c"
        );
    }

    #[test]
    fn a_bundle_by_chance_comes_again_by_its_seed() {
        let told = told("expected: the same\nseen: --seed 7 --count 1:\na > b: 1 and there 2");
        let command = again("--called x --runtime /r").command(&told);
        assert_eq!(
            command,
            "x --runtime /r --suite s --case c --seed 7 --count 1"
        );
    }

    #[test]
    fn a_word_is_what_a_shell_makes_of_it() {
        assert_eq!(quoted("/a b"), "'/a b'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
