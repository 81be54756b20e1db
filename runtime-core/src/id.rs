//! The container's name.

use std::fmt;
use std::str::FromStr;

/// A container id: parsed once, a safe file name for ever.
///
/// Letters, digits and `_+-.`, at most 255 bytes; not `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct ContainerId(Box<str>);

/// The longest id: what fits into a directory entry leaves no room for more.
const LONGEST: usize = 255;

/// Why a text is no container id. The first words are what runc's callers know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid container ID format: {0:?} (letters, digits and _+-. only, at most 255 of them, not \".\" or \"..\")"
)]
pub struct InvalidContainerId(String);

impl ContainerId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ContainerId {
    type Err = InvalidContainerId;

    fn from_str(s: &str) -> Result<Self, InvalidContainerId> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"_+-.".contains(&b);
        match s {
            "" | "." | ".." => Err(InvalidContainerId(s.into())),
            _ if s.len() > LONGEST => Err(InvalidContainerId(
                s.chars().take(40).chain("…".chars()).collect(),
            )),
            _ if s.bytes().all(legal) => Ok(Self(s.into())),
            _ => Err(InvalidContainerId(s.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_state_directory_are_no_ids() {
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "../x",
            "a\nb",
            "a\0b",
            "ü",
            "a b",
            "x\u{202e}y",
        ] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad:?} was accepted");
        }
        assert!("x".repeat(256).parse::<ContainerId>().is_err());
    }

    #[test]
    fn runc_ids_are_ids() {
        for good in ["a", "A-1_2+3.4", ".hidden", "x2", "-x"] {
            assert_eq!(good.parse::<ContainerId>().unwrap().as_str(), good);
        }
    }
}
