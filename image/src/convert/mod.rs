//! From an image's configuration to a container's: image-spec's conversion.md, with Docker's
//! defaults for what the image doesn't say.
//!
//! A pure function: who the user is was looked up before ([`Identity`]), and what is mounted is
//! made ready afterwards.

mod annotations;
mod mounts;
mod seccomp;
mod user;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::document::ImageConfig;
use crate::error::{Error, ErrorKind, Result};

pub use mounts::{Bind, clean_path};
pub use user::Identity;

/// Docker's PATH for images without one.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What containers have by default, as Docker's have.
pub const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READONLY_PATHS: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// What the caller wants otherwise than the image says.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Instead of the image's command; not empty.
    pub command: Option<Vec<String>>,
    /// Instead of the image's entry point, whose command then doesn't count either.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value`, over the image's.
    pub env: Vec<String>,
    /// Instead of the image's working directory.
    pub working_dir: Option<String>,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// The host's name inside; the container's id where there is none.
    pub hostname: Option<String>,
    /// Whether the root filesystem can't be written.
    pub read_only: bool,
    /// Whether it shares the host's network, instead of having one with nothing but loopback.
    pub host_network: bool,
    /// Directories and files of the host, and volumes.
    pub binds: Vec<Bind>,
    /// Capabilities besides the default ones (`CAP_…`).
    pub added_capabilities: Vec<String>,
    /// Capabilities to leave out; `ALL` for all of the default ones.
    pub dropped_capabilities: Vec<String>,
    /// Whether seccomp filters nothing.
    pub unfiltered: bool,
    /// Bytes of memory.
    pub memory_limit_bytes: Option<i64>,
    /// Processes and threads.
    pub pids_limit: Option<i64>,
    /// CPUs, as a part of them.
    pub cpus: Option<f64>,
    /// Whether gaining privileges by executing a file is impossible.
    pub no_new_privileges: bool,
    /// A user namespace: ids of the container, of the host, and how many.
    pub id_mappings: Vec<(u32, u32, u32)>,
    /// Whether the host has cgroup v2 and nothing else.
    pub cgroup_v2: bool,
    /// Whether the runtime runs without the host's root: some filesystems can't be mounted anew.
    pub rootless: bool,
}

/// A container's configuration, and what there is to say about it.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// config.json.
    pub config: Value,
    /// Sentences for people.
    pub warnings: Vec<String>,
}

/// Makes config.json of an image's configuration, for a root filesystem at `rootfs` and a
/// container `id`.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] when there is nothing to execute, or a setting is wrong.
pub fn convert(
    image: &ImageConfig,
    identity: &Identity,
    rootfs: &str,
    id: &str,
    settings: &Settings,
) -> Result<Conversion> {
    let (annotations, left_out) = annotations::annotations(image);
    let capabilities = capabilities(settings)?;
    let config = json!({
        "ociVersion": "1.1.0",
        "process": process(image, identity, id, settings, &capabilities)?,
        "root": {"path": rootfs, "readonly": settings.read_only},
        "hostname": hostname(id, settings),
        "mounts": mounts::mounts(settings),
        "annotations": annotations,
        "linux": linux(settings, &capabilities),
    });
    let warnings = match left_out.len() {
        0 => Vec::new(),
        _ => vec![format!(
            "labels of the image that would command the host are left out: {}",
            left_out.join(", ")
        )],
    };
    Ok(Conversion { config, warnings })
}

fn hostname(id: &str, settings: &Settings) -> Value {
    if settings.host_network && settings.hostname.is_none() {
        return Value::Null;
    }
    let name = settings.hostname.as_deref().unwrap_or(id);
    // sethostname(2): 64 bytes at most.
    name.get(..64).unwrap_or(name).into()
}

fn process(
    image: &ImageConfig,
    identity: &Identity,
    id: &str,
    settings: &Settings,
    capabilities: &[String],
) -> Result<Value> {
    let execution = &image.config;
    let cwd = settings
        .working_dir
        .as_deref()
        .unwrap_or(&execution.working_dir);
    Ok(json!({
        "terminal": settings.terminal,
        "user": {
            "uid": identity.uid,
            "gid": identity.gid,
            "additionalGids": identity.additional_gids,
        },
        "args": arguments(image, settings)?,
        "env": environment(image, identity, id, settings)?,
        "cwd": clean_path(cwd),
        "capabilities": process_capabilities(identity, capabilities),
        "noNewPrivileges": settings.no_new_privileges,
    }))
}

/// Only root has them; another user may reach them by executing files that give them.
fn process_capabilities(identity: &Identity, capabilities: &[String]) -> Value {
    if identity.uid == 0 {
        json!({"bounding": capabilities, "effective": capabilities, "permitted": capabilities})
    } else {
        json!({"bounding": capabilities})
    }
}

