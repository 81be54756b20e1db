//! A file as an archive's entry.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    FileType, Mode, OFlags, SeekFrom, Stat, fgetxattr, fstat, lgetxattr, llistxattr, major, minor,
    openat, readlinkat, seek,
};
use rustix::io::Errno;
use rustix::process::fchdir;

use super::PackOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::apply::{attribute_names, is_an_images, split_names, untranslated};
use crate::layer::tar::{Entry, Kind, Segment, Time, Xattr, shown};

/// Holes that are smaller are written as zeros.
const SMALLEST_HOLE: u64 = 64 << 10;

/// A file that is to be packed.
pub(super) struct Packed {
    pub(super) entry: Entry,
    /// A regular file, open.
    pub(super) content: Option<OwnedFd>,
}

/// Describes what `parent` has by this name; none for a socket, which no archive can hold.
///
/// The calling thread has a working directory of its own.
pub(super) fn describe(
    parent: &OwnedFd,
    name: &[u8],
    path: &[u8],
    stat: &Stat,
    options: &PackOptions,
) -> Result<Option<Packed>> {
    let failed = |errno| unread(path, errno);
    let mut content = None;
    let device = (major(stat.st_rdev), minor(stat.st_rdev));
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            content = Some(open(parent, name, stat).map_err(failed)?);
            Kind::Regular
        }
        FileType::Directory => Kind::Directory,
        FileType::Symlink => {
            let target = readlinkat(parent, name, Vec::new()).map_err(failed)?;
            Kind::Symlink(target.into_bytes())
        }
        FileType::CharacterDevice => Kind::CharacterDevice(device.0, device.1),
        FileType::BlockDevice => Kind::BlockDevice(device.0, device.1),
        FileType::Fifo => Kind::Fifo,
        FileType::Socket | FileType::Unknown => return Ok(None),
    };
    let mut entry = metadata(path, kind, stat, options)?;
    entry.xattrs = match &content {
        Some(file) => xattrs(file),
        None => xattrs_by_name(parent, name),
    }
    .map_err(failed)?;
    entry.xattrs = images_xattrs(entry.xattrs, options)?;
    if let Some(file) = &content {
        entry.size = u64::try_from(stat.st_size).unwrap_or_default();
        entry.segments = segments(file, entry.size).map_err(failed)?;
    }
    Ok(Some(Packed { entry, content }))
}

/// Attributes as an image has them: ids in them are translated back, as owners are.
pub(super) fn images_xattrs(xattrs: Vec<Xattr>, options: &PackOptions) -> Result<Vec<Xattr>> {
    let back = |xattr| untranslated(xattr, &options.ids);
    xattrs.into_iter().map(back).collect()
}

/// What doesn't need the file to be opened.
pub(super) fn metadata(
    path: &[u8],
    kind: Kind,
    stat: &Stat,
    options: &PackOptions,
) -> Result<Entry> {
    let within = |error: Error| error.within(shown(path));
    let (uid, gid) = options
        .ids
        .reverse(stat.st_uid, stat.st_gid)
        .map_err(within)?;
    let mut path = path.to_vec();
    if kind == Kind::Directory {
        path.push(b'/');
    }
    let is_link = matches!(kind, Kind::Symlink(_));
    Ok(Entry {
        path,
        kind,
        mode: if is_link {
            0o777
        } else {
            stat.st_mode & 0o7777
        },
        uid,
        gid,
        mtime: options.clamped(Time {
            seconds: stat.st_mtime,
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
        }),
        ..Entry::default()
    })
}

/// Opens the very file that was looked at: by its name there may be another one meanwhile, such
/// as a device, whose content is the host's.
fn open(parent: &OwnedFd, name: &[u8], stat: &Stat) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(parent, name, flags, Mode::empty())?;
    let opened = fstat(&file)?;
    let is_same = (opened.st_dev, opened.st_ino) == (stat.st_dev, stat.st_ino)
        && FileType::from_raw_mode(opened.st_mode) == FileType::RegularFile;
    is_same.then_some(file).ok_or(Errno::STALE)
}

/// Why something that was there a moment ago can't be read.
pub(super) fn unread(path: &[u8], errno: Errno) -> Error {
    match errno {
        // Gone, no directory or no link any more, or a device without a driver.
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::INVAL | Errno::STALE | Errno::NXIO => {
            Error::new(
                ErrorKind::InUse,
                format!("{} was changed while it was packed", shown(path)),
            )
        }
        _ => Error::system(format_args!("read {}", shown(path)), errno),
    }
}

/// Attributes of an open file or directory that belong into an image, sorted.
pub(in super::super) fn xattrs(file: impl AsFd) -> Result<Vec<Xattr>, Errno> {
    let names = attribute_names(&file)?;
    collect(names, |name, value| fgetxattr(&file, name, value))
}

/// The same of what can't be opened. The calling thread has a working directory of its own, which
/// is `parent` afterwards.
pub(in super::super) fn xattrs_by_name(parent: &OwnedFd, name: &[u8]) -> Result<Vec<Xattr>, Errno> {
    fchdir(parent)?;
    let mut list = vec![0; 1 << 16];
    let length = match llistxattr(name, &mut list[..]) {
        Err(Errno::NOTSUP) => 0,
        other => other?,
    };
    collect(split_names(&list[..length]), |attribute, value| {
        lgetxattr(name, attribute, value)
    })
}

fn collect(
    mut names: Vec<Vec<u8>>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>,
) -> Result<Vec<Xattr>, Errno> {
    names.retain(|name| is_an_images(name));
    names.sort();
    let mut value = vec![0; if names.is_empty() { 0 } else { 1 << 16 }];
    let read = |name: Vec<u8>| {
        let length = get(&name, &mut value)?;
        let value = value[..length].to_vec();
        Ok(Xattr { name, value })
    };
    names.into_iter().map(read).collect()
}

/// The parts between holes, if there are holes worth it.
fn segments(file: &OwnedFd, size: u64) -> Result<Option<Vec<Segment>>, Errno> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut position = 0;
    let mut is_sparse = false;
    while position < size {
        let start = match seek(file, SeekFrom::Data(position)) {
            Err(Errno::NXIO) => size,
            other => other?,
        };
        let hole = start.min(size) - position;
        is_sparse |= hole >= SMALLEST_HOLE;
        if start >= size {
            break;
        }
        let end = seek(file, SeekFrom::Hole(start))?.min(size);
        match segments.last_mut() {
            Some(last) if hole < SMALLEST_HOLE => last.length = end - last.offset,
            // A small hole at the begin is content, too.
            None if hole < SMALLEST_HOLE => segments.push(Segment {
                offset: 0,
                length: end,
            }),
            _ => segments.push(Segment {
                offset: start,
                length: end - start,
            }),
        }
        position = end;
    }
    seek(file, SeekFrom::Start(0))?;
    Ok(is_sparse.then_some(segments))
}

/// A file whose name would be taken for a whiteout.
pub(super) fn reserved(path: &[u8]) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "{} can't be in a layer: names that begin with \".wh.\" say that a file is removed",
            shown(path)
        ),
    )
}
