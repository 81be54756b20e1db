//! Files that a layer removes: of lower layers only, wherever in the archive it says so.

use std::os::fd::AsFd;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Mode, Stat, Timestamps, XattrFlags, fsetxattr, mknodat, statat, unlinkat,
    utimensat,
};
use rustix::io::Errno;

use super::Whiteouts;
use super::directories::Directory;
use super::names::join;
use super::seen::Made;
use super::unpack::Unpacker;
use crate::error::{Error, Result};
use crate::layer::tar::{Entry, shown};
use crate::layer::tree::{self, open_directory};

impl Unpacker<'_> {
    /// `.wh.NAME`: lower layers' NAME is gone; what this layer has by that name stays.
    pub(super) fn white_out(&mut self, parent: &Rc<Directory>, name: &[u8]) -> Result<()> {
        match self.options.whiteouts {
            Whiteouts::Overlay { .. } => self.mark_removed(parent, name),
            Whiteouts::Remove => {
                self.remove_lower(parent, name)?;
                self.mark_directory(parent)
            }
        }
    }

    /// `.wh..wh..opq`: of what lower layers have in this directory nothing is seen.
    pub(super) fn make_opaque(&mut self, directory: &Rc<Directory>) -> Result<()> {
        match self.options.whiteouts {
            Whiteouts::Overlay { .. } => {
                self.is_root_opaque |= directory.path.is_empty();
                self.hide_lower(directory)
            }
            Whiteouts::Remove => {
                self.directories.forget()?;
                self.remove_lower_children(directory)?;
                self.directories.touch(directory)?;
                self.mark_directory(directory)
            }
        }
    }

    /// Whether this is how an overlay's layer says that a file is removed.
    pub(super) fn is_whiteout(&self, stat: &Stat) -> bool {
        let is_overlay = self.options.whiteouts != Whiteouts::Remove;
        let kind = FileType::from_raw_mode(stat.st_mode);
        is_overlay && kind == FileType::CharacterDevice && stat.st_rdev == 0
    }

    /// Whether `directory` has a whiteout by this name.
    pub(super) fn stands_whiteout(&self, directory: &Directory, name: &[u8]) -> Result<bool> {
        match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(self.is_whiteout(&stat)),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => {
                let path = join(&directory.path, name);
                Err(Error::system(
                    format_args!("look at {}", shown(&path)),
                    errno,
                ))
            }
        }
    }

    /// Directories of lower layers don't shine through this one.
    pub(super) fn hide_lower(&mut self, directory: &Directory) -> Result<()> {
        let name = match self.options.whiteouts {
            Whiteouts::Overlay { user_xattr: true } => "user.overlay.opaque",
            Whiteouts::Overlay { user_xattr: false } => "trusted.overlay.opaque",
            Whiteouts::Remove => return Ok(()),
        };
        fsetxattr(directory, name, b"y", XattrFlags::empty()).map_err(|errno| {
            let object = directory.shown();
            let error = Error::system(format_args!("set {name} of {object}"), errno);
            match errno {
                Errno::PERM | Errno::NOTSUP => error.advise(
                    "an overlay's marks need root for trusted.* and a file system that has \
                     user.* (not tmpfs before Linux 6.6)",
                ),
                _ => error,
            }
        })
    }

    /// An overlay's mark: a device 0:0.
    fn mark_removed(&mut self, parent: &Rc<Directory>, name: &[u8]) -> Result<()> {
        let path = join(&parent.path, name);
        let failed = |errno| Error::system(format_args!("white out {}", shown(&path)), errno);
        let mode = Mode::from_raw_mode(0);
        match mknodat(parent, name, FileType::CharacterDevice, mode, 0) {
            Ok(()) => {}
            Err(Errno::EXIST) => return self.hide_below(parent, name),
            Err(errno) => {
                return Err(failed(errno)
                    .advise("a user namespace's root may make such marks since Linux 5.8"));
            }
        }
        self.has_whiteout(parent)?;
        self.directories.touch(parent)?;
        // The same wherever and whenever it is made.
        let epoch = Timestamps {
            last_access: Default::default(),
            last_modification: Default::default(),
        };
        utimensat(parent, name, &epoch, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
    }

    /// What this layer has by a removed name hides the lower one; a directory has to say so.
    fn hide_below(&mut self, parent: &Rc<Directory>, name: &[u8]) -> Result<()> {
        let path = join(&parent.path, name);
        match open_directory(parent, name) {
            Ok(descriptor) => {
                let directory = Directory::open(descriptor, path.clone())
                    .map_err(|errno| Error::system(format_args!("open {}", shown(&path)), errno))?;
                // Of the lower directory not even the attributes are left.
                self.is_no_longer_implied(&path);
                self.hide_lower(&directory)
            }
            Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(errno) => Err(Error::system(format_args!("open {}", shown(&path)), errno)),
        }
    }

    /// A directory that the archive doesn't name, where it has removed the lower one.
    pub(super) fn imply_over_whiteout(
        &mut self,
        above: &Rc<Directory>,
        name: &[u8],
    ) -> Result<Rc<Directory>> {
        unlinkat(above, name, AtFlags::empty()).map_err(|errno| {
            let path = join(&above.path, name);
            Error::system(format_args!("replace {}", shown(&path)), errno)
        })?;
        let directory = self.imply(above, name)?;
        self.hide_lower(&directory)?;
        Ok(directory)
    }

    fn remove_lower(&mut self, parent: &Rc<Directory>, name: &[u8]) -> Result<()> {
        let path = join(&parent.path, name);
        let failed = |errno| Error::system(format_args!("remove {}", shown(&path)), errno);
        // First: what is open has times that are not set yet.
        self.directories.forget()?;
        if !self.is_this_layers(parent, name) {
            return match tree::remove(parent.as_fd(), name) {
                Ok(()) => self.directories.touch(parent),
                Err(Errno::NOENT) => Ok(()),
                Err(errno) => Err(failed(errno)),
            };
        }
        let directory = match open_directory(parent, name) {
            Ok(descriptor) => Directory::open(descriptor, path.clone()).map_err(failed)?,
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(failed(errno)),
        };
        self.forget_lower_attributes(parent, name, &directory)?;
        self.remove_lower_children(&directory)?;
        self.directories.touch(&directory)
    }

    /// Removes what is in a directory and not of this layer, at any depth.
    fn remove_lower_children(&mut self, directory: &Rc<Directory>) -> Result<()> {
        let failed = |errno| {
            let object = directory.shown();
            Error::system(
                format_args!("remove what lower layers have in {object}"),
                errno,
            )
        };
        let mut kept = Vec::new();
        let mut lower = Vec::new();
        tree::for_each(directory, |name, _| -> Result<(), Errno> {
            match self.is_this_layers(directory, name) {
                true => kept.push(name.to_vec()),
                false => lower.push(name.to_vec()),
            }
            Ok(())
        })
        .map_err(failed)?;
        for name in lower {
            tree::remove(directory.as_fd(), &name).map_err(failed)?;
            directory.is_touched.set(true);
        }
        for name in kept {
            let child = match open_directory(directory, &name) {
                Ok(descriptor) => Directory::open(descriptor, join(&directory.path, &name)),
                Err(Errno::NOTDIR | Errno::LOOP) => continue,
                Err(errno) => Err(errno),
            };
            let child = child.map_err(failed)?;
            self.forget_lower_attributes(directory, &name, &child)?;
            self.remove_lower_children(&child)?;
            child.finish()?;
        }
        Ok(())
    }

    /// A lower layer's directory, hidden, in which this layer has something: it is another one
    /// now, which the archive doesn't name.
    fn forget_lower_attributes(
        &mut self,
        parent: &Directory,
        name: &[u8],
        directory: &Directory,
    ) -> Result<()> {
        let is_named = |seen: &super::seen::Seen| seen.contains(parent.inode, name, Made::ByName);
        if self.seen.as_ref().is_some_and(is_named) {
            return Ok(());
        }
        self.clear_xattrs(directory, &Entry::default())?;
        self.give_implied_attributes(directory)
    }

    fn is_this_layers(&self, parent: &Directory, name: &[u8]) -> bool {
        let seen = self.seen.as_ref();
        seen.is_some_and(|seen| seen.contains(parent.inode, name, Made::InAnyWay))
    }
}
