//! Mounts: made or copied while detached, given their attributes, then attached to a
//! descriptor of their target. No name is looked up twice.

use core::ffi::CStr;

use crate::copy;
use crate::failure::{At, refuse};
use crate::interpreter::Init;
use crate::mount_flags::{changed, flags_of_statfs};
use crate::paths::{self, Links, Missing};
use crate::program::{Attributes, Call, Failure, Mount, RawFd, Source};
use crate::sys::{self, Errno, Fd, MountAttr};
use crate::text::Text;

/// The longest string that fsconfig(2) takes, without its NUL.
const FSCONFIG_STRING_MAX: usize = 255;
/// mount(2) reads one page of options.
const DATA_MAX: usize = 4096;
const DIRECTORY: Missing = Missing::Directory(0o755);

type Options<'a> = &'a [(&'a CStr, Option<&'a CStr>)];

/// A filesystem to be mounted by mount(2).
#[derive(Clone, Copy)]
struct ClassicMount<'a> {
    kind: &'a CStr,
    device: &'a CStr,
    flags: u64,
    data: &'a CStr,
}

impl Init<'_> {
    /// Attaches a filesystem or a part of one, with its attributes and propagation.
    pub(crate) fn mount(&mut self, mount: &Mount<'_>) -> Result<(), Failure> {
        match mount.source {
            Source::Filesystem {
                kind,
                device,
                options,
            } => {
                if fits_fsconfig(device, options) {
                    self.mount_filesystem(mount, kind, device, options)
                } else {
                    self.mount_long_options(mount, kind, device, options)
                }
            }
            Source::Bind { path, recursive } => {
                let recursive = if recursive { sys::AT_RECURSIVE } else { 0 };
                let flags = sys::OPEN_TREE_CLONE | recursive;
                let tree = sys::open_tree(libc::AT_FDCWD, path, flags).at(Call::OpenTree)?;
                self.attach(mount, tree.raw())
            }
            Source::Tree(tree) => self.attach(mount, tree),
            Source::Classic {
                kind,
                device,
                flags,
                data,
            } => self.mount_classic(
                mount,
                ClassicMount {
                    kind,
                    device,
                    flags,
                    data,
                },
            ),
            Source::Existing => self.change_existing(mount),
        }
    }

    fn mount_filesystem(
        &mut self,
        mount: &Mount<'_>,
        kind: &CStr,
        device: Option<&CStr>,
        options: Options<'_>,
    ) -> Result<(), Failure> {
        // There is one mount, so what is meant for it and all below it is meant for it.
        let attributes = (mount.attributes.set & !mount.recursive.clear) | mount.recursive.set;
        let later = if mount.copy_up {
            attributes & sys::MOUNT_ATTR_RDONLY
        } else {
            0
        };

        let tree = self.make_filesystem(kind, device, options, attributes & !later)?;
        // A directory that is made here has nothing to copy: no mode of somebody's choice either.
        let given = given_status(options);
        let takes_mode = kind == c"tmpfs" && !given.mode;
        let covers = (mount.copy_up || takes_mode) && !self.is_missing(mount)?;
        let target = self.open_target(mount, DIRECTORY, Some(tree.raw()))?;
        if covers && mount.copy_up {
            copy::copy_contents(self.proc, target.raw(), tree.raw())?;
            copy::copy_own_status(target.raw(), tree.raw(), given)?;
        } else if covers {
            // The kernel's own choice is 1777: an image's /run would be everybody's to write.
            copy::copy_mode(target.raw(), tree.raw())?;
        }
        sys::move_mount(tree.raw(), target.raw()).at(Call::MoveMount)?;
        self.change_attributes(
            tree.raw(),
            Attributes {
                set: later,
                clear: 0,
            },
        )?;
        self.set_all_propagation(tree.raw(), mount.propagation)
    }

    /// A detached mount of a new filesystem. When the kernel refuses, its words are kept.
    pub(crate) fn make_filesystem(
        &mut self,
        kind: &CStr,
        device: Option<&CStr>,
        options: Options<'_>,
        attributes: u64,
    ) -> Result<Fd, Failure> {
        let context = sys::fsopen(kind).at(Call::Fsopen)?;
        let made = configure(&context, device, options)
            .and_then(|()| sys::fsmount(context.raw(), attributes).at(Call::Fsmount));
        if made.is_err() {
            self.keep_explanation(&context);
        }
        made
    }

    /// Keeps the first error of the filesystem context's log (fsopen(2), "Retrieving messages").
    fn keep_explanation(&mut self, context: &Fd) {
        let mut line = [0; 1024];
        while let Ok(length) = sys::read(context.raw(), &mut line) {
            let line = line.get(..length).unwrap_or_default();
            let Some(words) = line.strip_prefix(b"e ") else {
                continue;
            };
            let words = words.trim_ascii_end();
            let end = words.len().min(crate::program::Message::TEXT_MAX);
            let kept = Text::of(&[words.get(..end).unwrap_or_default()]);
            self.explanation = kept.unwrap_or_else(|_| Text::new());
            return;
        }
    }

    fn attach(&mut self, mount: &Mount<'_>, tree: RawFd) -> Result<(), Failure> {
        if mount.source_is_procfs && !is_procfs_root(tree)? {
            return refuse(Call::SourceProcfs, libc::EPERM);
        }
        let is_directory = sys::fstat(tree).at(Call::Fstat)?.is_directory();
        let missing = if is_directory {
            DIRECTORY
        } else {
            Missing::File
        };
        let target = self.open_target(mount, missing, Some(tree))?;
        if !is_directory && sys::fstat(target.raw()).at(Call::Fstat)?.is_directory() {
            // move_mount(2) would say EINVAL, which it says of much else.
            return refuse(Call::MoveMount, libc::ENOTDIR);
        }

        // Before it is attached, so that it is never there without its restrictions.
        let early = set_attributes(tree, 0, mount.attributes);
        if early != Err(Errno(libc::ENOSYS)) {
            early.at(Call::MountSetattr)?;
        }
        set_attributes(tree, sys::AT_RECURSIVE, mount.recursive).at(Call::MountSetattr)?;
        sys::move_mount(tree, target.raw()).at(Call::MoveMount)?;
        if early.is_err() {
            self.remount(tree, mount.attributes)?;
        }
        self.set_all_propagation(tree, mount.propagation)
    }

    fn change_existing(&mut self, mount: &Mount<'_>) -> Result<(), Failure> {
        let target = self.open_present_target(mount)?;
        self.change_attributes(target.raw(), mount.attributes)?;
        set_attributes(target.raw(), sys::AT_RECURSIVE, mount.recursive).at(Call::MountSetattr)?;
        self.set_all_propagation(target.raw(), mount.propagation)
    }

    /// mount(2) on a descriptor's name. Attributes go along as flags: a remount replaces all.
    fn mount_classic(
        &mut self,
        mount: &Mount<'_>,
        classic: ClassicMount<'_>,
    ) -> Result<(), Failure> {
        let is_remount = classic.flags & libc::MS_REMOUNT != 0;
        let target = if is_remount {
            self.open_present_target(mount)?
        } else {
            self.open_target(mount, DIRECTORY, None)?
        };
        let flags = classic.flags | changed(0, mount.attributes);
        self.with_name_of(target.raw(), |name| {
            sys::mount(
                Some(classic.device),
                name,
                Some(classic.kind),
                flags,
                Some(classic.data),
            )
        })
        .at(Call::Mount)?;

        let mounted = if is_remount {
            target
        } else {
            self.open_mounted(mount)?
        };
        set_attributes(mounted.raw(), sys::AT_RECURSIVE, mount.recursive).at(Call::MountSetattr)?;
        self.set_all_propagation(mounted.raw(), mount.propagation)
    }

    /// fsconfig(2) takes strings of 255 bytes; mount(2) takes a page of options, so this is the
    /// way for an overlay of many directories.
    fn mount_long_options(
        &mut self,
        mount: &Mount<'_>,
        kind: &CStr,
        device: Option<&CStr>,
        options: Options<'_>,
    ) -> Result<(), Failure> {
        if mount.copy_up {
            return refuse(Call::Fsconfig, libc::EINVAL);
        }
        let mut data = Text::<DATA_MAX>::new();
        for (key, value) in options {
            let comma: &[u8] = if data.as_bytes().is_empty() {
                b""
            } else {
                b","
            };
            data.push(comma).at(Call::Mount)?;
            data.push(key.to_bytes()).at(Call::Mount)?;
            if let Some(value) = value {
                data.push(b"=").at(Call::Mount)?;
                data.push(value.to_bytes()).at(Call::Mount)?;
            }
        }
        let device = device.unwrap_or(c"none");
        self.mount_classic(
            mount,
            ClassicMount {
                kind,
                device,
                flags: 0,
                data: data.as_c_str(),
            },
        )
    }

    /// The target, made if it is missing, and checked to be no part of a procfs.
    fn open_target(
        &self,
        mount: &Mount<'_>,
        missing: Missing,
        tree: Option<RawFd>,
    ) -> Result<Fd, Failure> {
        let target = paths::ensure(self.rootfs()?, mount.target, missing, links_of(mount))?;
        check_outside_proc(mount, target.raw(), tree)?;
        Ok(target)
    }

    fn is_missing(&self, mount: &Mount<'_>) -> Result<bool, Failure> {
        match paths::open(self.rootfs()?, mount.target, libc::O_PATH, links_of(mount)) {
            Ok(_) => Ok(false),
            Err(Errno(libc::ENOENT)) => Ok(true),
            Err(error) => Err(error).at(Call::Open),
        }
    }

    fn open_present_target(&self, mount: &Mount<'_>) -> Result<Fd, Failure> {
        let target = paths::open(self.rootfs()?, mount.target, libc::O_PATH, links_of(mount))
            .at(Call::Open)?;
        check_outside_proc(mount, target.raw(), None)?;
        Ok(target)
    }

    /// The root of what mount(2) has just put on the target.
    fn open_mounted(&self, mount: &Mount<'_>) -> Result<Fd, Failure> {
        let mounted = paths::open(self.rootfs()?, mount.target, libc::O_PATH, links_of(mount))
            .at(Call::Open)?;
        if sys::fstat(mounted.raw()).at(Call::Fstat)?.is_mount_root() {
            Ok(mounted)
        } else {
            refuse(Call::Mount, libc::EINVAL)
        }
    }

    /// Changes attributes of the attached mount whose root `mount` is.
    pub(crate) fn change_attributes(
        &self,
        mount: RawFd,
        attributes: Attributes,
    ) -> Result<(), Failure> {
        match set_attributes(mount, 0, attributes) {
            Err(Errno(libc::ENOSYS)) => self.remount(mount, attributes),
            done => done.at(Call::MountSetattr),
        }
    }

    /// mount_setattr(2) for Linux 5.10 and 5.11, which lack it.
    fn remount(&self, mount: RawFd, attributes: Attributes) -> Result<(), Failure> {
        let now = flags_of_statfs(sys::fstatfs(mount).at(Call::Fstatfs)?.flags);
        let flags = changed(now, attributes) | libc::MS_REMOUNT | libc::MS_BIND;
        self.with_name_of(mount, |name| sys::mount(None, name, None, flags, None))
            .at(Call::Mount)
    }

    fn set_all_propagation(&self, mount: RawFd, changes: &[u64]) -> Result<(), Failure> {
        changes
            .iter()
            .try_for_each(|change| self.set_propagation(mount, *change))
    }

    /// Changes the propagation of the attached mount whose root `mount` is: one MS_* type, with
    /// or without MS_REC.
    pub(crate) fn set_propagation(&self, mount: RawFd, change: u64) -> Result<(), Failure> {
        let recursive = if change & libc::MS_REC == 0 {
            0
        } else {
            sys::AT_RECURSIVE
        };
        let attributes = MountAttr {
            propagation: change & !libc::MS_REC,
            ..MountAttr::default()
        };
        match sys::mount_setattr(mount, recursive, &attributes) {
            Err(Errno(libc::ENOSYS)) => {
                let by_name = |name: &CStr| sys::mount(None, name, None, change, None);
                self.with_name_of(mount, by_name).at(Call::Mount)
            }
            done => done.at(Call::MountSetattr),
        }
    }

    /// Calls `act` with a name of what the descriptor stands for: a link in the verified procfs,
    /// which is the working directory for that long.
    fn with_name_of(
        &self,
        fd: RawFd,
        act: impl FnOnce(&CStr) -> sys::Result<()>,
    ) -> sys::Result<()> {
        let name = paths::descriptor_path(fd)?;
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let here = paths::open_with(libc::AT_FDCWD, c".", flags, 0)?;
        sys::fchdir(self.proc)?;
        let done = act(name.as_c_str());
        sys::fchdir(here.raw())?;
        done
    }
}

