//! Lists of cases that are known to fail, and the comparison of a run with them.
//!
//! ```text
//! # A comment.
//! at most 2
//! of runc version 1.1.5
//! spec/net-device                 network devices are not moved yet
//! spec/limit-holds @v2            in that setting only; more words: @v2,old-kernel
//! ~ cli/events @hybrid            may do either, and why
//! ```
//!
//! A case that fails and is not listed is a surprise, and so is a listed one that passes: lists
//! shrink. With `at most` a list is a strict one: it has exactly as many cases as it says, each
//! with a reason, and none that may do either. So it can't grow but by that number, which a
//! reviewer sees. With `of` a list is about the version of the runtime whose `--version` begins so:
//! another one is shown, and not judged by it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use crate::outcome::{Outcome, Result as Told};

/// The cases that a runtime is known to fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// How many cases a strict list has.
    pub at_most: Option<usize>,
    /// The first line of `--version` of the runtime that it is about.
    pub version: Option<String>,
    /// Its lines.
    pub entries: Vec<Entry>,
}

/// A case that is known to fail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// `suite/case`.
    pub name: String,
    /// Settings in which it is so; in all without any.
    pub settings: Vec<String>,
    /// Whether it passes at some times and fails at others.
    pub is_either: bool,
    /// Why.
    pub reason: String,
}

/// What a list and a run don't agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Surprise {
    /// A case fails and is not listed.
    Failed {
        /// Its name.
        name: String,
        /// It.
        told: Box<Told>,
    },
    /// A listed case passes.
    Passed(String),
    /// A listed case does not exist.
    NoSuchCase(String),
}

impl Surprise {
    /// The case that there is, `suite/case`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Failed { name, .. } | Self::Passed(name) => Some(name),
            Self::NoSuchCase(_) => None,
        }
    }
}

impl fmt::Display for Surprise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { name, .. } => write!(f, "{name} fails and is not listed"),
            Self::Passed(name) => write!(f, "{name} passes: take it from the list"),
            Self::NoSuchCase(name) => write!(f, "{name} is listed, and there is no such case"),
        }
    }
}

