//! Mounts of the host's: criu does not save what is in them, it is told where they come from.
//!
//! At a dump each is looked up in the running container, since what config.json calls a target
//! may lead over links of the rootfs. At a restore each is a detached tree that was opened once,
//! by the path of the config.json that the container is restored under; criu finds it under a
//! name of tare's own in a mount namespace of its own.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, SFlag, fstat};

use super::keys;
use super::mountinfo::{self, MountEntry};
use crate::errno::Words;
use crate::error::{Error, ErrorKind};
use crate::plan::{Content, ContentAct, MountSource, Plan};
use crate::procfs::Procfs;
use crate::sys;

/// MOUNT_ATTR_RDONLY, _NOSUID, _NODEV, _NOEXEC: what a mount may not lose.
pub(crate) const GUARDS: u64 = 1 | 2 | 4 | 8;

/// One mount of the host's, by config.json.
#[derive(Clone, Copy, Debug)]
pub(crate) struct External<'a> {
    /// Inside the container.
    pub(crate) target: &'a CStr,
    /// On the host.
    source: &'a CStr,
    recursive: bool,
    /// Those of [`GUARDS`] that config.json sets.
    pub(crate) guards: u64,
    content: &'a Content,
}

/// Every mount of the host's that a plan has, in order; of several on one target the last.
///
/// # Errors
///
/// [`ErrorKind::Unsupported`] for an id-mapped one.
pub(crate) fn of_plan(plan: &Plan) -> Result<Vec<External<'_>>, Error> {
    let mut found: Vec<External<'_>> = Vec::new();
    for content in &plan.contents {
        let Some(external) = of_content(content)? else {
            continue;
        };
        found.retain(|earlier| earlier.target != external.target);
        found.push(external);
    }
    Ok(found)
}

fn of_content(content: &Content) -> Result<Option<External<'_>>, Error> {
    match &content.act {
        ContentAct::Mount(mount) => {
            let MountSource::Bind {
                path,
                recursive,
                idmap,
            } = &mount.source
            else {
                return Ok(None);
            };
            if idmap.is_some() {
                return Err(Error::text(
                    ErrorKind::Unsupported,
                    format!(
                        "{}: {}: id-mapped mounts can't be checkpointed or restored",
                        content.origin.pointer(),
                        content.words()
                    ),
                ));
            }
            Ok(Some(External {
                target: &mount.target,
                source: path,
                recursive: *recursive,
                guards: (mount.attributes.set | mount.recursive.set) & GUARDS,
                content,
            }))
        }
        ContentAct::Device(device) if device.bind => Ok(Some(External {
            target: &device.path,
            source: &device.path,
            recursive: false,
            guards: 0,
            content,
        })),
        _ => Ok(None),
    }
}

impl External<'_> {
    /// Its name in an image.
    pub(crate) fn key(&self) -> String {
        keys::key(self.target)
    }

    /// Whether the mounts below its source come with it.
    pub(crate) fn is_recursive(&self) -> bool {
        self.recursive
    }

    /// A detached copy of the host's tree, and whether it is a directory.
    pub(crate) fn open(&self) -> Result<(OwnedFd, bool), Error> {
        let failed = |errno| {
            let hint = match errno {
                Errno::ENOENT => ": the mount's source does not exist on the host",
                _ => "",
            };
            Error::text(
                ErrorKind::System,
                format!(
                    "{}: {}: open_tree(2): {}{hint}",
                    self.content.origin.pointer(),
                    self.content.words(),
                    Words(errno)
                ),
            )
            .with_errno(Some(errno))
        };
        let tree = open_tree(self.source, self.recursive).map_err(failed)?;
        let status = fstat(&tree).map_err(failed)?;
        Ok((tree, is_directory(&status)))
    }
}

/// A detached copy of a tree of the host's.
pub(crate) fn open_tree(path: &CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    const OPEN_TREE_CLONE: u32 = 1;
    const AT_RECURSIVE: u32 = 0x8000;
    let recursion = if recursive { AT_RECURSIVE } else { 0 };
    sys::open_tree(
        AT_FDCWD,
        path,
        OPEN_TREE_CLONE | libc::O_CLOEXEC as u32 | recursion,
    )
}

