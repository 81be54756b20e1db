//! What the kernel says of itself and of its objects.
#![allow(unsafe_code, reason = "nix lacks these calls")]

use std::ffi::c_long;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::{Result, check};

/// The runtime's capability bounding set, and the highest capability that this kernel knows.
///
/// Only the kernel's own word for "no such capability", EINVAL, ends the list: a container must
/// not have fewer for another reason.
pub(crate) fn capability_bounds() -> Result<(u64, u8)> {
    let mut bounds = 0;
    for capability in 0..64_u8 {
        // SAFETY: takes integers.
        match unsafe { libc::prctl(libc::PR_CAPBSET_READ, c_long::from(capability), 0, 0, 0) } {
            0 => {}
            1 => bounds |= 1 << capability,
            _ => match Errno::last() {
                Errno::EINVAL => return Ok((bounds, capability.saturating_sub(1))),
                errno => return Err(errno),
            },
        }
    }
    Ok((bounds, 63))
}

/// The kind of a namespace (ioctl_nsfs(2), NS_GET_NSTYPE) as a CLONE_NEW* flag; ENOTTY for a
/// descriptor of anything else.
pub(crate) fn namespace_type(namespace: BorrowedFd<'_>) -> Result<u64> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: this request takes no argument.
    let kind = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE as _) };
    check(c_long::from(kind)).map(|kind| u64::try_from(kind).unwrap_or(0))
}
