//! mount(2), for what the newer calls can't say: option strings of more than 255 bytes, and
//! kernels before mount_setattr(2).

use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use runtime_core::mount::{Attributes, DetachedMount, classic_flags};

use super::filesystem::Filesystem;
use super::place::{Place, descriptor_path};
use crate::failure::Failure;

/// How long the options may be: a page with a NUL at its end.
const DATA_MAX_BYTES: usize = 4095;

/// The options of overlay that are paths.
const PATHS: [&str; 3] = ["lowerdir=", "upperdir=", "workdir="];

const NONE: Option<&str> = None;

/// A mount as mount(2) takes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Classic {
    kind: String,
    source: String,
    flags: u64,
    data: String,
    /// Where relative paths of `data` start.
    directory: Option<PathBuf>,
}

impl Classic {
    pub(super) fn of(filesystem: &Filesystem<'_>) -> Self {
        let mut classic = Self {
            kind: filesystem.kind.into(),
            source: filesystem.source.into(),
            flags: classic_flags(filesystem.attributes) | filesystem.superblock,
            data: filesystem.data.join(","),
            directory: None,
        };
        if classic.kind == "overlay" && classic.data.len() > DATA_MAX_BYTES {
            classic.shorten(&filesystem.data);
        }
        classic
    }

    /// Makes the paths relative to the directory that they have in common.
    fn shorten(&mut self, data: &[&str]) {
        let directory = common_directory(data.iter().flat_map(|word| paths(word)));
        let Some(directory) = directory else { return };
        let relative = |path: &str| {
            let path = Path::new(path);
            path.strip_prefix(&directory)
                .unwrap_or(path)
                .display()
                .to_string()
        };
        let shorter = |word: &&str| match PATHS.iter().find(|key| word.starts_with(**key)) {
            None => (*word).to_owned(),
            Some(key) => {
                let paths: Vec<String> = paths(word).map(relative).collect();
                format!("{key}{}", paths.join(":"))
            }
        };
        self.data = data.iter().map(shorter).collect::<Vec<_>>().join(",");
        self.directory = Some(directory);
    }

    /// Mounts it there, in a thread with a working directory of its own if it needs one.
    pub(super) fn mount(&self, place: &Place) -> Result<(), Failure> {
        if self.data.len() > DATA_MAX_BYTES {
            return Err(Failure::invalid(format!(
                "the options have {} bytes, and this kernel takes {DATA_MAX_BYTES}: more layers need Linux 6.8",
                self.data.len()
            )));
        }
        let mounted = match &self.directory {
            None => self.call(place),
            Some(directory) => std::thread::scope(|scope| {
                let there = scope.spawn(|| {
                    unshare(CloneFlags::CLONE_FS)?;
                    nix::unistd::chdir(directory)?;
                    self.call(place)
                });
                there.join().unwrap_or(Err(Errno::EIO))
            }),
        };
        mounted.map_err(|errno| {
            Failure::call(
                format_args!(
                    "mount(2) with {} (the kernel's log may say more)",
                    self.data
                ),
                errno,
            )
        })
    }

    fn call(&self, place: &Place) -> Result<(), Errno> {
        let flags = MsFlags::from_bits_retain(self.flags);
        mount(
            Some(self.source.as_str()),
            place.path().as_str(),
            Some(self.kind.as_str()),
            flags,
            Some(self.data.as_str()),
        )
    }

    /// Gives the mount of this root a propagation type: MS_*, with MS_REC for those below too.
    pub(super) fn set_propagation(root: &Place, flags: u64) -> Result<(), Errno> {
        let flags = MsFlags::from_bits_retain(flags);
        mount(NONE, root.path().as_str(), NONE, flags, NONE)
    }
}

/// Changes the attributes of a mount that is attached.
pub(super) fn remount_bind(tree: &DetachedMount, attributes: Attributes) -> Result<(), Failure> {
    let flags = libc::MS_REMOUNT | libc::MS_BIND | classic_flags(attributes);
    let flags = MsFlags::from_bits_retain(flags);
    let path = descriptor_path(tree.as_fd());
    mount(NONE, path.as_str(), NONE, flags, NONE).map_err(|errno| {
        // Another failure is being reported.
        nix::mount::umount2(path.as_str(), nix::mount::MntFlags::MNT_DETACH).ok();
        Failure::call("mount(2) MS_REMOUNT | MS_BIND", errno)
    })
}

/// The paths in an option of overlay.
fn paths(word: &str) -> impl Iterator<Item = &str> {
    let value = PATHS.iter().find_map(|key| word.strip_prefix(key));
    value.into_iter().flat_map(|value| value.split(':'))
}

/// The longest directory that all of these absolute paths are below. None with a path that has
/// something else in it than names, or an escaped letter.
fn common_directory<'a>(paths: impl Iterator<Item = &'a str>) -> Option<PathBuf> {
    let mut common: Option<PathBuf> = None;
    for path in paths {
        let parent = Path::new(path).parent()?;
        let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
        if path.contains('\\') || !path.starts_with('/') || !Path::new(path).components().all(plain)
        {
            return None;
        }
        common = Some(match common {
            None => parent.to_owned(),
            Some(common) => common
                .components()
                .zip(parent.components())
                .take_while(|(one, other)| one == other)
                .map(|(one, _)| one)
                .collect(),
        });
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lose_what_they_have_in_common() {
        let data = [
            "index=off",
            "lowerdir=/v/s/3/fs:/v/s/2/fs:/v/s/1/fs",
            "upperdir=/v/s/4/fs",
            "workdir=/v/s/4/work",
        ];
        let mut classic = Classic {
            kind: "overlay".into(),
            source: "overlay".into(),
            flags: 0,
            data: String::new(),
            directory: None,
        };
        classic.shorten(&data);
        assert_eq!(classic.directory, Some("/v/s".into()));
        assert_eq!(
            classic.data,
            "index=off,lowerdir=3/fs:2/fs:1/fs,upperdir=4/fs,workdir=4/work"
        );
    }

    #[test]
    fn a_layer_is_never_the_common_directory_itself() {
        let common = |paths: &[&'static str]| common_directory(paths.iter().copied());
        assert_eq!(common(&["/a/b", "/a/b/c"]), Some("/a".into()));
        assert_eq!(common(&["/a", "/b"]), Some("/".into()));
        assert_eq!(common(&["/a/b"]), Some("/a".into()));
        assert_eq!(common(&["/a/../b", "/a"]), None);
        assert_eq!(common(&["a/b", "/a"]), None);
        assert_eq!(common(&["/a\\:b/c"]), None);
        assert_eq!(common(&[]), None);
    }
}
