//! `update` on real containers: what the kernel's files say afterwards, inside and outside, what
//! is refused, and what an update does not touch.
//!
//! For hosts with cgroup v1 controllers; the files of cgroup v2 are tested beside the code.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use testkit::{Finished, Marker, Residue, Runtime, TestBundle};

mod limits;
mod meanwhile;
mod peers;
mod refusals;

/// A container with some limits, and the promise that nothing of it remains.
struct Subject {
    residue: Residue,
    runtime: Runtime,
    bundle: TestBundle,
}

impl Subject {
    /// Under the runtime that is tested; not made yet.
    fn new(topic: &str) -> Self {
        let binary = Runtime::binary_under_test(env!("CARGO_BIN_EXE_tare"));
        Self::under(topic, binary)
    }

    fn under(topic: &str, binary: PathBuf) -> Self {
        let marker = Marker::new(topic);
        let residue = Residue::watch(&marker);
        let runtime = Runtime::new(binary, &marker);
        let bundle = TestBundle::busybox(&marker)
            .args(&["sleep", "1000"])
            .set("/linux/resources/memory", limits_of_memory())
            .set(
                "/linux/resources/cpu",
                json!({"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0-1"}),
            )
            .set("/linux/resources/pids", json!({"limit": 100}));
        Self {
            residue,
            runtime,
            bundle,
        }
    }

    fn set(mut self, pointer: &str, value: Value) -> Self {
        self.bundle = self.bundle.set(pointer, value);
        self
    }

    fn run(self) -> Self {
        self.runtime.run_detached(&self.bundle).succeeded();
        self
    }

    fn create(self) -> Self {
        self.runtime.create(&self.bundle).succeeded();
        self
    }

    fn id(&self) -> &str {
        self.bundle.id()
    }

    fn call(&self, words: &[&str]) -> Finished {
        self.runtime.call(words)
    }

    fn status(&self) -> Value {
        self.runtime.state(self.id())["status"].take()
    }

    fn update(&self, flags: &[&str]) -> Finished {
        self.call(&[&["update"], flags, &[self.id()]].concat())
    }

    /// By a document on standard input.
    fn update_by(&self, document: &str) -> Finished {
        let words = ["update", "--resources", "-", self.id()];
        self.runtime.call_with_input(&words, document.as_bytes())
    }

    /// Runs a script inside.
    fn exec(&self, script: &str) -> Finished {
        self.call(&["exec", self.id(), "sh", "-c", script])
    }

    /// The container's directory of a hierarchy.
    fn directory(&self, controller: &str) -> PathBuf {
        PathBuf::from("/sys/fs/cgroup")
            .join(controller)
            .join(self.id())
    }

    /// What a file says, seen from outside. Its name starts with that of its controller.
    fn outside(&self, file: &str) -> String {
        let path = self.directory(controller_of(file)).join(file);
        let content = fs::read_to_string(&path);
        content
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .trim_end()
            .to_owned()
    }

    /// The same, seen from inside.
    fn inside(&self, file: &str) -> String {
        let cat = format!("cat /sys/fs/cgroup/{}/{file}", controller_of(file));
        self.exec(&cat).success().stdout.trim_end().to_owned()
    }

    /// What every v1 file that can be set says; what the kernel counts is left out.
    fn settings(&self) -> BTreeMap<String, String> {
        const COUNTED: [&str; 11] = [
            "procs", "tasks", "usage", "failcnt", "pressure", "stat", "events", "peak", "current",
            "io_serv", "slabinfo",
        ];
        let mut settings = BTreeMap::new();
        for controller in [
            "memory", "cpu", "cpuset", "pids", "blkio", "devices", "freezer",
        ] {
            for file in fs::read_dir(self.directory(controller)).expect("it is there") {
                let path = file.expect("a cgroup can be listed").path();
                let name = path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .expect("it is text");
                if COUNTED.iter().any(|word| name.contains(word)) {
                    continue;
                }
                if let Ok(content) = fs::read_to_string(&path) {
                    let mut setting: Vec<&str> = content.lines().collect();
                    setting.retain(|line| !line.starts_with("oom_kill "));
                    setting.sort_unstable();
                    settings.insert(name.to_owned(), setting.join("\n"));
                }
            }
        }
        settings
    }

    /// Deletes it and looks for what is left.
    fn done(self) {
        self.call(&["delete", "--force", self.id()]).succeeded();
        drop(self.bundle);
        self.residue.assert_none(&[&self.runtime]);
    }
}

fn limits_of_memory() -> Value {
    json!({"limit": 64 << 20, "swap": 128 << 20})
}

fn controller_of(file: &str) -> &str {
    file.split('.').next().expect("a text has a first part")
}

/// Checks that a command failed with one message that has all these words.
fn fails(finished: &Finished, words: &[&str]) {
    assert_eq!(finished.code, 1, "{finished}");
    assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
    for word in words {
        assert!(
            finished.stderr.contains(word),
            "{word:?} is missing: {finished}"
        );
    }
}

/// A whole disk of this host, as major and minor number.
fn disk() -> Option<(u64, u64)> {
    fs::read_dir("/sys/block").ok()?.flatten().find_map(|disk| {
        let name = disk.file_name().into_string().ok()?;
        let text = fs::read_to_string(disk.path().join("dev")).ok()?;
        let (major, minor) = text.trim_end().split_once(':')?;
        let is_disk = name.starts_with(['v', 's', 'n']);
        is_disk.then_some((major.parse().ok()?, minor.parse().ok()?))
    })
}
