//! Mounts by descriptor, for a program that prepares a rootfs on the host: a mount is made and
//! finished while nobody can see it, and appears at once.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

pub use crate::plan::{IdMapping, MountOptions, classic_flags};
use crate::{launch, sys};
pub use runtime_init::Attributes;

/// Missing from the libc crate: linux/fcntl.h.
const AT_RECURSIVE: i32 = 0x8000;

/// A mount that is nowhere: it is gone when this is dropped before [`DetachedMount::attach`].
/// Afterwards the descriptor is the mount's root.
#[derive(Debug)]
pub struct DetachedMount(OwnedFd);

/// A user namespace of which only the id mappings count.
#[derive(Debug)]
pub struct IdMappings(OwnedFd);

impl IdMappings {
    /// Makes a user namespace with these mappings: user_namespaces(7).
    ///
    /// # Errors
    ///
    /// EINVAL when mappings overlap, EPERM without privilege.
    pub fn new(uids: &[IdMapping], gids: &[IdMapping]) -> Result<Self, Errno> {
        launch::user_namespace(uids, gids).map(Self)
    }
}

impl DetachedMount {
    /// A bind mount of an absolute path: open_tree(2). Links are followed. With `recursive` the
    /// mounts below come along.
    ///
    /// # Errors
    ///
    /// ENOENT when the path leads nowhere, EPERM without privilege.
    pub fn bind(path: &CStr, recursive: bool) -> Result<Self, Errno> {
        if !path.to_bytes().starts_with(b"/") {
            return Err(Errno::EINVAL);
        }
        let reach = if recursive { AT_RECURSIVE } else { 0 };
        let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | reach.unsigned_abs();
        sys::open_tree(nix::fcntl::AT_FDCWD, path, flags).map(Self)
    }

    /// Changes attributes of the mount, with `recursive` of those below too:
    /// mount_setattr(2).
    ///
    /// # Errors
    ///
    /// ENOSYS before Linux 5.12.
    pub fn set(&self, attributes: Attributes, recursive: bool) -> Result<(), Errno> {
        let attributes = sys::MountAttributes {
            set: attributes.set,
            clear: attributes.clear,
            ..Default::default()
        };
        self.set_all(&attributes, recursive)
    }

    /// Gives it a propagation type: one of MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE,
    /// with MS_REC for the mounts below too. One that is nowhere takes MS_PRIVATE alone for
    /// sure, so this is for after [`DetachedMount::attach`].
    ///
    /// # Errors
    ///
    /// ENOSYS before Linux 5.12.
    pub fn set_propagation(&self, flags: u64) -> Result<(), Errno> {
        let attributes = sys::MountAttributes {
            propagation: flags & !libc::MS_REC,
            ..Default::default()
        };
        self.set_all(&attributes, flags & libc::MS_REC != 0)
    }

    /// Maps the owners of its files: MOUNT_ATTR_IDMAP of mount_setattr(2).
    ///
    /// # Errors
    ///
    /// ENOSYS before Linux 5.12, EINVAL for a filesystem that can't.
    pub fn map_ids(&self, mappings: &IdMappings, recursive: bool) -> Result<(), Errno> {
        launch::map_tree_as(self.0.as_fd(), recursive, mappings.0.as_fd())
            .map_err(|(_, errno)| errno)
    }

    fn set_all(&self, attributes: &sys::MountAttributes, recursive: bool) -> Result<(), Errno> {
        let flags = if recursive { AT_RECURSIVE } else { 0 };
        sys::mount_setattr(self.0.as_fd(), flags, attributes)
    }

    /// Mounts it on the file or directory that `target` is: move_mount(2).
    ///
    /// # Errors
    ///
    /// ENOTDIR when one is a directory and the other is none.
    pub fn attach(&self, target: BorrowedFd<'_>) -> Result<(), Errno> {
        sys::move_mount(self.0.as_fd(), target)
    }
}

impl AsFd for DetachedMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A filesystem that is being put together: fsopen(2).
#[derive(Debug)]
pub struct NewFilesystem(OwnedFd);

impl NewFilesystem {
    /// The longest string that the kernel takes for a parameter, in bytes.
    pub const VALUE_MAX_BYTES: usize = 255;

    /// One of this type.
    ///
    /// # Errors
    ///
    /// ENODEV when the kernel has no such type.
    pub fn open(kind: &CStr) -> Result<Self, Errno> {
        sys::fsopen(kind).map(Self)
    }

    /// Sets a parameter, such as `source`, or with no value a flag: fsconfig(2).
    ///
    /// # Errors
    ///
    /// EINVAL for an unknown one, or a value that the filesystem does not take or that is longer
    /// than [`NewFilesystem::VALUE_MAX_BYTES`].
    pub fn set(&self, key: &CStr, value: Option<&CStr>) -> Result<(), Errno> {
        sys::fsconfig(self.0.as_fd(), key, value)
    }

    /// Makes it, and a mount of it with these MOUNT_ATTR_*: fsmount(2).
    ///
    /// # Errors
    ///
    /// Whatever the filesystem says.
    pub fn mount(self, attributes: u64) -> Result<DetachedMount, (Errno, String)> {
        sys::fsconfig_create(self.0.as_fd())
            .and_then(|()| sys::fsmount(self.0.as_fd(), attributes))
            .map(DetachedMount)
            .map_err(|errno| (errno, self.words()))
    }

    /// What the kernel has said about its last refusal; empty when it has said nothing.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        let mut message = [0; 512];
        while let Ok(count @ 1..) = nix::unistd::read(&self.0, &mut message) {
            let text = String::from_utf8_lossy(message.get(..count).unwrap_or_default());
            // A letter for its severity stands before it.
            let text = text.trim_end();
            let bare = text.get(..2).filter(|start| start.ends_with(' '));
            words.push(
                bare.map_or(text, |_| text.get(2..).unwrap_or_default())
                    .to_owned(),
            );
        }
        words.join("; ")
    }
}
