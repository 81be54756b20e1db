//! Containers whose cgroups are units of systemd: what systemd says of them and what the kernel
//! does, through the whole life of a container, and after its interruption.
//!
//! For a machine whose first process is systemd, with cgroup v2: a guest. Tests in `user` are for
//! an ordinary user with a systemd of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Finished, Marker, Residue, Runtime, TestBundle, finish};

mod absent;
mod interrupted;
mod life;
mod limits;
mod parity;
#[path = "../stepper/mod.rs"]
mod stepper;
mod units;
mod user;

const LIMIT: Duration = Duration::from_secs(60);

/// A container under the systemd cgroup driver, and the promise that nothing of it remains.
struct Subject {
    residue: Residue,
    marker: Marker,
    runtime: Runtime,
    bundle: TestBundle,
}

impl Subject {
    fn new(topic: &str) -> Self {
        Self::under(
            topic,
            Runtime::binary_under_test(env!("CARGO_BIN_EXE_tare")),
        )
    }

    fn under(topic: &str, binary: PathBuf) -> Self {
        let marker = Marker::new(topic);
        let residue = Residue::watch(&marker);
        let runtime = Runtime::new(binary, &marker);
        let bundle = TestBundle::busybox(&marker)
            .args(&["sleep", "1000"])
            .set("/linux/cgroupsPath", json!(format!(":tt:{marker}")));
        Self {
            residue,
            marker,
            runtime,
            bundle,
        }
    }

    fn set(mut self, pointer: &str, value: Value) -> Self {
        self.bundle = self.bundle.set(pointer, value);
        self
    }

    fn annotate(self, property: &str, value: &str) -> Self {
        self.set(
            &format!("/annotations/org.systemd.property.{property}"),
            json!(value),
        )
    }

    fn id(&self) -> &str {
        self.bundle.id()
    }

    /// Of its unit, when `cgroupsPath` is as it was made.
    fn unit(&self) -> String {
        format!("tt-{}.scope", self.marker)
    }

    fn command(&self, words: &[&str]) -> Command {
        self.runtime
            .command(&[&["--systemd-cgroup"], words].concat())
    }

    fn call(&self, words: &[&str]) -> Finished {
        finish(&mut self.command(words), LIMIT)
    }

    fn create(&self) -> Finished {
        self.with_bundle(&["create"])
    }

    fn run(&self) -> Finished {
        self.with_bundle(&["run", "--detach"])
    }

    fn with_bundle(&self, words: &[&str]) -> Finished {
        self.bundle.save();
        let path = self
            .bundle
            .path()
            .to_str()
            .expect("a temporary path is text");
        self.call(&[words, &["--bundle", path, self.id()]].concat())
    }

    fn exec(&self, script: &str) -> Finished {
        self.call(&["exec", self.id(), "sh", "-c", script])
    }

    fn delete(&self) {
        self.call(&["delete", "--force", self.id()]).succeeded();
    }

    fn pid(&self) -> String {
        self.runtime.state(self.id())["pid"].to_string()
    }

    /// Its cgroup2 directory, as the kernel says.
    fn cgroup(&self) -> PathBuf {
        PathBuf::from(format!("/sys/fs/cgroup{}", cgroup_of(&self.pid())))
    }

    /// What a file of its cgroup says.
    fn file(&self, name: &str) -> String {
        let path = self.cgroup().join(name);
        let content = std::fs::read_to_string(&path);
        content
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .trim_end()
            .to_owned()
    }

    /// Nothing is left, of the container and of its unit.
    fn done(self) {
        let Self {
            residue,
            marker,
            runtime,
            bundle,
        } = self;
        assert_eq!(units_like(marker.as_str()), "");
        drop(bundle);
        residue.assert_none(&[&runtime]);
    }
}

/// In the cgroup2 hierarchy.
fn cgroup_of(pid: &str) -> String {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    let line = listed.lines().find_map(|line| line.strip_prefix("0::"));
    line.expect("there is a cgroup2 hierarchy").to_owned()
}

/// `systemctl`, of the user for a user.
fn systemctl(words: &[&str]) -> Finished {
    let mut command = Command::new("systemctl");
    if !nix::unistd::geteuid().is_root() {
        command.arg("--user");
    }
    finish(command.args(words), LIMIT)
}

/// Properties of a unit.
fn shown(unit: &str) -> BTreeMap<String, String> {
    let shown = systemctl(&["show", unit]).success().stdout;
    let pairs = shown.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The units that have this word in their names, one a line; waits a little until there is none.
fn units_like(word: &str) -> String {
    let begin = Instant::now();
    loop {
        let pattern = format!("*{word}*");
        let listed = systemctl(&["list-units", "--all", "--no-legend", "--plain", &pattern]);
        let listed = listed.success().stdout;
        if listed.is_empty() || begin.elapsed() > Duration::from_secs(5) {
            return listed;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn daemon_reload() {
    systemctl(&["daemon-reload"]).succeeded();
}
