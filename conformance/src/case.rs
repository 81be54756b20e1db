//! A case: one sentence that must hold of a runtime, and how to see whether it does.

use crate::scene::Scene;

/// Why a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The sentence does not hold.
    Failed {
        /// What would have been right.
        expected: String,
        /// What there was.
        seen: String,
    },
    /// It can't be told here, and why.
    Skipped(String),
}

/// What a check gives: nothing when the sentence holds.
pub type Verdict = Result<(), Trouble>;

/// What a case does.
pub type Check = Box<dyn Fn(&Scene<'_>) -> Verdict>;

/// One case.
pub struct Case {
    /// The suite that it belongs to: `spec`, `cli`, `security`, …
    pub suite: &'static str,
    /// What it is about, for the summary: `mounts`, `process`, …
    pub area: &'static str,
    /// Its name, the only one in its suite: small letters, digits and dashes.
    pub name: String,
    /// The sentence of the specification (or of another document), with where it stands.
    pub sentence: String,
    /// The properties of config.json that it is about, as the schema names them:
    /// `linux.seccomp.syscalls[].names`.
    pub properties: Vec<String>,
    /// Whether a runtime that fails it may change what other cases look at: it runs alone.
    pub is_alone: bool,
    /// How to see whether it holds.
    pub check: Check,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.suite, self.name)
    }
}

impl Case {
    /// A case.
    pub fn new(
        suite: &'static str,
        area: &'static str,
        name: impl Into<String>,
        sentence: impl Into<String>,
        check: impl Fn(&Scene<'_>) -> Verdict + 'static,
    ) -> Self {
        Self {
            suite,
            area,
            name: name.into(),
            sentence: sentence.into(),
            properties: Vec::new(),
            is_alone: false,
            check: Box::new(check),
        }
    }

    /// The same, while no other case runs.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.is_alone = true;
        self
    }

    /// The same, about this property of config.json too.
    #[must_use]
    pub fn of(mut self, property: &str) -> Self {
        self.properties.push(property.to_owned());
        self
    }
}

/// A failure: what would have been right, and what there was.
///
/// # Errors
///
/// Always.
pub fn failed<T>(expected: impl Into<String>, seen: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Failed {
        expected: expected.into(),
        seen: seen.into(),
    })
}

/// A skip: why it can't be told.
///
/// # Errors
///
/// Always.
pub fn skipped<T>(why: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Skipped(why.into()))
}

/// Whether two values are equal.
///
/// # Errors
///
/// The failure that shows both.
pub fn equal<T: PartialEq + std::fmt::Debug>(what: &str, seen: &T, expected: &T) -> Verdict {
    if seen == expected {
        return Ok(());
    }
    failed(format!("{what}: {expected:?}"), format!("{seen:?}"))
}

/// Whether something is so.
///
/// # Errors
///
/// The failure that says what was expected and shows what there was.
pub fn holds(is_so: bool, expected: &str, seen: impl std::fmt::Debug) -> Verdict {
    if is_so {
        return Ok(());
    }
    failed(expected, format!("{seen:?}"))
}
