//! What criu is given for a restore: directories, trees, namespaces and streams, each opened once.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::criu::Criu;
use super::entry::{SCRATCH_NULL, SCRATCH_ROOT};
use super::external::{self, External};
use super::images::Directory;
use super::restoration::LOG;
use super::streams::Replacements;
use super::verify;
use super::verify_mounts::Given;
use super::{RestoreOptions, filters, points};
use crate::error::{Error, ErrorKind};
use crate::plan::Plan;
use crate::procfs::Procfs;

/// The directories, checked.
#[derive(Debug)]
pub(super) struct Images {
    pub(super) directory: Directory,
    pub(super) work: Directory,
    /// What criu gets of them.
    pub(super) for_criu: OwnedFd,
    pub(super) work_for_criu: OwnedFd,
}

impl Images {
    pub(super) fn open(plan: &Plan, options: &RestoreOptions<'_>) -> Result<Self, Error> {
        let directory = Directory::open(options.image_path, "image directory", false)?;
        let has_parent = directory.refuse_links()?;
        directory.refuse_strangers()?;
        if has_parent {
            directory.check_parents()?;
        }
        filters::check(&directory, plan.process.seccomp.as_ref())?;
        let work = match options.work_path {
            Some(path) => Directory::open(path, "work directory", true)?,
            None => Directory::open(options.image_path, "image directory", false)?,
        };
        work.remove(LOG)?;
        Ok(Self {
            for_criu: view(&directory, plan, has_parent)?,
            work_for_criu: work.for_criu(has_parent && options.work_path.is_none())?,
            directory,
            work,
        })
    }
}

/// The images as criu gets them.
fn view(images: &Directory, plan: &Plan, has_parent: bool) -> Result<OwnedFd, Error> {
    let ids = &plan.namespaces;
    let root = (
        verify::host_id(0, &ids.uid_mappings),
        verify::host_id(0, &ids.gid_mappings),
    );
    match root {
        (Some(0), Some(0)) => images.for_criu(has_parent),
        (Some(_), Some(_)) if has_parent => Err(Error::text(
            ErrorKind::Unsupported,
            "restore: images with a parent can't be restored into a user namespace",
        )),
        (Some(uid), Some(gid)) => images.for_user_namespace(uid, gid),
        _ => Err(Error::text(
            ErrorKind::Unsupported,
            "restore: linux.uidMappings and linux.gidMappings must map the container's root",
        )),
    }
}

/// What criu is given, open.
#[derive(Debug)]
pub(super) struct Materials<'a> {
    pub(super) root: OwnedFd,
    root_guards: u64,
    pub(super) criu: OwnedFd,
    pub(super) null: Option<OwnedFd>,
    pub(super) trees: Vec<Tree<'a>>,
    /// One for each of `plan.namespaces.joined`.
    pub(super) namespaces: Vec<OwnedFd>,
    pub(super) replacements: Replacements,
}

#[derive(Debug)]
pub(super) struct Tree<'a> {
    pub(super) external: External<'a>,
    pub(super) fd: OwnedFd,
    is_directory: bool,
}

impl<'a> Materials<'a> {
    pub(super) fn open(
        plan: &'a Plan,
        images: &Images,
        options: &RestoreOptions<'_>,
    ) -> Result<Self, Error> {
        let mut trees = Vec::new();
        for external in external::of_plan(plan)? {
            let (fd, is_directory) = external.open()?;
            trees.push(Tree {
                external,
                fd,
                is_directory,
            });
        }
        let path = plan.rootfs.path.to_string_lossy();
        let failed = |errno| Error::call(format!("open the rootfs {path}"), errno);
        let root = external::open_tree(&plan.rootfs.path, true).map_err(failed)?;
        let is_file = |target: &CStr| {
            trees
                .iter()
                .any(|tree| tree.external.target == target && !tree.is_directory)
        };
        points::make(plan, root.as_fd(), &is_file)?;
        let has_masks = plan
            .contents
            .iter()
            .any(|content| matches!(content.act, crate::plan::ContentAct::Masked(_)));
        Ok(Self {
            root,
            root_guards: u64::from(plan.rootfs.readonly),
            criu: open_program(options)?,
            null: if has_masks {
                Some(external::open_null()?)
            } else {
                None
            },
            trees,
            namespaces: open_namespaces(plan)?,
            replacements: Replacements::new(
                &images.directory,
                options.stdio.map(|three| three.map(|fd| fd.as_raw_fd())),
            )?,
        })
    }

