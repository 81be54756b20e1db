//! Names inside the rootfs: resolved once, below the root's descriptor, and from there on only
//! descriptors are used.
//!
//! A link is followed as the container would follow it: an absolute one starts at the root,
//! `..` ends there, and magic links of a procfs are refused. So no name, however an image
//! builds it and whoever exchanges its parts meanwhile, leads out of the rootfs
//! (openat2(2), RESOLVE_IN_ROOT).

use core::ffi::CStr;

use crate::failure::{At, refuse};
use crate::program::{Call, Failure, RawFd};
use crate::sys::{self, Errno, Fd};
use crate::text::{PATH_MAX, Text};

/// A path being put together.
pub(crate) type Path = Text<PATH_MAX>;
/// One part of a path: NAME_MAX and the NUL.
pub(crate) type Name = Text<256>;

/// The kernel gives up on `..` when something is renamed meanwhile (EAGAIN); so often it may.
const RETRIES: u32 = 128;
/// As many links as the kernel follows in one path.
const LINKS_MAX: u32 = 40;

/// How links in a path are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// Inside the rootfs.
    Follow,
    /// ELOOP.
    Refuse,
}

/// What is made where a path ends in nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Missing {
    /// A directory with these permission bits.
    Directory(u32),
    /// An empty file, 0644.
    File,
}

/// Permission bits of parents that are made.
const PARENT_MODE: u32 = 0o755;

/// Opens a path below `root` with O_* flags, links followed inside of it.
pub(crate) fn open(root: RawFd, path: &CStr, flags: i32, links: Links) -> sys::Result<Fd> {
    let resolve = sys::RESOLVE_IN_ROOT | sys::RESOLVE_NO_MAGICLINKS;
    let resolve = match links {
        Links::Follow => resolve,
        Links::Refuse => resolve | sys::RESOLVE_NO_SYMLINKS,
    };
    open_with(root, path, flags, resolve)
}

/// openat2(2), again while it is interrupted or meets a rename.
pub(crate) fn open_with(root: RawFd, path: &CStr, flags: i32, resolve: u64) -> sys::Result<Fd> {
    let mut left = RETRIES;
    loop {
        match sys::uninterrupted(|| sys::openat2(root, path, flags, 0, resolve)) {
            Err(Errno(libc::EAGAIN)) if left > 0 => left -= 1,
            done => return done,
        }
    }
}

/// An O_PATH descriptor of what `path` leads to.
pub(crate) fn resolve(root: RawFd, path: &CStr) -> sys::Result<Fd> {
    open(root, path, libc::O_PATH, Links::Follow)
}

/// An O_PATH descriptor of what `name` is in a directory, be it a link.
pub(crate) fn entry(directory: RawFd, name: &CStr) -> sys::Result<Fd> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    open(directory, name, flags, Links::Follow)
}

/// A descriptor of what `fd`, an O_PATH one, stands for, with O_* flags that allow more.
///
/// `proc` is the verified procfs: its `self/fd` has links that lead to the file itself and not
/// to a name.
pub(crate) fn reopen(proc: RawFd, fd: RawFd, flags: i32) -> sys::Result<Fd> {
    sys::uninterrupted(|| sys::openat2(proc, descriptor_path(fd)?.as_c_str(), flags, 0, 0))
}

/// `self/fd/N`, relative to a procfs.
pub(crate) fn descriptor_path(fd: RawFd) -> sys::Result<Text<32>> {
    let mut path = Text::of(&[b"self/fd/"])?;
    path.push_number(fd.unsigned_abs())?;
    Ok(path)
}

/// Opens a file of the verified procfs: no link that could lead elsewhere, and nothing mounted
/// over it.
pub(crate) fn open_in_proc(proc: RawFd, path: &CStr, flags: i32) -> sys::Result<Fd> {
    let resolve = sys::RESOLVE_BENEATH | sys::RESOLVE_NO_XDEV | sys::RESOLVE_NO_MAGICLINKS;
    open_with(proc, path, flags, resolve)
}

