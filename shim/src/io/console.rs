//! The terminal of a process: how it comes here, and its size.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::{open, sys};
use crate::failure::{Code, Failure};

/// A connected pair: the end that the terminal arrives at, and the runtime's.
pub(super) fn socket_pair() -> Result<(OwnedFd, OwnedFd), Failure> {
    socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .map_err(|errno| Failure::call("make a socket for the terminal", errno))
}

/// Takes the terminal's master from the socket. Its mode is left as the runtime made it, which
/// is what containerd's own shim does; reads and writes of it don't wait.
pub(super) fn receive(socket: &OwnedFd, deadline: Instant) -> Result<OwnedFd, Failure> {
    const ACT: &str = "receive the terminal of the process";
    wait(socket, deadline)?;
    let (length, descriptors) =
        sys::receive_descriptors(socket.as_fd()).map_err(|errno| Failure::call(ACT, errno))?;
    let Ok([master]) = <[OwnedFd; 1]>::try_from(descriptors) else {
        return Err(Failure::unknown(if length == 0 {
            "receive the terminal of the process: the runtime has closed the console socket without sending one: is process.terminal false in config.json?"
        } else {
            "receive the terminal of the process: the runtime's message has no descriptor, or more than one"
        }));
    };
    sys::terminal_number(master.as_fd()).map_err(|_| {
        Failure::unknown(
            "receive the terminal of the process: what the runtime sent is not a terminal's master",
        )
    })?;
    open::set_nonblocking(&master).map_err(|errno| Failure::call(ACT, errno))?;
    Ok(master)
}

fn wait(socket: &OwnedFd, deadline: Instant) -> Result<(), Failure> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) if left.as_millis() == 0 => {
                return Err(Failure::new(
                    Code::DEADLINE_EXCEEDED,
                    "the runtime has created the process and did not send its terminal in time",
                ));
            }
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(Failure::call("wait for the terminal", errno)),
        }
    }
}

/// Sets the size of the terminal's window, in characters.
pub(super) fn resize(master: impl AsFd, width: u32, height: u32) -> Result<(), Failure> {
    let (Ok(columns), Ok(rows)) = (u16::try_from(width), u16::try_from(height)) else {
        return Err(Failure::invalid(format!(
            "resize the terminal to {width} columns and {height} rows: at most {} of each",
            u16::MAX
        )));
    };
    sys::set_window_size(master.as_fd(), columns, rows).map_err(|errno| {
        Failure::call(
            format!("resize the terminal to {columns} columns and {rows} rows"),
            errno,
        )
    })
}
