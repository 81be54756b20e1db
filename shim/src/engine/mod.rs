//! What carries out the operations on a container: tare, in this process, or another runtime's
//! binary.
//!
//! Its methods may block, and are for jobs' threads. An engine is small and can be cloned.

use std::ffi::CString;
use std::os::fd::BorrowedFd;
use std::path::Path;

use runtime_core::Process;
use runtime_core::statistics::{OomWatch, Statistics};

use crate::failure::Failure;
use crate::foreign::Foreign;
use crate::options::{CheckpointOptions, Options};

mod criu;
mod tare;

pub use self::tare::Tare;

/// Who creates, starts and deletes containers.
#[derive(Clone, Debug)]
pub enum Engine {
    /// This process.
    Tare(Tare),
    /// Another runtime's binary.
    Foreign(Foreign),
}

/// What a process gets as its standard input, output and error.
#[derive(Clone, Copy, Debug)]
pub enum ChildStdio<'a> {
    /// These descriptors.
    Descriptors([BorrowedFd<'a>; 3]),
    /// A terminal of the container's, whose master is sent over this connected AF_UNIX socket
    /// (SCM_RIGHTS).
    Terminal(BorrowedFd<'a>),
}

impl<'a> ChildStdio<'a> {
    fn descriptors(self) -> Option<[BorrowedFd<'a>; 3]> {
        match self {
            Self::Descriptors(descriptors) => Some(descriptors),
            Self::Terminal(_) => None,
        }
    }

    fn console_socket(self) -> Option<BorrowedFd<'a>> {
        match self {
            Self::Descriptors(_) => None,
            Self::Terminal(socket) => Some(socket),
        }
    }
}

/// A container that has been created.
#[derive(Debug)]
pub struct Created {
    /// Its init process, a child of this program.
    pub process: Process,
    /// What config.json asks for and can't be given, where the specification wants no error.
    pub warnings: Vec<String>,
    /// Its processes may outlive init, since the pid namespace is not its own.
    pub shares_pid_namespace: bool,
}

impl Engine {
    /// The engine for a container, as its options say. `bundle` is where a foreign runtime's log
    /// and pid files go, `environment` (`NAME=value` each) what hooks without one inherit.
    ///
    /// # Errors
    ///
    /// INVALID_ARGUMENT for a namespace or a root that can't be, UNIMPLEMENTED for an option
    /// that tare does not know.
    pub fn new(
        options: &Options,
        namespace: &str,
        bundle: &Path,
        environment: &[CString],
    ) -> Result<Self, Failure> {
        let root = options.runtime_root(namespace)?;
        if options.is_foreign() {
            return Ok(Self::Foreign(Foreign::new(options, &root, bundle)));
        }
        Tare::new(options, &root, bundle, environment).map(Self::Tare)
    }

    /// Creates a container, which waits for [`Engine::start`].
    ///
    /// # Errors
    ///
    /// Any code; nothing of the container is left then.
    pub fn create(
        &self,
        id: &str,
        bundle: &Path,
        stdio: ChildStdio<'_>,
    ) -> Result<Created, Failure> {
        match self {
            Self::Tare(tare) => tare.create(id, bundle, stdio),
            Self::Foreign(foreign) => foreign.create(id, bundle, stdio),
        }
    }

    /// Starts the program of a created container.
    ///
    /// # Errors
    ///
    /// FAILED_PRECONDITION for a container that is not created, UNKNOWN when the program can't
    /// be executed.
    pub fn start(&self, id: &str) -> Result<(), Failure> {
        match self {
            Self::Tare(tare) => tare.start(id),
            Self::Foreign(foreign) => foreign.start(id),
        }
    }

    /// Starts a further process, described by the JSON of runtime-spec's `process`. It is a
    /// child of this program. `exec_id` is a file name that no other process of the container
    /// has.
    ///
    /// # Errors
    ///
    /// FAILED_PRECONDITION or NOT_FOUND for a container that does not run, INVALID_ARGUMENT for
    /// a description that breaks a rule, UNKNOWN when the program can't be executed.
    pub fn exec(
        &self,
        id: &str,
        exec_id: &str,
        process: &[u8],
        stdio: ChildStdio<'_>,
    ) -> Result<Process, Failure> {
        match self {
            Self::Tare(tare) => tare.exec(id, process, stdio),
            Self::Foreign(foreign) => foreign.exec(id, exec_id, process, stdio),
        }
    }

    /// Sends a signal to init, with `all` to every process of the container.
    ///
    /// # Errors
    ///
    /// NOT_FOUND when init has ended, or there is no such container.
    pub fn kill(&self, id: &str, signal: i32, all: bool) -> Result<(), Failure> {
        match self {
            Self::Tare(tare) => tare.kill(id, signal, all),
            Self::Foreign(foreign) => foreign.kill(id, signal, all),
        }
    }

    /// Deletes a container, with `force` a running one too. One that is not there is no error.
    /// Gives the failures of poststop hooks: the container is gone all the same.
    ///
    /// # Errors
    ///
    /// FAILED_PRECONDITION for a running one without `force`.
    pub fn delete(&self, id: &str, force: bool) -> Result<Vec<String>, Failure> {
        match self {
            Self::Tare(tare) => tare.delete(id, force),
            Self::Foreign(foreign) => foreign.delete(id, force).map(|()| Vec::new()),
        }
    }

    /// Freezes every process.
    ///
    /// # Errors
    ///
    /// FAILED_PRECONDITION or NOT_FOUND unless it runs.
    pub fn pause(&self, id: &str) -> Result<(), Failure> {
        match self {
            Self::Tare(tare) => tare.pause(id),
            Self::Foreign(foreign) => foreign.pause(id),
        }
    }

    /// Thaws every process.
    ///
    /// # Errors
    ///
    /// FAILED_PRECONDITION unless it is paused.
    pub fn resume(&self, id: &str) -> Result<(), Failure> {
        match self {
            Self::Tare(tare) => tare.resume(id),
            Self::Foreign(foreign) => foreign.resume(id),
        }
    }

    /// The pids of all its processes, in this program's pid namespace.
    ///
    /// # Errors
    ///
    /// NOT_FOUND when there is no such container.
    pub fn processes(&self, id: &str) -> Result<Vec<i32>, Failure> {
        match self {
            Self::Tare(tare) => tare.processes(id),
            Self::Foreign(foreign) => foreign.processes(id),
        }
    }

    /// Changes the limits to those in the JSON of runtime-spec's `linux.resources`.
    ///
    /// # Errors
    ///
    /// INVALID_ARGUMENT for limits that break a rule.
    pub fn update(&self, id: &str, resources: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Tare(tare) => tare.update(id, resources),
            Self::Foreign(foreign) => foreign.update(id, resources),
        }
    }

    /// Writes the container's processes to images in a directory.
    ///
    /// # Errors
    ///
    /// What CRIU says.
    pub fn checkpoint(
        &self,
        id: &str,
        images: &Path,
        options: &CheckpointOptions,
    ) -> Result<(), Failure> {
        match self {
            Self::Tare(tare) => tare.checkpoint(id, images, options),
            Self::Foreign(foreign) => foreign.checkpoint(id, images, options),
        }
    }

    /// Creates and starts a container from such images.
    ///
    /// # Errors
    ///
    /// What CRIU says.
    pub fn restore(
        &self,
        id: &str,
        bundle: &Path,
        stdio: ChildStdio<'_>,
        images: &Path,
    ) -> Result<Created, Failure> {
        match self {
            Self::Tare(tare) => tare.restore(id, bundle, stdio, images),
            Self::Foreign(foreign) => foreign.restore(id, bundle, stdio, images),
        }
    }

    /// The counters of its cgroup.
    ///
    /// # Errors
    ///
    /// NOT_FOUND when it has ended, or another runtime has given it no cgroup of its own.
    pub fn statistics(&self, id: &str) -> Result<Statistics, Failure> {
        match self {
            Self::Tare(tare) => tare.statistics(id),
            Self::Foreign(foreign) => foreign.statistics(id),
        }
    }

    /// Watches its memory limit; nothing where there is no such controller.
    ///
    /// # Errors
    ///
    /// When its cgroup can't be watched.
    pub fn watch_memory(&self, id: &str) -> Result<Option<OomWatch>, Failure> {
        match self {
            Self::Tare(tare) => tare.watch_memory(id),
            Self::Foreign(foreign) => foreign.watch_memory(),
        }
    }
}
