//! The root filesystem: found, made a mount of its own, and made `/`.

use core::ffi::CStr;

use crate::failure::{At, refuse};
use crate::interpreter::Init;
use crate::paths;
use crate::program::{Attributes, Call, Failure, RawFd, Step};
use crate::sys::{self, Fd};

/// How deep a path can be: half of PATH_MAX.
const DEPTH_MAX: usize = 2048;

impl Init<'_> {
    /// Sets the propagation of all mounts of the namespace.
    pub(crate) fn set_root_propagation(&mut self, flags: u64) -> Result<(), Failure> {
        sys::mount(None, c"/", None, flags, None).at(Call::Mount)?;
        self.nothing_shared = flags & libc::MS_REC != 0 && flags & libc::MS_SHARED == 0;
        Ok(())
    }

    /// Binds the rootfs onto itself, with the mounts below it, and keeps the new mount.
    ///
    /// pivot_root(2) wants neither the rootfs nor the mount above it to be in a peer group; where
    /// they may be, the mount that the rootfs is in becomes private before it is copied.
    pub(crate) fn bind_rootfs(&mut self, path: &CStr) -> Result<(), Failure> {
        let place = open_directory(path)?;
        if !self.nothing_shared {
            let mount = mount_root_of(&place)?;
            self.set_propagation(mount.raw(), libc::MS_PRIVATE)?;
        }
        let flags = sys::OPEN_TREE_CLONE | sys::AT_RECURSIVE | sys::AT_EMPTY_PATH;
        let rootfs = sys::open_tree(place.raw(), c"", flags).at(Call::OpenTree)?;
        sys::move_mount(rootfs.raw(), place.raw()).at(Call::MoveMount)?;
        self.keep_rootfs(rootfs);
        Ok(())
    }

    pub(crate) fn open_rootfs(&mut self, path: &CStr) -> Result<(), Failure> {
        self.keep_rootfs(open_directory(path)?);
        Ok(())
    }

    pub(crate) fn make_rootfs_readonly(&mut self) -> Result<(), Failure> {
        let readonly = Attributes {
            set: sys::MOUNT_ATTR_RDONLY,
            clear: 0,
        };
        self.change_attributes(self.rootfs()?, readonly)
    }

    /// Makes the rootfs `/` of this mount namespace and lets the host's tree go.
    ///
    /// The host's root is stacked over the new one, so no directory of the rootfs is needed for
    /// it (pivot_root(2), "pivot_root(".", ".")").
    pub(crate) fn pivot_root(&mut self, later: &[Step<'_>]) -> Result<(), Failure> {
        self.prepare_masks(later)?;
        let host = open_directory(c"/")?;
        sys::fchdir(self.rootfs()?).at(Call::Chdir)?;
        sys::pivot_root(c".", c".").at(Call::PivotRoot)?;

        // A slave first: the unmount must not travel to the host through a peer group.
        sys::fchdir(host.raw()).at(Call::Chdir)?;
        sys::mount(None, c".", None, libc::MS_SLAVE | libc::MS_REC, None).at(Call::Mount)?;
        sys::umount(c".", libc::MNT_DETACH).at(Call::Umount)?;
        sys::chdir(c"/").at(Call::Chdir)
    }

    /// Moves the rootfs over `/`, where the kernel's initial filesystem can't be pivoted from.
    ///
    /// The host's tree stays below; what it has of proc and sysfs is taken away first, since it
    /// would let a user namespace mount its own without the masks.
    pub(crate) fn move_root(&mut self, later: &[Step<'_>]) -> Result<(), Failure> {
        self.prepare_masks(later)?;
        self.remove_host_procfs()?;
        let host = open_directory(c"/")?;
        sys::fchdir(self.rootfs()?).at(Call::Chdir)?;
        sys::move_mount(self.rootfs()?, host.raw()).at(Call::MoveMount)?;
        enter_working_directory_as_root()
    }

    pub(crate) fn chroot(&mut self, later: &[Step<'_>]) -> Result<(), Failure> {
        self.prepare_masks(later)?;
        sys::fchdir(self.rootfs()?).at(Call::Chdir)?;
        enter_working_directory_as_root()
    }

    pub(crate) fn set_final_propagation(&mut self, flags: u64) -> Result<(), Failure> {
        sys::mount(None, c"/", None, flags, None).at(Call::Mount)
    }
}

fn enter_working_directory_as_root() -> Result<(), Failure> {
    sys::chroot(c".").at(Call::Chroot)?;
    sys::chdir(c"/").at(Call::Chdir)
}

/// An O_PATH descriptor of a directory of the runtime's mount namespace.
fn open_directory(path: &CStr) -> Result<Fd, Failure> {
    open_up(libc::AT_FDCWD, path)
}

fn open_up(from: RawFd, path: &CStr) -> Result<Fd, Failure> {
    paths::open_with(from, path, libc::O_PATH | libc::O_DIRECTORY, 0).at(Call::Open)
}

/// The root of the mount that a directory is in.
fn mount_root_of(directory: &Fd) -> Result<Fd, Failure> {
    let mut here = open_up(directory.raw(), c".")?;
    for _ in 0..DEPTH_MAX {
        if sys::fstat(here.raw()).at(Call::Fstat)?.is_mount_root() {
            return Ok(here);
        }
        here = open_up(here.raw(), c"..")?;
    }
    refuse(Call::Open, libc::ELOOP)
}
