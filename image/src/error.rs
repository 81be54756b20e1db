//! What an operation on images fails with: one line for a person, a kind for a program.

use std::fmt;
use std::io;

use runtime_core::errno::{self, Words};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
///
/// Its `Display` is one line: the step, its object, the errno or the registry's words, the
/// likely cause and what to do. The cause, where there is one, is part of that line, and
/// [`std::error::Error::source`] has it as a value.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was given (a reference, a digest, an option) breaks a rule of its grammar.
    InvalidInput,
    /// No such image, tag, blob, snapshot.
    NotFound,
    /// It exists already and must not be replaced.
    AlreadyExists,
    /// Something uses it: a mount, a tag, another process that holds the lock.
    InUse,
    /// Bytes are not what their digest, their size or their format promise.
    Corrupt,
    /// A well-formed thing that this version, or this kernel, can't work with.
    Unsupported,
    /// The registry wants other credentials, or permits this to nobody.
    Denied,
    /// The registry asks to come back later, and kept asking.
    RateLimited,
    /// The registry could not be reached, or the connection broke and kept breaking.
    Unreachable,
    /// The registry answered with an error of its own, or with what no registry may answer.
    Registry,
    /// Something was waited for in vain.
    TimedOut,
    /// The disk is full, or a quota is.
    NoSpace,
    /// The runtime refused the container.
    Runtime,
    /// The kernel refused something else.
    System,
}

impl Error {
    /// An error without a deeper cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// An error whose cause is another one, which `message` has already told.
    pub fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            kind,
            message: message.into(),
            source: Some(Box::new(source)),
        }
    }

    /// What the kernel refused: `step` names the act and its object ("write blob sha256:…"), the
    /// errno is added to it. The kind follows from the errno.
    pub fn system(step: impl fmt::Display, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let kind = kind_of(&error);
        let message = match error.raw_os_error() {
            Some(_) => format!("{step}: {}", Words(errno::of_io(&error))),
            None => format!("{step}: {error}"),
        };
        Self::with_source(kind, message, error)
    }

    /// The same error, with the larger step that it broke in front of it.
    #[must_use]
    pub fn within(mut self, step: impl fmt::Display) -> Self {
        self.message = format!("{step}: {}", self.message);
        self
    }

    /// The same error, with advice behind it.
    #[must_use]
    pub fn advise(mut self, advice: impl fmt::Display) -> Self {
        self.message = format!("{} ({advice})", self.message);
        self
    }

    /// What went wrong, for programs.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl From<runtime_core::Error> for Error {
    fn from(error: runtime_core::Error) -> Self {
        Self::with_source(ErrorKind::Runtime, error.to_string(), error)
    }
}

/// For [`io::Write`] and [`io::Read`]: kind and words come out again in [`Error::system`].
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

fn kind_of(error: &io::Error) -> ErrorKind {
    if let Some(inner) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>())
    {
        return inner.kind;
    }
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorKind::NoSpace
        }
        io::ErrorKind::ResourceBusy => ErrorKind::InUse,
        io::ErrorKind::TimedOut => ErrorKind::TimedOut,
        _ => ErrorKind::System,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_went_through_a_stream_keeps_its_kind() {
        let inner = Error::new(ErrorKind::Corrupt, "too many bytes");
        let error = Error::system("copy layer", io::Error::from(inner));
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.to_string(), "copy layer: too many bytes");
    }

    #[test]
    fn the_kernels_refusals_are_named() {
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        let error = Error::system("write blob sha256:ab", full)
            .within("pull busybox")
            .advise("`tare image prune` frees space");
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert_eq!(
            error.to_string(),
            "pull busybox: write blob sha256:ab: no space left on device (ENOSPC) \
             (`tare image prune` frees space)"
        );
    }
}
