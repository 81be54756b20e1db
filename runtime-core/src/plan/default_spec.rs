//! The config.json that `spec` writes: a shell in a read-only rootfs, isolated as runc's is.
//!
//! Written as text and not as values, so that properties stand in the order in which people
//! read them. Its version is 1.1.0: the newest that runc and crun of today's distributions
//! take as well.

/// The config.json of `spec`. With `cgroup_v2` the container has a cgroup namespace.
#[must_use]
pub fn default_config(cgroup_v2: bool) -> String {
    let mut namespaces = vec!["pid", "network", "ipc", "uts", "mount"];
    if cgroup_v2 {
        namespaces.push("cgroup");
    }
    let resources = "\t\t\"resources\": {\n\t\t\t\"devices\": [\n\t\t\t\t{ \"allow\": false, \
                     \"access\": \"rwm\" }\n\t\t\t]\n\t\t},\n";
    document(PTS, SYS, resources, &namespaces)
}

/// The config.json of `spec --rootless`, for a runtime that is this user and group: they
/// become root in the container. With `cgroup_v2` the container has a cgroup namespace.
///
/// The network is the host's, and with it `/sys`, which only its owner could mount anew.
#[must_use]
pub fn rootless_config(uid: u32, gid: u32, cgroup_v2: bool) -> String {
    let mut namespaces = vec!["pid", "ipc", "uts", "mount", "user"];
    if cgroup_v2 {
        namespaces.push("cgroup");
    }
    let mapping = |key, id| {
        format!(
            "\t\t\"{key}\": [\n\t\t\t{{ \"containerID\": 0, \"hostID\": {id}, \"size\": 1 }}\n\t\t],\n"
        )
    };
    let mappings = mapping("uidMappings", uid) + &mapping("gidMappings", gid);
    document(ROOTLESS_PTS, ROOTLESS_SYS, &mappings, &namespaces)
}

fn document(pts: &str, sys: &str, linux: &str, namespaces: &[&str]) -> String {
    let namespaces: Vec<String> = namespaces
        .iter()
        .map(|kind| format!("\t\t\t{{ \"type\": \"{kind}\" }}"))
        .collect();
    let namespaces = namespaces.join(",\n");
    format!(
        "{HEAD}{pts}{MIDDLE}{sys}{CGROUP}\t\"linux\": {{\n{linux}\t\t\"namespaces\": \
         [\n{namespaces}\n\t\t],\n{TAIL}"
    )
}

const HEAD: &str = r#"{
	"ociVersion": "1.1.0",
	"process": {
		"terminal": true,
		"user": { "uid": 0, "gid": 0 },
		"args": ["sh"],
		"env": [
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"TERM=xterm"
		],
		"cwd": "/",
		"capabilities": {
			"bounding": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
			"effective": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
			"permitted": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
		},
		"rlimits": [
			{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }
		],
		"noNewPrivileges": true
	},
	"root": {
		"path": "rootfs",
		"readonly": true
	},
	"hostname": "tare",
	"mounts": [
		{
			"destination": "/proc",
			"type": "proc",
			"source": "proc"
		},
		{
			"destination": "/dev",
			"type": "tmpfs",
			"source": "tmpfs",
			"options": ["nosuid", "strictatime", "mode=755", "size=65536k"]
		},
"#;

const PTS: &str = r#"		{
			"destination": "/dev/pts",
			"type": "devpts",
			"source": "devpts",
			"options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
		},
"#;

/// Group 5 is not mapped.
const ROOTLESS_PTS: &str = r#"		{
			"destination": "/dev/pts",
			"type": "devpts",
			"source": "devpts",
			"options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
		},
"#;

const MIDDLE: &str = r#"		{
			"destination": "/dev/shm",
			"type": "tmpfs",
			"source": "shm",
			"options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]
		},
		{
			"destination": "/dev/mqueue",
			"type": "mqueue",
			"source": "mqueue",
			"options": ["nosuid", "noexec", "nodev"]
		},
"#;

const SYS: &str = r#"		{
			"destination": "/sys",
			"type": "sysfs",
			"source": "sysfs",
			"options": ["nosuid", "noexec", "nodev", "ro"]
		},
"#;

const ROOTLESS_SYS: &str = r#"		{
			"destination": "/sys",
			"type": "none",
			"source": "/sys",
			"options": ["rbind", "nosuid", "noexec", "nodev", "ro"]
		},
"#;

const CGROUP: &str = r#"		{
			"destination": "/sys/fs/cgroup",
			"type": "cgroup",
			"source": "cgroup",
			"options": ["nosuid", "noexec", "nodev", "relatime", "ro"]
		}
	],
"#;

const TAIL: &str = r#"		"maskedPaths": [
			"/proc/acpi",
			"/proc/asound",
			"/proc/interrupts",
			"/proc/kcore",
			"/proc/keys",
			"/proc/latency_stats",
			"/proc/timer_list",
			"/proc/timer_stats",
			"/proc/sched_debug",
			"/sys/devices/virtual/powercap",
			"/sys/firmware",
			"/proc/scsi"
		],
		"readonlyPaths": [
			"/proc/bus",
			"/proc/fs",
			"/proc/irq",
			"/proc/sys",
			"/proc/sysrq-trigger"
		]
	}
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    /// An independent reader finds nothing in them that it does not know.
    #[test]
    fn oci_spec_reads_the_default_configs_and_writes_them_the_same() {
        for text in [
            default_config(false),
            default_config(true),
            rootless_config(1000, 100, true),
        ] {
            let theirs: oci_spec::runtime::Spec = serde_json::from_str(&text).unwrap();
            let mut written = serde_json::to_value(theirs).unwrap();
            // Its capability sets have no order.
            let sets = written["process"]["capabilities"].as_object_mut().unwrap();
            for set in sets.values_mut() {
                set.as_array_mut().unwrap().sort_by_key(ToString::to_string);
            }
            let ours: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(written, ours);
        }
    }

    #[test]
    fn the_rootless_config_maps_the_caller_to_root() {
        let text = rootless_config(1000, 100, false);
        let spec: crate::spec::Spec<'_> = serde_json::from_str(&text).unwrap();
        let linux = spec.linux.unwrap();
        assert_eq!(linux.uid_mappings.unwrap()[0].host_id, Some(1000));
        assert_eq!(linux.gid_mappings.unwrap()[0].host_id, Some(100));
    }
}
