//! Descriptors that come from elsewhere: with a message (recvmsg(2)), or as a number (fcntl(2)).
#![allow(
    unsafe_code,
    reason = "nix gives received descriptors as plain numbers"
)]

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::Result;

/// Receives one message without waiting: its length, and the first descriptor that came along;
/// further ones are closed. EMSGSIZE for a message that is longer than the buffer.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> Result<(usize, Option<OwnedFd>)> {
    let mut room = nix::cmsg_space!([std::os::fd::RawFd; 8]);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut room), flags)?;
    let mut received = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = part {
            for number in numbers {
                // SAFETY: the kernel has just installed this descriptor for this message alone.
                received.push(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    Ok((message.bytes, received.into_iter().next()))
}

/// A copy of a descriptor whose number is not one of the standard streams', close-on-exec; EBADF
/// when it is not open.
pub(crate) fn duplicate_above_streams(fd: std::os::fd::RawFd) -> Result<OwnedFd> {
    // SAFETY: takes integers.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    super::own(std::ffi::c_long::from(copy))
}
