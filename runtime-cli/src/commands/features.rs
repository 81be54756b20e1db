//! `tare features`: what this program can do, known when it was built. The host is not asked.

use std::collections::BTreeMap;

use runtime_core::plan::{
    HOOK_NAMES, NAMESPACE_KINDS, capability_names, mount_option_names, seccomp,
};
use serde::Serialize;

use crate::command_line::{Command, Count, Parsed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output;
use crate::program::SPECIFICATION;

pub(super) const COMMAND: Command = Command {
    name: "features",
    summary: "show what this program supports as JSON",
    operands: "",
    count: Count::Exactly(0),
    stops_at_first_operand: false,
    description: "The structure is that of the runtime specification's features.md.",
    enters_containers: false,
    flags: &[],
    run,
};

fn run(_: &Globals, _: &Parsed<'_>) -> Result<Exit, Failure> {
    output::print(&(output::pretty(&Features::of_this_program(), "    ") + "\n"))?;
    Ok(Exit::Success)
}

/// features.md, in runc's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: &'static [&'static str],
    mount_options: Vec<&'static str>,
    linux: Linux,
    annotations: BTreeMap<&'static str, &'static str>,
    /// A prefix: with `--systemd-cgroup`, and what reaches beyond the container is refused.
    potentially_unsafe_config_annotations: [&'static str; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: Vec<&'static str>,
    capabilities: Vec<String>,
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: Enabled,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: &'static [&'static str],
    operators: &'static [&'static str],
    archs: &'static [&'static str],
    known_flags: &'static [&'static str],
    supported_flags: &'static [&'static str],
}

#[derive(Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

impl Features {
    fn of_this_program() -> Self {
        let mut mount_options: Vec<&str> = mount_option_names().collect();
        mount_options.sort_unstable();
        Self {
            oci_version_min: "1.0.0",
            oci_version_max: SPECIFICATION,
            hooks: &HOOK_NAMES,
            mount_options,
            linux: Linux::of_this_program(),
            annotations: BTreeMap::from([(
                "io.github.tare-rs.tare.version",
                env!("CARGO_PKG_VERSION"),
            )]),
            potentially_unsafe_config_annotations: ["org.systemd.property."],
        }
    }
}

impl Linux {
    fn of_this_program() -> Self {
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
            intel_rdt: Enabled { enabled: false },
            mount_extensions: MountExtensions {
                idmap: Enabled { enabled: true },
            },
            net_devices: Enabled { enabled: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_answer_is_known_in_advance() {
        insta::assert_snapshot!(
            "features",
            output::pretty(&Features::of_this_program(), "    ")
        );
    }
}
