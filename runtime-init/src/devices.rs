//! Directories, device nodes and links of the rootfs.

use core::ffi::CStr;

use crate::failure::{At, refuse};
use crate::interpreter::Init;
use crate::mounts::is_procfs;
use crate::paths::{self, Links, Missing, Name, Path};
use crate::program::{Call, Device, Failure, RawFd};
use crate::sys::{self, Errno, Fd};

impl<'p> Init<'p> {
    pub(crate) fn make_directory(&mut self, path: &CStr, mode: u32) -> Result<(), Failure> {
        let missing = Missing::Directory(mode);
        paths::ensure(self.rootfs()?, path, missing, Links::Follow).map(drop)
    }

    /// Makes a device node, or binds the host's. One that is there must be the same device.
    pub(crate) fn make_device(&mut self, device: &Device<'p>) -> Result<(), Failure> {
        let (directory, name) = self.parent_of(device.path)?;
        if let Some(host) = device.bind {
            return bind_device(device, host, directory, &name);
        }
        let made = sys::mknodat(
            directory,
            name.as_c_str(),
            device.mode,
            device.major,
            device.minor,
        );
        let is_new = made != Err(Errno(libc::EEXIST));
        if is_new {
            made.at(Call::Mknod)?;
            if is_owned(device, directory, &name)? {
                return Ok(());
            }
        }
        let node = paths::entry(directory, name.as_c_str()).at(Call::Open)?;
        if !is_same(device, &node)? {
            return refuse(Call::DeviceNumbers, libc::EEXIST);
        }
        if is_new {
            sys::chown(node.raw(), device.uid, device.gid).at(Call::Fchown)?;
        }
        Ok(())
    }

    /// The directory that `path` is in, made if it is missing, and the last part of `path`.
    fn parent_of(&mut self, path: &'p CStr) -> Result<(RawFd, Name), Failure> {
        let Some((parent, name)) = paths::split(path.to_bytes()) else {
            return refuse(Call::Open, libc::EINVAL);
        };
        match &self.parent {
            Some((last, directory)) if *last == parent => {
                Ok((directory.raw(), Name::of(&[name]).at(Call::Open)?))
            }
            _ => {
                let (directory, name) = paths::ensure_parent(self.rootfs()?, path)?;
                let raw = directory.raw();
                self.parent = Some((parent, directory));
                Ok((raw, name))
            }
        }
    }

    /// Makes a symbolic link, unless it is there.
    pub(crate) fn make_link(
        &mut self,
        text: &CStr,
        path: &'p CStr,
        replace: bool,
    ) -> Result<(), Failure> {
        let (directory, name) = self.parent_of(path)?;
        let made = sys::symlinkat(text, directory, name.as_c_str());
        if made != Err(Errno(libc::EEXIST)) {
            return made.at(Call::Symlink);
        }
        let mut present = Path::new();
        if let Ok(length) = sys::readlinkat(directory, name.as_c_str(), present.room()) {
            present.truncate(length);
        }
        if present.as_bytes() == text.to_bytes() {
            return Ok(());
        }
        if replace {
            sys::unlinkat(directory, name.as_c_str()).at(Call::Unlink)?;
            return sys::symlinkat(text, directory, name.as_c_str()).at(Call::Symlink);
        }
        made.at(Call::Symlink)
    }
}

/// Whether a node that was just made is the right one and has its owner already, which it has
/// unless its directory gives its group away or config.json wants another.
fn is_owned(device: &Device<'_>, directory: RawFd, name: &Name) -> Result<bool, Failure> {
    let node = sys::statx(
        directory,
        name.as_c_str(),
        libc::AT_SYMLINK_NOFOLLOW.cast_unsigned(),
    )
    .at(Call::Fstat)?;
    Ok(is_same_status(device, &node) && (node.uid, node.gid) == (device.uid, device.gid))
}

/// Binds the host's node of the same device over a file of the rootfs.
fn bind_device(
    device: &Device<'_>,
    host: &CStr,
    directory: RawFd,
    name: &Name,
) -> Result<(), Failure> {
    if let Ok(node) = paths::entry(directory, name.as_c_str())
        && is_same(device, &node)?
    {
        return Ok(());
    }
    let tree = sys::open_tree(libc::AT_FDCWD, host, sys::OPEN_TREE_CLONE).at(Call::OpenTree)?;
    if !is_same(device, &tree)? {
        return refuse(Call::DeviceNumbers, libc::ENODEV);
    }
    let file = paths::ensure_file(directory, name.as_c_str())?;
    if is_procfs(file.raw())? {
        return refuse(Call::InsideProc, libc::EPERM);
    }
    sys::move_mount(tree.raw(), file.raw()).at(Call::MoveMount)
}

fn is_same(device: &Device<'_>, node: &Fd) -> Result<bool, Failure> {
    let status = sys::fstat(node.raw()).at(Call::Fstat)?;
    Ok(is_same_status(device, &status))
}

fn is_same_status(device: &Device<'_>, status: &sys::Status) -> bool {
    let kind = device.mode & libc::S_IFMT;
    match kind {
        libc::S_IFIFO => status.kind() == kind,
        _ => status.is_device(kind, device.major, device.minor),
    }
}
