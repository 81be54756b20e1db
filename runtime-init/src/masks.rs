//! Paths that the container may not read, and paths that it may not write.

use core::ffi::CStr;

use crate::failure::{At, refuse};
use crate::interpreter::Init;
use crate::mounts::set_attributes;
use crate::paths;
use crate::program::{Attributes, Call, Failure, RawFd, Step};
use crate::sys::{self, Errno, Fd};

/// What hides paths, made when the first path needs it.
#[derive(Default)]
pub(crate) struct Masks {
    /// The host's /dev/null, for files.
    null: Option<Mask>,
    /// An empty tmpfs, for directories.
    empty: Option<Mask>,
    /// Whether names are the container's by now.
    inside: bool,
}

struct Mask {
    mount: Fd,
    /// Further paths get copies of the attached one; a detached mount can't be copied.
    attached: bool,
}

impl Init<'_> {
    /// Hides a file behind /dev/null, a directory behind an empty read-only tmpfs.
    pub(crate) fn mask_path(&mut self, path: &CStr) -> Result<(), Failure> {
        let target = match paths::resolve(self.rootfs()?, path) {
            Err(Errno(libc::ENOENT | libc::ENOTDIR)) => return Ok(()),
            found => found.at(Call::Open)?,
        };
        let mask = if sys::fstat(target.raw()).at(Call::Fstat)?.is_directory() {
            self.empty_directory()?
        } else {
            self.masks.null_device()?
        };
        mask.cover(target.raw())
    }

    /// Makes a path read-only by a copy of its mount on top of it, which keeps what else the
    /// mount forbids.
    pub(crate) fn make_path_readonly(&mut self, path: &CStr) -> Result<(), Failure> {
        let target = match paths::resolve(self.rootfs()?, path) {
            Err(Errno(libc::ENOENT)) => return Ok(()),
            found => found.at(Call::Open)?,
        };
        let tree = copy_of(target.raw(), sys::AT_RECURSIVE)?;
        let readonly = Attributes {
            set: sys::MOUNT_ATTR_RDONLY,
            clear: 0,
        };
        let early = set_attributes(tree.raw(), 0, readonly);
        if early != Err(Errno(libc::ENOSYS)) {
            early.at(Call::MountSetattr)?;
        }
        sys::move_mount(tree.raw(), target.raw()).at(Call::MoveMount)?;
        if early.is_err() {
            self.change_attributes(tree.raw(), readonly)
        } else {
            Ok(())
        }
    }

    /// Opens the host's /dev/null while it has a name, if a step to come may need it.
    pub(crate) fn prepare_masks(&mut self, later: &[Step<'_>]) -> Result<(), Failure> {
        if later.iter().any(|step| matches!(step, Step::MaskedPath(_))) {
            self.masks.null_device()?;
        }
        self.masks.inside = true;
        Ok(())
    }

    fn empty_directory(&mut self) -> Result<&mut Mask, Failure> {
        if self.masks.empty.is_none() {
            let attributes = sys::MOUNT_ATTR_RDONLY
                | sys::MOUNT_ATTR_NOSUID
                | sys::MOUNT_ATTR_NODEV
                | sys::MOUNT_ATTR_NOEXEC;
            let options = [(c"mode", Some(c"0755")), (c"nr_inodes", Some(c"1"))];
            let mount = self.make_filesystem(c"tmpfs", Some(c"tmpfs"), &options, attributes)?;
            self.masks.empty = Some(Mask {
                mount,
                attached: false,
            });
        }
        self.masks.empty.as_mut().ok_or(MISSING)
    }
}

const MISSING: Failure = Failure {
    call: Call::OpenTree,
    code: libc::ENOENT,
};

impl Masks {
    /// A mount of the host's /dev/null, checked to be that device and no other: whatever stands
    /// there would be bound over the files (CVE-2025-31133).
    fn null_device(&mut self) -> Result<&mut Mask, Failure> {
        if self.null.is_none() {
            if self.inside {
                return Err(MISSING);
            }
            let flags = sys::OPEN_TREE_CLONE;
            let mount = sys::open_tree(libc::AT_FDCWD, c"/dev/null", flags).at(Call::OpenTree)?;
            if !sys::fstat(mount.raw())
                .at(Call::Fstat)?
                .is_device(libc::S_IFCHR, 1, 3)
            {
                return refuse(Call::DeviceNumbers, libc::ENODEV);
            }
            self.null = Some(Mask {
                mount,
                attached: false,
            });
        }
        self.null.as_mut().ok_or(MISSING)
    }
}

impl Mask {
    fn cover(&mut self, target: RawFd) -> Result<(), Failure> {
        if self.attached {
            let copy = copy_of(self.mount.raw(), 0)?;
            return sys::move_mount(copy.raw(), target).at(Call::MoveMount);
        }
        sys::move_mount(self.mount.raw(), target).at(Call::MoveMount)?;
        self.attached = true;
        Ok(())
    }
}

fn copy_of(place: RawFd, recursive: u32) -> Result<Fd, Failure> {
    let flags = sys::OPEN_TREE_CLONE | sys::AT_EMPTY_PATH | recursive;
    sys::open_tree(place, c"", flags).at(Call::OpenTree)
}
