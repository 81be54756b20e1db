//! Open directories: the last ones used are kept.

use std::cell::Cell;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{
    Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, fstat, futimens, openat2,
};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::layer::tar::shown;

/// How many are kept open; several layers may be unpacked at once.
const KEPT: usize = 48;

/// A directory of the tree that is written.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) descriptor: OwnedFd,
    /// Its clean name, on which there is no link.
    pub(super) path: Vec<u8>,
    /// Which inode it is.
    pub(super) inode: (u64, u64),
    pub(super) gid: Cell<u32>,
    pub(super) has_setgid: Cell<bool>,
    /// What its times are to be once all is done in it.
    pub(super) times: Cell<(Timespec, Timespec)>,
    /// Whether its times are others than that.
    pub(super) is_touched: Cell<bool>,
    /// Whether it is known that the layer has something in it.
    pub(super) is_marked: Cell<bool>,
}

impl Directory {
    /// An open directory, as it is.
    pub(super) fn open(descriptor: OwnedFd, path: Vec<u8>) -> Result<Rc<Self>, Errno> {
        let stat = fstat(&descriptor)?;
        Ok(Rc::new(Self {
            descriptor,
            path,
            inode: (stat.st_dev, stat.st_ino),
            gid: Cell::new(stat.st_gid),
            has_setgid: Cell::new(stat.st_mode & 0o2000 != 0),
            times: Cell::new(times_of(&stat)),
            is_touched: Cell::new(false),
            is_marked: Cell::new(false),
        }))
    }

    /// Gives it its times, if something was done in it.
    pub(super) fn finish(&self) -> Result<()> {
        if !self.is_touched.replace(false) {
            return Ok(());
        }
        let (last_access, last_modification) = self.times.get();
        let times = Timestamps {
            last_access,
            last_modification,
        };
        futimens(&self.descriptor, &times)
            .map_err(|errno| Error::system(format_args!("set times of {}", self.shown()), errno))
    }

    /// Its name, for messages.
    pub(super) fn shown(&self) -> String {
        match self.path.as_slice() {
            b"" => "the layer's root".into(),
            path => shown(path),
        }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Access and modification.
fn times_of(stat: &Stat) -> (Timespec, Timespec) {
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    (
        time(stat.st_atime, stat.st_atime_nsec),
        time(stat.st_mtime, stat.st_mtime_nsec),
    )
}

/// All directories that are open.
#[derive(Debug)]
pub(super) struct Directories {
    pub(super) root: Rc<Directory>,
    open: HashMap<Vec<u8>, (Rc<Directory>, Cell<u64>)>,
    last: Option<Rc<Directory>>,
    /// Names through links of lower layers, and the directories to which they lead.
    pub(super) aliases: HashMap<Vec<u8>, Vec<u8>>,
    clock: Cell<u64>,
    has_openat2: bool,
}

impl Directories {
    /// Below `root`, which may be open for looking only.
    pub(super) fn new(root: BorrowedFd<'_>) -> Result<Self, Errno> {
        let own = crate::layer::tree::open_directory(root, b".")?;
        Ok(Self {
            root: Directory::open(own, Vec::new())?,
            open: HashMap::new(),
            last: None,
            aliases: HashMap::new(),
            clock: Cell::new(0),
            has_openat2: true,
        })
    }

    /// One that is open already.
    pub(super) fn kept(&mut self, path: &[u8]) -> Option<Rc<Directory>> {
        if path.is_empty() {
            return Some(Rc::clone(&self.root));
        }
        if let Some(last) = self.last.as_ref().filter(|last| last.path == path) {
            return Some(Rc::clone(last));
        }
        let path = self.aliases.get(path).map_or(path, Vec::as_slice);
        if path.is_empty() {
            return Some(Rc::clone(&self.root));
        }
        let (directory, used) = self.open.get(path)?;
        self.clock.set(self.clock.get() + 1);
        used.set(self.clock.get());
        self.last = Some(Rc::clone(directory));
        Some(Rc::clone(directory))
    }

    /// Opens one whose name has no link on it, in one call.
    ///
    /// None if there is no such directory, or if the name has to be walked step by step.
    pub(super) fn open_at_once(&mut self, path: &[u8]) -> Result<Option<Rc<Directory>>> {
        if !self.has_openat2 {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve =
            ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let opened = openat2(&self.root, path, flags, Mode::empty(), resolve)
            .and_then(|descriptor| Directory::open(descriptor, path.to_vec()));
        match opened {
            Ok(directory) => self.keep(directory).map(Some),
            Err(Errno::NOSYS | Errno::PERM) => {
                // Before 5.6, or under a filter that doesn't know it.
                self.has_openat2 = false;
                Ok(None)
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(Error::system(format_args!("open {}", shown(path)), errno)),
        }
    }

    /// Keeps one open; the one that wasn't used for longest makes room.
    pub(super) fn keep(&mut self, directory: Rc<Directory>) -> Result<Rc<Directory>> {
        if let Some((other, _)) = self.open.remove(&directory.path) {
            other.finish()?;
        }
        if self.open.len() >= KEPT {
            let oldest = self
                .open
                .iter()
                .min_by_key(|(_, (_, used))| used.get())
                .map(|(path, _)| path.clone());
            if let Some((oldest, _)) = oldest.and_then(|path| self.open.remove(&path)) {
                oldest.finish()?;
            }
        }
        self.clock.set(self.clock.get() + 1);
        let used = Cell::new(self.clock.get());
        self.open
            .insert(directory.path.clone(), (Rc::clone(&directory), used));
        self.last = Some(Rc::clone(&directory));
        Ok(directory)
    }

    /// Something is made or removed in a directory, which may have been let go of: it gets its
    /// times back later.
    pub(super) fn touch(&mut self, directory: &Rc<Directory>) -> Result<()> {
        directory.is_touched.set(true);
        let is_this = |other: &Rc<Directory>| Rc::ptr_eq(other, directory);
        if directory.path.is_empty() || self.last.as_ref().is_some_and(is_this) {
            return Ok(());
        }
        if !self
            .open
            .get(&directory.path)
            .is_some_and(|(kept, _)| is_this(kept))
        {
            self.keep(Rc::clone(directory))?;
        }
        Ok(())
    }

    /// Remembers that a name leads through links to a directory whose own name is `path`.
    pub(super) fn add_alias(&mut self, alias: &[u8], path: &[u8]) {
        if self.aliases.len() >= KEPT {
            self.aliases.clear();
        }
        self.aliases.insert(alias.to_vec(), path.to_vec());
    }

    /// Lets go of all: something was removed that may be one of them, or lead to one.
    pub(super) fn forget(&mut self) -> Result<()> {
        self.last = None;
        self.aliases.clear();
        for (_, (directory, _)) in self.open.drain() {
            directory.finish()?;
        }
        Ok(())
    }

    /// Gives all their times; the root last.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.forget()?;
        self.root.finish()
    }

    /// As on a kernel that lacks openat2(2).
    #[cfg(test)]
    pub(super) fn without_openat2(&mut self) {
        self.has_openat2 = false;
    }
}
