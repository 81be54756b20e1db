//! What will be done, decided before anything is: config.json resolved and checked.
//!
//! [`Plan::new`] is a pure function of the specification's document, facts of the host and
//! the caller's options. It reads no file, makes no system call and needs no privilege. It
//! collects every violation instead of stopping at the first. After it nothing is optional
//! by accident: strings end in NUL, flags are folded, sets are masks, the seccomp program is
//! assembled.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::PathBuf;

use runtime_init::{Attributes, CapabilityMasks};

pub use self::cgroup::{CgroupDriver, CgroupPlan};
pub use self::seccomp::{ListenerPlan, SeccompPlan};
use crate::spec::Spec;
use crate::violation::Violations;

pub use self::affinity::AffinityPlan;
pub use self::capabilities::capability_names;
pub use self::hooks::HOOK_NAMES;
pub use self::memory_policy::{MemoryPolicyPlan, memory_policy_flags, memory_policy_modes};
pub use self::mount_options::{MountOptions, classic_flags, mount_option_names};
pub use self::namespaces::NAMESPACE_KINDS;
pub use self::net_devices::NetDevicePlan;
pub use self::numbers::NumberSet;
pub(crate) use self::process::KEEP_GROUPS;

mod affinity;
mod capabilities;
pub mod cgroup;
mod cgroup_mounts;
mod compile;
pub mod default_spec;
mod devices;
mod display;
mod flags;
mod hooks;
mod idmap;
mod json;
mod memory_policy;
mod mount_options;
mod mounts;
mod namespaces;
mod net_devices;
mod numbers;
mod paths;
mod place;
mod process;
mod rlimits;
mod rootfs;
mod scheduling;
pub mod seccomp;
mod sysctl;
#[cfg(test)]
mod tests;
mod text;
mod words;

/// What a container will be, and every step to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// As config.json says it.
    pub oci_version: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Kept and shown, never acted on.
    pub annotations: BTreeMap<String, String>,
    /// Namespaces that the container has for itself, or joins.
    pub namespaces: NamespacesPlan,
    /// Network devices that are moved into the container's network namespace.
    pub net_devices: Vec<NetDevicePlan>,
    /// The root filesystem itself.
    pub rootfs: RootfsPlan,
    /// Everything that is put into the rootfs, in order: mounts, devices, links, read-only and
    /// masked paths.
    pub contents: Vec<Content>,
    /// `/proc/sys` names (with `/` between the parts) and values.
    pub sysctls: Vec<(CString, Vec<u8>)>,
    /// Where the container is accounted and limited.
    pub cgroup: CgroupPlan,
    /// Hooks by kind, in order.
    pub hooks: HooksPlan,
    /// The process that [`runtime_init::Step::Exec`] starts.
    pub process: ProcessPlan,
    /// Name of the new session keyring; none with `--no-new-keyring`.
    pub keyring: Option<CString>,
    /// What was asked for and can't be given, where the specification wants a warning and not
    /// an error (capabilities outside of the runtime's own).
    pub warnings: Vec<String>,
}

impl Plan {
    /// Who shall own the container's cgroup2 directory: the host's number of the process's user,
    /// for containers with user and cgroup namespaces of their own and a cgroup2 mount that they
    /// may write (config-linux.md "Cgroup ownership").
    #[must_use]
    pub fn cgroup_owner(&self) -> Option<u32> {
        let own = libc::CLONE_NEWUSER as u64 | libc::CLONE_NEWCGROUP as u64;
        let is_writable = |content: &Content| match &content.act {
            ContentAct::Mount(MountPlan {
                source: MountSource::Filesystem { kind, .. },
                attributes,
                ..
            }) => kind.as_c_str() == c"cgroup2" && attributes.set & mount_options::RDONLY == 0,
            _ => false,
        };
        if self.namespaces.new & own != own || !self.contents.iter().any(is_writable) {
            return None;
        }
        let uid = self.process.uid;
        let mappings = &self.namespaces.uid_mappings;
        mappings.iter().find_map(|mapping| {
            let offset = uid.checked_sub(mapping.container_id)?;
            (offset < mapping.size).then(|| mapping.host_id.checked_add(offset))?
        })
    }
}

/// How the container stands to each kind of namespace; a kind in neither field is inherited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NamespacesPlan {
    /// CLONE_NEW* flags of the new ones.
    pub new: u64,
    /// Namespaces joined by path, in config.json's order.
    pub joined: Vec<JoinedNamespace>,
    /// Mappings of a new user namespace; empty without one.
    pub uid_mappings: Vec<IdMapping>,
    /// Mappings of a new user namespace; empty without one.
    pub gid_mappings: Vec<IdMapping>,
    /// What `/proc/self/timens_offsets` gets, for a new time namespace.
    pub time_offsets: Option<Vec<u8>>,
    /// For the UTS namespace.
    pub hostname: Option<Vec<u8>>,
    /// For the UTS namespace.
    pub domainname: Option<Vec<u8>>,
}

impl NamespacesPlan {
    /// Whether the container has this kind (CLONE_NEW*) for itself or joins it.
    #[must_use]
    pub fn has(&self, kind: u64) -> bool {
        self.new & kind != 0 || self.joined.iter().any(|joined| joined.kind == kind)
    }
}