fn arguments(image: &ImageConfig, settings: &Settings) -> Result<Vec<String>> {
    let entrypoint = match &settings.entrypoint {
        Some(own) => own,
        None => &image.config.entrypoint,
    };
    let no_command = Vec::new();
    let command = match (&settings.command, &settings.entrypoint) {
        (Some(own), _) => own,
        // The image's command are arguments for the image's entry point.
        (None, Some(_)) => &no_command,
        (None, None) => &image.config.cmd,
    };
    let arguments: Vec<String> = entrypoint.iter().chain(command).cloned().collect();
    if arguments.first().is_none_or(String::is_empty) {
        let message = "nothing to execute: the image names no command, so give one";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(arguments)
}

/// PATH first, then what Docker sets, the image's, the caller's; later ones win, in the place of
/// the first.
fn environment(
    image: &ImageConfig,
    identity: &Identity,
    id: &str,
    settings: &Settings,
) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |variable: &str| {
        let name = variable.split('=').next().unwrap_or_default().to_owned();
        if values.insert(name.clone(), variable.to_owned()).is_none() {
            names.push(name);
        }
    };
    let hostname = settings.hostname.as_deref().unwrap_or(id);
    set(PATH);
    set(&format!("HOSTNAME={hostname}"));
    if settings.terminal {
        set("TERM=xterm");
    }
    set(&format!("HOME={}", identity.home));
    for variable in image.config.env.iter().chain(&settings.env) {
        if variable.starts_with('=') || !variable.contains('=') {
            let message = format!("environment variable {variable:?}: NAME=VALUE is one");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        set(variable);
    }
    Ok(names
        .iter()
        .filter_map(|name| values.get(name).cloned())
        .collect())
}

fn capabilities(settings: &Settings) -> Result<Vec<String>> {
    let full_name = |name: &String| {
        let upper = name.to_ascii_uppercase();
        if upper == "ALL" || upper.starts_with("CAP_") {
            upper
        } else {
            format!("CAP_{upper}")
        }
    };
    let dropped: Vec<String> = settings
        .dropped_capabilities
        .iter()
        .map(full_name)
        .collect();
    let added: Vec<String> = settings.added_capabilities.iter().map(full_name).collect();
    if added.iter().any(|name| name == "ALL") {
        let message = "capability ALL: name the ones that are needed";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let drops_all = dropped.iter().any(|name| name == "ALL");
    let mut capabilities: Vec<String> = DEFAULT_CAPABILITIES
        .iter()
        .filter(|_| !drops_all)
        .map(|name| (*name).to_owned())
        .filter(|name| !dropped.contains(name))
        .chain(added)
        .collect();
    capabilities.sort();
    capabilities.dedup();
    Ok(capabilities)
}

fn linux(settings: &Settings, capabilities: &[String]) -> Value {
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    if !settings.host_network {
        namespaces.push("network");
    }
    if settings.cgroup_v2 {
        namespaces.push("cgroup");
    }
    if !settings.id_mappings.is_empty() {
        namespaces.push("user");
    }
    let namespaces: Vec<Value> = namespaces
        .iter()
        .map(|kind| json!({"type": kind}))
        .collect();
    let mut linux = json!({
        "namespaces": namespaces,
        "maskedPaths": MASKED_PATHS,
        "readonlyPaths": READONLY_PATHS,
        "resources": resources(settings),
    });
    if !settings.unfiltered {
        linux["seccomp"] = seccomp::profile(capabilities);
    }
    if !settings.id_mappings.is_empty() {
        let mapping = |(container, host, size): &(u32, u32, u32)| json!({"containerID": container, "hostID": host, "size": size});
        let mappings: Vec<Value> = settings.id_mappings.iter().map(mapping).collect();
        linux["uidMappings"] = mappings.clone().into();
        linux["gidMappings"] = mappings.into();
    }
    linux
}

fn resources(settings: &Settings) -> Value {
    let mut resources = json!({"devices": [{"allow": false, "access": "rwm"}]});
    if let Some(limit) = settings.memory_limit_bytes {
        resources["memory"] = json!({"limit": limit});
    }
    if let Some(limit) = settings.pids_limit {
        resources["pids"] = json!({"limit": limit});
    }
    if let Some(cpus) = settings.cpus {
        const PERIOD_US: f64 = 100_000.0;
        #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
        let quota = (cpus * PERIOD_US) as i64;
        resources["cpu"] = json!({"period": 100_000, "quota": quota});
    }
    resources
}

#[cfg(test)]
mod tests;
