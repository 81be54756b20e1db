//! overlayfs over the directories of layers.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::MsFlags;
use runtime_core::mount::{DetachedMount, NewFilesystem};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::Kind;
use crate::error::{Error, ErrorKind, Result};

/// The most layers that overlayfs takes.
pub const MAX_LAYERS: usize = 500;

/// MOUNT_ATTR_RDONLY.
const READ_ONLY: u64 = 1;

/// What is put together.
#[derive(Clone, Debug)]
pub(super) struct Overlay {
    /// Topmost first.
    pub(super) lowers: Vec<PathBuf>,
    /// Where changes go, and where the kernel works; none for a view.
    pub(super) upper: Option<(PathBuf, PathBuf)>,
    /// Whose xattrs count.
    pub(super) kind: Kind,
    /// Whether nothing of it has to survive a crash.
    pub(super) is_volatile: bool,
}

impl Overlay {
    /// Mounts it at `target`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for more layers than the kernel takes; else what the kernel
    /// says.
    pub(super) fn mount(&self, target: &Path) -> Result<()> {
        if self.lowers.len() > MAX_LAYERS {
            let message = format!(
                "{} layers, and overlayfs takes {MAX_LAYERS} at most",
                self.lowers.len()
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        match self.mount_by_parameters(target) {
            // Before Linux 6.5 a layer couldn't be given alone.
            Err(Refusal {
                errno: Errno::EINVAL | Errno::ENOSYS,
                ..
            }) => self.mount_by_string(target),
            result => result,
        }
        .map_err(|refusal| refusal.explain(target))
    }

    /// fsopen(2) and its kin: a parameter a layer.
    fn mount_by_parameters(&self, target: &Path) -> std::result::Result<(), Refusal> {
        let at = |what: &'static str| {
            move |errno| Refusal {
                errno,
                what,
                words: String::new(),
            }
        };
        let filesystem = NewFilesystem::open(c"overlay").map_err(at("fsopen"))?;
        filesystem
            .set(c"source", Some(c"overlay"))
            .map_err(at("source"))?;
        // Paths longer than a parameter may be are given as descriptors.
        let mut kept: Vec<OwnedFd> = Vec::new();
        for lower in &self.lowers {
            let value = short_path(lower, &mut kept).map_err(at("open a layer"))?;
            filesystem
                .set(c"lowerdir+", Some(&value))
                .map_err(at("lowerdir+"))?;
        }
        if let Some((upper, work)) = &self.upper {
            let upper = short_path(upper, &mut kept).map_err(at("open upperdir"))?;
            let work = short_path(work, &mut kept).map_err(at("open workdir"))?;
            filesystem
                .set(c"upperdir", Some(&upper))
                .map_err(at("upperdir"))?;
            filesystem
                .set(c"workdir", Some(&work))
                .map_err(at("workdir"))?;
        }
        for flag in self.flags() {
            let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
            let name = CString::new(name).map_err(|_| at("flag")(Errno::EINVAL))?;
            let value = CString::new(value).map_err(|_| at("flag")(Errno::EINVAL))?;
            let value = (!value.is_empty()).then_some(value);
            filesystem
                .set(&name, value.as_deref())
                .map_err(at("flags"))?;
        }
        let attributes = if self.upper.is_some() { 0 } else { READ_ONLY };
        let mount = filesystem
            .mount(attributes)
            .map_err(|(errno, words)| Refusal {
                errno,
                what: "fsmount",
                words,
            })?;
        attach(&mount, target).map_err(at("move_mount"))
    }

    /// mount(2): all layers in one string of less than a page, so by the shortest of names,
    /// which are this process's descriptors seen from /proc/self/fd.
    ///
    /// In a thread of its own, since the working directory is the whole process's otherwise.
    fn mount_by_string(&self, target: &Path) -> std::result::Result<(), Refusal> {
        let work = || {
            let at = |what: &'static str| {
                move |errno| Refusal {
                    errno,
                    what,
                    words: String::new(),
                }
            };
            let open = |path: &Path| open_path(path).map_err(at("open a layer"));
            let lowers: Vec<OwnedFd> = self
                .lowers
                .iter()
                .map(|path| open(path))
                .collect::<std::result::Result<_, _>>()?;
            let names: Vec<String> = lowers
                .iter()
                .map(|lower| lower.as_raw_fd().to_string())
                .collect();
            let mut data = format!("lowerdir={}", names.join(":"));
            let mut kept = Vec::new();
            if let Some((upper, work)) = &self.upper {
                let (upper, work) = (open(upper)?, open(work)?);
                data += &format!(
                    ",upperdir={},workdir={}",
                    upper.as_raw_fd(),
                    work.as_raw_fd()
                );
                kept.extend([upper, work]);
            }
            for flag in self.flags() {
                data += ",";
                data += flag;
            }
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).map_err(at("unshare"))?;
            let target = open_path(target).map_err(at("open the target"))?;
            nix::unistd::chdir("/proc/self/fd").map_err(at("chdir"))?;
            let access = if self.upper.is_some() {
                MsFlags::empty()
            } else {
                MsFlags::MS_RDONLY
            };
            let target = target.as_raw_fd().to_string();
            nix::mount::mount(
                Some("overlay"),
                target.as_str(),
                Some("overlay"),
                access,
                Some(data.as_str()),
            )
            .map_err(at("mount"))
        };
        std::thread::scope(|scope| {
            let thread = scope.spawn(work);
            thread.join().unwrap_or(Err(Refusal {
                errno: Errno::EIO,
                what: "thread",
                words: String::new(),
            }))
        })
    }

    /// What isn't wanted of overlayfs: layers' directories stand on their own, so nothing in them
    /// may point to elsewhere.
    fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec!["index=off"];
        match self.kind {
            Kind::Trusted => flags.extend(["redirect_dir=nofollow", "metacopy=off"]),
            // It implies both.
            Kind::User => flags.push("userxattr"),
        }
        if self.is_volatile && self.upper.is_some() {
            flags.push("volatile");
        }
        flags
    }
}

