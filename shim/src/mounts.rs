//! The rootfs of a container, as containerd describes it: mounts one above the other.
//!
//! A mount is made and finished while it is nowhere, and appears at once, by descriptor:
//! fsopen(2), open_tree(2), mount_setattr(2), move_mount(2). What those can't say to an older
//! kernel goes through mount(2) (`classic`). When one of the mounts fails, those before it are
//! undone.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::Path;

use containerd_shim_protos::types::mount::Mount;
use nix::errno::Errno;
use runtime_core::errno::Words;
use runtime_core::mount::{DetachedMount, IdMappings, MountOptions};

use self::classic::Classic;
use self::filesystem::Filesystem;
use self::helper::Helper;
use self::id_maps::IdMaps;
use self::place::Place;
pub use self::unmount::unmount;
use crate::failure::{Code, Failure};

mod classic;
mod filesystem;
mod helper;
mod id_maps;
mod loop_device;
mod overlay;
mod place;
mod sys;
#[cfg(test)]
mod tests;
mod unmount;

/// Mounts these onto `rootfs`, an absolute path, which is made if it is not there. Nothing is
/// mounted when one of them fails.
///
/// # Errors
///
/// INVALID_ARGUMENT for an option that means nothing, NOT_FOUND for a target that is not there,
/// UNIMPLEMENTED for what this kernel or this version can't do, and what mount(2) says.
pub fn mount(rootfs: &Path, mounts: &[Mount]) -> Result<(), Failure> {
    if mounts.is_empty() {
        return Ok(());
    }
    make_directory(rootfs)?;
    let mut made: Vec<Place> = Vec::new();
    for (index, mount) in mounts.iter().enumerate() {
        match mount_one(rootfs, mount) {
            Ok(place) => made.push(place),
            Err(mut failure) => {
                let onto = Path::new(mount.target.as_str());
                let onto = rootfs.join(onto.strip_prefix("/").unwrap_or(onto));
                failure.message = format!(
                    "mount {} {} on {} (rootfs[{index}]): {}",
                    mount.type_,
                    mount.source,
                    onto.display(),
                    failure.message
                );
                undo(made, &mut failure);
                return Err(failure);
            }
        }
    }
    Ok(())
}

fn make_directory(rootfs: &Path) -> Result<(), Failure> {
    use nix::sys::stat::Mode;
    match nix::unistd::mkdir(rootfs, Mode::from_bits_truncate(0o711)) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(Failure::call(
            format_args!("make the rootfs's directory {}", rootfs.display()),
            errno,
        )),
    }
}

/// Takes mounts away again, the last one first.
fn undo(made: Vec<Place>, failure: &mut Failure) {
    for place in made.into_iter().rev() {
        if let Err(errno) = place.detach() {
            let left = format!("; and what was mounted before is left: {}", Words(errno));
            failure.message.push_str(&left);
        }
    }
}

/// Mounts one, and gives its root.
fn mount_one(rootfs: &Path, mount: &Mount) -> Result<Place, Failure> {
    let place = Place::find(rootfs, &mount.target)?;
    refuse_managers_words(mount)?;
    if let Some(helper) = Helper::of(&mount.type_) {
        // Options are the helper's to understand.
        helper.mount(&place, &mount.source, &mount.options)?;
        return Place::find(rootfs, &mount.target);
    }
    let mut options = MountOptions::new(mount.options.iter().map(String::as_str));
    refuse_foreign_words(&options)?;
    let id_maps = IdMaps::take(&mut options)?;
    let mappings = id_maps.as_ref().map(IdMaps::open).transpose()?;
    if mount.type_ == "bind" || mount.type_ == "rbind" || options.bind.is_some() {
        let recursive = mount.type_ == "rbind" || options.bind == Some(true);
        bind(&place, mount, &options, recursive, mappings.as_ref())?;
    } else {
        let device = loop_device::take(&mut options, &mount.source)?;
        let source = device
            .as_ref()
            .map_or(&*mount.source, |device| device.path());
        let filesystem = Filesystem::new(&mount.type_, source, &options)?;
        filesystem.mount(&place, mappings.as_ref())?;
    }
    let root = Place::find(rootfs, &mount.target)?;
    if let Err(failure) = set_propagation(&root, &options) {
        // The first failure is the one to report.
        root.detach().ok();
        return Err(failure);
    }
    Ok(root)
}

