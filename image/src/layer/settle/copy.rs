//! Files and attributes from one layer to another one.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags,
    chmodat, chownat, copy_file_range, fchmod, fchown, fremovexattr, fsetxattr, ftruncate,
    futimens, lremovexattr, lsetxattr, mknodat, openat, readlinkat, seek, symlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::fchdir;

use super::view::kind;
use crate::layer::pack::{xattrs, xattrs_by_name};
use crate::layer::tar::Xattr;

/// Makes `to_name` in `to` a copy of a file that is no directory, with all its attributes. The
/// calling thread has a working directory of its own.
pub(super) fn file(
    from: &OwnedFd,
    from_name: &[u8],
    stat: &Stat,
    to: &OwnedFd,
    to_name: &[u8],
) -> Result<(), Errno> {
    match kind(stat) {
        FileType::RegularFile => return regular(from, from_name, stat, to, to_name),
        FileType::Symlink => {
            let target = readlinkat(from, from_name, Vec::new())?;
            symlinkat(&target, to, to_name)?;
        }
        special => {
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            mknodat(to, to_name, special, mode, stat.st_rdev)?;
        }
    }
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(to, to_name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if kind(stat) != FileType::Symlink {
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        chmodat(to, to_name, mode, AtFlags::empty())?;
    }
    let wanted = xattrs_by_name(from, from_name)?;
    let present = xattrs_by_name(to, to_name)?;
    fchdir(to)?;
    replace(
        &wanted,
        &present,
        |name, value| lsetxattr(to_name, name, value, XattrFlags::empty()),
        |name| lremovexattr(to_name, name),
    )?;
    utimensat(to, to_name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}

fn regular(
    from: &OwnedFd,
    from_name: &[u8],
    stat: &Stat,
    to: &OwnedFd,
    to_name: &[u8],
) -> Result<(), Errno> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = openat(from, from_name, OFlags::RDONLY | flags, Mode::empty())?;
    let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | flags;
    let target = openat(to, to_name, new, Mode::RUSR | Mode::WUSR)?;
    content(&source, &target, stat)?;
    attributes(&source, stat, &target)
}

/// Copies what is no hole.
fn content(from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> Result<(), Errno> {
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    ftruncate(to, size)?;
    let mut position = 0;
    while position < size {
        let mut start = match seek(from, SeekFrom::Data(position)) {
            Ok(start) => start,
            // Only a hole is left.
            Err(Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let end = seek(from, SeekFrom::Hole(start))?;
        let mut target = start;
        while start < end {
            let length = usize::try_from(end - start).unwrap_or(usize::MAX);
            let copied = copy_file_range(from, Some(&mut start), to, Some(&mut target), length)?;
            if copied == 0 {
                return Err(Errno::IO);
            }
        }
        position = end;
    }
    Ok(())
}

/// Gives an open file or directory the owner, mode, attributes and times of another one.
pub(super) fn attributes(from: impl AsFd, stat: &Stat, to: impl AsFd) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchown(&to, Some(uid), Some(gid))?;
    fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    replace(
        &xattrs(&from)?,
        &xattrs(&to)?,
        |name, value| fsetxattr(&to, name, value, XattrFlags::empty()),
        |name| fremovexattr(&to, name),
    )?;
    futimens(&to, &times(stat))
}

/// Sets the attributes that are wanted, and removes others: what is made in a directory with a
/// default access list gets one.
fn replace(
    wanted: &[Xattr],
    present: &[Xattr],
    set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>,
    remove: impl Fn(&[u8]) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let is_wanted = |name: &[u8]| wanted.iter().any(|xattr| xattr.name == name);
    for xattr in present.iter().filter(|xattr| !is_wanted(&xattr.name)) {
        remove(&xattr.name)?;
    }
    let mut each = wanted.iter();
    each.try_for_each(|xattr| set(&xattr.name, &xattr.value))
}

/// A file's times, to be set again.
pub(super) fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}