impl Known {
    /// The list in this file.
    ///
    /// # Errors
    ///
    /// When there is none that can be read.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
        let known = text.and_then(|text| Self::parse(&text));
        known.map_err(|why| format!("{}: {why}", path.display()))
    }

    /// The list that is written so.
    ///
    /// # Errors
    ///
    /// With the line that is none, or with what a strict list must not have.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut known = Self::default();
        let lines = text.lines().map(str::trim).enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let at_line = |why: String| format!("line {}: {why}", number + 1);
            match (line.strip_prefix("at most "), line.strip_prefix("of ")) {
                (_, Some(version)) => known.version = Some(version.to_owned()),
                (Some(count), _) => {
                    known.at_most = Some(
                        count
                            .parse()
                            .map_err(|_| at_line(format!("{count} is no number")))?,
                    )
                }
                (None, None) => known.entries.push(Entry::parse(line).map_err(at_line)?),
            }
        }
        known.check()?;
        Ok(known)
    }

    fn check(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        if let Some(twice) = self
            .entries
            .iter()
            .find(|entry| !seen.insert((&entry.name, &entry.settings)))
        {
            return Err(format!("{} is listed twice", twice.name));
        }
        let Some(at_most) = self.at_most else {
            return Ok(());
        };
        if let Some(entry) = self
            .entries
            .iter()
            .find(|entry| entry.is_either || entry.reason.is_empty())
        {
            return Err(format!(
                "{}: in a strict list every case has a reason, and none may do either",
                entry.name
            ));
        }
        let count = self.entries.len();
        match count.cmp(&at_most) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => Err(format!(
                "{count} cases: `at most {at_most}` becomes `at most {count}`, so that none comes back"
            )),
            std::cmp::Ordering::Greater => Err(format!(
                "{count} cases where at most {at_most} are allowed: this list does not grow"
            )),
        }
    }

    /// The list after these runs of the same cases in this setting: what failed in all of them is
    /// listed, what failed in some may do either, what passed in all is not. A strict list only
    /// loses cases.
    #[must_use]
    pub fn updated(&self, rounds: &[Vec<Told>], setting: &[String]) -> Self {
        let mut known = self.clone();
        for result in rounds.first().into_iter().flatten() {
            let name = result.name();
            let outcomes = rounds.iter().flatten().filter(|other| other.name() == name);
            let outcomes: Vec<Outcome> = outcomes.map(|other| other.outcome).collect();
            known.learn(&name, &outcomes, setting);
        }
        known.entries.sort();
        known.at_most = known.at_most.map(|_| known.entries.len());
        known
    }

    fn learn(&mut self, name: &str, outcomes: &[Outcome], setting: &[String]) {
        let old = self.entry(name, setting).cloned();
        let fails = outcomes.contains(&Outcome::Fail);
        let passes = outcomes.contains(&Outcome::Pass);
        let was_either = old.as_ref().is_some_and(|old| old.is_either);
        match (&old, fails, passes) {
            (Some(_), false, true) if !was_either => {
                self.entries.retain(|entry| Some(entry) != old.as_ref());
            }
            (_, true, _) if self.at_most.is_none() && (old.is_none() || passes && !was_either) => {
                self.entries.retain(|entry| Some(entry) != old.as_ref());
                self.entries.push(Entry::found(name, passes));
            }
            _ => {}
        }
    }

    /// Writes the list, below the comments that its file begins with.
    ///
    /// # Errors
    ///
    /// When the file can't be read or written.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let old = std::fs::read_to_string(path).map_err(failed)?;
        let head = old
            .lines()
            .take_while(|line| line.is_empty() || line.starts_with('#'));
        let at_most = self.at_most.map(|count| format!("at most {count}"));
        let version = self.version.as_ref().map(|version| format!("of {version}"));
        let entries = self.entries.iter().map(Entry::to_string);
        let lines = head
            .map(str::to_owned)
            .chain(at_most)
            .chain(version)
            .chain(entries);
        let text: String = lines.map(|line| line + "\n").collect();
        std::fs::write(path, text).map_err(failed)
    }

    /// Whether the list is about the runtime that says this of its version.
    #[must_use]
    pub fn is_about(&self, version: &str) -> bool {
        self.version.as_ref().is_none_or(|own| own == version)
    }

    /// What of these results, seen in this setting, is not as listed. Names that no case has are
    /// told if `all` are the names that there are.
    #[must_use]
    pub fn compare(
        &self,
        results: &[Told],
        setting: &[String],
        all: &BTreeSet<String>,
    ) -> Vec<Surprise> {
        let unknown = self
            .entries
            .iter()
            .filter(|entry| !all.contains(&entry.name));
        let unknown = unknown.map(|entry| Surprise::NoSuchCase(entry.name.clone()));
        let told = results
            .iter()
            .filter_map(|result| self.surprise(result, setting));
        unknown.chain(told).collect()
    }

    fn surprise(&self, result: &Told, setting: &[String]) -> Option<Surprise> {
        let name = result.name();
        let entry = self.entry(&name, setting);
        match (result.outcome, entry) {
            (Outcome::Fail, None) => Some(Surprise::Failed {
                name,
                told: Box::new(result.clone()),
            }),
            // A refusal, where system calls were taken away, is no proof that it holds with them.
            (Outcome::Pass, Some(entry)) if !entry.is_either && !result.is_refusal() => {
                Some(Surprise::Passed(name))
            }
            _ => None,
        }
    }

    /// The line about a case in this setting.
    #[must_use]
    pub fn entry(&self, name: &str, setting: &[String]) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.name == name && entry.is_about(setting))
    }
}

impl Entry {
    fn parse(line: &str) -> Result<Self, String> {
        let (is_either, line) = match line.strip_prefix("~ ") {
            Some(rest) => (true, rest.trim_start()),
            None => (false, line),
        };
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let (settings, reason) = match rest.strip_prefix('@') {
            Some(rest) => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
            None => ("", rest),
        };
        if !name.contains('/') {
            return Err(format!("{name}: a case is named suite/case"));
        }
        let entry = Self {
            name: name.to_owned(),
            settings: settings
                .split(',')
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect(),
            is_either,
            reason: reason.trim().to_owned(),
        };
        match entry.is_either && entry.reason.is_empty() {
            true => Err(format!("{name}: what may do either has a reason")),
            false => Ok(entry),
        }
    }

    fn found(name: &str, is_either: bool) -> Self {
        Self {
            name: name.to_owned(),
            settings: Vec::new(),
            is_either,
            reason: if is_either {
                "once passed and once failed"
            } else {
                ""
            }
            .to_owned(),
        }
    }

