//! Bundles for cases: a root filesystem with one static program in it, and a config.json that
//! starts as the least that shows something.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// What the program is called inside: this very binary, which says there what it sees.
pub const PROBE: &str = "/probe";

/// A bundle of one case.
#[derive(Clone, Debug)]
pub struct Bundle {
    path: PathBuf,
    id: String,
    cgroup: String,
    config: Value,
}

impl Bundle {
    /// A bundle in `directory`, whose container will have this id and this cgroup.
    pub(crate) fn new(directory: &Path, id: String, cgroup: &str, probe: &Path) -> Self {
        let rootfs = directory.join("rootfs");
        for name in ["", "proc", "dev", "sys", "tmp", "etc"] {
            std::fs::create_dir_all(rootfs.join(name)).expect("a directory can be made");
        }
        std::fs::hard_link(probe, rootfs.join("probe")).expect("a file can be linked");
        Self {
            path: directory.to_owned(),
            cgroup: place(cgroup),
            config: config(cgroup),
            id,
        }
    }

    /// The container's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The path of its cgroup below a hierarchy, while `cgroupsPath` is not set to another.
    #[must_use]
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its root filesystem.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    /// Its config.json.
    #[must_use]
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The same with another value at this JSON pointer; objects on the way are made, `-` at
    /// the end of an array's pointer appends.
    #[must_use]
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        *slot(&mut self.config, pointer) = value.into();
        self
    }

    /// The same without what is at this JSON pointer.
    #[must_use]
    pub fn without(mut self, pointer: &str) -> Self {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer has a slash");
        if let Some(Value::Object(members)) = self.config.pointer_mut(parent) {
            members.remove(name);
        }
        self
    }

    /// The same with a whole config.json.
    #[must_use]
    pub fn with_config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    /// The same with a process that does this: words of [`crate::inside`].
    #[must_use]
    pub fn does(self, words: &[&str]) -> Self {
        let arguments: Vec<&str> = [PROBE, "inside"].iter().chain(words).copied().collect();
        self.set("/process/args", json!(arguments))
    }

    /// The same with one more mount.
    #[must_use]
    pub fn mount(self, destination: &str, kind: &str, source: &str, options: &[&str]) -> Self {
        let mount = json!({
            "destination": destination, "type": kind, "source": source, "options": options,
        });
        self.set("/mounts/-", mount)
    }

    /// Writes config.json.
    pub fn save(&self) {
        let text = serde_json::to_vec_pretty(&self.config).expect("a value can be written");
        self.save_text(&text);
    }

    /// Writes these bytes as config.json.
    pub fn save_text(&self, text: &[u8]) {
        std::fs::write(self.path.join("config.json"), text).expect("a file can be written");
    }
}

/// Where a `cgroupsPath` is below a hierarchy: one of systemd's is `slice:prefix:name`.
pub(crate) fn place(path: &str) -> String {
    match path.split(':').collect::<Vec<_>>().as_slice() {
        [slice, prefix, name] => format!("{slice}/{prefix}-{name}.scope"),
        _ => path.trim_start_matches('/').to_owned(),
    }
}

/// The place of a pointer, made if it is not there.
fn slot<'a>(value: &'a mut Value, pointer: &str) -> &'a mut Value {
    let mut place = value;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if place.is_null() {
            *place = if part == "-" { json!([]) } else { json!({}) };
        }
        place = if place.is_array() {
            item(place.as_array_mut().expect("an array"), &part)
        } else {
            let members = place.as_object_mut().expect("only objects have members");
            members.entry(part).or_insert(Value::Null)
        };
    }
    place
}

/// The item of this index; `-` appends one.
fn item<'a>(items: &'a mut Vec<Value>, part: &str) -> &'a mut Value {
    if part == "-" {
        items.push(Value::Null);
        return items.last_mut().expect("one was pushed");
    }
    let index: usize = part.parse().expect("an index");
    &mut items[index]
}

/// Namespaces of its own, the file systems that the specification names, no capability, no
/// limit; it prints what it sees.
fn config(cgroup: &str) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": [PROBE, "inside", "report"],
            "env": ["PATH=/"],
            "cwd": "/",
        },
        "root": { "path": "rootfs" },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [
                { "type": "pid" }, { "type": "mount" }, { "type": "ipc" },
                { "type": "uts" }, { "type": "network" },
            ],
        },
    })
}
