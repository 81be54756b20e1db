//! A host of a case's own: what a runtime breaks around it is seen by the case, and gone with it.
//!
//! Its root is a tmpfs on which the host's directories are bound, so that what is made in `/` is
//! made there. Its `/dev` is a tmpfs with nodes of the same numbers. Names of the machine, System V
//! IPC and the network are new namespaces, with a loopback device that is up. Files below the host's directories stay the host's, and
//! so do the parameters of the kernel that no namespace has: [`crate::keeper`] watches those.

use std::fs::{DirEntry, FileType};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, mknod};

type Done = Result<(), String>;

/// Moves this process, and all that it starts from now on, into such a host, which is put together
/// at `directory`, an empty one.
///
/// # Errors
///
/// With what could not be made: without root, or where the kernel lacks namespaces.
pub(crate) fn enter(directory: &Path) -> Done {
    let kinds = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    let here = std::env::current_dir();
    let was_shared = crate::view::is_root_shared();
    on("namespaces", unshare(kinds | CloneFlags::CLONE_NEWNET))?;
    on("the loopback device", crate::sys::bring_loopback_up())?;
    change("/", MsFlags::MS_REC | MsFlags::MS_SLAVE)?;
    let root = root_of(directory)?;
    devices(Path::new("/dev"), &root.join("dev"))?;
    take(&root)?;
    // A second sight of the root, by the directories that are bound on it.
    on("unmount", umount2(directory, MntFlags::MNT_DETACH))?;
    if was_shared {
        change("/", MsFlags::MS_REC | MsFlags::MS_SHARED)?;
    }
    match here {
        Ok(here) => on("the working directory", std::env::set_current_dir(here)),
        // Nobody needs one that is gone.
        Err(_) => Ok(()),
    }
}

/// A root with all that the host's has, and an empty `dev`.
fn root_of(directory: &Path) -> Result<PathBuf, String> {
    tmpfs(directory)?;
    for entry in entries(Path::new("/"))? {
        let target = directory.join(entry.file_name());
        let kind = on("the root", entry.file_type())?;
        match entry.file_name() == "dev" {
            true => tmpfs_at(&target)?,
            false => show(&entry, kind, &target)?,
        }
    }
    Ok(directory.to_owned())
}

/// The same thing at another place: a link is copied, anything else bound.
fn show(entry: &DirEntry, kind: FileType, target: &Path) -> Done {
    if kind.is_symlink() {
        let leads_to = on("a link", std::fs::read_link(entry.path()))?;
        return on("a link", symlink(leads_to, target));
    }
    match kind.is_dir() {
        true => on("a directory", std::fs::create_dir(target))?,
        false => on("a file", std::fs::File::create(target).map(drop))?,
    }
    bind(&entry.path(), target)
}

/// Nodes like those of a directory, links like its links; what is mounted there is bound.
fn devices(source: &Path, target: &Path) -> Done {
    for entry in entries(source)? {
        let status = on("a device", entry.metadata())?;
        let kind = on("a device", entry.file_type())?;
        let copy = target.join(entry.file_name());
        let is_node = kind.is_char_device() || kind.is_block_device();
        if is_node && node(&copy, kind, &status).is_ok() {
            continue;
        }
        let is_mounted = kind.is_dir() && is_of_another_filesystem(&entry.path(), source);
        match kind.is_dir() && !is_mounted {
            true => {
                on("a directory", std::fs::create_dir(&copy))?;
                devices(&entry.path(), &copy)?;
            }
            // A node that can't be made is shown as it is; a socket is another's anyway.
            false => show(&entry, kind, &copy)?,
        }
    }
    Ok(())
}

fn node(path: &Path, kind: FileType, status: &std::fs::Metadata) -> std::io::Result<()> {
    let sort = match kind.is_block_device() {
        true => SFlag::S_IFBLK,
        false => SFlag::S_IFCHR,
    };
    mknod(path, sort, Mode::from_bits_truncate(0o600), status.rdev())?;
    chown(path, Some(status.uid()), Some(status.gid()))?;
    let mode = std::fs::Permissions::from_mode(status.mode() & 0o7777);
    std::fs::set_permissions(path, mode)
}

fn is_of_another_filesystem(path: &Path, than: &Path) -> bool {
    let number = |path: &Path| std::fs::metadata(path).map(|status| status.dev()).ok();
    number(path) != number(than)
}

/// Makes a directory the root, and lets the old one go.
fn take(root: &Path) -> Done {
    on("chdir", std::env::set_current_dir(root))?;
    on("pivot_root(2)", nix::unistd::pivot_root(".", "."))?;
    on("unmount the old root", umount2(".", MntFlags::MNT_DETACH))?;
    on("chdir", std::env::set_current_dir("/"))
}

fn tmpfs_at(path: &Path) -> Done {
    on("a directory", std::fs::create_dir(path))?;
    tmpfs(path)
}

fn tmpfs(path: &Path) -> Done {
    let flags = MsFlags::empty();
    on(
        "a tmpfs",
        mount(
            Some("tmpfs"),
            path,
            Some("tmpfs"),
            flags,
            Some("mode=755,size=16m"),
        ),
    )
}

fn bind(source: &Path, target: &Path) -> Done {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    on(
        "a bind mount",
        mount(Some(source), target, None::<&str>, flags, None::<&str>),
    )
}

fn change(path: &str, flags: MsFlags) -> Done {
    on(
        "propagation",
        mount(None::<&str>, path, None::<&str>, flags, None::<&str>),
    )
}

fn entries(directory: &Path) -> Result<Vec<DirEntry>, String> {
    let entries = on("a directory", std::fs::read_dir(directory))?;
    Ok(entries.flatten().collect())
}

fn on<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| format!("a host of the case's own: {what}: {error}"))
}
