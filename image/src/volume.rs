//! Volumes that an image asks for: they begin with what the image has at their paths.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::snapshot::copy_tree;

/// Copies what `root` has at `path` into the empty directory `target`, with owner, mode and all
/// attributes. Links are followed below the root only. Nothing there, or no directory, is an
/// empty volume of root's.
///
/// # Errors
/// [`crate::ErrorKind::System`] when something can't be read or written.
pub(crate) fn copy_up(root: BorrowedFd<'_>, path: &str, target: &Path) -> Result<()> {
    let step = || format!("make a volume of the image's {path}");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let relative = path.trim_start_matches('/');
    let source = match openat2(root, relative, flags, Mode::empty(), resolve) {
        Ok(source) => File::from(source),
        Err(Errno::NOENT | Errno::NOTDIR) => {
            return set_owner(target, 0, 0, 0o755).map_err(|error| error.within(step()));
        }
        Err(errno) => return Err(Error::system(step(), errno)),
    };
    let destination = File::open(target).map_err(|error| Error::system(step(), error))?;
    copy_tree(source.as_fd(), &destination).map_err(|error| error.within(step()))?;
    let metadata = source
        .metadata()
        .map_err(|error| Error::system(step(), error))?;
    set_owner(
        target,
        metadata.uid(),
        metadata.gid(),
        metadata.mode() & 0o7777,
    )
    .map_err(|error| error.within(step()))
}

fn set_owner(path: &Path, uid: u32, gid: u32, mode: u32) -> Result<()> {
    let step = || format!("change the owner of {}", path.display());
    chown(path, Some(uid), Some(gid)).map_err(|error| Error::system(step(), error))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|error| Error::system(step(), error))
}
