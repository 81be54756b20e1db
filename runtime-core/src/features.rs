//! What this library can do, known when it was built: features.md of the specification. The
//! host is not asked.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::plan::{
    HOOK_NAMES, NAMESPACE_KINDS, capability_names, memory_policy_flags, memory_policy_modes,
    mount_option_names, seccomp,
};

/// The version of runtime-spec that this library implements.
pub const SPECIFICATION: &str = "1.3.0";

/// features.md, in runc's order: serialize it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: &'static [&'static str],
    mount_options: Vec<&'static str>,
    linux: Linux,
    annotations: BTreeMap<&'static str, &'static str>,
    /// A prefix: with the systemd cgroup driver, and what reaches beyond the container is refused.
    potentially_unsafe_config_annotations: [&'static str; 2],
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: Vec<&'static str>,
    capabilities: Vec<String>,
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: IntelRdt,
    memory_policy: MemoryPolicy,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: &'static [&'static str],
    operators: &'static [&'static str],
    archs: &'static [&'static str],
    known_flags: &'static [&'static str],
    supported_flags: &'static [&'static str],
}

/// Nothing of it: no resctrl, no monitoring groups.
#[derive(Clone, Debug, Default, Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Clone, Debug, Serialize)]
struct MemoryPolicy {
    modes: Vec<&'static str>,
    flags: Vec<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Clone, Debug, Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

impl Features {
    /// What this library can do.
    #[must_use]
    pub fn of_this_library() -> Self {
        let mut mount_options: Vec<&str> = mount_option_names().collect();
        mount_options.sort_unstable();
        Self {
            oci_version_min: "1.0.0",
            oci_version_max: SPECIFICATION,
            hooks: &HOOK_NAMES,
            mount_options,
            linux: Linux::of_this_library(),
            annotations: BTreeMap::from([
                ("io.github.tare-rs.tare.version", env!("CARGO_PKG_VERSION")),
                ("org.opencontainers.runc.checkpoint.enabled", "true"),
            ]),
            potentially_unsafe_config_annotations: [
                "org.systemd.property.",
                crate::plan::KEEP_GROUPS,
            ],
        }
    }
}

impl Linux {
    fn of_this_library() -> Self {
        let mut namespaces: Vec<&str> = NAMESPACE_KINDS.iter().map(|(name, _)| *name).collect();
        namespaces.sort_unstable();
        Self {
            namespaces,
            capabilities: capability_names().collect(),
            cgroup: Cgroup {
                v1: true,
                v2: true,
                systemd: true,
                systemd_user: true,
                rdma: true,
            },
            seccomp: Seccomp {
                enabled: true,
                actions: seccomp::ACTIONS,
                operators: seccomp::OPERATORS,
                archs: seccomp::ARCHITECTURES,
                known_flags: seccomp::FLAGS,
                supported_flags: seccomp::FLAGS,
            },
            apparmor: Enabled { enabled: true },
            selinux: Enabled { enabled: true },
            intel_rdt: IntelRdt::default(),
            memory_policy: MemoryPolicy {
                modes: memory_policy_modes().collect(),
                flags: memory_policy_flags().collect(),
            },
            mount_extensions: MountExtensions {
                idmap: Enabled { enabled: true },
            },
            net_devices: Enabled { enabled: true },
        }
    }
}