/// What containerd's mount manager (2.2) does before a shim is asked: making files, directories
/// and devices, and putting the places of earlier mounts into later ones. A mount that still has
/// it has not been through the manager, and would be another one without it.
fn refuse_managers_words(mount: &Mount) -> Result<(), Failure> {
    const KINDS: [&str; 4] = ["format/", "mkfs/", "mkdir/", "dmverity/"];
    let is_managers = |word: &&String| word.starts_with("X-containerd.");
    let what = if let Some(word) = mount.options.iter().find(is_managers) {
        format!("option {word:?}")
    } else if mount.type_ == "loop" || KINDS.iter().any(|kind| mount.type_.starts_with(kind)) {
        format!("type {:?}", mount.type_)
    } else {
        return Ok(());
    };
    let text = format!(
        "{what} is for containerd's mount manager, which has not seen this mount: the snapshotter needs a containerd of version 2.2 or later"
    );
    Err(Failure::new(Code::UNIMPLEMENTED, text))
}

/// Options that mean something for a container's own mounts only.
fn refuse_foreign_words(options: &MountOptions<'_>) -> Result<(), Failure> {
    let word = match () {
        () if options.remount => "remount",
        () if options.idmap.is_some() => "idmap",
        () if options.copy_up => "tmpcopyup",
        () => return Ok(()),
    };
    let text = format!("option {word:?} is not taken here");
    Err(Failure::new(Code::UNIMPLEMENTED, text))
}

fn bind(
    place: &Place,
    mount: &Mount,
    options: &MountOptions<'_>,
    recursive: bool,
    mappings: Option<&IdMappings>,
) -> Result<(), Failure> {
    if let Some((_, word)) = options.data.first() {
        let text = format!("unknown option {word:?}: a bind mount has no filesystem's own");
        return Err(Failure::invalid(text));
    }
    let path = c_string(&mount.source)?;
    let tree = DetachedMount::bind(&path, recursive).map_err(|errno| match errno {
        Errno::EINVAL => Failure::invalid("the source must be an absolute path"),
        Errno::ENOENT => Failure::not_found(format!("open_tree(2): {}", Words(errno))),
        errno => Failure::call("open_tree(2)", errno),
    })?;
    if let Some(mappings) = mappings {
        map_ids(&tree, mappings, recursive)?;
    }
    for (attributes, recursive) in [(options.attributes, false), (options.recursive, true)] {
        if (attributes.set | attributes.clear) == 0 {
            continue;
        }
        match tree.set(attributes, recursive) {
            // Before Linux 5.12 a mount is changed once it is attached, and alone.
            Err(Errno::ENOSYS) if !recursive => {
                attach(&tree, place)?;
                return classic::remount_bind(&tree, attributes);
            }
            set => set.map_err(|errno| Failure::call("mount_setattr(2)", errno))?,
        }
    }
    attach(&tree, place)
}

fn map_ids(tree: &DetachedMount, mappings: &IdMappings, recursive: bool) -> Result<(), Failure> {
    tree.map_ids(mappings, recursive)
        .map_err(|errno| match errno {
            Errno::EINVAL => Failure::new(
                Code::UNIMPLEMENTED,
                format!(
                    "mount_setattr(2) MOUNT_ATTR_IDMAP: {}: the filesystem can't be idmapped",
                    Words(errno)
                ),
            ),
            errno => Failure::call("mount_setattr(2) MOUNT_ATTR_IDMAP", errno),
        })
}

fn attach(tree: &DetachedMount, place: &Place) -> Result<(), Failure> {
    tree.attach(place.as_fd())
        .map_err(|errno| Failure::call("move_mount(2)", errno))
}

fn set_propagation(root: &Place, options: &MountOptions<'_>) -> Result<(), Failure> {
    for flags in &options.propagation {
        Classic::set_propagation(root, *flags)
            .map_err(|errno| Failure::call("set the propagation: mount(2)", errno))?;
    }
    Ok(())
}

fn c_string(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure::invalid(format!("{text:?} contains a NUL")))
}