/// The host's /dev/null, checked to be it: what hides files of the container.
pub(crate) fn open_null() -> Result<OwnedFd, Error> {
    let failed = |errno| Error::call("open /dev/null for masked paths", errno);
    let tree = open_tree(c"/dev/null", false).map_err(failed)?;
    if is_null(&fstat(&tree).map_err(failed)?) {
        Ok(tree)
    } else {
        Err(failed(Errno::ENODEV))
    }
}

pub(crate) fn is_null(status: &FileStat) -> bool {
    status.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits()
        && status.st_rdev == libc::makedev(1, 3)
}

pub(crate) fn is_directory(status: &FileStat) -> bool {
    status.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits()
}

/// The root and the mounts of a running container.
#[derive(Debug)]
pub(crate) struct View<'a> {
    procfs: &'a Procfs,
    root: OwnedFd,
    pub(crate) mounts: Vec<MountEntry>,
}

impl<'a> View<'a> {
    pub(crate) fn of(procfs: &'a Procfs, pid: i32) -> Result<Self, Error> {
        let failed = |errno| Error::call(format!("look at the mounts of pid {pid}"), errno);
        Ok(Self {
            root: procfs.root_of(pid).map_err(failed)?,
            mounts: mountinfo::parse(&procfs.read(format!("{pid}/mountinfo")).map_err(failed)?),
            procfs,
        })
    }

    /// What a path of the container leads to; none when there is nothing.
    pub(crate) fn open(&self, path: &CStr) -> Result<Option<OwnedFd>, Errno> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        match openat2(&self.root, path, how) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The mount whose root this is; none when it is something inside of a mount.
    pub(crate) fn mount_at(&self, place: BorrowedFd<'_>) -> Result<Option<&MountEntry>, Errno> {
        let info = self
            .procfs
            .read(format!("self/fdinfo/{}", place.as_raw_fd()))?;
        let id = info
            .lines()
            .find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
        let entry = self.mounts.iter().find(|entry| Some(entry.id) == id);
        let Some(entry) = entry else { return Ok(None) };
        let point = CString::new(entry.point.clone()).map_err(|_| Errno::EINVAL)?;
        let Some(top) = self.open(&point)? else {
            return Ok(None);
        };
        let (here, there) = (fstat(place)?, fstat(&top)?);
        Ok(((here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)).then_some(entry))
    }
}

/// What a dump is told about the host's mounts in a running container.
pub(crate) fn for_dump(plan: &Plan, view: &View<'_>) -> Result<Vec<Vec<u8>>, Error> {
    let mut said = Vec::new();
    for external in of_plan(plan)? {
        say(&mut said, view, external.target, &external.key())?;
    }
    for content in &plan.contents {
        let ContentAct::Masked(path) = &content.act else {
            continue;
        };
        let hidden = view.open(path).map_err(|errno| lookup(path, errno))?;
        if let Some(place) = hidden
            && fstat(&place).is_ok_and(|status| is_null(&status))
        {
            say(&mut said, view, path, keys::NULL_KEY)?;
        }
    }
    Ok(said)
}

/// Says one, if it is there still: the container may have unmounted it.
fn say(said: &mut Vec<Vec<u8>>, view: &View<'_>, target: &CStr, key: &str) -> Result<(), Error> {
    let Some(place) = view.open(target).map_err(|errno| lookup(target, errno))? else {
        return Ok(());
    };
    let mount = view
        .mount_at(place.as_fd())
        .map_err(|errno| lookup(target, errno))?;
    if let Some(mount) = mount {
        said.push(keys::dumped(&mount.point, key)?);
    }
    Ok(())
}

fn lookup(path: &CStr, errno: Errno) -> Error {
    Error::call(
        format!("look {} up in the container", path.to_string_lossy()),
        errno,
    )
}
