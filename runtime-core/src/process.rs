//! A process, held by its pidfd.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::sys::pidfd;

/// A process that can be signalled and waited for without ever meeting a reused number.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    pidfd: OwnedFd,
    warnings: Vec<String>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Sends a signal to the process of a pidfd (pidfd_send_signal(2)), never to a reused number.
///
/// # Errors
///
/// ESRCH when the process has ended.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    pidfd::send_signal(pidfd, signal)
}

/// Whether processes can be taken hold of and signalled at all: a seccomp filter around the runtime
/// may hide either call, and then nothing could be ended that was begun.
///
/// # Errors
///
/// The call, and ENOSYS or what the filter says.
pub(crate) fn can_be_ended() -> Result<(), (&'static str, Errno)> {
    // There is no process 0.
    match pidfd::open(0) {
        Ok(_) | Err(Errno::EINVAL) => {}
        Err(errno) => return Err(("pidfd_open(2)", errno)),
    }
    match pidfd::send_signal_to_nobody() {
        Ok(()) | Err(Errno::EBADF) => Ok(()),
        Err(errno) => Err(("pidfd_send_signal(2)", errno)),
    }
}

impl Exit {
    /// The status that shells and runtimes report: 128 and the signal's number for a signal.
    #[must_use]
    pub const fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(number) => match nix::sys::signal::Signal::try_from(*number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
        }
    }
}

impl Process {
    pub(crate) fn new(pid: i32, pidfd: OwnedFd) -> Self {
        Self {
            pid,
            pidfd,
            warnings: Vec::new(),
        }
    }

    /// The same process, and what was asked for it and could not be given.
    pub(crate) fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    /// Takes hold of the process that has this number now: pidfd_open(2). A number may have
    /// been reused, but for that of a child which nobody else reaps; of one that ought to be,
    /// [`Process::is_child`] tells.
    ///
    /// # Errors
    ///
    /// ESRCH when there is none, EINVAL for a number that is none.
    pub fn open(pid: i32) -> Result<Self, Errno> {
        pidfd::open(pid).map(|pidfd| Self::new(pid, pidfd))
    }

    /// The same process, held once more.
    pub(crate) fn try_clone(&self) -> Result<Self, Errno> {
        let pidfd = self.pidfd.try_clone();
        let pidfd = pidfd.map_err(|error| crate::errno::of_io(&error))?;
        Ok(Self::new(self.pid, pidfd))
    }

    /// What [`Container::exec`](crate::Container::exec) was asked for this process and could not
    /// give; of a container's first process, [`Container::warnings`](crate::Container::warnings)
    /// tells.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Its number in the runtime's pid namespace.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// ESRCH when the process has ended.
    pub fn signal(&self, signal: i32) -> Result<(), Errno> {
        pidfd::send_signal(self.pidfd.as_fd(), signal)
    }

    /// Sends SIGKILL; a process that has ended meanwhile is as good as killed.
    pub(crate) fn kill(&self) -> Result<(), Errno> {
        match self.signal(libc::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Waits for a child of this program to end, and reaps it.
    ///
    /// # Errors
    ///
    /// ECHILD when it is no child of this program.
    pub fn wait(&self) -> Result<Exit, Errno> {
        pidfd::wait(self.pidfd.as_fd()).map(|ended| match ended {
            pidfd::Ended::Exited(code) => Exit::Code(code),
            pidfd::Ended::Signaled(signal) => Exit::Signal(signal),
        })
    }

    /// Whether it is a child of this program that has not been reaped.
    #[must_use]
    pub fn is_child(&self) -> bool {
        pidfd::is_child(self.pidfd.as_fd())
    }

    /// Sends the pidfd over a connected AF_UNIX socket, with a word about the process.
    pub(crate) fn send_to(&self, socket: BorrowedFd<'_>, word: &[u8]) -> Result<(), Errno> {
        let numbers = [self.pidfd.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&numbers)];
        let flags = MsgFlags::MSG_NOSIGNAL;
        sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(word)],
            &rights,
            flags,
            None,
        )
        .map(|_| ())
    }

    /// Whether the process has ended within the time.
    pub(crate) fn ended_within(&self, time: Duration) -> Result<bool, Errno> {
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        loop {
            let mut polled = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, timeout) {
                Err(Errno::EINTR) => {}
                result => return result.map(|ready| ready > 0),
            }
        }
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
