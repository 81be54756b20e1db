//! The mounts that criu has made of an image, compared with config.json's.
//!
//! Where they are and what they forbid comes from the image, and only the host's directories
//! come from config.json. So whatever shows a directory of the host's has to forbid what
//! config.json forbids for it, wherever the image has put it; nothing of another filesystem of
//! the host's may be there at all; and what hides or protects a path has to be in its place.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use super::external::{GUARDS, View, is_directory, is_null};
use super::mountinfo::{FLAGS, MountEntry, is_below};
use super::verify::{CAP_SYS_ADMIN, refusal};
use crate::error::Error;
use crate::plan::{ContentAct, MountPlan, MountSource, Plan};

/// A directory or file of the host's that criu was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// As in mountinfo.
    pub(crate) device: String,
    /// As in mountinfo.
    pub(crate) root: Vec<u8>,
    /// What every mount of it has to forbid.
    pub(crate) guards: u64,
    /// Whether mounts below it came along.
    pub(crate) recursive: bool,
}

/// Compares the mounts of a restored container with its plan.
pub(crate) fn check(plan: &Plan, given: &[Given], view: &View<'_>) -> Result<(), Error> {
    let places = Places::of(plan, view)?;
    let may_mount = plan.process.capabilities.bounding & CAP_SYS_ADMIN != 0;
    let kinds = kinds(plan);
    for mount in &view.mounts {
        check_source(mount, given, &kinds)?;
        if !may_mount && !places.has(mount) {
            return Err(refusal(format!(
                "it has a mount on {} that config.json does not have",
                shown(&mount.point)
            )));
        }
    }
    check_targets(plan, view)?;
    check_paths(plan, view)
}

/// A mount shows what criu was given, with its guards, or is of a kind that belongs to nobody.
fn check_source(mount: &MountEntry, given: &[Given], kinds: &[&str]) -> Result<(), Error> {
    let shows = |given: &&Given| given.device == mount.device && is_below(&mount.root, &given.root);
    let longest = given
        .iter()
        .filter(shows)
        .map(|given| given.root.len())
        .max();
    let Some(longest) = longest else {
        let is_private = mount.device.starts_with("0:") && kinds.contains(&mount.kind.as_str());
        return if is_private {
            Ok(())
        } else {
            Err(refusal(format!(
                "the mount on {} ({}) shows something of the host's that config.json does not give",
                shown(&mount.point),
                mount.kind
            )))
        };
    };
    // The same directory may be given twice, with different guards: the weaker ones count.
    let guards = given
        .iter()
        .filter(shows)
        .filter(|given| given.root.len() == longest)
        .fold(GUARDS, |guards, given| guards & given.guards);
    let missing = guards & !mount.flags;
    if missing == 0 {
        return Ok(());
    }
    Err(refusal(format!(
        "the mount on {} is not {}",
        shown(&mount.point),
        flag_names(missing)
    )))
}

/// The filesystems that a container has of its own.
fn kinds(plan: &Plan) -> Vec<&str> {
    // Masked directories are a tmpfs.
    let mut kinds = vec!["tmpfs"];
    for content in &plan.contents {
        if let ContentAct::Mount(MountPlan {
            source: MountSource::Filesystem { kind, .. },
            ..
        }) = &content.act
        {
            kinds.extend(kind.to_str());
        }
    }
    kinds
}

/// Where config.json has mounts.
struct Places {
    /// Mount points, by what is there in the end and by their own name.
    points: Vec<Vec<u8>>,
    /// Trees that came with mounts of their own.
    trees: Vec<Vec<u8>>,
}

impl Places {
    fn of(plan: &Plan, view: &View<'_>) -> Result<Self, Error> {
        let mut places = Self {
            points: vec![b"/".to_vec(), b"/dev/console".to_vec()],
            trees: Vec::new(),
        };
        for content in &plan.contents {
            let (path, is_tree) = match &content.act {
                ContentAct::Mount(mount) => {
                    let is_tree = matches!(
                        mount.source,
                        MountSource::Bind {
                            recursive: true,
                            ..
                        }
                    );
                    (&mount.target, is_tree)
                }
                ContentAct::Device(device) if device.bind => (&device.path, false),
                ContentAct::Readonly(path) => (path, true),
                ContentAct::Masked(path) => (path, false),
                _ => continue,
            };
            let mut names = vec![path.to_bytes().to_vec()];
            if let Some(place) = open(view, path)?
                && let Ok(Some(mount)) = view.mount_at(place.as_fd())
            {
                names.push(mount.point.clone());
            }
            if is_tree {
                places.trees.extend(names.iter().cloned());
            }
            places.points.extend(names);
        }
        Ok(places)
    }

    fn has(&self, mount: &MountEntry) -> bool {
        self.points.contains(&mount.point)
            || self.trees.iter().any(|tree| is_below(&mount.point, tree))
    }
}

