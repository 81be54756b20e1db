//! Debian's kernels for virtual machines.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cache::{Cache, Made};
use super::packages::{Archive, sources};
use super::tool::{run, text, tool};
use super::{GuestError, failed};

/// The meta package of the kernels, which have few drivers and everything that containers use.
const META: &str = "linux-image-cloud-amd64";

/// A kernel that guests can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Linux 6.1, of Debian 12.
    Debian12,
    /// Linux 6.12, of Debian 12's backports.
    Backports,
}

impl Kernel {
    /// All of them, the oldest first.
    pub const ALL: [Self; 2] = [Self::Debian12, Self::Backports];

    /// Its version in two numbers, which is also its name on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debian12 => "6.1",
            Self::Backports => "6.12",
        }
    }

    /// The kernel of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kernel| kernel.name() == name)
    }

    const fn suites(self) -> &'static [&'static str] {
        match self {
            Self::Debian12 => &["bookworm", "bookworm-security"],
            Self::Backports => &["bookworm-backports"],
        }
    }

    /// The kernel's package, unpacked, with the index of its modules.
    pub(super) fn made(self, cache: &Cache) -> Result<Made, GuestError> {
        let sources = sources(self.suites())?;
        let inputs = format!("1 {META} from\n{sources}");
        cache.made(&format!("kernel-{}", self.name()), &inputs, |directory| {
            let lists = directory.join("apt");
            let archive = Archive::open(&lists, &sources)?;
            let package = archive.dependency(META, "linux-image-")?;
            archive.unpack(&package, directory)?;
            fs::remove_dir_all(&lists).map_err(failed("remove", &lists))?;
            let directory = text(directory)?;
            let version = version(Path::new(directory))?;
            let mut depmod = tool("depmod", &["-b", directory, &version]);
            run(&mut depmod, Duration::from_secs(60)).map(drop)
        })
    }
}

/// The version of the kernel that is unpacked in a directory, as `uname -r` prints it.
pub(super) fn version(directory: &Path) -> Result<String, GuestError> {
    let modules = directory.join("lib/modules");
    let mut entries = fs::read_dir(&modules).map_err(failed("list", &modules))?;
    let version = entries.find_map(|entry| entry.ok()?.file_name().into_string().ok());
    version.ok_or_else(|| GuestError(format!("{} has no kernel's modules", modules.display())))
}

/// The file that qemu loads.
pub(super) fn image(directory: &Path) -> Result<PathBuf, GuestError> {
    Ok(directory.join(format!("boot/vmlinuz-{}", version(directory)?)))
}
