//! Extended attributes: which are set, which are not, and how they are translated.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{XattrFlags, flistxattr, fremovexattr, fsetxattr, lsetxattr};
use rustix::io::Errno;
use rustix::process::fchdir;

use super::directories::Directory;
use super::names::refuse;
use super::unpack::{Missing, Unpacker};
use crate::error::{Error, Result};
use crate::layer::ids::IdMaps;
use crate::layer::tar::{Entry, Xattr, shown};

const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const CAPABILITY: &[u8] = b"security.capability";

impl Unpacker<'_> {
    pub(super) fn set_xattrs(&mut self, file: &OwnedFd, entry: &Entry) -> Result<()> {
        if entry.xattrs.is_empty() {
            return Ok(());
        }
        self.set_each(entry, |name, value| {
            fsetxattr(file, name, value, XattrFlags::empty())
        })
    }

    pub(super) fn set_directory_xattrs(
        &mut self,
        directory: &Directory,
        entry: &Entry,
    ) -> Result<()> {
        if entry.xattrs.is_empty() {
            return Ok(());
        }
        let default = entry.xattrs.iter().find(|xattr| xattr.name == DEFAULT_ACL);
        if let Some(acl) = default {
            self.keep_bytes(directory.path.len() + acl.value.len())?;
            let value = translated(acl, &self.options.ids)?;
            self.default_acls.push((directory.path.clone(), value));
        }
        self.set_each(entry, |name, value| match name {
            DEFAULT_ACL => Ok(()),
            _ => fsetxattr(directory, name, value, XattrFlags::empty()),
        })
    }

    /// What can't be opened is named from its directory, which is the working directory of this
    /// thread alone for that time.
    pub(super) fn set_xattrs_by_name(
        &mut self,
        parent: &Directory,
        name: &[u8],
        entry: &Entry,
    ) -> Result<()> {
        if entry.xattrs.is_empty() {
            return Ok(());
        }
        if !self.has_own_umask {
            let object = entry.shown();
            self.warn(format!(
                "attributes of {object} are left out: this thread can't have a directory of its own"
            ));
            return Ok(());
        }
        fchdir(parent).map_err(|errno| Error::system("change into a directory", errno))?;
        self.set_each(entry, |attribute, value| {
            lsetxattr(name, attribute, value, XattrFlags::empty())
        })
    }

    fn set_each(
        &mut self,
        entry: &Entry,
        set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>,
    ) -> Result<()> {
        for xattr in entry.xattrs.iter().filter(|xattr| !is_ours(&xattr.name)) {
            let value = translated(xattr, &self.options.ids)?;
            match set(&xattr.name, &value) {
                Ok(()) => {}
                Err(errno @ (Errno::NOTSUP | Errno::PERM)) => self.warn(format!(
                    "attribute {} of {} is left out: {errno}",
                    shown(&xattr.name),
                    entry.shown()
                )),
                Err(errno) => {
                    let (name, object) = (shown(&xattr.name), entry.shown());
                    return Err(Error::system(
                        format_args!("set attribute {name} of {object}"),
                        errno,
                    ));
                }
            }
        }
        Ok(())
    }

    /// Removes attributes that the archive doesn't have for a directory that was there before.
    pub(super) fn clear_xattrs(&self, directory: &Directory, entry: &Entry) -> Result<()> {
        let object = || directory.shown();
        let failed = |errno| {
            let step = format_args!("remove the attributes of {}", object());
            Error::system(step, errno)
        };
        for name in names(directory).map_err(failed)? {
            let is_wanted = entry.xattrs.iter().any(|xattr| xattr.name == name);
            if is_wanted || !is_an_images(&name) {
                continue;
            }
            match fremovexattr(directory, name.as_slice()) {
                Ok(()) | Err(Errno::NODATA | Errno::PERM | Errno::NOTSUP) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(())
    }

    /// What is made in a directory with a default ACL inherits it.
    pub(super) fn forget_default_acl(&self, directory: &Directory) {
        // That it has none, or that the file system has none at all, is the usual case.
        fremovexattr(directory, DEFAULT_ACL).ok();
    }

    /// Default ACLs come last: nothing of this layer inherits from them.
    pub(super) fn set_default_acls(&mut self) -> Result<()> {
        for (path, value) in std::mem::take(&mut self.default_acls) {
            let Some(directory) = self.directory(&path, Missing::Leave)? else {
                continue;
            };
            match fsetxattr(&directory, DEFAULT_ACL, &value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(errno @ (Errno::NOTSUP | Errno::PERM)) => {
                    let object = directory.shown();
                    self.warn(format!("the default ACL of {object} is left out: {errno}"));
                }
                Err(errno) => {
                    let step = format_args!("set the default ACL of {}", directory.shown());
                    return Err(Error::system(step, errno));
                }
            }
        }
        Ok(())
    }
}

/// Attributes by which overlays and the host's own policies steer: never from an image.
pub(in super::super) fn is_ours(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.")
        || name.starts_with(b"user.overlay.")
        || name == b"security.selinux"
}

/// Attributes that images have.
pub(in super::super) fn is_an_images(name: &[u8]) -> bool {
    let is_known = name.starts_with(b"user.")
        || name.starts_with(b"trusted.")
        || matches!(name, CAPABILITY | ACCESS_ACL | DEFAULT_ACL);
    is_known && !is_ours(name)
}

/// Names of a file's attributes; none where the file system has none.
pub(in super::super) fn names(file: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut buffer = vec![0; 4096];
    loop {
        match flistxattr(&file, &mut buffer[..]) {
            Ok(length) => return Ok(split_names(&buffer[..length])),
            Err(Errno::RANGE) if buffer.len() < 1 << 16 => buffer.resize(1 << 16, 0),
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
    }
}

/// Names that each end with a NUL.
pub(in super::super) fn split_names(list: &[u8]) -> Vec<Vec<u8>> {
    list.split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// The value on the host: ids in it are translated as the file's owner is.
fn translated(xattr: &Xattr, ids: &IdMaps) -> Result<Vec<u8>> {
    if ids.users.is_empty() && ids.groups.is_empty() {
        return Ok(xattr.value.clone());
    }
    match xattr.name.as_slice() {
        ACCESS_ACL | DEFAULT_ACL => {
            translated_acl(&xattr.value, |id| ids.user(id), |id| ids.group(id))
        }
        CAPABILITY => Ok(rooted_capability(&xattr.value, ids.user(0)?)),
        _ => Ok(xattr.value.clone()),
    }
}

/// The value in an image, for one on the host.
pub(in super::super) fn untranslated(xattr: Xattr, ids: &IdMaps) -> Result<Xattr> {
    if ids.users.is_empty() && ids.groups.is_empty() {
        return Ok(xattr);
    }
    let user = |id| ids.reverse(id, ids.group(0)?).map(|(user, _)| user);
    let group = |id| ids.reverse(ids.user(0)?, id).map(|(_, group)| group);
    let value = match xattr.name.as_slice() {
        ACCESS_ACL | DEFAULT_ACL => translated_acl(&xattr.value, user, group)?,
        CAPABILITY => rootless_capability(&xattr.value, ids.user(0)?),
        _ => xattr.value,
    };
    Ok(Xattr {
        name: xattr.name,
        value,
    })
}

/// linux/posix_acl_xattr.h: a version, then tag, permissions and id of each entry.
fn translated_acl(
    value: &[u8],
    user: impl Fn(u32) -> Result<u32>,
    group: impl Fn(u32) -> Result<u32>,
) -> Result<Vec<u8>> {
    const USER: u16 = 2;
    const GROUP: u16 = 8;
    let mut translated = value.to_vec();
    for entry in translated
        .iter_mut()
        .skip(4)
        .collect::<Vec<_>>()
        .chunks_exact_mut(8)
    {
        let byte = |at: usize| *entry[at];
        let tag = u16::from_le_bytes([byte(0), byte(1)]);
        let id = u32::from_le_bytes([byte(4), byte(5), byte(6), byte(7)]);
        let id = match tag {
            USER => user(id)?,
            GROUP => group(id)?,
            _ => continue,
        };
        for (place, byte) in entry[4..].iter_mut().zip(id.to_le_bytes()) {
            **place = byte;
        }
    }
    if value.len() % 8 != 4 {
        return Err(refuse(&translated, "an access control list is malformed"));
    }
    Ok(translated)
}

/// linux/capability.h: version 2 is for the initial user namespace's root; version 3 names whose
/// root it is for.
fn rooted_capability(value: &[u8], root: u32) -> Vec<u8> {
    const VERSION_2: u8 = 2;
    const VERSION_3: u8 = 3;
    if root == 0 || value.len() != 20 || value[3] != VERSION_2 {
        return value.to_vec();
    }
    let mut rooted = value.to_vec();
    rooted[3] = VERSION_3;
    rooted.extend_from_slice(&root.to_le_bytes());
    rooted
}

/// The opposite of [`rooted_capability`].
fn rootless_capability(value: &[u8], root: u32) -> Vec<u8> {
    match value.split_at_checked(20) {
        Some((capability, owner)) if owner == root.to_le_bytes() && root != 0 => {
            let mut rootless = capability.to_vec();
            rootless[3] = 2;
            rootless
        }
        _ => value.to_vec(),
    }
}