fn configure(context: &Fd, device: Option<&CStr>, options: Options<'_>) -> Result<(), Failure> {
    if let Some(device) = device {
        sys::fsconfig(context.raw(), c"source", Some(device)).at(Call::Fsconfig)?;
    }
    for (key, value) in options {
        sys::fsconfig(context.raw(), key, *value).at(Call::Fsconfig)?;
    }
    sys::fsconfig_create(context.raw()).at(Call::Fsconfig)
}

/// What the options say of the filesystem's own directory: tmpfs(5).
fn given_status(options: Options<'_>) -> copy::Given {
    let has = |name: &CStr| options.iter().any(|(key, _)| *key == name);
    copy::Given {
        mode: has(c"mode"),
        uid: has(c"uid"),
        gid: has(c"gid"),
    }
}

fn fits_fsconfig(device: Option<&CStr>, options: Options<'_>) -> bool {
    let values = options.iter().filter_map(|(_, value)| *value);
    values
        .chain(device)
        .all(|value| value.count_bytes() <= FSCONFIG_STRING_MAX)
}

/// mount_setattr(2), unless nothing would change.
pub(crate) fn set_attributes(mount: RawFd, flags: u32, attributes: Attributes) -> sys::Result<()> {
    let Attributes { set, clear } = attributes;
    if set == 0 && clear == 0 {
        return Ok(());
    }
    sys::mount_setattr(
        mount,
        flags,
        &MountAttr {
            set,
            clear,
            ..MountAttr::default()
        },
    )
}

