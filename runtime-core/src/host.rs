//! Facts of this machine that a plan depends on, probed once and passed as a value.

/// What the host is and can: a plain struct, so that a test writes it as a literal.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Host {
    /// Effective user of the runtime.
    pub euid: u32,
    /// Effective group of the runtime.
    pub egid: u32,
    /// Whether the runtime runs in a user namespace that is not the initial one.
    pub in_user_namespace: bool,
    /// Whether the runtime may make cgroups at the roots of the hierarchies; root of a user
    /// namespace may or may not.
    pub may_make_cgroups: bool,
    /// Whether setgroups(2) works in the runtime's user namespace (user_namespaces(7)).
    pub may_set_groups: bool,
    /// Kernel release, major and minor.
    pub kernel: (u32, u32),
    /// The highest capability number of this kernel.
    pub last_capability: u8,
    /// The bounding set of the runtime: what it can grant outside of a new user namespace.
    pub capability_bounds: u64,
    /// The machine, as uname(2) says it: `x86_64` or `aarch64`.
    pub machine: Machine,
    /// Where cgroups are.
    pub cgroups: CgroupLayout,
    /// Whether AppArmor is enabled.
    pub apparmor: bool,
    /// Whether SELinux is enabled.
    pub selinux: bool,
}

fn procfs_hint(errno: nix::errno::Errno) -> &'static str {
    match errno {
        nix::errno::Errno::ENOSYS => "openat2(2) needs Linux 5.6, or a seccomp filter hides it",
        _ => "the runtime needs a procfs there",
    }
}

impl Host {
    /// Whether the runtime has no privilege over the host: its euid is not 0, or it runs in a
    /// user namespace.
    #[must_use]
    pub fn is_rootless(&self) -> bool {
        self.euid != 0 || self.in_user_namespace
    }

    /// Whether containers stay in the runtime's own cgroup, for want of permission to make one.
    #[must_use]
    pub fn shares_its_cgroup(&self) -> bool {
        self.euid != 0 || !self.may_make_cgroups
    }
}

/// Processor architectures that tare runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Machine {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

/// The host's cgroup hierarchies.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupLayout {
    /// No cgroup filesystem is mounted.
    None,
    /// One cgroup2 mount.
    V2(CgroupMount),
    /// Controllers in v1 hierarchies, and perhaps a cgroup2 mount beside them (hybrid).
    V1 {
        /// One for each hierarchy, in the kernel's order.
        hierarchies: Vec<CgroupMount>,
        /// The cgroup2 mount of a hybrid host, usually `/sys/fs/cgroup/unified`.
        unified: Option<CgroupMount>,
    },
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CgroupMount {
    /// v1: the controllers, or `name=…`. v2: the controllers available at its root.
    pub controllers: Vec<String>,
    /// Mount point, absolute.
    pub mount_point: String,
    /// The runtime's own cgroup in it, as /proc/self/cgroup says it.
    pub own_path: String,
}

/// Why the host's facts could not be had.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No usable /proc.
    #[error("/proc: {}: {}", crate::errno::Words(*.0), procfs_hint(*.0))]
    Procfs(nix::errno::Errno),
    /// The bounding set could not be read.
    #[error("read the capability bounding set: prctl(2): {}", crate::errno::Words(*.0))]
    Capabilities(nix::errno::Errno),
    /// uname(2) failed or said something else than `x86_64` or `aarch64`.
    #[error("this machine ({0}) is not one that tare runs on: x86_64 and aarch64 are")]
    Machine(String),
    /// The cgroup hierarchies could not be read.
    #[error("{0}")]
    Cgroups(#[from] crate::cgroup::CgroupError),
}

impl Host {
    /// Reads the facts: a few system calls, none of which grows with what the host has
    /// mounted or runs.
    ///
    /// # Errors
    ///
    /// [`HostError`].
    pub fn probe(procfs: &crate::procfs::Procfs) -> Result<Self, HostError> {
        let name = nix::sys::utsname::uname().map_err(HostError::Procfs)?;
        let machine = match name.machine().to_str() {
            Some("x86_64") => Machine::X86_64,
            Some("aarch64") => Machine::Aarch64,
            other => return Err(HostError::Machine(other.unwrap_or("?").to_owned())),
        };
        let (capability_bounds, last_capability) =
            crate::sys::capability_bounds().map_err(HostError::Capabilities)?;
        let in_user_namespace = in_user_namespace(procfs)?;
        let cgroups = crate::cgroup::probe()?;
        Ok(Self {
            may_make_cgroups: !in_user_namespace || may_make_cgroups(&cgroups),
            may_set_groups: !in_user_namespace || may_set_groups(procfs)?,
            euid: nix::unistd::geteuid().as_raw(),
            egid: nix::unistd::getegid().as_raw(),
            in_user_namespace,
            kernel: version(name.release().to_str().unwrap_or_default()),
            last_capability,
            capability_bounds,
            machine,
            cgroups,
            apparmor: has_apparmor(),
            selinux: has_selinux(),
        })
    }
}

/// Whether the ids of this process are mapped: the initial user namespace maps all to
/// themselves (user_namespaces(7)).
fn in_user_namespace(procfs: &crate::procfs::Procfs) -> Result<bool, HostError> {
    let map = procfs.read("self/uid_map").map_err(HostError::Procfs)?;
    Ok(!map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// Whether the user namespace's maker has not denied setgroups(2).
fn may_set_groups(procfs: &crate::procfs::Procfs) -> Result<bool, HostError> {
    let word = procfs.read("self/setgroups").map_err(HostError::Procfs)?;
    Ok(word.trim() != "deny")
}

/// Whether every hierarchy's root can be written.
fn may_make_cgroups(layout: &CgroupLayout) -> bool {
    let may_write = |mount: &CgroupMount| {
        nix::unistd::access(mount.mount_point.as_str(), nix::unistd::AccessFlags::W_OK).is_ok()
    };
    match layout {
        CgroupLayout::None => false,
        CgroupLayout::V2(mount) => may_write(mount),
        CgroupLayout::V1 {
            hierarchies,
            unified,
        } => hierarchies.iter().chain(unified).all(may_write),
    }
}

/// Major and minor number of a kernel release such as `6.18.44-cloud`.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse());
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    (next(), next())
}

fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.starts_with(b"Y"))
}

fn has_selinux() -> bool {
    nix::sys::statfs::statfs("/sys/fs/selinux")
        .is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::SELINUX_MAGIC)
}
