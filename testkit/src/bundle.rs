//! A bundle that a runtime can run.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::marker::Marker;

/// A directory with a rootfs of busybox and a config.json. Removed when dropped.
#[derive(Debug)]
pub struct TestBundle {
    directory: TempDir,
    id: String,
    config: Value,
}

impl TestBundle {
    /// A bundle whose init process is `sh`, under [`default_config`], with a writable rootfs
    /// and a cgroup named after the marker.
    ///
    /// # Panics
    ///
    /// If the rootfs can't be made: the directory for temporary files is full or read-only, or
    /// the package busybox-static is missing.
    #[must_use]
    pub fn busybox(marker: &Marker) -> Self {
        let directory = marker.directory();
        make_rootfs(&directory.path().join("rootfs"));
        let mut config = default_config();
        config["root"]["readonly"] = false.into();
        config["linux"]["cgroupsPath"] = format!("/{marker}").into();
        Self {
            directory,
            id: marker.as_str().to_owned(),
            config,
        }
    }

    /// The same rootfs under another config.
    ///
    /// Its cgroup is still that of the marker, and its rootfs that of this bundle.
    #[must_use]
    pub fn with_config(mut self, config: Value) -> Self {
        let cgroup = self.config["linux"]["cgroupsPath"].take();
        self.config = config;
        let root = self.rootfs();
        self.set("/linux/cgroupsPath", cgroup)
            .set("/root/path", json!(root))
    }

    /// The init process runs `script` in a shell.
    #[must_use]
    pub fn script(self, script: &str) -> Self {
        self.args(&["sh", "-c", script])
    }

    /// The init process's arguments.
    #[must_use]
    pub fn args(self, args: &[&str]) -> Self {
        self.set("/process/args", json!(args))
    }

    /// Sets the property at `pointer` (RFC 6901), and makes the objects on the way to it.
    ///
    /// # Panics
    ///
    /// If the pointer leads through something that is not an object or an array.
    #[must_use]
    pub fn set(mut self, pointer: &str, value: Value) -> Self {
        let mut place = &mut self.config;
        for part in pointer.split('/').skip(1) {
            place = match part.parse::<usize>() {
                Ok(index) if place.is_array() => &mut place[index],
                _ => &mut place[part],
            };
        }
        *place = value;
        self
    }

    /// Appends to the array at `pointer`.
    ///
    /// # Panics
    ///
    /// If there is no array.
    #[must_use]
    pub fn push(mut self, pointer: &str, value: Value) -> Self {
        let place = self
            .config
            .pointer_mut(pointer)
            .and_then(Value::as_array_mut);
        place
            .unwrap_or_else(|| panic!("config.json has an array at {pointer}"))
            .push(value);
        self
    }

    /// Appends a mount.
    #[must_use]
    pub fn mount(self, kind: &str, source: &str, destination: &str, options: &[&str]) -> Self {
        let mount = json!({
            "type": kind, "source": source, "destination": destination, "options": options,
        });
        self.push("/mounts", mount)
    }

    /// The container's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The bundle's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The rootfs.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// config.json as it will be saved.
    #[must_use]
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Writes config.json. A [`crate::Runtime`] does this before it runs the bundle.
    ///
    /// # Panics
    ///
    /// If the file can't be written.
    pub fn save(&self) {
        let text = serde_json::to_vec_pretty(&self.config).expect("a value can be written");
        std::fs::write(self.path().join("config.json"), text).expect("config.json can be written");
    }
}

/// A rootfs with busybox, a link for each of its applets, and the least of /etc.
fn make_rootfs(rootfs: &Path) {
    for name in ["bin", "dev", "etc", "proc", "root", "sys", "tmp"] {
        std::fs::create_dir_all(rootfs.join(name)).expect("a directory can be made");
    }
    let busybox = rootfs.join("bin/busybox");
    std::fs::copy("/bin/busybox", &busybox).expect("the package busybox-static is installed");
    for applet in applets().iter().filter(|applet| *applet != "busybox") {
        symlink("busybox", rootfs.join("bin").join(applet)).expect("a link can be made");
    }
    for (name, text) in [
        ("passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("group", "root:x:0:\n"),
        ("hostname", "image\n"),
    ] {
        std::fs::write(rootfs.join("etc").join(name), text).expect("a file can be written");
    }
}

pub(crate) fn applets() -> &'static [String] {
    static APPLETS: OnceLock<Vec<String>> = OnceLock::new();
    APPLETS.get_or_init(|| {
        let output = Command::new("/bin/busybox").arg("--list").output();
        let names = output
            .expect("the package busybox-static is installed")
            .stdout;
        String::from_utf8_lossy(&names)
            .lines()
            .map(str::to_owned)
            .collect()
    })
}

/// The container that runtimes' `spec` commands describe: five namespaces, three capabilities,
/// a read-only rootfs, seven mounts, masked and read-only paths; without a terminal.
#[must_use]
pub fn default_config() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "container",
        "mounts": default_mounts(),
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "mount"},
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
                "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                "/proc/sched_debug", "/sys/devices/virtual/powercap", "/sys/firmware",
                "/proc/scsi",
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
        },
    })
}

fn default_mounts() -> Value {
    let mount = |kind: &str, source: &str, destination: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": source, "options": options});
    let quiet = ["nosuid", "noexec", "nodev"];
    json!([
        mount("proc", "proc", "/proc", &[]),
        mount(
            "tmpfs",
            "tmpfs",
            "/dev",
            &["nosuid", "strictatime", "mode=755", "size=65536k"]
        ),
        mount(
            "devpts",
            "devpts",
            "/dev/pts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5"
            ]
        ),
        mount(
            "tmpfs",
            "shm",
            "/dev/shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]
        ),
        mount("mqueue", "mqueue", "/dev/mqueue", &quiet),
        mount(
            "sysfs",
            "sysfs",
            "/sys",
            &["nosuid", "noexec", "nodev", "ro"]
        ),
        mount(
            "cgroup",
            "cgroup",
            "/sys/fs/cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"]
        ),
    ])
}
