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

impl Host {
    /// Whether the runtime has no privilege over the host: its euid is not 0, or it runs in a
    /// user namespace.
    #[must_use]
    pub fn is_rootless(&self) -> bool {
        self.euid != 0 || self.in_user_namespace
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
