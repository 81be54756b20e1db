//! ioctl(2) of loop devices, loop(4).
#![allow(unsafe_code, reason = "nix lacks these calls")]

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

// linux/loop.h
const LOOP_CTL_GET_FREE: u64 = 0x4c82;
const LOOP_CONFIGURE: u64 = 0x4c0a;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// How a file is behind a loop device.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoopManner {
    pub(super) is_read_only: bool,
    /// Reads and writes go past the page cache of the file's filesystem.
    pub(super) is_direct: bool,
}

/// struct loop_config, with struct loop_info64 in it.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    /// Device, inode, rdevice, offset, size limit.
    numbers: [u64; 5],
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopConfig>() == 304);

/// The number of a loop device that nobody uses at the moment.
pub(super) fn free_loop_device(control: &File) -> Result<i32, Errno> {
    // SAFETY: this request takes no argument.
    Errno::result(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) })
}

/// Puts a file behind a loop device, which is freed with its last user.
pub(super) fn configure_loop_device(
    device: &File,
    file: &File,
    manner: LoopManner,
) -> Result<(), Errno> {
    let mut flags = LO_FLAGS_AUTOCLEAR;
    if manner.is_read_only {
        flags |= LO_FLAGS_READ_ONLY;
    }
    if manner.is_direct {
        flags |= LO_FLAGS_DIRECT_IO;
    }
    let config = LoopConfig {
        fd: u32::try_from(file.as_raw_fd()).map_err(|_| Errno::EBADF)?,
        block_size: 0,
        numbers: [0; 5],
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
        reserved: [0; 8],
    };
    let config = std::ptr::from_ref(&config);
    // SAFETY: the request reads a loop_config, whose layout and size the structure has, and
    // which lives for the call.
    Errno::result(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, config) }).map(drop)
}
