//! One cgroup directory as a descriptor, and the files in it.
//!
//! Every name is a single component below a descriptor, and links are never followed.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, read, unlinkat, write};

use super::error::{CgroupError, Hint};

/// How a directory is opened.
const DIRECTORY: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_RDONLY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// A cgroup directory.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory by its absolute path, in which no component may be a link, and makes
    /// sure that it is in a cgroup filesystem.
    pub(super) fn open(path: &Path) -> Result<Self, CgroupError> {
        let how = OpenHow::new()
            .flags(DIRECTORY)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let failed = |source| CgroupError::Call {
            call: "open",
            path: path.to_owned(),
            source,
        };
        let fd = openat2(AT_FDCWD, path, how).map_err(failed)?;
        let kind = fstatfs(&fd).map_err(failed)?.filesystem_type();
        if kind != CGROUP_SUPER_MAGIC && kind != CGROUP2_SUPER_MAGIC {
            return Err(CgroupError::NotACgroup {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            fd,
            path: path.to_owned(),
        })
    }

    /// The child of that name.
    pub(super) fn child(&self, name: &str) -> Result<Self, CgroupError> {
        let path = self.path.join(name);
        match self.open_beneath(name) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(source) => Err(CgroupError::Call {
                call: "open",
                path,
                source,
            }),
        }
    }

    fn open_beneath(&self, name: &str) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_XDEV;
        openat2(
            &self.fd,
            name,
            OpenHow::new().flags(DIRECTORY).resolve(resolve),
        )
    }

    /// Another descriptor of the same directory.
    pub(super) fn try_clone(&self) -> Result<Self, CgroupError> {
        let fd = self.fd.try_clone().map_err(|error| CgroupError::Call {
            call: "duplicate",
            path: self.path.clone(),
            source: error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
        })?;
        Ok(Self {
            fd,
            path: self.path.clone(),
        })
    }

    /// Makes the child directory; whether it was not there before.
    pub(super) fn make(&self, name: &str) -> Result<bool, CgroupError> {
        match mkdirat(&self.fd, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(source) => Err(CgroupError::Call {
                call: "mkdir",
                path: self.path.join(name),
                source,
            }),
        }
    }

    /// Removes the child directory itself; one that is gone is no error.
    pub(super) fn unlink(&self, name: &str) -> Result<(), Errno> {
        let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
        remove(self.fd.as_fd(), &name)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a file of that name.
    pub(super) fn has(&self, file: &str) -> bool {
        fstatat(&self.fd, file, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// Opens one of the directory's files.
    pub(super) fn open_file(&self, file: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.fd, file, flags, Mode::empty())
    }

    /// The whole content of a file.
    pub(super) fn read(&self, file: &str) -> Result<String, CgroupError> {
        self.try_read(file).map_err(|source| CgroupError::Call {
            call: "read",
            path: self.path.join(file),
            source,
        })
    }

    /// The whole content of a file.
    pub(super) fn try_read(&self, file: &str) -> Result<String, Errno> {
        let fd = self.open_file(file, OFlag::O_RDONLY)?;
        read_all(fd.as_fd())
    }

    /// Writes a value in one write(2).
    pub(super) fn try_write(&self, file: &str, value: &str) -> Result<(), Errno> {
        let fd = self.open_file(file, OFlag::O_WRONLY)?;
        loop {
            match write(&fd, value.as_bytes()) {
                Err(Errno::EINTR) => {}
                Ok(length) if length != value.len() => return Err(Errno::EIO),
                other => return other.map(drop),
            }
        }
    }

    /// Writes a value; the error has the given hint.
    pub(super) fn write(&self, file: &str, value: &str) -> Result<(), CgroupError> {
        self.try_write(file, value)
            .map_err(|source| self.refused(file, value, Hint::None, source))
    }

    /// The error for a value that the kernel refused.
    pub(super) fn refused(
        &self,
        file: &str,
        value: &str,
        hint: Hint,
        source: Errno,
    ) -> CgroupError {
        CgroupError::Write {
            path: self.path.join(file),
            value: value.to_owned(),
            hint,
            source,
        }
    }

    /// Visits this directory and all below it, parents first, with two descriptors at a time
    /// however deep the tree is.
    ///
    /// Directories that vanish meanwhile are passed over.
    pub(super) fn walk(&self, mut visit: impl FnMut(BorrowedDirectory<'_>)) -> Result<(), Errno> {
        let mut here = self.open_beneath(".")?;
        visit(BorrowedDirectory(here.as_fd()));
        let mut pending = vec![VecDeque::from(children(here.as_fd())?)];
        while let Some(siblings) = pending.last_mut() {
            let Some(name) = siblings.pop_front() else {
                pending.pop();
                if !pending.is_empty() {
                    here = openat(&here, "..", DIRECTORY, Mode::empty())?;
                }
                continue;
            };
            match openat(&here, name.as_c_str(), DIRECTORY, Mode::empty()) {
                Ok(child) => {
                    visit(BorrowedDirectory(child.as_fd()));
                    pending.push(children(child.as_fd()).unwrap_or_default().into());
                    here = child;
                }
                Err(Errno::ENOENT | Errno::ENODEV | Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Removes everything below this directory, children first, with two descriptors at a
    /// time however deep the tree is. What has processes stays, and is EBUSY.
    pub(super) fn clear(&self) -> Result<(), Errno> {
        let mut here = self.open_beneath(".")?;
        let mut entered: Vec<CString> = Vec::new();
        loop {
            match remove_or_find_parent(here.as_fd())? {
                Some(name) => match openat(&here, name.as_c_str(), DIRECTORY, Mode::empty()) {
                    Ok(child) => {
                        here = child;
                        entered.push(name);
                    }
                    Err(Errno::ENOENT | Errno::ENODEV) => {}
                    Err(errno) => return Err(errno),
                },
                None => {
                    let Some(name) = entered.pop() else {
                        return Ok(());
                    };
                    here = openat(&here, "..", DIRECTORY, Mode::empty())?;
                    remove(here.as_fd(), &name)?;
                }
            }
        }
    }
}

/// Removes the child directories that have no children; the first one that has some is told.
fn remove_or_find_parent(directory: BorrowedFd<'_>) -> Result<Option<CString>, Errno> {
    for name in children(directory)? {
        match remove(directory, &name) {
            Ok(()) => {}
            Err(Errno::EBUSY | Errno::ENOTEMPTY) => {
                let child = openat(directory, name.as_c_str(), DIRECTORY, Mode::empty())?;
                if children(child.as_fd())?.is_empty() {
                    return Err(Errno::EBUSY);
                }
                return Ok(Some(name));
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}

/// Removes a directory; one that is gone is no error.
fn remove(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn children(directory: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut listing = Dir::openat(directory, ".", DIRECTORY, Mode::empty())?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name();
        let is_directory = entry.file_type() == Some(nix::dir::Type::Directory);
        if is_directory && !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// A directory that [`Directory::walk`] has come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct BorrowedDirectory<'a>(BorrowedFd<'a>);

impl BorrowedDirectory<'_> {
    /// The whole content of a file.
    pub(super) fn try_read(self, file: &str) -> Result<String, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        read_all(openat(self.0, file, flags, Mode::empty())?.as_fd())
    }

    /// A descriptor that outlives the visit.
    pub(super) fn try_clone(self) -> Result<OwnedFd, Errno> {
        openat(self.0, ".", DIRECTORY, Mode::empty())
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Reads up to the end; what is not text is replaced.
pub(super) fn read_all(fd: BorrowedFd<'_>) -> Result<String, Errno> {
    let mut content = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match read(fd, &mut buffer) {
            Ok(0) => return Ok(String::from_utf8_lossy(&content).into_owned()),
            Ok(length) => content.extend_from_slice(&buffer[..length]),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
