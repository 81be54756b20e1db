//! What can go wrong with cgroups: which file, which value, what the kernel said, what to do.

use std::fmt;
use std::path::PathBuf;

use nix::errno::Errno;

use super::systemd::SystemdError;
use crate::errno::Words;
use crate::plan::cgroup::Limit;

/// Why something could not be done to a container's cgroup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// A system call on a directory or file failed.
    #[error("{call} {}: {}", path.display(), Words(*.source))]
    Call {
        /// Such as `mkdir`.
        call: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },

    /// The kernel refused a value.
    #[error("write {value:?} to {}: {}{hint}", path.display(), Words(*.source))]
    Write {
        /// Which file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// The likely cause.
        hint: Hint,
        /// What the kernel said.
        source: Errno,
    },

    /// A file does not say what the kernel's documentation promises.
    #[error("{} says {content:?}, which is not understood", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What it says.
        content: String,
    },

    /// The container's directory is there already, with processes in it.
    #[error(
        "container's cgroup is not empty: {processes} process(es) found ({}): end them, or choose another name in cgroupsPath",
        path.display()
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// How many.
        processes: usize,
    },

    /// The container's directory, or one above it, is frozen: nothing would run in it.
    #[error("container's cgroup unexpectedly frozen ({})", path.display())]
    Frozen {
        /// The directory.
        path: PathBuf,
    },

    /// The directory is part of a threaded subtree, which takes threads only.
    #[error("container's cgroup is {kind}, not a domain ({})", path.display())]
    Threaded {
        /// The directory.
        path: PathBuf,
        /// What `cgroup.type` says.
        kind: String,
    },

    /// A limit needs a controller that a parent does not pass on.
    #[error("controller {controller} is not enabled in {}: {}{hint}", path.display(), Words(*.source))]
    ControllerNotEnabled {
        /// By its cgroup v2 name.
        controller: String,
        /// The parent's cgroup.subtree_control.
        path: PathBuf,
        /// The likely cause.
        hint: Hint,
        /// What the kernel said.
        source: Errno,
    },

    /// The host has changed since the plan was made: a controller of the plan is nowhere.
    #[error("no cgroup of this container has the controller {controller}")]
    ControllerMissing {
        /// By its cgroup v2 name.
        controller: String,
    },

    /// A recorded directory is on another filesystem.
    #[error("{} is not in a cgroup filesystem", path.display())]
    NotACgroup {
        /// The directory.
        path: PathBuf,
    },

    /// The plan names no directory below the hierarchy's root.
    #[error("no cgroup path: a container can't live in the root cgroup")]
    NoPath,

    /// A memory limit is below what is used already, and `checkBeforeUpdate` was asked for.
    #[error("memory limit {limit_bytes} is too low: usage is {usage_bytes} bytes ({})", path.display())]
    MemoryInUse {
        /// The directory.
        path: PathBuf,
        /// What was asked for.
        limit_bytes: u64,
        /// What is used.
        usage_bytes: u64,
    },

    /// A limit of memory and swap together, where memory alone may have more.
    #[error("memory and swap together can't be limited to {sum_bytes}: memory alone is limited to {limit} ({}; give the memory limit, too)", path.display())]
    SwapBelowMemory {
        /// The file that says so.
        path: PathBuf,
        /// What was asked for.
        sum_bytes: u64,
        /// What holds for memory.
        limit: Limit,
    },

    /// A limit of a running container could not be changed; the others are put back.
    #[error("{cause}; {}", aftermath(*nothing_changed, not_put_back))]
    Update {
        /// Which one, and why.
        cause: Box<CgroupError>,
        /// Whether it was the first.
        nothing_changed: bool,
        /// Files that were changed before it and do not say again what they said.
        not_put_back: Vec<NotPutBack>,
    },

    /// The kernel did not take the device program.
    #[error("device rules of {}: {call}: {}{}", path.display(), Words(*.source), verifier(log))]
    Devices {
        /// The directory.
        path: PathBuf,
        /// Which step of it.
        call: &'static str,
        /// What the kernel's verifier said, if it was that.
        log: String,
        /// What the kernel said.
        source: Errno,
    },

    /// There is neither a freezer hierarchy nor cgroup v2.
    #[error("this host's cgroups can't freeze processes: no freezer controller, no cgroup v2")]
    NoFreezer,

    /// The deadline passed.
    #[error("timed out waiting for {} to become {state}", path.display())]
    Timeout {
        /// The directory.
        path: PathBuf,
        /// What it did not become.
        state: &'static str,
    },

    /// Processes are still there at the deadline.
    #[error("timed out waiting for {} killed process(es) to go: {}", pids.len(), list(pids))]
    Survivors {
        /// Their ids.
        pids: Vec<i32>,
    },

    /// systemd did not do something.
    #[error(transparent)]
    Systemd(#[from] SystemdError),

    /// Directories are still there at the deadline.
    #[error("cgroup directories left behind: {}", list(paths))]
    LeftBehind {
        /// Which ones, and why.
        paths: Vec<Leftover>,
        /// What the kernel said of the first.
        source: Errno,
    },
}

