//! The standard streams of a process: what a client's texts mean, what the runtime is given for
//! it, and the relay between the two in the loop.
//!
//! ```text
//!   client's FIFO ──▶ Input ──▶ pipe or terminal's master ──▶ process
//!   process ──▶ pipe or terminal's master ──▶ Lane ──▶ client's FIFO, log file, logger
//!   process ──▶ pipe ──▶ logger                         (nothing of it passes through here)
//! ```
//!
//! [`prepare()`] may block and is called in a job, before the process is created. [`Streams`] then
//! moves into the loop, where nothing blocks and every report of readiness moves a bounded number
//! of bytes. At most one read per destination is kept here, and memory only while it is.
//!
//! SIGPIPE has to be ignored in this process, as the standard library does before `main`.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use crate::failure::Failure;

mod console;
mod destination;
mod input;
mod lane;
mod logger;
mod open;
mod pending;
mod prepare;
mod sink;
mod source;
mod streams;
mod sys;
mod watch;

pub use streams::Streams;

/// What a call asks for; its texts come from the request of the task API only.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// A FIFO's path, or empty.
    pub stdin: &'a str,
    /// A FIFO's path, a URI (`fifo`, `file`, `binary`, `binary-v2`), or empty.
    pub stdout: &'a str,
    /// As `stdout`; the same text means the same destination. Ignored with a terminal.
    pub stderr: &'a str,
    /// The process has a terminal.
    pub terminal: bool,
    /// Who owns the pipes of the process (`io_uid`, `io_gid`); root's stay as they are.
    pub owner: (u32, u32),
    /// The container's id, for a logger.
    pub id: &'a str,
    /// The container's namespace in containerd, for a logger.
    pub namespace: &'a str,
    /// The container's bundle, for failures.
    pub bundle: &'a Path,
}

/// How long others may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long output waits for a destination that nobody has open for reading.
    pub no_reader: Duration,
    /// How long output waits for a reader that takes nothing.
    pub slow_reader: Duration,
    /// How long a logger may take until it is ready.
    pub logger_ready: Duration,
    /// How long a logger may take to end after SIGTERM; then it is killed.
    pub logger_end: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            no_reader: Duration::from_secs(10),
            slow_reader: Duration::from_secs(60),
            logger_ready: Duration::from_secs(30),
            logger_end: Duration::from_secs(12),
        }
    }
}

/// What the process is given.
///
/// It is dropped as soon as the process is created: the end of an output, and the loss of a
/// terminal, are seen only when nobody here has the other end.
#[derive(Debug)]
pub enum ChildStdio {
    /// Standard input, output and error, for `CreateOptions::stdio`.
    Pipes([OwnedFd; 3]),
    /// A connected AF_UNIX stream socket, for `CreateOptions::console_socket`.
    Console(OwnedFd),
}

/// Streams whose process is not created yet.
#[derive(Debug)]
pub struct Prepared {
    /// What the process is given.
    pub child: ChildStdio,
    /// What moves into the loop. Dropped without having been closed, it kills its logger.
    pub streams: Streams,
}

/// Opens everything that a process's streams need, and starts its logger.
///
/// # Errors
///
/// `InvalidArgument` for texts that mean nothing here or lead to something of the wrong kind;
/// otherwise what could not be opened or started, and why. Nothing is left behind but log files
/// and their directories.
pub fn prepare(request: &Request<'_>) -> Result<Prepared, Failure> {
    prepare_with(request, Limits::default())
}

/// [`prepare()`] with other limits.
///
/// # Errors
///
/// As of [`prepare()`].
pub fn prepare_with(request: &Request<'_>, limits: Limits) -> Result<Prepared, Failure> {
    prepare::prepare(request, limits)
}

impl ChildStdio {
    /// The same, lent to a runtime.
    #[must_use]
    pub fn lent(&self) -> crate::engine::ChildStdio<'_> {
        use std::os::fd::AsFd;
        match self {
            Self::Pipes(pipes) => {
                crate::engine::ChildStdio::Descriptors(pipes.each_ref().map(AsFd::as_fd))
            }
            Self::Console(socket) => crate::engine::ChildStdio::Terminal(socket.as_fd()),
        }
    }
}
