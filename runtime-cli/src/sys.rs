//! The system calls that nix has no safe function for, one function each.
//!
//! # Safety
//!
//! Every call here passes plain numbers, or a pointer to a local variable of the type that
//! the kernel reads or writes for that request; none keeps the pointer.
#![expect(unsafe_code, reason = "raw system calls live here and nowhere else")]

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

/// Rows and columns of a terminal, as tty_ioctl(4) has them.
pub(crate) type WindowSize = libc::winsize;

/// Lets this process hear how its children end: when whoever has started it ignores SIGCHLD, the
/// kernel forgets them, wait(2)'s NOTES say, and every wait for one of them would fail.
pub(crate) fn hear_of_children() -> nix::Result<()> {
    // SAFETY: a signal's number and the default disposition: no code of ours is ever called.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    if before == libc::SIG_ERR {
        return Err(Errno::last());
    }
    Ok(())
}

/// Whether a descriptor of this number is open and not close-on-exec.
pub(crate) fn is_open_across_exec(fd: i32) -> bool {
    // SAFETY: F_GETFD takes a number and returns one; a number that is no descriptor is EBADF.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

/// The size of a terminal's window (TIOCGWINSZ).
pub(crate) fn window_size(terminal: BorrowedFd<'_>) -> nix::Result<WindowSize> {
    let mut size = WindowSize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the request writes one winsize, and `size` is one that nothing else refers to.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    Errno::result(result).map(|_| size)
}

/// Sets the size of a terminal's window (TIOCSWINSZ).
pub(crate) fn set_window_size(terminal: BorrowedFd<'_>, size: &WindowSize) -> nix::Result<()> {
    // SAFETY: the request reads one winsize, and `size` is a reference to one.
    let result =
        unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, ptr::from_ref(size)) };
    Errno::result(result).map(drop)
}

/// Takes one descriptor out of one message of an AF_UNIX socket; it is close-on-exec.
///
/// # Errors
///
/// EOF and a message without a descriptor are [`io::ErrorKind::UnexpectedEof`].
pub(crate) fn receive_fd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut payload = [0; 4096];
    let mut buffers = [IoSliceMut::new(&mut payload)];
    let mut control = nix::cmsg_space!([i32; 1]);
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut buffers,
        Some(&mut control),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    for item in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = item
            && let [fd] = fds[..]
        {
            // SAFETY: the kernel has just made this descriptor for us, and no one else has
            // its number.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_message_without_a_descriptor_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        io::Write::write_all(&mut &theirs, b"x").unwrap();
        assert!(receive_fd(ours.as_fd()).is_err());
        drop(theirs);
        assert!(receive_fd(ours.as_fd()).is_err());
    }

    #[test]
    fn a_socket_has_no_window() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert!(window_size(ours.as_fd()).is_err());
        assert!(!is_open_across_exec(ours.as_raw_fd()));
    }
}