/// What `path` leads to, with everything made that is missing on the way.
///
/// A dangling link is followed: what it names is what is missing. Parents are directories of
/// mode 0755; nothing that exists is changed. Something else than a wanted directory fails with
/// ENOTDIR.
pub(crate) fn ensure(
    root: RawFd,
    path: &CStr,
    missing: Missing,
    links: Links,
) -> Result<Fd, Failure> {
    let flags = match missing {
        Missing::Directory(_) => libc::O_PATH | libc::O_DIRECTORY,
        Missing::File => libc::O_PATH,
    };
    match open(root, path, flags, links) {
        Err(Errno(libc::ENOENT)) => {}
        done => return done.at(Call::Open),
    }
    if make_last(root, path, missing, links)? {
        return open(root, path, flags, links).at(Call::Open);
    }
    let mut walk = Walk::new(root, path.to_bytes(), links).at(Call::Open)?;
    while let Some(name) = walk.next().at(Call::Open)? {
        walk.enter(&name, missing)?;
    }
    open(root, walk.done.as_c_str(), flags, links).at(Call::Open)
}

/// Makes the last part of `path` if all others are there: the ordinary case, without a walk.
/// False if parents are missing as well, or the last part is something that leads nowhere.
fn make_last(root: RawFd, path: &CStr, missing: Missing, links: Links) -> Result<bool, Failure> {
    let Some((parent, name)) = split(path.to_bytes()) else {
        return Ok(false);
    };
    let parent = Path::of(&[b"/", parent]).at(Call::Open)?;
    let name = Name::of(&[name]).at(Call::Open)?;
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let Ok(parent) = open(root, parent.as_c_str(), flags, links) else {
        return Ok(false);
    };
    make_new(parent.raw(), name.as_c_str(), missing)
}

/// The parent and the last part of a path; none if the last part is no name.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let cut = path.iter().rposition(|byte| *byte == b'/');
    let (parent, name) = match cut.and_then(|at| Some((path.get(..at)?, path.get(at + 1..)?))) {
        Some(parts) => parts,
        None => (&[][..], path),
    };
    (!matches!(name, b"" | b"." | b"..")).then_some((parent, name))
}

/// The directory that `path` is in, made if it is missing, and the last part of `path`.
///
/// # Errors
///
/// EINVAL if the last part is no name (`/`, `.`, `..`).
pub(crate) fn ensure_parent(root: RawFd, path: &CStr) -> Result<(Fd, Name), Failure> {
    let Some((parent, name)) = split(path.to_bytes()) else {
        return refuse(Call::Open, libc::EINVAL);
    };
    let parent = Path::of(&[b"/", parent]).at(Call::Open)?;
    let name = Name::of(&[name]).at(Call::Open)?;
    let missing = Missing::Directory(PARENT_MODE);
    ensure(root, parent.as_c_str(), missing, Links::Follow).map(|directory| (directory, name))
}

/// An O_PATH descriptor of the file `name` in a directory; an empty one is made if there is none.
///
/// # Errors
///
/// ELOOP if it is a link.
pub(crate) fn ensure_file(directory: RawFd, name: &CStr) -> Result<Fd, Failure> {
    let file = match entry(directory, name) {
        Err(Errno(libc::ENOENT)) => {
            make(directory, name, Missing::File)?;
            entry(directory, name)
        }
        found => found,
    };
    let file = file.at(Call::Open)?;
    if sys::fstat(file.raw()).at(Call::Fstat)?.kind() == libc::S_IFLNK {
        return refuse(Call::Open, libc::ELOOP);
    }
    Ok(file)
}

/// Makes an entry; one that is there meanwhile is as good.
fn make(directory: RawFd, name: &CStr, missing: Missing) -> Result<(), Failure> {
    make_new(directory, name, missing).map(drop)
}