fn links_of(mount: &Mount<'_>) -> Links {
    if mount.refuse_links {
        Links::Refuse
    } else {
        Links::Follow
    }
}

/// Refuses a target that is a part of a procfs: files there that a container could replace are
/// how a runtime is made to write where it should not (CVE-2019-16884, CVE-2025-52881).
///
/// The root of a procfs is no part of it in this sense when it is another procfs that is stacked
/// on it, or when only the mount that is there changes.
fn check_outside_proc(
    mount: &Mount<'_>,
    target: RawFd,
    tree: Option<RawFd>,
) -> Result<(), Failure> {
    if mount.inside_proc || !is_procfs(target)? {
        return Ok(());
    }
    let stacks = match (mount.source, tree) {
        (Source::Existing, _) => true,
        (Source::Classic { kind, flags, .. }, _) => {
            flags & libc::MS_REMOUNT != 0 || kind == c"proc"
        }
        (_, Some(tree)) => is_procfs_root(tree)?,
        (_, None) => false,
    };
    if stacks && is_procfs_root(target)? {
        Ok(())
    } else {
        refuse(Call::InsideProc, libc::EPERM)
    }
}

/// Whether what the descriptor stands for is in a procfs.
pub(crate) fn is_procfs(fd: RawFd) -> Result<bool, Failure> {
    Ok(sys::fstatfs(fd).at(Call::Fstatfs)?.magic == sys::PROC_SUPER_MAGIC)
}

fn is_procfs_root(fd: RawFd) -> Result<bool, Failure> {
    let inode = sys::fstat(fd).at(Call::Fstat)?.inode;
    Ok(is_procfs(fd)? && inode == sys::PROC_ROOT_INODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strings_that_fsconfig_takes_go_there() {
        let long = [b'x'; 257];
        let short = c"ok";
        let mut ends = long;
        ends[256] = 0;
        let long = CStr::from_bytes_with_nul(&ends).unwrap();
        assert!(fits_fsconfig(
            Some(short),
            &[(c"lowerdir", Some(short)), (c"ro", None)]
        ));
        assert!(!fits_fsconfig(None, &[(c"lowerdir", Some(long))]));
        assert!(!fits_fsconfig(Some(long), &[]));
    }
}
