//! What a container finds mounted.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::Settings;

/// Something of the host at a path of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// On the host, absolute.
    pub source: PathBuf,
    /// In the container, absolute.
    pub destination: String,
    /// Whether it can't be written.
    pub read_only: bool,
}

/// A path as an absolute one without `.`, `..` and double slashes: `..` at the root is the root.
#[must_use]
pub fn clean_path(path: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            name => components.push(name),
        }
    }
    format!("/{}", components.join("/"))
}

pub(super) fn mounts(settings: &Settings) -> Vec<Value> {
    let pts: &[&str] = if settings.rootless {
        // Group 5 may have no mapping.
        &[
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
        ]
    } else {
        &[
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            "gid=5",
        ]
    };
    let private = ["nosuid", "noexec", "nodev"];
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &private),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount("/dev/pts", "devpts", "devpts", pts),
        sys(settings),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &private),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
    ];
    // What is mounted deeper must come later.
    let mut binds: Vec<&super::Bind> = settings.binds.iter().collect();
    binds.sort_by_key(|bind| bind.destination.matches('/').count());
    mounts.extend(binds.into_iter().map(bind));
    mounts
}

/// Only a network namespace's owner can mount sysfs for it.
fn sys(settings: &Settings) -> Value {
    if settings.host_network && (settings.rootless || !settings.id_mappings.is_empty()) {
        mount(
            "/sys",
            "none",
            "/sys",
            &["rbind", "nosuid", "noexec", "nodev", "ro"],
        )
    } else {
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", "ro"],
        )
    }
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": kind, "source": source, "options": options})
}

fn bind(bind: &Bind) -> Value {
    let access = if bind.read_only { "ro" } else { "rw" };
    json!({
        "destination": bind.destination,
        "type": "bind",
        "source": bind.source,
        "options": ["rbind", "rprivate", access],
    })
}
