//! Owner, mode, extended attributes and times: as few calls as each file needs.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, Gid, Mode, Timespec, Timestamps, Uid, chmodat, chownat, fchmod, fchown, futimens,
    utimensat,
};
use rustix::io::Errno;

use super::directories::Directory;
use super::names::join;
use super::unpack::Unpacker;
use crate::error::{Error, Result};
use crate::layer::tar::{Entry, Kind, Time, shown};

/// Bits that making a file doesn't give it for sure, and that changing its owner takes.
const SPECIAL_BITS: u32 = 0o7000;

impl Unpacker<'_> {
    /// A file that was just made, and written.
    pub(super) fn give_attributes(
        &mut self,
        file: &OwnedFd,
        parent: &Directory,
        entry: &Entry,
    ) -> Result<()> {
        let owner = self.owner(entry)?;
        if !self.is_born_with(owner, parent) {
            set_owner(file, owner).map_err(|errno| failed("set the owner of", entry, errno))?;
        }
        if entry.mode & SPECIAL_BITS != 0 || !self.has_own_umask {
            set_mode(file, entry.mode).map_err(|errno| failed("set the mode of", entry, errno))?;
        }
        self.set_xattrs(file, entry)?;
        // Last: the calls before it are changes, too.
        futimens(file, &timestamps(entry.mtime))
            .map_err(|errno| failed("set the times of", entry, errno))
    }

    /// A directory that was just made. Its times are set when all is done in it.
    pub(super) fn give_directory_attributes(
        &mut self,
        directory: &Directory,
        parent: &Directory,
        entry: &Entry,
    ) -> Result<()> {
        let owner = self.owner(entry)?;
        if !self.is_born_with(owner, parent) {
            set_owner(directory, owner)
                .map_err(|errno| failed("set the owner of", entry, errno))?;
        }
        let inherits = parent.has_setgid.get();
        if entry.mode & SPECIAL_BITS != 0 || inherits || !self.has_own_umask {
            set_mode(directory, entry.mode)
                .map_err(|errno| failed("set the mode of", entry, errno))?;
        }
        self.set_directory_xattrs(directory, entry)?;
        remember(directory, owner, entry);
        Ok(())
    }

    /// A directory that was there before.
    pub(super) fn replace_attributes(
        &mut self,
        directory: &Rc<Directory>,
        entry: &Entry,
    ) -> Result<()> {
        let owner = self.owner(entry)?;
        set_owner(directory, owner)
            .and_then(|()| set_mode(directory, entry.mode))
            .map_err(|errno| failed("set the owner and mode of", entry, errno))?;
        self.clear_xattrs(directory, entry)?;
        self.set_directory_xattrs(directory, entry)?;
        remember(directory, owner, entry);
        Ok(())
    }

    /// What can't be opened: a link, a device, a pipe that was just made.
    pub(super) fn give_attributes_by_name(
        &mut self,
        parent: &Directory,
        name: &[u8],
        entry: &Entry,
    ) -> Result<()> {
        let owner = self.owner(entry)?;
        let is_link = matches!(entry.kind, Kind::Symlink(_));
        let object = || shown(&join(&parent.path, name));
        if !self.is_born_with(owner, parent) {
            let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
            chownat(
                parent,
                name,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(|errno| failed_on("set the owner of", &object(), errno))?;
        }
        // A link has no mode. Nothing else can have taken the name of what was just made.
        if !is_link && (entry.mode & SPECIAL_BITS != 0 || !self.has_own_umask) {
            let mode = Mode::from_raw_mode(entry.mode);
            chmodat(parent, name, mode, AtFlags::empty())
                .map_err(|errno| failed_on("set the mode of", &object(), errno))?;
        }
        self.set_xattrs_by_name(parent, name, entry)?;
        let times = timestamps(entry.mtime);
        utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| failed_on("set the times of", &object(), errno))
    }

    fn owner(&self, entry: &Entry) -> Result<(u32, u32)> {
        let translate = || {
            let ids = &self.options.ids;
            Ok((ids.user(entry.uid)?, ids.group(entry.gid)?))
        };
        translate().map_err(|error: Error| error.within(format_args!("entry {}", entry.shown())))
    }

    /// Whether what is made in `parent` belongs to `owner` from the start. The group may be the
    /// directory's (setgid, or the mount option `grpid`) or the creator's.
    fn is_born_with(&self, owner: (u32, u32), parent: &Directory) -> bool {
        owner == self.creator && parent.gid.get() == owner.1
    }
}

/// What is known of the directory, for what is made in it later.
fn remember(directory: &Directory, owner: (u32, u32), entry: &Entry) {
    directory.gid.set(owner.1);
    directory.has_setgid.set(entry.mode & 0o2000 != 0);
    let time = timespec(entry.mtime);
    directory.times.set((time, time));
    directory.is_touched.set(true);
}

pub(in super::super) fn set_owner(file: impl AsFd, owner: (u32, u32)) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    fchown(file, Some(uid), Some(gid))
}

fn set_mode(file: impl AsFd, mode: u32) -> Result<(), Errno> {
    fchmod(file, Mode::from_raw_mode(mode))
}

fn timespec(time: Time) -> Timespec {
    Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    }
}

/// Last access and last modification: an archive has no more than the latter.
fn timestamps(time: Time) -> Timestamps {
    Timestamps {
        last_access: timespec(time),
        last_modification: timespec(time),
    }
}

fn failed(step: &str, entry: &Entry, errno: Errno) -> Error {
    failed_on(step, &entry.shown(), errno)
}

fn failed_on(step: &str, object: &str, errno: Errno) -> Error {
    let error = Error::system(format_args!("{step} {object}"), errno);
    match errno {
        Errno::PERM | Errno::INVAL => error.advise(
            "owners and special modes need root, or a user namespace whose maps have the ids",
        ),
        _ => error,
    }
}
