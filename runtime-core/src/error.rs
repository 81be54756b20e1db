//! What the library's operations fail with: one line for a person, a kind for a program.

use std::fmt;

use nix::errno::Errno;

use crate::bundle::BundleError;
use crate::cgroup::CgroupError;
use crate::errno::Words;
use crate::hooks::HookError;
use crate::host::HostError;
use crate::launch::LaunchError;
use crate::state::StateError;
use crate::violation::Violations;

/// Why an operation failed. Its `Display` names the step, the object, the errno and, where one
/// is known, the likely cause and what to do, on one line.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    cause: Cause,
    /// Where the cause does not tell it.
    errno: Option<Errno>,
}

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// No container has this id.
    NotFound,
    /// The id is taken.
    AlreadyExists,
    /// config.json, or something that the caller gave, breaks a rule.
    InvalidConfig,
    /// The container's status does not permit the operation.
    WrongStatus,
    /// The container's process has ended.
    NotRunning,
    /// This kernel, or this version of tare, can't do it.
    Unsupported,
    /// The program in the container can't be executed.
    Program,
    /// A hook failed.
    Hook,
    /// The cgroups refused something.
    Cgroup,
    /// criu failed, or said what no criu says.
    Criu,
    /// Something was waited for in vain.
    TimedOut,
    /// The container's state on disk is unusable.
    BrokenState,
    /// The kernel refused something else.
    System,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("{0}")]
    Text(String),
    #[error("{act}: {}", Words(*.errno))]
    Call { act: String, errno: Errno },
    #[error(transparent)]
    Bundle(BundleError),
    #[error("config.json: {0}")]
    Violations(Violations),
    #[error("resources: {0}")]
    Resources(Violations),
    #[error(transparent)]
    Host(HostError),
    #[error(transparent)]
    State(StateError),
    #[error(transparent)]
    Cgroup(CgroupError),
    #[error(transparent)]
    Launch(LaunchError),
    #[error(transparent)]
    Hook(HookError),
}

impl Error {
    /// What went wrong, for programs.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The rules that config.json, or the resources of an update, breaks, if that is what went
    /// wrong.
    #[must_use]
    pub fn violations(&self) -> Option<&Violations> {
        match &self.cause {
            Cause::Violations(violations) | Cause::Resources(violations) => Some(violations),
            _ => None,
        }
    }

    /// The kernel's error number, where one is at the bottom of it.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        let errno = match &self.cause {
            Cause::Call { errno, .. } => *errno,
            Cause::Cgroup(error) => error.errno()?,
            Cause::State(
                StateError::Io { source, .. } | StateError::NotWritable { source, .. },
            ) => *source,
            Cause::Launch(
                LaunchError::Namespace { errno, .. }
                | LaunchError::Content { errno, .. }
                | LaunchError::Program { errno, .. }
                | LaunchError::Step { errno, .. }
                | LaunchError::Call { errno, .. },
            ) => *errno,
            _ => self.errno?,
        };
        Some(errno as i32)
    }

    pub(crate) fn text(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            cause: Cause::Text(text.into()),
            errno: None,
        }
    }

    /// The rules that the resources of an update break.
    pub(crate) fn resources(violations: Violations) -> Self {
        Self {
            kind: ErrorKind::InvalidConfig,
            cause: Cause::Resources(violations),
            errno: None,
        }
    }

    pub(crate) fn with_errno(self, errno: Option<Errno>) -> Self {
        Self { errno, ..self }
    }

    /// The same error with more to say at its end.
    pub(crate) fn with_hint(self, hint: &str) -> Self {
        let errno = self.errno().map(Errno::from_raw);
        Self {
            kind: self.kind,
            cause: Cause::Text(format!("{}{hint}", self.cause)),
            errno,
        }
    }

    pub(crate) fn call(act: impl Into<String>, errno: Errno) -> Self {
        Self {
            kind: ErrorKind::System,
            cause: Cause::Call {
                act: act.into(),
                errno,
            },
            errno: None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.cause, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // Every cause prints itself whole, so naming it as a source too would say it twice.
        None
    }
}

impl From<BundleError> for Error {
    fn from(error: BundleError) -> Self {
        Self {
            kind: ErrorKind::InvalidConfig,
            cause: Cause::Bundle(error),
            errno: None,
        }
    }
}

impl From<Violations> for Error {
    fn from(violations: Violations) -> Self {
        Self {
            kind: ErrorKind::InvalidConfig,
            cause: Cause::Violations(violations),
            errno: None,
        }
    }
}

impl From<HostError> for Error {
    fn from(error: HostError) -> Self {
        Self {
            kind: ErrorKind::System,
            cause: Cause::Host(error),
            errno: None,
        }
    }
}

impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        let kind = match &error {
            StateError::NotFound(_) => ErrorKind::NotFound,
            StateError::AlreadyExists(_) => ErrorKind::AlreadyExists,
            StateError::Record { .. } => ErrorKind::BrokenState,
            StateError::Busy(_) => ErrorKind::TimedOut,
            StateError::Io { .. } | StateError::NotWritable { .. } => ErrorKind::System,
        };
        Self {
            kind,
            cause: Cause::State(error),
            errno: None,
        }
    }
}

impl From<CgroupError> for Error {
    fn from(error: CgroupError) -> Self {
        let kind = match &error {
            error if error.is_timeout() => ErrorKind::TimedOut,
            CgroupError::Systemd(error) if error.is_not_running() => ErrorKind::Unsupported,
            _ => ErrorKind::Cgroup,
        };
        Self {
            kind,
            cause: Cause::Cgroup(error),
            errno: None,
        }
    }
}

impl From<LaunchError> for Error {
    fn from(error: LaunchError) -> Self {
        let kind = match &error {
            LaunchError::Program { .. } => ErrorKind::Program,
            LaunchError::Hook(_) => ErrorKind::Hook,
            LaunchError::TimedOut(_) => ErrorKind::TimedOut,
            LaunchError::OutOfMemory => ErrorKind::Cgroup,
            LaunchError::Step {
                errno: Errno::ENOSYS,
                ..
            }
            | LaunchError::Content {
                errno: Errno::ENOSYS,
                ..
            } => ErrorKind::Unsupported,
            _ => ErrorKind::System,
        };
        Self {
            kind,
            cause: Cause::Launch(error),
            errno: None,
        }
    }
}

impl From<HookError> for Error {
    fn from(error: HookError) -> Self {
        Self {
            kind: ErrorKind::Hook,
            cause: Cause::Hook(error),
            errno: None,
        }
    }
}