/// What is at each target forbids what config.json says.
fn check_targets(plan: &Plan, view: &View<'_>) -> Result<(), Error> {
    let readonly = u64::from(plan.rootfs.readonly);
    check_guards(view, c"/", readonly)?;
    let mut last: Vec<(&CStr, u64)> = Vec::new();
    for content in &plan.contents {
        let ContentAct::Mount(mount) = &content.act else {
            continue;
        };
        let guards = (mount.attributes.set | mount.recursive.set) & GUARDS;
        let earlier = last
            .iter()
            .position(|(target, _)| *target == mount.target.as_c_str());
        match (earlier, &mount.source) {
            // A remount changes what is there.
            (Some(index), MountSource::Existing) => last[index].1 |= guards,
            (Some(index), _) => last[index].1 = guards,
            (None, _) => last.push((&mount.target, guards)),
        }
    }
    last.into_iter()
        .try_for_each(|(target, guards)| check_guards(view, target, guards))
}

fn check_guards(view: &View<'_>, target: &CStr, guards: u64) -> Result<(), Error> {
    let Some(place) = open(view, target)?.filter(|_| guards != 0) else {
        return Ok(());
    };
    let missing = guards & !flags_at(&place).map_err(|errno| lookup(target, errno))?;
    if missing == 0 {
        return Ok(());
    }
    Err(refusal(format!(
        "{} is not {}",
        target.to_string_lossy(),
        flag_names(missing)
    )))
}

/// Masked paths are hidden, read-only ones can't be written.
fn check_paths(plan: &Plan, view: &View<'_>) -> Result<(), Error> {
    for content in &plan.contents {
        match &content.act {
            ContentAct::Readonly(path) => check_guards(view, path, 1)?,
            ContentAct::Masked(path) => check_mask(view, path)?,
            _ => {}
        }
    }
    Ok(())
}

fn check_mask(view: &View<'_>, path: &CStr) -> Result<(), Error> {
    let Some(place) = open(view, path)? else {
        return Ok(());
    };
    let failed = |errno| lookup(path, errno);
    let status = fstat(&place).map_err(failed)?;
    let is_hidden = if is_directory(&status) {
        let is_tmpfs = fstatfs(&place).map_err(failed)?.filesystem_type() == TMPFS_MAGIC;
        is_tmpfs && flags_at(&place).map_err(failed)? & 1 != 0
    } else {
        is_null(&status)
    };
    if is_hidden {
        return Ok(());
    }
    Err(refusal(format!(
        "{} is not hidden, and linux.maskedPaths has it",
        path.to_string_lossy()
    )))
}

/// The flags of the mount that a place is in (fstatfs(2), `f_flags`).
fn flags_at(place: &OwnedFd) -> Result<u64, Errno> {
    Ok(fstatfs(place)?.flags().bits())
}

fn open(view: &View<'_>, path: &CStr) -> Result<Option<OwnedFd>, Error> {
    view.open(path).map_err(|errno| lookup(path, errno))
}

fn lookup(path: &CStr, errno: Errno) -> Error {
    Error::call(
        format!(
            "look {} up in the restored container",
            path.to_string_lossy()
        ),
        errno,
    )
}

fn flag_names(flags: u64) -> String {
    let named: Vec<&str> = FLAGS
        .iter()
        .filter(|(_, flag)| flags & flag != 0)
        .map(|(name, _)| *name)
        .collect();
    named.join(", ")
}

fn shown(path: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(device: &str, root: &str, flags: u64, kind: &str) -> MountEntry {
        MountEntry {
            id: 1,
            device: device.into(),
            root: root.into(),
            point: b"/x".to_vec(),
            flags,
            kind: kind.into(),
        }
    }

    fn given(device: &str, root: &str, guards: u64) -> Given {
        Given {
            device: device.into(),
            root: root.into(),
            guards,
            recursive: false,
        }
    }

    #[test]
    fn what_is_the_hosts_is_given_and_guarded() {
        let given = [
            given("254:0", "/srv/rootfs", 0),
            given("254:0", "/srv/data", 1),
            given("254:0", "/srv/data/free", 0),
        ];
        let check = |mount: MountEntry| check_source(&mount, &given, &["tmpfs", "proc"]);
        // As it is, a part of it, and a part of it with rules of its own.
        check(mount("254:0", "/srv/rootfs", 0, "ext4")).unwrap();
        check(mount("254:0", "/srv/data", 1 | 2, "ext4")).unwrap();
        check(mount("254:0", "/srv/data/free/x", 0, "ext4")).unwrap();
        check(mount("0:33", "/", 0, "tmpfs")).unwrap();
        // Writable where config.json says read-only.
        let error = check(mount("254:0", "/srv/data", 0, "ext4")).unwrap_err();
        assert!(error.to_string().contains("is not ro"), "{error}");
        assert!(check(mount("254:0", "/srv/data/sub", 2, "ext4")).is_err());
        // Something else of the host's, or the whole of it.
        for other in [
            mount("254:0", "/etc", 1, "ext4"),
            mount("254:0", "/", 1, "ext4"),
            mount("254:0", "/srv/data2", 1, "ext4"),
            mount("254:1", "/srv/data", 1, "ext4"),
            mount("0:33", "/", 1, "overlay"),
            mount("7:0", "/", 1, "tmpfs"),
        ] {
            assert!(check(other.clone()).is_err(), "{other:?}");
        }
    }

    #[test]
    fn of_a_directory_that_is_given_twice_the_weaker_rules_count() {
        let given = [given("254:0", "/d", 1 | 8), given("254:0", "/d", 8)];
        let check = |flags| check_source(&mount("254:0", "/d", flags, "ext4"), &given, &[]);
        check(8).unwrap();
        check(8 | 1).unwrap();
        assert!(check(1).is_err());
    }
}
