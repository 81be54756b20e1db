//! Files of each kind.

use std::io::BufRead;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ftruncate, linkat, makedev, mkdirat, mknodat, openat, statat,
    symlinkat,
};
use rustix::io::{Errno, pwrite, retry_on_intr, write};

use super::directories::Directory;
use super::names::{join, refuse, split};
use super::unpack::{Missing, Unpacker};
use super::{Devices, Whiteouts};
use crate::error::{Error, Result};
use crate::layer::tar::{Entry, Kind, Reader, shown};
use crate::layer::tree::open_directory;

impl Unpacker<'_> {
    pub(super) fn make_file<R: BufRead>(
        &mut self,
        parent: &Rc<Directory>,
        name: &[u8],
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let file = self.create(parent, name, "create", || openat(parent, name, flags, mode))?;
        match &entry.segments {
            None => write_all(&file, entry, reader)?,
            Some(_) => write_parts(&file, entry, reader)?,
        }
        self.give_attributes(&file, parent, entry)
    }

    /// A directory where there is one keeps what is in it and gets new attributes.
    pub(super) fn make_directory(
        &mut self,
        parent: &Rc<Directory>,
        name: &[u8],
        entry: &Entry,
    ) -> Result<()> {
        let path = join(&parent.path, name);
        self.is_no_longer_implied(&path);
        if let Some(known) = self
            .directories
            .kept(&path)
            .filter(|known| known.path == path)
        {
            return self.replace_attributes(&known, entry);
        }
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let failed = |errno| Error::system(format_args!("make directory {}", shown(&path)), errno);
        let open = || {
            let descriptor = open_directory(parent, name)?;
            Directory::open(descriptor, path.clone())
        };
        match mkdirat(parent, name, mode) {
            Ok(()) => {
                let directory = open().map_err(failed)?;
                self.give_directory_attributes(&directory, parent, entry)?;
                self.directories.keep(directory)?;
                return Ok(());
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        match open() {
            Ok(directory) => {
                self.replace_attributes(&directory, entry)?;
                self.directories.keep(directory)?;
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {
                // What this layer had there before has hidden what lower layers have there.
                self.make_room(parent, name)?;
                mkdirat(parent, name, mode).map_err(failed)?;
                let directory = open().map_err(failed)?;
                self.give_directory_attributes(&directory, parent, entry)?;
                self.hide_lower(&directory)?;
                self.directories.keep(directory)?;
            }
            Err(errno) => return Err(failed(errno)),
        }
        Ok(())
    }

    pub(super) fn make_symlink(
        &mut self,
        parent: &Rc<Directory>,
        name: &[u8],
        entry: &Entry,
        target: &[u8],
    ) -> Result<()> {
        self.create(parent, name, "link", || symlinkat(target, parent, name))?;
        self.give_attributes_by_name(parent, name, entry)
    }

    /// Links to what the archive's tree has by the name `target`; whether that was there.
    ///
    /// The attributes are those of the file; what the archive repeats of them is not looked at.
    pub(super) fn make_hard_link(
        &mut self,
        parent: &Rc<Directory>,
        name: &[u8],
        target: &[u8],
    ) -> Result<bool> {
        let path = join(&parent.path, name);
        let (target_parent, target_name) = split(target);
        if target_name.is_empty() || target_name.starts_with(super::WHITEOUT) {
            return Err(refuse(&path, "it is a hard link to what is no file"));
        }
        let Some(from) = self.directory(target_parent, Missing::Leave)? else {
            return Ok(false);
        };
        if self.has_whiteouts && self.stands_whiteout(&from, target_name)? {
            return Ok(false);
        }
        if from.inode == parent.inode && target_name == name {
            return Err(refuse(&path, "it is a hard link to itself"));
        }
        let link = || linkat(&from, target_name, parent, name, AtFlags::empty());
        let failed = |errno| {
            let step = format_args!("link {} to {}", shown(&path), shown(target));
            let error = Error::system(step, errno);
            match errno {
                Errno::PERM => error.advise("directories have no hard links"),
                _ => error,
            }
        };
        match link() {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(Errno::EXIST) if is_same(&from, target_name, parent, name) => Ok(true),
            Err(Errno::EXIST) => {
                self.make_room(parent, name)?;
                link().map_err(failed)?;
                Ok(true)
            }
            Err(errno) => Err(failed(errno)),
        }
    }

    /// A device node, or a named pipe.
    pub(super) fn make_special(
        &mut self,
        parent: &Rc<Directory>,
        name: &[u8],
        entry: &Entry,
    ) -> Result<()> {
        let (kind, device) = match entry.kind {
            Kind::CharacterDevice(0, 0) if self.options.whiteouts != Whiteouts::Remove => {
                let why = "a character device 0:0 would be taken for a file that is removed";
                return Err(refuse(&entry.path, why));
            }
            Kind::CharacterDevice(major, minor) => (FileType::CharacterDevice, (major, minor)),
            Kind::BlockDevice(major, minor) => (FileType::BlockDevice, (major, minor)),
            _ => (FileType::Fifo, (0, 0)),
        };
        let device = makedev(device.0, device.1);
        let mode = Mode::from_raw_mode(entry.mode);
        let make = || mknodat(parent, name, kind, mode, device);
        let may_skip = kind != FileType::Fifo && self.options.devices == Devices::SkipForbidden;
        let made = match make() {
            Err(Errno::EXIST) => {
                self.make_room(parent, name)?;
                make()
            }
            other => other,
        };
        match made {
            Ok(()) => self.give_attributes_by_name(parent, name, entry),
            Err(Errno::PERM) if may_skip => {
                self.warn(format!(
                    "device {} is left out: it may not be made here",
                    entry.shown()
                ));
                Ok(())
            }
            Err(errno) => Err(Error::system(
                format_args!("make device {}", entry.shown()),
                errno,
            )),
        }
    }

    /// Makes something that must be new; what is there already is removed.
    fn create<T>(
        &mut self,
        parent: &Rc<Directory>,
        name: &[u8],
        verb: &str,
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T> {
        let made = match make() {
            Err(Errno::EXIST) => {
                self.make_room(parent, name)?;
                make()
            }
            other => other,
        };
        made.map_err(|errno| {
            let path = join(&parent.path, name);
            Error::system(format_args!("{verb} {}", shown(&path)), errno)
        })
    }
}

/// Content without holes: written as it comes, most files at once.
fn write_all<R: BufRead>(file: &OwnedFd, entry: &Entry, reader: &mut Reader<R>) -> Result<()> {
    loop {
        let bytes = reader.content()?;
        if bytes.is_empty() {
            return Ok(());
        }
        let length =
            retry_on_intr(|| write(file, bytes)).map_err(|errno| unwritten(entry, errno))?;
        reader.consume(length);
    }
}

/// Content with holes: each part at its place.
fn write_parts<R: BufRead>(file: &OwnedFd, entry: &Entry, reader: &mut Reader<R>) -> Result<()> {
    for segment in entry.segments.iter().flatten() {
        let end = segment.offset + segment.length;
        let mut offset = segment.offset;
        while offset < end {
            let bytes = reader.content()?;
            let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
            let bytes = &bytes[..bytes.len().min(left)];
            if bytes.is_empty() {
                return Err(refuse(&entry.path, "its content ends before its last part"));
            }
            let length = retry_on_intr(|| pwrite(file, bytes, offset))
                .map_err(|errno| unwritten(entry, errno))?;
            reader.consume(length);
            offset += length as u64;
        }
    }
    ftruncate(file, entry.size).map_err(|errno| unwritten(entry, errno))
}

fn unwritten(entry: &Entry, errno: Errno) -> Error {
    Error::system(format_args!("write {}", entry.shown()), errno)
}

/// Whether two names are of one file already.
fn is_same(from: impl AsFd, from_name: &[u8], to: impl AsFd, to_name: &[u8]) -> bool {
    let of = |directory, name| statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    match (of(from.as_fd(), from_name), of(to.as_fd(), to_name)) {
        (Ok(from), Ok(to)) => (from.st_dev, from.st_ino) == (to.st_dev, to.st_ino),
        _ => false,
    }
}
