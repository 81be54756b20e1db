//! Why a command failed, on its way to the log and the exit status.

use std::fmt;
use std::io;

use runtime_core::ErrorKind;
use runtime_core::bundle::BundleError;
use runtime_core::errno::Words;

use crate::exit::Exit;

/// One failure: one line of text, and how the program ends because of it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// For the log; one line.
    pub(crate) message: String,
    /// The library's word for what kind of failure it is, for the JSON record.
    pub(crate) kind: Option<ErrorKind>,
    /// The kernel's error number, for the JSON record.
    pub(crate) errno: Option<i32>,
    /// How the program ends.
    pub(crate) exit: Exit,
    /// Printed on stdout before the message: help after wrong usage.
    pub(crate) output: Option<String>,
}

impl Failure {
    /// A failure that ends the program with status 1.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            kind: None,
            errno: None,
            exit: Exit::Failed,
            output: None,
        }
    }

    /// Wrong usage: the help text is shown as well.
    pub(crate) fn usage(message: impl fmt::Display, output: String) -> Self {
        Self {
            output: Some(output),
            ..Self::new(message)
        }
    }

    /// A failure for what the caller asked for: status 1, and the kind that says so.
    pub(crate) fn invalid(message: impl fmt::Display) -> Self {
        Self {
            kind: Some(ErrorKind::InvalidConfig),
            ..Self::new(message)
        }
    }

    /// The same failure with another exit status.
    pub(crate) fn ending(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }
}

impl From<runtime_core::Error> for Failure {
    fn from(error: runtime_core::Error) -> Self {
        Self {
            kind: Some(error.kind()),
            errno: error.errno(),
            ..Self::new(error)
        }
    }
}

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Self {
        runtime_core::Error::from(error).into()
    }
}

/// Says what was being done when the system refused: `open /x: no such file or directory (ENOENT)`.
pub(crate) trait While<T> {
    /// Adds the act to the error.
    fn doing(self, act: impl fmt::Display) -> Result<T, Failure>;
}

impl<T> While<T> for Result<T, io::Error> {
    fn doing(self, act: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            kind: Some(ErrorKind::System),
            errno: error.raw_os_error(),
            ..Failure::new(format_args!("{act}: {}", words(&error)))
        })
    }
}

impl<T> While<T> for Result<T, nix::errno::Errno> {
    fn doing(self, act: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(io::Error::from).doing(act)
    }
}

/// The error in the words that callers look for, and its name.
fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Words(nix::errno::Errno::from_raw(number)).to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_error_reads_as_callers_expect_it() {
        let missing = Err::<(), _>(nix::errno::Errno::ENOENT).doing("open /x");
        assert_eq!(
            missing.unwrap_err().message,
            "open /x: no such file or directory (ENOENT)"
        );
    }
}