/// What the kernel didn't do.
struct Refusal {
    errno: Errno,
    what: &'static str,
    words: String,
}

impl Refusal {
    fn explain(self, target: &Path) -> Error {
        let words = match self.words.is_empty() {
            true => String::new(),
            false => format!(", and the kernel says {:?}", self.words),
        };
        let step = format!(
            "mount an overlay on {} ({}{words})",
            target.display(),
            self.what
        );
        let error = Error::system(step, std::io::Error::from(self.errno));
        match self.errno {
            Errno::ENODEV => error.advise("this kernel has no overlayfs: use --native"),
            Errno::EINVAL => error.advise(
                "the filesystem below may not carry an overlay, as overlayfs itself doesn't: use --native, or another --root",
            ),
            Errno::EPERM => error.advise("mounting needs privilege, or Linux 5.11 in a user namespace"),
            _ => error,
        }
    }
}

fn attach(mount: &DetachedMount, target: &Path) -> nix::Result<()> {
    let target = open_path(target)?;
    use std::os::fd::AsFd;
    mount.attach(target.as_fd())
}

fn open_path(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(|errno| Errno::from_raw(errno.raw_os_error()))
}

/// The path itself, or one by descriptor if the kernel wouldn't take that many bytes.
fn short_path(path: &Path, kept: &mut Vec<OwnedFd>) -> nix::Result<CString> {
    let long = path.as_os_str();
    if long.len() <= NewFilesystem::VALUE_MAX_BYTES {
        return c_string(long);
    }
    let fd = open_path(path)?;
    let short = format!("/proc/self/fd/{}", fd.as_raw_fd());
    kept.push(fd);
    c_string(OsStr::new(&short))
}

fn c_string(text: &OsStr) -> nix::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use testkit::{Fact, needs};

    use super::*;

    /// `count` layers, each with a file of its own and one that all have.
    fn layers(directory: &Path, count: usize) -> Vec<PathBuf> {
        let layer = |index: usize| {
            let path = directory.join(format!("{index}"));
            fs::create_dir(&path).expect("it is ours");
            fs::write(path.join(format!("own-{index}")), "x").expect("it is ours");
            fs::write(path.join("common"), index.to_string()).expect("it is ours");
            path
        };
        (0..count).map(layer).collect()
    }

    fn check(long: bool, by_string: bool) {
        needs!(Fact::Root);
        let result = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("root can");
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
                .expect("root can");
            let directory = tempfile::tempdir().expect("a directory");
            // Not on overlayfs, wherever the test runs.
            nix::mount::mount(
                Some("t"),
                directory.path(),
                Some("tmpfs"),
                MsFlags::empty(),
                None::<&str>,
            )
            .expect("root can");
            let base = if long {
                directory.path().join("l".repeat(200)).join("o".repeat(60))
            } else {
                directory.path().to_owned()
            };
            fs::create_dir_all(&base).expect("it is ours");
            let [upper, work, target] = ["upper", "work", "target"].map(|name| base.join(name));
            for path in [&upper, &work, &target] {
                fs::create_dir(path).expect("it is ours");
            }
            let overlay = Overlay {
                lowers: layers(&base, MAX_LAYERS),
                upper: Some((upper.clone(), work)),
                kind: Kind::Trusted,
                is_volatile: true,
            };
            if by_string {
                overlay
                    .mount_by_string(&target)
                    .map_err(|refusal| refusal.explain(&target))
            } else {
                overlay
                    .mount_by_parameters(&target)
                    .map_err(|refusal| refusal.explain(&target))
            }
            .expect("so many layers are no problem");
            // The topmost counts.
            assert_eq!(
                fs::read_to_string(target.join("common")).expect("it is there"),
                "0"
            );
            assert!(target.join("own-499").exists());
            fs::write(target.join("new"), "n").expect("it can be written");
            assert!(upper.join("new").exists());
            nix::mount::umount(&target).expect("it is mounted");
            nix::mount::umount(directory.path()).expect("it is mounted");
        })
        .join();
        assert!(result.is_ok());
    }

    #[test]
    fn hundreds_of_layers_are_mounted_by_parameters() {
        check(false, false);
    }

    #[test]
    fn long_paths_are_given_as_descriptors() {
        check(true, false);
    }

    #[test]
    fn an_older_kernel_gets_them_in_one_string() {
        check(true, true);
    }
}