    /// Where each tree is for criu.
    pub(super) fn names(&self) -> Vec<CString> {
        (0..self.trees.len())
            .map(|index| CString::new(format!("/tmp/m{index}")).unwrap_or_default())
            .collect()
    }

    pub(super) fn needed(&self, tasks: &[RawFd]) -> Vec<RawFd> {
        let trees = self.trees.iter().map(|tree| &tree.fd);
        let single = [&self.root, &self.criu].into_iter().chain(&self.null);
        let mut needed: Vec<RawFd> = trees.chain(single).map(AsRawFd::as_raw_fd).collect();
        needed.extend(tasks);
        needed
    }

    pub(super) fn passed(&self) -> Vec<RawFd> {
        let namespaces = self.namespaces.iter().map(AsRawFd::as_raw_fd);
        namespaces.chain(self.replacements.raw()).collect()
    }

    pub(super) fn streams(&self, options: &RestoreOptions<'_>) -> [RawFd; 3] {
        let given = options.stdio.map(|three| three.map(|fd| fd.as_raw_fd()));
        given.unwrap_or([0, 1, 2])
    }

    /// The filesystems that criu has been given, as they look in mountinfo: by criu's own, which
    /// has every mount of the host, as criu itself reads it.
    pub(super) fn known_to(
        &self,
        criu: &Criu,
        procfs: &Procfs,
        names: &[CString],
    ) -> Result<Vec<Given>, Error> {
        let failed = |errno| Error::call("read criu's mountinfo", errno);
        let pid = criu.pid().ok_or_else(|| failed(Errno::ESRCH))?;
        let text = procfs.read(format!("{pid}/mountinfo")).map_err(failed)?;
        let mounts = super::mountinfo::parse(&text);
        let find = |point: &CStr, guards: u64, recursive: bool| -> Result<Given, Error> {
            let entry = mounts
                .iter()
                .rev()
                .find(|entry| entry.point == point.to_bytes());
            let entry = entry.ok_or_else(|| failed(Errno::ENOENT))?;
            Ok(Given {
                device: entry.device.clone(),
                root: entry.root.clone(),
                guards,
                recursive,
            })
        };
        let mut known = vec![find(SCRATCH_ROOT, self.root_guards, true)?];
        if self.null.is_some() {
            known.push(find(SCRATCH_NULL, 0, false)?);
        }
        for (tree, name) in self.trees.iter().zip(names) {
            known.push(find(
                name,
                tree.external.guards,
                tree.external.is_recursive(),
            )?);
        }
        Ok(known)
    }
}

fn open_program(options: &RestoreOptions<'_>) -> Result<OwnedFd, Error> {
    use std::os::unix::ffi::OsStrExt;
    let path = CString::new(options.criu.as_os_str().as_bytes()).map_err(|_| {
        Error::text(
            ErrorKind::InvalidConfig,
            "the path of criu has a NUL byte in it",
        )
    })?;
    external::open_tree(&path, false).map_err(|errno| {
        let hint = match errno {
            Errno::ENOENT => ": checkpoint and restore need criu: install it, or say where it is",
            _ => "",
        };
        let text = format!(
            "start criu ({}): open_tree(2): {}{hint}",
            options.criu.display(),
            crate::errno::Words(errno)
        );
        Error::text(ErrorKind::System, text).with_errno(Some(errno))
    })
}

fn open_namespaces(plan: &Plan) -> Result<Vec<OwnedFd>, Error> {
    let open = |joined: &crate::plan::JoinedNamespace| {
        let failed = |errno| {
            Error::call(
                format!(
                    "linux.namespaces[{}]: open {}",
                    joined.index,
                    joined.path.display()
                ),
                errno,
            )
        };
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let fd = nix::fcntl::open(&joined.path, flags, Mode::empty()).map_err(failed)?;
        match crate::sys::namespace_type(fd.as_fd()) {
            Ok(kind) if kind == joined.kind => Ok(fd),
            Ok(_) | Err(Errno::ENOTTY) => Err(failed(Errno::EINVAL)),
            Err(errno) => Err(failed(errno)),
        }
    };
    plan.namespaces.joined.iter().map(open).collect()
}
