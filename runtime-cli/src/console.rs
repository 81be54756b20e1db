//! Which end of which socket the process's terminal is sent to.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect as connect_socket, socket,
};

use crate::failure::{Failure, While};
use crate::sys;

/// How often, and how far apart, a listener with a full queue is tried.
const CONNECT_ATTEMPTS: u32 = 200;
const CONNECT_PAUSE: Duration = Duration::from_millis(50);

/// How long the master may take to arrive once the process is started.
const DEADLINE_MS: u16 = 10_000;

/// Where the process's terminal goes.
#[derive(Debug)]
pub(crate) enum Console {
    /// It has none: it inherits our stdio.
    None,
    /// To whoever listens at `--console-socket`.
    Caller(UnixStream),
    /// To ourselves.
    Ours {
        /// The end that the process gets.
        theirs: UnixStream,
        /// The end that the master arrives at.
        ours: UnixStream,
    },
}

impl Console {
    /// Decides by what the process wants and what the caller does afterwards.
    ///
    /// # Errors
    ///
    /// A terminal that nobody would attend, and a socket that no terminal would come to.
    pub(crate) fn new(terminal: bool, detach: bool, socket: Option<&str>) -> Result<Self, Failure> {
        match (terminal, detach, socket) {
            (true, true, Some(path)) => Ok(Self::Caller(connect("--console-socket", path)?)),
            (true, true, None) => Err(Failure::invalid(
                "cannot allocate tty if tare will detach without setting console socket \
                 (give --console-socket PATH, or set process.terminal to false)",
            )),
            (_, _, Some(_)) => Err(Failure::invalid(
                "cannot use console socket if tare will not detach or allocate tty \
                 (leave --console-socket out, or use --detach and process.terminal)",
            )),
            (true, false, None) => {
                let (ours, theirs) = UnixStream::pair().doing("make a console socket")?;
                Ok(Self::Ours { theirs, ours })
            }
            (false, _, None) => Ok(Self::None),
        }
    }

    /// The socket that the library sends the master to.
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::None => None,
            Self::Caller(socket) | Self::Ours { theirs: socket, .. } => Some(socket.as_fd()),
        }
    }

    /// The master, if it was sent to ourselves.
    pub(crate) fn receive(self) -> Result<Option<OwnedFd>, Failure> {
        let Self::Ours { theirs, ours } = self else {
            return Ok(None);
        };
        // With our copy of the other end closed, a master that never comes is an end of file.
        drop(theirs);
        let mut fds = [PollFd::new(ours.as_fd(), PollFlags::POLLIN)];
        let ready =
            poll(&mut fds, PollTimeout::from(DEADLINE_MS)).doing("wait for the terminal")?;
        if ready == 0 {
            return Err(Failure::new(format_args!(
                "the process did not send its terminal within {DEADLINE_MS} ms"
            )));
        }
        let master = sys::receive_fd(ours.as_fd()).doing("receive the terminal")?;
        Ok(Some(master))
    }
}

/// Connects to a socket that a flag names. One whose queue is full is tried again for a while:
/// connect(2) itself would wait for as long as its owner accepts nobody.
pub(crate) fn connect(flag: &str, path: &str) -> Result<UnixStream, Failure> {
    let act = || format!("{flag}: connect to {path}");
    let address = UnixAddr::new(path).doing(act())?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).doing(act())?;
    for _ in 0..CONNECT_ATTEMPTS {
        match connect_socket(socket.as_raw_fd(), &address) {
            Err(Errno::EAGAIN | Errno::EINTR) => std::thread::sleep(CONNECT_PAUSE),
            connected => {
                connected.doing(act())?;
                let stream = UnixStream::from(socket);
                stream.set_nonblocking(false).doing(act())?;
                return Ok(stream);
            }
        }
    }
    let seconds = (CONNECT_PAUSE * CONNECT_ATTEMPTS).as_secs();
    Err(Failure::new(format_args!(
        "{}: its queue is full, and whoever listens there has accepted nobody for {seconds} s",
        act()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_needs_someone_to_attend_it_and_a_socket_needs_a_terminal() {
        let said = |terminal, detach, socket| {
            let failure = Console::new(terminal, detach, socket).unwrap_err();
            failure.message
        };
        insta::assert_snapshot!(said(true, true, None), @"cannot allocate tty if tare will detach without setting console socket (give --console-socket PATH, or set process.terminal to false)");
        let refused = "cannot use console socket if tare will not detach or allocate tty";
        for (terminal, detach) in [(false, false), (false, true), (true, false)] {
            assert!(said(terminal, detach, Some("/x")).starts_with(refused));
        }
        assert!(matches!(Console::new(false, true, None), Ok(Console::None)));
        assert!(Console::new(true, false, None).unwrap().socket().is_some());
    }

    #[test]
    fn a_socket_that_nobody_listens_at_is_named() {
        let failure = Console::new(true, true, Some("/nonexistent/s")).unwrap_err();
        insta::assert_snapshot!(failure.message, @"--console-socket: connect to /nonexistent/s: no such file or directory (ENOENT)");
    }

    #[test]
    fn a_terminal_that_never_comes_is_an_error() {
        let console = Console::new(true, false, None).unwrap();
        assert!(console.receive().is_err());
    }
}
