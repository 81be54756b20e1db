//! What is wrong with a config.json: every broken rule, each with its place.

use std::fmt;

/// One broken rule of the specification, or of this runtime.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// JSON pointer (RFC 6901) into config.json, such as `/mounts/3/options/1`.
    pub pointer: String,
    /// What the rule asks for and what was found, in one lower-case clause.
    pub rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => f.write_str(&self.rule),
            pointer => write!(f, "{pointer}: {}", self.rule),
        }
    }
}

/// All broken rules of one config.json, in document order; never empty in an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Violations(pub Vec<Violation>);

impl Violations {
    /// How many are kept: a hostile document may break as many rules as it has bytes.
    pub const MAX: usize = 1000;

    /// How many a line of text has room for.
    const SHOWN: usize = 20;

    /// Notes a broken rule and goes on.
    pub fn add(&mut self, pointer: impl Into<String>, rule: impl Into<String>) {
        if self.is_full() {
            return;
        }
        self.0.push(Violation {
            pointer: pointer.into(),
            rule: rule.into(),
        });
    }

    /// Whether no more will be kept: whoever checks a long list may stop.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.len() >= Self::MAX
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for violation in self.0.iter().take(Self::SHOWN) {
            write!(f, "{separator}{violation}")?;
            separator = "; ";
        }
        match self.0.len().saturating_sub(Self::SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more: `plan` lists them"),
        }
    }
}

impl std::error::Error for Violations {}

/// Escapes one key for use inside a JSON pointer (RFC 6901 section 3).
#[must_use]
pub fn pointer_token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
