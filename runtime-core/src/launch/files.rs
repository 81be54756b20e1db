//! What the parent opens for the child before there is one: namespaces, trees, the start
//! socket, the hooks' state.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::Mode;

use super::lower::NEWUSER;
use super::{LaunchError, Stage};
use super::{explain, idmap};
use crate::plan::{ContentAct, IdmapPlan, JoinedNamespace, MountSource, Plan};
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
            refuse_own_namespace(&fd, joined, plan)?;
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
                let tree = files
                    .open_bind(plan, path, *recursive, idmap.as_ref())
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

    /// A detached copy of a host's tree, with mapped ids if asked for.
    fn open_bind(
        &self,
        plan: &Plan,
        path: &CStr,
        recursive: bool,
        idmap: Option<&IdmapPlan>,
    ) -> Result<OwnedFd, (&'static str, Errno)> {
        const OPEN_TREE_CLONE: u32 = 1;
        const AT_RECURSIVE: u32 = 0x8000;
        let recursion = if recursive { AT_RECURSIVE } else { 0 };
        let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as u32 | recursion;
        let tree =
            sys::open_tree(AT_FDCWD, path, flags).map_err(|errno| ("open_tree(2)", errno))?;
        let Some(idmap) = idmap else { return Ok(tree) };
        let has_own = !idmap.uid_mappings.is_empty();
        match self.joined_user_namespace(plan) {
            Some(namespace) if !has_own => {
                idmap::map_tree_as(tree.as_fd(), idmap.recursive, namespace)?;
            }
            _ => {
                let (uids, gids) = if has_own {
                    (&idmap.uid_mappings, &idmap.gid_mappings)
                } else {
                    (&plan.namespaces.uid_mappings, &plan.namespaces.gid_mappings)
                };
                idmap::map_tree(tree.as_fd(), idmap.recursive, uids, gids)?;
            }
        }
        Ok(tree)
    }

    fn joined_user_namespace(&self, plan: &Plan) -> Option<BorrowedFd<'_>> {
        let position = plan
            .namespaces
            .joined
            .iter()
            .position(|joined| joined.kind == NEWUSER)?;
        self.namespaces.get(position).map(AsFd::as_fd)
    }

    /// The tree that was opened for this entry of `plan.contents`.
    pub(super) fn tree(&self, index: usize) -> Option<BorrowedFd<'_>> {
        let found = self.trees.binary_search_by_key(&index, |(of, _)| *of);
        found.ok().map(|position| self.trees[position].1.as_fd())
    }

    /// The descriptor numbers that the child needs when it waits for `start`, and after it.
    pub(super) fn raw_at_start(&self) -> impl Iterator<Item = RawFd> {
        let hooks = self.state_created.as_ref().map(|_| &self.hook_output);
        let single = [Some(&self.state_created), hooks, Some(&self.listener)];
        single
            .into_iter()
            .flatten()
            .flatten()
            .map(AsRawFd::as_raw_fd)
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

/// Refuses to set sysctls in a namespace that was joined by a path and is the runtime's own:
/// they would be the host's.
fn refuse_own_namespace(
    namespace: &OwnedFd,
    joined: &JoinedNamespace,
    plan: &Plan,
) -> Result<(), LaunchError> {
    let sysctl_prefix: &[u8] = match joined.kind {
        kind if kind == libc::CLONE_NEWNET as u64 => b"net/",
        kind if kind == libc::CLONE_NEWUSER as u64 => b"user/",
        kind if kind == libc::CLONE_NEWUTS as u64 => b"kernel/domainname",
        kind if kind == libc::CLONE_NEWIPC as u64 => b"",
        _ => return Ok(()),
    };
    let is_concerned = |path: &CString| path.as_bytes().starts_with(sysctl_prefix);
    let Some((path, _)) = plan.sysctls.iter().find(|(path, _)| is_concerned(path)) else {
        return Ok(());
    };
    let name = explain::namespace_name(joined.kind);
    let file = if name == "network" { "net" } else { name };
    let own = nix::sys::stat::stat(format!("/proc/self/ns/{file}").as_str());
    let theirs = nix::sys::stat::fstat(namespace);
    match (own, theirs) {
        (Ok(own), Ok(theirs)) if (own.st_dev, own.st_ino) != (theirs.st_dev, theirs.st_ino) => {
            Ok(())
        }
        (Ok(_), Ok(_)) => Err(LaunchError::Step {
            act: format!("set sysctl {}", path.to_string_lossy().replace('/', ".")),
            call: "checking the namespace",
            reason: format!(
                "the joined {name} namespace is the host's own: the sysctl would be set for the whole host"
            ),
            errno: Errno::EPERM,
        }),
        (Err(errno), _) | (_, Err(errno)) => {
            Err(LaunchError::namespace(joined, Stage::Open, errno))
        }
    }
}
