//! System calls that nix lacks: the only unsafe code of this module.
#![allow(unsafe_code, reason = "this is the room where unsafe lives")]

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

/// A descriptor of the process, close-on-exec: pidfd_open(2). The number of a child that has not
/// been reaped is its own.
pub(super) fn pidfd_open(pid: libc::pid_t) -> Result<OwnedFd, Errno> {
    // SAFETY: two integer arguments; the kernel reads and writes no memory of ours.
    let number = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let number = RawFd::try_from(Errno::result(number)?).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sets the size of a terminal's window, in characters: ioctl_tty(2), TIOCSWINSZ.
pub(super) fn set_window_size(
    terminal: BorrowedFd<'_>,
    columns: u16,
    rows: u16,
) -> Result<(), Errno> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCSWINSZ reads a winsize, which is live for the call.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    Errno::result(done).map(drop)
}

/// The number of the pseudoterminal whose master this is: ioctl_tty(2), TIOCGPTN.
///
/// ENOTTY when it is no master.
pub(super) fn terminal_number(master: BorrowedFd<'_>) -> Result<u32, Errno> {
    let mut number: libc::c_uint = 0;
    // SAFETY: TIOCGPTN writes an unsigned int, which is live and exclusively borrowed.
    let done = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) };
    Errno::result(done).map(|_| number)
}

/// Another descriptor of the same open file whose number is `lowest` or more, close-on-exec.
pub(super) fn dup_above(fd: BorrowedFd<'_>, lowest: RawFd) -> Result<OwnedFd, Errno> {
    let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(lowest))?;
    // SAFETY: the kernel has just made this descriptor, and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Takes what one message of an AF_UNIX socket brings: how many bytes of payload (0 at the end
/// of the connection), and the descriptors, close-on-exec (unix(7), SCM_RIGHTS).
pub(super) fn receive_descriptors(socket: BorrowedFd<'_>) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut payload = [0; 256];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut slices = [IoSliceMut::new(&mut payload)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            // SAFETY: the kernel has just made these descriptors for this message, and each
            // number is turned into an owner once.
            descriptors.extend(
                numbers
                    .into_iter()
                    .map(|n| unsafe { OwnedFd::from_raw_fd(n) }),
            );
        }
    }
    Ok((message.bytes, descriptors))
}