    /// Whether it is about runs in this setting.
    fn is_about(&self, setting: &[String]) -> bool {
        self.settings.is_empty() || self.settings.iter().any(|word| setting.contains(word))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_either { "~ " } else { "" };
        let settings = match self.settings.is_empty() {
            true => String::new(),
            false => format!(" @{}", self.settings.join(",")),
        };
        let head = format!("{mark}{}{settings}", self.name);
        match self.reason.is_empty() {
            true => write!(f, "{head}"),
            false => write!(f, "{head:44} {}", self.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, outcome: Outcome) -> Told {
        let (suite, case) = name.split_once('/').unwrap();
        Told {
            suite: suite.to_owned(),
            area: String::new(),
            case: case.to_owned(),
            outcome,
            sentence: String::new(),
            detail: String::new(),
        }
    }

    fn surprises(list: &str, results: &[Told], setting: &str) -> Vec<Surprise> {
        let all = ["s/a", "s/b"].map(str::to_owned).into();
        let setting: Vec<String> = setting.split(' ').map(str::to_owned).collect();
        Known::parse(list).unwrap().compare(results, &setting, &all)
    }

    #[test]
    fn a_failure_that_is_not_listed_is_a_surprise() {
        let results = [told("s/a", Outcome::Fail), told("s/b", Outcome::Fail)];
        let seen = surprises("s/a", &results, "v2");
        let told = Box::new(told("s/b", Outcome::Fail));
        let name = "s/b".to_owned();
        assert_eq!(seen, [Surprise::Failed { name, told }]);
    }

    #[test]
    fn a_listed_case_that_passes_is_a_surprise_and_a_skipped_one_is_not() {
        let passes = [told("s/a", Outcome::Pass)];
        assert_eq!(
            surprises("s/a", &passes, "v2"),
            [Surprise::Passed("s/a".to_owned())]
        );
        assert_eq!(surprises("s/a", &[told("s/a", Outcome::Skip)], "v2"), []);
    }

    #[test]
    fn a_list_is_about_the_version_that_it_names() {
        let list = Known::parse("of runc version 1.1.5\ns/a").unwrap();
        assert!(list.is_about("runc version 1.1.5"));
        assert!(!list.is_about("runc version 1.1.50"));
        assert!(Known::parse("s/a").unwrap().is_about("anything"));
    }

    #[test]
    fn what_may_do_either_is_never_a_surprise() {
        for outcome in [Outcome::Pass, Outcome::Fail] {
            assert_eq!(surprises("~ s/a races", &[told("s/a", outcome)], "v2"), []);
        }
    }

    #[test]
    fn a_setting_limits_a_line() {
        let fails = [told("s/a", Outcome::Fail)];
        assert_eq!(
            surprises("s/a @v2,old no such thing", &fails, "root v2"),
            []
        );
        assert_eq!(surprises("s/a @v2 no such thing", &fails, "v1").len(), 1);
        assert_eq!(
            surprises("s/a @v2", &[told("s/a", Outcome::Pass)], "v1"),
            []
        );
    }

    #[test]
    fn a_name_that_no_case_has_is_a_surprise() {
        assert_eq!(
            surprises("s/gone", &[], "v2"),
            [Surprise::NoSuchCase("s/gone".to_owned())]
        );
    }

    #[test]
    fn a_strict_list_has_as_many_cases_as_it_says() {
        assert!(Known::parse("at most 1\ns/a why").is_ok());
        for bad in [
            "at most 1\ns/a why\ns/b why",
            "at most 2\ns/a why",
            "at most 1\ns/a",
            "at most 1\n~ s/a why",
        ] {
            assert!(Known::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_update_learns_from_all_rounds() {
        let round = |a, b| vec![told("s/a", a), told("s/b", b)];
        let rounds = [
            round(Outcome::Fail, Outcome::Pass),
            round(Outcome::Fail, Outcome::Fail),
        ];
        let known = Known::parse("s/c").unwrap().updated(&rounds, &[]);
        let lines: Vec<String> = known.entries.iter().map(Entry::to_string).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "s/a");
        assert!(lines[1].starts_with("~ s/b"), "{lines:?}");
        let good = [round(Outcome::Pass, Outcome::Skip)];
        assert_eq!(
            Known::parse("s/a\ns/b").unwrap().updated(&good, &[]),
            Known::parse("s/b").unwrap()
        );
    }

    #[test]
    fn an_update_of_a_strict_list_only_shortens_it() {
        let strict = Known::parse("at most 1\ns/a why").unwrap();
        let rounds = [vec![told("s/a", Outcome::Pass), told("s/b", Outcome::Fail)]];
        let updated = strict.updated(&rounds, &[]);
        assert_eq!(updated, Known::parse("at most 0").unwrap());
    }

    #[test]
    fn what_is_no_list_is_refused_with_its_line() {
        for bad in ["s/a\nwhat", "s/a\ns/a", "~ s/a", "at most x"] {
            assert!(Known::parse(bad).is_err(), "{bad}");
        }
        assert!(
            Known::parse("# a\ns/a\nwhat")
                .unwrap_err()
                .starts_with("line 3")
        );
    }

    #[test]
    fn a_line_is_written_as_it_is_read() {
        for line in ["s/a", "~ s/a @v1,v2 why it does", "s/a why"] {
            let known = Known::parse(line).unwrap();
            assert_eq!(Known::parse(&known.entries[0].to_string()).unwrap(), known);
        }
    }
}
