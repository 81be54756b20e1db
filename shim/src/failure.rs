//! What a call fails with: the gRPC code that containerd decides by, and a line for a person.

use std::fmt;

use runtime_core::ErrorKind;
pub use ttrpc::Code;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What containerd makes its typed error of.
    pub code: Code,
    /// Step, object, errno and what to do, on one line.
    pub message: String,
}

impl Failure {
    /// A failure with this code and text.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// What was asked for is not there.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NOT_FOUND, message)
    }

    /// The id is taken.
    #[must_use]
    pub fn already_exists(message: impl Into<String>) -> Self {
        Self::new(Code::ALREADY_EXISTS, message)
    }

    /// The state does not permit it.
    #[must_use]
    pub fn precondition(message: impl Into<String>) -> Self {
        Self::new(Code::FAILED_PRECONDITION, message)
    }

    /// What the caller gave breaks a rule.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::INVALID_ARGUMENT, message)
    }

    /// Anything else.
    #[must_use]
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(Code::UNKNOWN, message)
    }

    /// A system call failed.
    #[must_use]
    pub fn call(act: impl fmt::Display, errno: nix::errno::Errno) -> Self {
        Self::unknown(format!("{act}: {}", runtime_core::errno::Words(errno)))
    }

    /// The runtime's failure with what containerd's callers expect before its text, such as
    /// `OCI runtime create failed`.
    #[must_use]
    pub fn of_runtime(prefix: &str, error: &runtime_core::Error) -> Self {
        let code = match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotRunning => Code::NOT_FOUND,
            ErrorKind::AlreadyExists => Code::ALREADY_EXISTS,
            ErrorKind::InvalidConfig => Code::INVALID_ARGUMENT,
            ErrorKind::WrongStatus => Code::FAILED_PRECONDITION,
            ErrorKind::Unsupported => Code::UNIMPLEMENTED,
            ErrorKind::TimedOut => Code::DEADLINE_EXCEEDED,
            _ => Code::UNKNOWN,
        };
        Self::new(code, format!("{prefix}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
