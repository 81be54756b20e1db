//! Why a process could not be launched.

use std::ffi::NulError;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;

use super::explain;
use crate::errno::Words;
use crate::hooks::HookError;
use crate::plan::{Content, JoinedNamespace};
use crate::process::Exit;

/// What part of joining a namespace failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Opening the path.
    Open,
    /// It is a namespace of another type, or none.
    Type,
    /// setns(2).
    Join,
}

/// Why a process could not be launched. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LaunchError {
    /// A namespace to join.
    #[error("namespaces[{index}]: join {kind} namespace {path}: {reason}")]
    Namespace {
        /// In `/linux/namespaces`.
        index: u16,
        /// The specification's name of its type.
        kind: &'static str,
        /// As config.json says it.
        path: PathBuf,
        /// The errno and what it means here.
        reason: String,
        /// For programs.
        errno: Errno,
    },
    /// Something for the rootfs.
    #[error("{place}: {act}: {call}: {reason}")]
    Content {
        /// Where config.json asks for it, such as `mounts[3]`.
        place: String,
        /// In words, such as `mount proc on /proc`.
        act: String,
        /// The call that failed.
        call: &'static str,
        /// The errno and what it means here.
        reason: String,
        /// For programs.
        errno: Errno,
    },
    /// The user namespace's mappings.
    #[error("write {file} ({mappings}): {reason}")]
    Mapping {
        /// `uid_map` or `gid_map`.
        file: &'static str,
        /// What was to be written.
        mappings: String,
        /// Why it was not.
        reason: String,
    },
    /// The program can't be executed.
    #[error("exec: {program:?}: {reason}")]
    Program {
        /// `args[0]`.
        program: String,
        /// runc's text for the cases that callers tell apart, and the likely cause.
        reason: String,
        /// For programs.
        errno: Errno,
    },
    /// A hook, here or in the container's namespaces.
    #[error("{0}")]
    Hook(#[from] HookError),
    /// Any other step.
    #[error("{act}: {call}: {reason}")]
    Step {
        /// In words.
        act: String,
        /// The call that failed.
        call: &'static str,
        /// The errno and what it means here.
        reason: String,
        /// For programs.
        errno: Errno,
    },
    /// A call of the parent.
    #[error("{act}: {}", Words(*.errno))]
    Call {
        /// The call, and its object.
        act: String,
        /// Why it failed.
        errno: Errno,
    },
    /// The child ended without a word.
    #[error("container init died while it was made: {0}")]
    Died(Exit),
    /// The child ended, and the kernel's counter says why.
    #[error(
        "container init was OOM-killed (memory limit too low?): raise linux.resources.memory.limit"
    )]
    OutOfMemory,
    /// The child has not said anything in time.
    #[error("container init has not answered within {} s; it was killed", .0.as_secs())]
    TimedOut(Duration),
    /// A string with NUL where the kernel wants none.
    #[error("{0}")]
    Nul(#[from] NulError),
}

impl LaunchError {
    pub(super) fn call(act: impl Into<String>, errno: Errno) -> Self {
        Self::Call {
            act: act.into(),
            errno,
        }
    }

    pub(super) fn namespace(joined: &JoinedNamespace, stage: Stage, errno: Errno) -> Self {
        Self::Namespace {
            index: joined.index,
            kind: explain::namespace_name(joined.kind),
            path: joined.path.clone(),
            reason: explain::namespace_reason(stage, errno),
            errno,
        }
    }

    pub(super) fn content(content: &Content, call: &'static str, errno: Errno) -> Self {
        Self::Content {
            place: content.origin.pointer(),
            act: content.words(),
            call,
            reason: explain::content_reason(content, call, errno, ""),
            errno,
        }
    }
}