/// Makes an entry; false if there is one.
fn make_new(directory: RawFd, name: &CStr, missing: Missing) -> Result<bool, Failure> {
    let (made, call) = match missing {
        Missing::Directory(mode) => (sys::mkdirat(directory, name, mode), Call::Mkdir),
        Missing::File => (make_file(directory, name), Call::Open),
    };
    match made {
        Err(Errno(libc::EEXIST)) => Ok(false),
        done => done.at(call).map(|()| true),
    }
}

fn make_file(directory: RawFd, name: &CStr) -> sys::Result<()> {
    // O_EXCL: never opens what another has put there.
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let made = sys::uninterrupted(|| {
        sys::openat2(directory, name, flags, 0o644, sys::RESOLVE_NO_MAGICLINKS)
    });
    made.map(drop)
}

/// A path on its way from `rest` to `done`, part by part.
///
/// `done` exists and is resolved anew by the kernel for each part, below the root; that way
/// links and `..` keep the one meaning that the kernel gives them.
struct Walk {
    root: RawFd,
    links: Links,
    done: Path,
    rest: Path,
    /// How far `rest` has been read.
    at: usize,
    followed: u32,
}

impl Walk {
    fn new(root: RawFd, path: &[u8], links: Links) -> sys::Result<Self> {
        let rest = Path::of(&[path])?;
        Ok(Self {
            root,
            links,
            done: Path::of(&[b"/"])?,
            rest,
            at: 0,
            followed: 0,
        })
    }

    fn remaining(&self) -> &[u8] {
        self.rest.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// The next part that is a name or `..`.
    fn next(&mut self) -> sys::Result<Option<Name>> {
        loop {
            let slashes = self
                .remaining()
                .iter()
                .take_while(|byte| **byte == b'/')
                .count();
            self.at += slashes;
            let length = self
                .remaining()
                .iter()
                .take_while(|byte| **byte != b'/')
                .count();
            let name = self.remaining().get(..length).unwrap_or_default();
            if name.is_empty() {
                return Ok(None);
            }
            let name = Name::of(&[name])?;
            self.at += length;
            if name.as_bytes() != b"." {
                return Ok(Some(name));
            }
        }
    }

    fn is_at_end(&self) -> bool {
        self.remaining().iter().all(|byte| *byte == b'/')
    }

    /// Moves `done` on to `name`, which is made if it is missing.
    fn enter(&mut self, name: &Name, missing: Missing) -> Result<(), Failure> {
        let before = self.done.as_bytes().len();
        self.append(name).at(Call::Open)?;
        match open(self.root, self.done.as_c_str(), libc::O_PATH, self.links) {
            Ok(_) => return Ok(()),
            Err(Errno(libc::ENOENT)) => self.done.truncate(before),
            Err(errno) => return Err(errno).at(Call::Open),
        }

        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let parent = open(self.root, self.done.as_c_str(), flags, self.links).at(Call::Open)?;
        let mut text = Path::new();
        match sys::readlinkat(parent.raw(), name.as_c_str(), text.room()) {
            Ok(length) => {
                text.truncate(length);
                self.follow(&text).at(Call::Open)
            }
            Err(_) => {
                let parents = Missing::Directory(PARENT_MODE);
                let missing = if self.is_at_end() { missing } else { parents };
                make(parent.raw(), name.as_c_str(), missing)?;
                self.append(name).at(Call::Open)
            }
        }
    }

    fn append(&mut self, name: &Name) -> sys::Result<()> {
        self.done.push(b"/")?;
        self.done.push(name.as_bytes())
    }

    /// Goes on with a dangling link's text instead of the link.
    fn follow(&mut self, text: &Path) -> sys::Result<()> {
        self.followed += 1;
        if self.links == Links::Refuse || self.followed > LINKS_MAX {
            return Err(Errno(libc::ELOOP));
        }
        if text.as_bytes().starts_with(b"/") {
            self.done = Path::of(&[b"/"])?;
        }
        self.rest = Path::of(&[text.as_bytes(), b"/", self.remaining()])?;
        self.at = 0;
        Ok(())
    }
}
