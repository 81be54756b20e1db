//! What the parent opens for the child before there is one: namespaces, trees, the start
//! socket, the hooks' state.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::Mode;

use super::idmap;
use super::{LaunchError, Stage};
use crate::plan::{ContentAct, IdMapping, IdmapPlan, MountSource, Plan};
use crate::sys;

/// Descriptors that the child inherits, by what they are for.
#[derive(Debug, Default)]
pub(super) struct HostFiles {
    /// One for each of `plan.namespaces.joined`.
    pub(super) namespaces: Vec<OwnedFd>,
    /// Detached trees by index in `plan.contents`.
    pub(super) trees: Vec<(usize, OwnedFd)>,
    /// The state as createContainer hooks see it.
    pub(super) state_creating: Option<OwnedFd>,
    /// The state as startContainer hooks see it.
    pub(super) state_created: Option<OwnedFd>,
    /// Where the hooks of the container's namespaces print to.
    pub(super) hook_output: Option<OwnedFd>,
    /// The listening start socket.
    pub(super) listener: Option<OwnedFd>,
}

impl HostFiles {
    /// Opens what the plan needs from the runtime's namespaces.
    ///
    /// With `privileged_parent` the sources of bind mounts are opened here, since a container's
    /// root in a new user namespace may have no way to them.
    pub(super) fn open(plan: &Plan, privileged_parent: bool) -> Result<Self, LaunchError> {
        let mut files = Self::default();
        for joined in &plan.namespaces.joined {
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
            let fd = nix::fcntl::open(&joined.path, flags, Mode::empty())
                .map_err(|errno| LaunchError::namespace(joined, Stage::Open, errno))?;
            check_namespace_type(&fd, joined.kind)
                .map_err(|errno| LaunchError::namespace(joined, Stage::Type, errno))?;
            files.namespaces.push(fd);
        }
        let opens_all = privileged_parent && plan.namespaces.has(libc::CLONE_NEWUSER as u64);
        for (index, content) in plan.contents.iter().enumerate() {
            let ContentAct::Mount(mount) = &content.act else {
                continue;
            };
            let MountSource::Bind {
                path,
                recursive,
                idmap,
            } = &mount.source
            else {
                continue;
            };
            if opens_all || idmap.is_some() {
                let tree = open_bind(plan, path, *recursive, idmap.as_ref())
                    .map_err(|(call, errno)| LaunchError::content(content, call, errno))?;
                files.trees.push((index, tree));
            }
        }
        if !plan.hooks.create_container.is_empty() || !plan.hooks.start_container.is_empty() {
            let null = nix::fcntl::open(
                "/dev/null",
                OFlag::O_WRONLY | OFlag::O_CLOEXEC,
                Mode::empty(),
            );
            files.hook_output =
                Some(null.map_err(|errno| LaunchError::call("open /dev/null", errno))?);
        }
        if !plan.hooks.create_container.is_empty() {
            files.state_creating = Some(empty_state()?);
        }
        if !plan.hooks.start_container.is_empty() {
            files.state_created = Some(empty_state()?);
        }
        Ok(files)
    }

    /// The tree that was opened for this entry of `plan.contents`.
    pub(super) fn tree(&self, index: usize) -> Option<BorrowedFd<'_>> {
        self.trees
            .iter()
            .find(|(of, _)| *of == index)
            .map(|(_, tree)| tree.as_fd())
    }

    /// All descriptor numbers, for the child to keep.
    pub(super) fn raw(&self) -> impl Iterator<Item = RawFd> {
        let trees = self.trees.iter().map(|(_, tree)| tree);
        let single = [
            &self.state_creating,
            &self.state_created,
            &self.hook_output,
            &self.listener,
        ];
        let single = single.into_iter().flatten();
        self.namespaces
            .iter()
            .chain(trees)
            .chain(single)
            .map(AsRawFd::as_raw_fd)
    }
}

fn empty_state() -> Result<OwnedFd, LaunchError> {
    crate::hooks::state_file(b"").map_err(|errno| LaunchError::call("memfd_create(2)", errno))
}

/// Refuses a descriptor that is no namespace of this kind (ioctl_nsfs(2), NS_GET_NSTYPE).
fn check_namespace_type(namespace: &OwnedFd, kind: u64) -> Result<(), Errno> {
    match sys::namespace_type(namespace.as_fd()) {
        Ok(found) if found == kind => Ok(()),
        Ok(_) | Err(Errno::ENOTTY) => Err(Errno::EINVAL),
        Err(errno) => Err(errno),
    }
}

/// A detached copy of a host's tree, with mapped ids if asked for.
fn open_bind(
    plan: &Plan,
    path: &CStr,
    recursive: bool,
    idmap: Option<&IdmapPlan>,
) -> Result<OwnedFd, (&'static str, Errno)> {
    const OPEN_TREE_CLONE: u32 = 1;
    const AT_RECURSIVE: u32 = 0x8000;
    let recursion = if recursive { AT_RECURSIVE } else { 0 };
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as u32 | recursion;
    let tree = sys::open_tree(AT_FDCWD, path, flags).map_err(|errno| ("open_tree(2)", errno))?;
    if let Some(idmap) = idmap {
        let own = |own: &[IdMapping], containers: &[IdMapping]| {
            if own.is_empty() {
                containers.to_vec()
            } else {
                own.to_vec()
            }
        };
        let uids = own(&idmap.uid_mappings, &plan.namespaces.uid_mappings);
        let gids = own(&idmap.gid_mappings, &plan.namespaces.gid_mappings);
        idmap::map_tree(tree.as_fd(), idmap.recursive, &uids, &gids)?;
    }
    Ok(tree)
}
