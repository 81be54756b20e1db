//! Open directories: every name is one component, looked up below a descriptor, and never a link.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};

/// An open directory, and its path for messages.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

const OPEN: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

impl Directory {
    /// Opens the directory that the user named. Their own path may lead through links.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let fd = fs::openat(CWD, path, OPEN, Mode::empty())
            .map_err(|errno| Error::system(format!("open {}", path.display()), errno))?;
        Ok(Self {
            fd,
            path: path.to_owned(),
        })
    }

    /// The path of an entry, for messages.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Its own path, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory `name` in it; none if there is nothing by that name.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it is something else, a link to a directory among that.
    pub(crate) fn child(&self, name: &str) -> Result<Option<Self>> {
        match fs::openat(&self.fd, name, OPEN | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => Ok(Some(Self {
                fd,
                path: self.path_of(name),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(self.refuse(name, "a directory")),
            Err(errno) => Err(self.failed("open", name, errno)),
        }
    }

    /// The directory `name` in it, made with `mode` if it is missing.
    pub(crate) fn make(&self, name: &str, mode: u32) -> Result<Self> {
        // It is there as a rule.
        if let Some(directory) = self.child(name)? {
            return Ok(directory);
        }
        match fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(self.failed("make directory", name, errno)),
        }
        self.child(name)?.ok_or_else(|| {
            let message = format!("{} vanished", self.path_of(name).display());
            Error::new(ErrorKind::NotFound, message)
        })
    }

    /// The regular file `name`, for reading; none if there is nothing by that name.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it is a link, a FIFO, a device: none of them is opened.
    pub(crate) fn file(&self, name: &str) -> Result<Option<File>> {
        self.open_file(name, OFlags::RDONLY)
    }

    /// The regular file `name`, for reading and writing, made if it is missing.
    pub(crate) fn file_to_write(&self, name: &str) -> Result<File> {
        loop {
            if let Some(file) = self.open_file(name, OFlags::RDWR)? {
                return Ok(file);
            }
            if let Some(file) = self.create_file(name)? {
                return Ok(file);
            }
        }
    }

    /// A new and empty regular file; none if there is something by that name.
    pub(crate) fn create_file(&self, name: &str) -> Result<Option<File>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        match fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o600)) {
            Ok(fd) => Ok(Some(fd.into())),
            Err(Errno::EXIST) => Ok(None),
            Err(errno) => Err(self.failed("create", name, errno)),
        }
    }

    fn open_file(&self, name: &str, access: OFlags) -> Result<Option<File>> {
        // Looked at before it is opened, since opening a device may do something; and afterwards,
        // since only the open file can't become another one.
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if is_regular(&found) => {}
            Ok(_) => return Err(self.refuse(name, "a regular file")),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.failed("look at", name, errno)),
        }
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(self.refuse(name, "a regular file")),
            Err(errno) => return Err(self.failed("open", name, errno)),
        };
        let found = fs::fstat(&fd).map_err(|errno| self.failed("look at", name, errno))?;
        if !is_regular(&found) {
            return Err(self.refuse(name, "a regular file"));
        }
        Ok(Some(fd.into()))
    }

    /// Whether `name` is still this open file, and not another one or nothing.
    pub(crate) fn is_still(&self, name: &str, file: &File) -> Result<bool> {
        let open = fs::fstat(file).map_err(|errno| self.failed("look at", name, errno))?;
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) => Ok((named.st_dev, named.st_ino) == (open.st_dev, open.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.failed("look at", name, errno)),
        }
    }

    /// The length in bytes of the regular file `name`; none if there is nothing by that name.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it is something else.
    pub(crate) fn size_of(&self, name: &str) -> Result<Option<u64>> {
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if is_regular(&found) => Ok(Some(u64::try_from(found.st_size).unwrap_or(0))),
            Ok(_) => Err(self.refuse(name, "a regular file")),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed("look at", name, errno)),
        }
    }

    /// The names in it that are UTF-8; ours all are.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let list = fs::Dir::read_from(&self.fd)
            .and_then(|entries| entries.collect::<std::result::Result<Vec<_>, _>>())
            .map_err(|errno| Error::system(format!("list {}", self.path.display()), errno))?;
        let names = list
            .iter()
            .filter_map(|entry| entry.file_name().to_str().ok());
        Ok(names
            .filter(|name| !matches!(*name, "." | ".."))
            .map(str::to_owned)
            .collect())
    }

    /// Removes the file `name`; says whether there was one.
    pub(crate) fn remove(&self, name: &str) -> Result<bool> {
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.failed("remove", name, errno)),
        }
    }

    /// Gives the file `name` the name `new` in another directory, in place of what stood there.
    pub(crate) fn rename(&self, name: &str, to: &Self, new: &str) -> Result<()> {
        fs::renameat(&self.fd, name, &to.fd, new).map_err(|errno| {
            let from = self.path_of(name);
            let step = format!("rename {} to {}", from.display(), to.path_of(new).display());
            Error::system(step, errno)
        })
    }

    /// Makes names that were given or removed survive a power failure.
    pub(crate) fn sync(&self) -> Result<()> {
        fs::fsync(&self.fd)
            .map_err(|errno| Error::system(format!("sync {}", self.path.display()), errno))
    }

    fn failed(&self, act: &str, name: &str, errno: Errno) -> Error {
        Error::system(format!("{act} {}", self.path_of(name).display()), errno)
    }

    fn refuse(&self, name: &str, wanted: &str) -> Error {
        let message = format!(
            "{} is not {wanted}: it is not followed or opened, since it could lead anywhere \
             (was this directory made by somebody else?)",
            self.path_of(name).display()
        );
        Error::new(ErrorKind::Corrupt, message)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn is_regular(found: &fs::Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
}