/// A namespace joined by path.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinedNamespace {
    /// CLONE_NEW*.
    pub kind: u64,
    /// Index in `/linux/namespaces`.
    pub index: u16,
    /// In the runtime's mount namespace.
    pub path: PathBuf,
}

/// A range of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct IdMapping {
    /// First id inside.
    pub container_id: u32,
    /// First id outside.
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// The root filesystem.
#[derive(Clone, Debug, PartialEq)]
pub struct RootfsPlan {
    /// Absolute, on the host.
    pub path: CString,
    /// Whether the rootfs mount becomes read-only at the end.
    pub readonly: bool,
    /// MS_* propagation of all mounts, set first (MS_SLAVE | MS_REC unless said otherwise).
    pub propagation: u64,
    /// MS_* propagation of the container's `/`, set after the pivot, if config.json says one.
    pub final_propagation: Option<u64>,
    /// How the rootfs becomes `/`.
    pub entry: RootEntry,
}

/// How the rootfs becomes `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootEntry {
    /// pivot_root(2).
    Pivot,
    /// MS_MOVE and chroot(2): `--no-pivot`.
    Move,
    /// chroot(2) alone: no mount namespace.
    Chroot,
}

/// One thing put into the rootfs, and where in config.json it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    /// What.
    pub act: ContentAct,
    /// Why.
    pub origin: Origin,
}

/// Where in config.json an act comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `/mounts/N`.
    Mount(u16),
    /// `/linux/devices/N`.
    Device(u16),
    /// The specification's default devices and links (config-linux.md#default-devices).
    DefaultDevice,
    /// `/linux/readonlyPaths/N`.
    ReadonlyPath(u16),
    /// `/linux/maskedPaths/N`.
    MaskedPath(u16),
}

/// What is put into the rootfs. Paths are absolute inside the container.
#[derive(Clone, Debug, PartialEq)]
pub enum ContentAct {
    /// See [`runtime_init::Mount`].
    Mount(MountPlan),
    /// A directory.
    Directory {
        /// Where.
        path: CString,
        /// Permission bits.
        mode: u32,
    },
    /// A device node.
    Device(DevicePlan),
    /// A symbolic link.
    Symlink {
        /// Its text.
        text: CString,
        /// Where it is.
        path: CString,
        /// Whether a file in the way is removed first.
        replace: bool,
    },
    /// Read-only from here down.
    Readonly(CString),
    /// Hidden.
    Masked(CString),
}

/// One mount.
#[derive(Clone, Debug, PartialEq)]
pub struct MountPlan {
    /// What is attached.
    pub source: MountSource,
    /// Where, inside the container.
    pub target: CString,
    /// See [`runtime_init::Mount::refuse_links`]: set for types proc and sysfs.
    pub refuse_links: bool,
    /// See [`runtime_init::Mount::inside_proc`]: set for the few allowed paths below /proc.
    pub inside_proc: bool,
    /// Whether the source must be a procfs: set for a bind mount on /proc, which would else
    /// let anything stand in for it.
    pub source_is_procfs: bool,
    /// MOUNT_ATTR_* of the mount itself.
    pub attributes: Attributes,
    /// MOUNT_ATTR_* of it and all mounts below it (`rro`, …).
    pub recursive: Attributes,
    /// MS_* propagation changes, in order.
    pub propagation: Vec<u64>,
    /// tmpcopyup.
    pub copy_up: bool,
}

/// What a mount attaches.
#[derive(Clone, Debug, PartialEq)]
pub enum MountSource {
    /// A new filesystem.
    Filesystem {
        /// Such as `tmpfs`.
        kind: CString,
        /// The `source` parameter.
        device: Option<CString>,
        /// Parameters in order; without a value, a flag.
        options: Vec<(CString, Option<CString>)>,
    },
    /// A tree of the host's.
    Bind {
        /// Absolute, on the host.
        path: CString,
        /// With the mounts below it.
        recursive: bool,
        /// With these ids instead of the filesystem's own.
        idmap: Option<IdmapPlan>,
    },
    /// By mount(2): `remount`, `iversion`, `silent`.
    Classic {
        /// Filesystem type.
        kind: CString,
        /// First argument of mount(2).
        device: CString,
        /// MS_*.
        flags: u64,
        /// Comma-joined options.
        data: CString,
    },
    /// Only the attributes of the mount that is there change (`bind,remount,…`).
    Existing,
}

/// Id mappings of one mount (mount_setattr(2), MOUNT_ATTR_IDMAP).
#[derive(Clone, Debug, PartialEq)]
pub struct IdmapPlan {
    /// Whether mounts below are mapped as well (`ridmap`).
    pub recursive: bool,
    /// The mount's own; empty: those of the container's user namespace.
    pub uid_mappings: Vec<IdMapping>,
    /// The mount's own; empty: those of the container's user namespace.
    pub gid_mappings: Vec<IdMapping>,
}

