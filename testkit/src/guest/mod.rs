//! A virtual machine for what the host can't show: pure cgroup v2 with every controller, other
//! kernels, systemd, AppArmor, CRIU, all capabilities.
//!
//! [`Guest::builder`] says what the machine is and what it does; [`Builder::run`] boots it,
//! runs the command as root, and brings back its exit code, what it printed and the files that
//! it left in `/guest/out`. qemu emulates the processor, so no virtualization is needed, and
//! everything is slow: batch many cases into one boot.
//!
//! Kernels and images are made once from Debian's packages and kept in a [`Cache`].
//!
//! ```text
//! files ──tar──▶ disk "in"  ─▶ /guest/in/…   ┐
//! kernel, initramfs, image ─────────────────▶│ guest │──▶ serial line: console, @@EXIT rc=N
//! /guest/out ◀──tar── disk "out" ◀───────────┘
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

pub use cache::Cache;
pub use kernel::Kernel;

mod cache;
mod debian;
mod initramfs;
mod kernel;
mod machine;
mod packages;
mod payload;
mod tool;

/// Why a guest did not run to its end: a sentence that names the step and the object.
#[derive(Debug)]
pub struct GuestError(String);

impl std::fmt::Display for GuestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for GuestError {}

/// An I/O error with the step that met it.
fn failed(step: &str, object: &Path) -> impl FnOnce(std::io::Error) -> GuestError {
    let what = format!("{step} {}", object.display());
    move |error| GuestError(format!("{what}: {error}"))
}

/// What the guest's root file system is, and what its first process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// busybox in memory, with a small init of ours. Boots in three seconds.
    Busybox,
    /// Debian with the tools that tests call (util-linux, strace, iproute2, criu, apparmor, …),
    /// with the same small init.
    Debian,
    /// The same Debian under systemd, with logind, dbus and the user `guest` (uid 1000), whose
    /// user manager runs. The command starts after multi-user.target.
    Systemd,
}

/// A guest that can be booted.
#[derive(Debug)]
pub struct Guest;

impl Guest {
    /// A guest with Debian 12's kernel, busybox, one gigabyte, one processor, and three minutes.
    #[must_use]
    pub fn builder(cache: &Cache) -> Builder {
        Builder {
            cache: cache.clone(),
            kernel: Kernel::Debian12,
            image: Image::Busybox,
            memory_mib: 1024,
            processors: 1,
            files: Vec::new(),
            command: "true".to_owned(),
            as_user: false,
            limit: Duration::from_secs(180),
            watch: |_| (),
        }
    }

    /// The programs that building and booting guests needs, and those of them that are missing.
    #[must_use]
    pub fn missing_programs() -> Vec<&'static str> {
        let needed = [
            "qemu-system-x86_64",
            "apt-get",
            "dpkg",
            "mmdebstrap",
            "mkfs.ext4",
            "depmod",
            "modprobe",
            "cpio",
            "tar",
            "xz",
            "strip",
            "setpriv",
        ];
        let is_missing = |name: &&str| crate::find_program(name).is_none();
        needed.into_iter().filter(is_missing).collect()
    }
}

/// What a guest is to be.
#[derive(Clone, Debug)]
pub struct Builder {
    cache: Cache,
    kernel: Kernel,
    image: Image,
    memory_mib: u32,
    processors: u32,
    files: Vec<(String, PathBuf)>,
    command: String,
    as_user: bool,
    limit: Duration,
    watch: fn(&str),
}

impl Builder {
    /// The kernel.
    #[must_use]
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = kernel;
        self
    }

    /// The root file system and the first process.
    #[must_use]
    pub fn image(mut self, image: Image) -> Self {
        self.image = image;
        self
    }

    /// Memory in MiB.
    #[must_use]
    pub fn memory_mib(mut self, memory: u32) -> Self {
        self.memory_mib = memory;
        self
    }

    /// Virtual processors: each is a thread of the host.
    #[must_use]
    pub fn processors(mut self, count: u32) -> Self {
        self.processors = count;
        self
    }

    /// Puts a file or a directory of the host into the guest, as `/guest/in/NAME`, with its
    /// mode, and root's.
    #[must_use]
    pub fn put(mut self, name: &str, path: &Path) -> Self {
        self.files.push((name.to_owned(), path.to_owned()));
        self
    }

    /// A script for `sh`, run in `/guest/in` as root. Its exit code is the guest's. Files that
    /// it puts into `/guest/out` come back.
    #[must_use]
    pub fn command(mut self, script: &str) -> Self {
        script.clone_into(&mut self.command);
        self
    }

    /// Runs the command as the user `guest` of [`Image::Systemd`], as a service of that user's
    /// own systemd: in a cgroup that is delegated to the user, with the user's bus. (A command of
    /// root's does the same for a part of it with `./as-user COMMAND...`.)
    #[must_use]
    pub fn as_user(mut self) -> Self {
        self.as_user = true;
        self
    }

    /// How long it may take from power-on to power-off.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Gets each line of the console when it appears.
    #[must_use]
    pub fn watch(mut self, watch: fn(&str)) -> Self {
        self.watch = watch;
        self
    }

    /// Makes what is not made yet, without a boot.
    ///
    /// # Errors
    ///
    /// If a tool fails, or the packages can't be had.
    pub fn prepare(&self) -> Result<(), GuestError> {
        self.check()?;
        machine::parts(self).map(drop)
    }

    /// Boots the guest, runs the command and waits for the end.
    ///
    /// # Errors
    ///
    /// If it can't be built or booted, or did not come to its end within the limit: with the
    /// end of its console. A command that fails is no error: see [`Ended::code`].
    pub fn run(&self) -> Result<Ended, GuestError> {
        self.check()?;
        machine::run(self)
    }

    fn check(&self) -> Result<(), GuestError> {
        if let Some(program) = Guest::missing_programs().first() {
            return Err(GuestError(format!("a guest needs the program {program}")));
        }
        if self.as_user && self.image != Image::Systemd {
            return Err(GuestError("only the image with systemd has a user".into()));
        }
        Ok(())
    }
}

/// A guest that ran to its end.
#[derive(Debug)]
pub struct Ended {
    /// The command's exit code.
    pub code: i32,
    /// What came over the serial line: the kernel's complaints and the command's output.
    pub console: String,
    /// From power-on to power-off.
    pub took: Duration,
    output: TempDir,
}

impl Ended {
    /// The host's copy of the guest's `/guest/out`. Removed when this is dropped.
    #[must_use]
    pub fn output(&self) -> &Path {
        self.output.path()
    }
}
