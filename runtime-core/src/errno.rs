//! Error numbers in words: the field's lower-case text, and the name.

use std::fmt;

use nix::errno::Errno;

/// Prints an errno as `permission denied (EACCES)`.
///
/// The text is what callers match on (`no such file or directory`, `permission denied`,
/// `is a directory`, `not a directory`, …); the name is what a person can look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words(pub Errno);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.desc();
        let mut letters = text.chars();
        // "I/O error" and "RFS specific error" start with an abbreviation.
        match (letters.next(), text.chars().nth(1)) {
            (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
                write!(f, "{}{}", first.to_lowercase(), letters.as_str())?;
            }
            _ => f.write_str(text)?,
        }
        write!(f, " ({:?})", self.0)
    }
}

/// An [`Errno`] from a [`std::io::Error`]; EIO when it has none.
#[must_use]
pub fn of_io(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_ones_that_callers_match() {
        let words = |errno| Words(errno).to_string();
        assert_eq!(words(Errno::ENOENT), "no such file or directory (ENOENT)");
        assert_eq!(words(Errno::EACCES), "permission denied (EACCES)");
        assert_eq!(words(Errno::EPERM), "operation not permitted (EPERM)");
        assert_eq!(words(Errno::EISDIR), "is a directory (EISDIR)");
        assert_eq!(words(Errno::ENOTDIR), "not a directory (ENOTDIR)");
        assert_eq!(words(Errno::ESRCH), "no such process (ESRCH)");
        assert_eq!(words(Errno::EIO), "I/O error (EIO)");
    }
}