/// A directory that could not be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The directory.
    pub path: PathBuf,
    /// Processes in it and below.
    pub processes: Vec<i32>,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if !self.processes.is_empty() {
            write!(f, " (processes {})", list(&self.processes))?;
        }
        Ok(())
    }
}

/// A file that an update has changed and could not put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotPutBack {
    /// The file.
    pub path: PathBuf,
    /// What it said before; none if it can't be read.
    pub before: Option<String>,
    /// What it says now; none if it can't be read.
    pub now: Option<String>,
}

impl fmt::Display for NotPutBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match (&self.before, &self.now) {
            (Some(before), Some(now)) => write!(f, "{path} says {now:?} instead of {before:?}"),
            (Some(before), None) => write!(f, "{path} can't be read any more (it said {before:?})"),
            (None, _) => write!(
                f,
                "{path} was written and does not tell what it said before"
            ),
        }
    }
}

/// What holds after an update that failed.
fn aftermath(nothing_changed: bool, not_put_back: &[NotPutBack]) -> String {
    match (nothing_changed, not_put_back) {
        (true, _) => "no limit was changed".to_owned(),
        (false, []) => "the limits that were set before it are put back".to_owned(),
        (false, left) => format!(
            "of the limits that were set before it, not put back: {}",
            list(left)
        ),
    }
}

/// The likely cause of a refused value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Hint {
    /// None that is known.
    #[default]
    None,
    /// In words.
    Cause(String),
}

impl Hint {
    pub(super) fn cause(text: impl Into<String>) -> Self {
        Self::Cause(text.into())
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Cause(text) => write!(f, " ({text})"),
        }
    }
}

fn verifier(log: &str) -> String {
    match log.lines().last() {
        None => String::new(),
        Some(line) => format!(" (verifier: {line})"),
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    items
        .iter()
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

impl CgroupError {
    /// What the kernel said, if this comes from a system call.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Call { source, .. }
            | Self::Write { source, .. }
            | Self::ControllerNotEnabled { source, .. }
            | Self::Devices { source, .. }
            | Self::LeftBehind { source, .. } => Some(*source),
            Self::Systemd(error) => error.errno(),
            Self::Update { cause, .. } => cause.errno(),
            _ => None,
        }
    }

    /// Whether the runtime may not do it here: EACCES, EPERM or a read-only cgroup filesystem.
    ///
    /// A rootless caller whose container asks for no limits can go on without a cgroup.
    #[must_use]
    pub fn is_no_permission(&self) -> bool {
        matches!(
            self.errno(),
            Some(Errno::EACCES | Errno::EPERM | Errno::EROFS)
        )
    }

    /// Whether a deadline passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Survivors { .. } | Self::LeftBehind { .. } => true,
            Self::Systemd(error) => error.is_timeout(),
            _ => false,
        }
    }

    /// Whether the cgroup is somebody else's: with processes, frozen or threaded.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(
            self,
            Self::NotEmpty { .. } | Self::Frozen { .. } | Self::Threaded { .. }
        )
    }
}
