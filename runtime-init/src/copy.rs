//! tmpcopyup: what a directory holds, copied into a filesystem that is to cover it.

use core::ffi::CStr;

use crate::directory::for_each_entry;
use crate::failure::{At, refuse};
use crate::paths::{self, Path};
use crate::program::{Call, Failure, RawFd};
use crate::sys::{self, Errno, Fd, Status};

/// How many directories deep a copy goes.
const DEPTH_MAX: u32 = 64;

/// Where an entry is copied from and to.
#[derive(Clone, Copy)]
struct Copy<'a> {
    proc: RawFd,
    /// The file itself, O_PATH.
    source: &'a Fd,
    status: &'a Status,
    directory: RawFd,
    name: &'a CStr,
}

/// Which properties of the new filesystem's own directory its options have chosen.
#[derive(Clone, Copy, Default)]
pub(crate) struct Given {
    pub(crate) mode: bool,
    pub(crate) uid: bool,
    pub(crate) gid: bool,
}

/// Copies directories, files, links, devices and FIFOs with their modes, owners and times.
/// Sockets are left out.
///
/// `from` and `to` are O_PATH descriptors; `to` is not attached, so nobody else changes it.
pub(crate) fn copy_contents(proc: RawFd, from: RawFd, to: RawFd) -> Result<(), Failure> {
    copy_entries(proc, from, to, 0)
}

/// Copies the mode, owner and times of the directory itself, but for what is `given`.
pub(crate) fn copy_own_status(from: RawFd, to: RawFd, given: Given) -> Result<(), Failure> {
    // (uid_t) -1 leaves an id as it is: chown(2).
    let unless = |given: bool, id: u32| if given { u32::MAX } else { id };
    let status = sys::fstat(from).at(Call::Copy)?;
    let (uid, gid) = (unless(given.uid, status.uid), unless(given.gid, status.gid));
    sys::chown(to, uid, gid).at(Call::Copy)?;
    if !given.mode {
        sys::fchmodat(to, c".", status.permissions()).at(Call::Copy)?;
    }
    sys::utimens(to, Some(c"."), status.accessed, status.modified).at(Call::Copy)
}

/// Copies the mode of the directory itself.
pub(crate) fn copy_mode(from: RawFd, to: RawFd) -> Result<(), Failure> {
    let status = sys::fstat(from).at(Call::Copy)?;
    sys::fchmodat(to, c".", status.permissions()).at(Call::Copy)
}

fn copy_directory(proc: RawFd, from: RawFd, to: RawFd, depth: u32) -> Result<(), Failure> {
    copy_entries(proc, from, to, depth)?;
    copy_own_status(from, to, Given::default())
}

fn copy_entries(proc: RawFd, from: RawFd, to: RawFd, depth: u32) -> Result<(), Failure> {
    if depth > DEPTH_MAX {
        return refuse(Call::Copy, libc::ELOOP);
    }
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let list = paths::open_with(from, c".", flags, 0).at(Call::Copy)?;
    for_each_entry(list.raw(), &mut |name| {
        copy_entry(proc, from, to, name, depth)
    })
}

fn copy_entry(proc: RawFd, from: RawFd, to: RawFd, name: &CStr, depth: u32) -> Result<(), Failure> {
    let source = match paths::entry(from, name) {
        // Gone since the directory was read.
        Err(Errno(libc::ENOENT)) => return Ok(()),
        found => found.at(Call::Copy)?,
    };
    let status = sys::fstat(source.raw()).at(Call::Copy)?;
    let copy = Copy {
        proc,
        source: &source,
        status: &status,
        directory: to,
        name,
    };
    match status.kind() {
        libc::S_IFDIR => {
            sys::mkdirat(to, name, 0o700).at(Call::Copy)?;
            let made = paths::entry(to, name).at(Call::Copy)?;
            copy_directory(proc, source.raw(), made.raw(), depth + 1)
        }
        libc::S_IFREG => copy_file(copy),
        libc::S_IFLNK => copy_link(copy),
        libc::S_IFSOCK => Ok(()),
        _ => copy_node(copy),
    }
}

#[inline(never)]
fn copy_file(copy: Copy<'_>) -> Result<(), Failure> {
    let source = paths::reopen(copy.proc, copy.source.raw(), libc::O_RDONLY).at(Call::Copy)?;
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let made = sys::openat2(copy.directory, copy.name, flags, 0o600, 0).at(Call::Copy)?;
    let mut buffer = [0_u8; 16 * 1024];
    loop {
        let length = sys::uninterrupted(|| sys::read(source.raw(), &mut buffer)).at(Call::Copy)?;
        let Some(bytes @ [_, ..]) = buffer.get(..length) else {
            break;
        };
        write_all(made.raw(), bytes)?;
    }
    sys::chown(made.raw(), copy.status.uid, copy.status.gid).at(Call::Copy)?;
    // After the owner: a change of owner clears set-user-id.
    sys::fchmod(made.raw(), copy.status.permissions()).at(Call::Copy)?;
    sys::utimens(made.raw(), None, copy.status.accessed, copy.status.modified).at(Call::Copy)
}

fn write_all(file: RawFd, mut bytes: &[u8]) -> Result<(), Failure> {
    while !bytes.is_empty() {
        let written = sys::uninterrupted(|| sys::write(file, bytes)).at(Call::Copy)?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

#[inline(never)]
fn copy_link(copy: Copy<'_>) -> Result<(), Failure> {
    let mut text = Path::new();
    let length = sys::readlinkat(copy.source.raw(), c"", text.room()).at(Call::Copy)?;
    text.truncate(length);
    sys::symlinkat(text.as_c_str(), copy.directory, copy.name).at(Call::Copy)?;
    own(copy)
}

fn copy_node(copy: Copy<'_>) -> Result<(), Failure> {
    let Status {
        device_major: major,
        device_minor: minor,
        ..
    } = *copy.status;
    let mode = u32::from(copy.status.mode);
    sys::mknodat(copy.directory, copy.name, mode, major, minor).at(Call::Copy)?;
    own(copy)
}

/// Gives a link or node its owner and times.
fn own(copy: Copy<'_>) -> Result<(), Failure> {
    let made = paths::entry(copy.directory, copy.name).at(Call::Copy)?;
    sys::chown(made.raw(), copy.status.uid, copy.status.gid).at(Call::Copy)?;
    let (accessed, modified) = (copy.status.accessed, copy.status.modified);
    sys::utimens(copy.directory, Some(copy.name), accessed, modified).at(Call::Copy)
}