/// One device node.
#[derive(Clone, Debug, PartialEq)]
pub struct DevicePlan {
    /// Inside the container; the host's path of the same name is bound in a user namespace.
    pub path: CString,
    /// S_IFCHR, S_IFBLK or S_IFIFO with the permission bits.
    pub mode: u32,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bind the host's node instead of mknod(2).
    pub bind: bool,
}

/// All hooks.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HooksPlan {
    /// In the runtime's namespaces, during create.
    pub prestart: Vec<HookPlan>,
    /// In the runtime's namespaces, after prestart.
    pub create_runtime: Vec<HookPlan>,
    /// In the container's namespaces, before pivot_root; the path is the runtime's.
    pub create_container: Vec<HookPlan>,
    /// In the container, at start, before the process.
    pub start_container: Vec<HookPlan>,
    /// In the runtime's namespaces, after the process has started.
    pub poststart: Vec<HookPlan>,
    /// In the runtime's namespaces, after delete.
    pub poststop: Vec<HookPlan>,
}

/// One hook.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HookPlan {
    /// Absolute.
    pub path: CString,
    /// With the program's own name first; the path when config.json says none.
    pub args: Vec<CString>,
    /// None: the caller's (for startContainer the process's).
    pub env: Option<Vec<CString>>,
    /// None: the library's own limit.
    pub timeout_secs: Option<u32>,
}

/// A process, of create or of exec.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessPlan {
    /// At least one.
    pub args: Vec<CString>,
    /// `NAME=value`, in order; the last of equal names counts.
    pub env: Vec<CString>,
    /// What `args[0]` may be: itself when it has a slash, else one path for each part of the
    /// process's PATH.
    pub candidates: Vec<CString>,
    /// Absolute, inside the container.
    pub cwd: CString,
    /// The terminal, if it has one.
    pub terminal: Option<TerminalPlan>,
    /// In the container's user namespace.
    pub uid: u32,
    /// In the container's user namespace.
    pub gid: u32,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
    /// Whether setgroups(2) works in the process's user namespace; if not, it keeps the
    /// runtime's groups.
    pub set_groups: bool,
    /// None: left as it is.
    pub umask: Option<u32>,
    /// Bit masks; None: config.json has no `capabilities`, so the process has none at all.
    pub capabilities: CapabilityPlan,
    /// Set by the parent, by prlimit(2).
    pub rlimits: Vec<RlimitPlan>,
    /// See prctl(2), PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// None: left as it is.
    pub oom_score_adj: Option<i32>,
    /// The label, and the file below `/proc/self/attr` that takes it.
    pub apparmor_profile: Option<String>,
    /// See selinux(8).
    pub selinux_label: Option<String>,
    /// sched_setattr(2), set by the parent.
    pub scheduler: Option<SchedulerPlan>,
    /// ioprio_set(2): class and level in one value, set by the parent.
    pub io_priority: Option<u16>,
    /// personality(2).
    pub personality: Option<u32>,
    /// set_mempolicy(2).
    pub memory_policy: Option<MemoryPolicyPlan>,
    /// sched_setaffinity(2), for an exec alone.
    pub exec_affinity: Option<AffinityPlan>,
    /// The assembled filter.
    pub seccomp: Option<SeccompPlan>,
    /// Descriptors from 3 on that the process keeps.
    pub preserve_fds: u32,
}

/// The terminal of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalPlan {
    /// Rows and columns, if they are to be set.
    pub size: Option<(u16, u16)>,
}

/// The five capability sets as masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilityPlan {
    /// Bit n is capability n.
    pub bounding: u64,
    /// The others.
    pub sets: CapabilityMasks,
}

/// One resource limit of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RlimitPlan {
    /// RLIMIT_*.
    pub resource: u32,
    /// Its name, such as `RLIMIT_NOFILE`.
    pub name: &'static str,
    /// In the resource's own unit.
    pub soft: u64,
    /// In the resource's own unit.
    pub hard: u64,
}

/// sched_setattr(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerPlan {
    /// SCHED_*.
    pub policy: u32,
    /// SCHED_FLAG_*.
    pub flags: u64,
    /// For SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// For SCHED_DEADLINE, in nanoseconds.
    pub runtime_ns: u64,
    /// For SCHED_DEADLINE, in nanoseconds.
    pub deadline_ns: u64,
    /// For SCHED_DEADLINE, in nanoseconds.
    pub period_ns: u64,
}

/// What the caller of the library, and not config.json, decides about a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// More environment for the process (LISTEN_FDS), after config.json's.
    pub extra_env: Vec<String>,
    /// Who makes the cgroups; [`Runtime::with_cgroup_driver`](crate::Runtime::with_cgroup_driver)
    /// sets it for all containers.
    pub cgroup_driver: CgroupDriver,
}

/// The hooks of a config.json whose other parts don't matter any more: of a container that
/// exists.
///
/// # Errors
///
/// Every rule that the hooks break.
pub fn hooks_of(spec: &Spec<'_>) -> Result<HooksPlan, Violations> {
    let mut violations = Violations::default();
    let hooks = hooks::plan(spec.hooks.as_ref(), &mut violations);
    if violations.is_empty() {
        Ok(hooks)
    } else {
        Err(violations)
    }
}
