//! The system calls of this program that no safe interface has.
#![allow(unsafe_code, reason = "this is the place for it")]

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::{FileType, fstat};
use rustix::io::{FdFlags, fcntl_setfd};

/// Takes a pipe that the program which started this one has left open, at this number.
pub(crate) fn take_inherited(number: RawFd) -> Option<OwnedFd> {
    if number <= 2 {
        return None;
    }
    // SAFETY: a number of no open descriptor only makes the calls below fail with EBADF; nothing
    // else of this process, which has just begun, has one of these numbers open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let status = fstat(borrowed).ok()?;
    if FileType::from_raw_mode(status.st_mode) != FileType::Fifo {
        return None;
    }
    fcntl_setfd(borrowed, FdFlags::CLOEXEC).ok()?;
    // SAFETY: it is open, as fstat has shown, and this process was given it: nobody else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Lets this process hear how its children end: when whoever has started it ignores SIGCHLD, the
/// kernel forgets them, wait(2)'s NOTES say, and every wait for one of them would fail.
pub(crate) fn hear_of_children() -> io::Result<()> {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: the default disposition: no code of ours is ever called.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    Ok(())
}

/// Lets the next program that is started inherit a descriptor.
pub(crate) fn pass_on(number: RawFd) -> io::Result<()> {
    // SAFETY: the caller owns the descriptor and keeps it open over this call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_setfd(borrowed, FdFlags::empty()).map_err(io::Error::from)
}
