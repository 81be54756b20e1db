//! One container of a test, and the oracle that looks after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Finished, Marker, Residue, Runtime, TestBundle, finish};

use crate::mountinfo::MountInfo;

/// How long one command may take on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(60);

/// A bundle and the runtime under test. When it is dropped the container is deleted, and
/// nothing of it may be left on the host.
pub(crate) struct Container {
    pub(crate) runtime: Runtime,
    pub(crate) marker: Marker,
    bundle: Option<TestBundle>,
    residue: Residue,
}

impl Container {
    /// A bundle for a test about `topic` (letters and digits), for tare.
    pub(crate) fn new(topic: &str) -> Self {
        Self::of(
            Runtime::binary_under_test(env!("CARGO_BIN_EXE_tare")),
            topic,
        )
    }

    /// The same for any runtime.
    pub(crate) fn of(binary: impl Into<PathBuf>, topic: &str) -> Self {
        let marker = Marker::new(topic);
        let residue = Residue::watch(&marker);
        Self {
            runtime: Runtime::new(binary, &marker),
            bundle: Some(TestBundle::busybox(&marker)),
            marker,
            residue,
        }
    }

    fn change(mut self, change: impl FnOnce(TestBundle) -> TestBundle) -> Self {
        self.bundle = self.bundle.take().map(change);
        self
    }

    /// Sets the property at the JSON pointer.
    pub(crate) fn set(self, pointer: &str, value: impl Into<Value>) -> Self {
        self.change(|bundle| bundle.set(pointer, value.into()))
    }

    /// Appends to the array at the JSON pointer.
    pub(crate) fn push(self, pointer: &str, value: Value) -> Self {
        self.change(|bundle| bundle.push(pointer, value))
    }

    /// Appends a mount.
    pub(crate) fn mount(self, kind: &str, source: &str, target: &str, options: &[&str]) -> Self {
        self.change(|bundle| bundle.mount(kind, source, target, options))
    }

    /// The init process runs this in a shell.
    pub(crate) fn script(self, script: &str) -> Self {
        self.change(|bundle| bundle.script(script))
    }

    /// The init process's arguments.
    pub(crate) fn args(self, args: &[&str]) -> Self {
        self.change(|bundle| bundle.args(args))
    }

    /// Without `linux.namespaces` entry of this type.
    pub(crate) fn without_namespace(self, kind: &str) -> Self {
        let namespaces = self.bundle().config()["linux"]["namespaces"].clone();
        let mut list = namespaces.as_array().cloned().unwrap_or_default();
        list.retain(|namespace| namespace["type"] != kind);
        self.set("/linux/namespaces", json!(list))
    }

    /// With a new namespace of this type.
    pub(crate) fn with_namespace(self, kind: &str) -> Self {
        self.without_namespace(kind)
            .push("/linux/namespaces", json!({"type": kind}))
    }

    /// With the namespace of this type at this path.
    pub(crate) fn joining(self, kind: &str, path: &str) -> Self {
        self.without_namespace(kind)
            .push("/linux/namespaces", json!({"type": kind, "path": path}))
    }

    /// In a new user namespace whose ids are the host's from 100000 on; the rootfs's owner is
    /// its root.
    pub(crate) fn with_user_namespace(self) -> Self {
        let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
        self.own_rootfs(100_000);
        self.with_namespace("user")
            .set("/linux/uidMappings", mapping.clone())
            .set("/linux/gidMappings", mapping)
    }

    /// Gives the whole rootfs to this id.
    pub(crate) fn own_rootfs(&self, id: u32) {
        let mut chown = Command::new("chown");
        chown
            .args(["-hR", &format!("{id}:{id}")])
            .arg(self.rootfs());
        finish(&mut chown, LIMIT).succeeded();
    }

    /// All capabilities in the five sets.
    pub(crate) fn with_all_capabilities(self) -> Self {
        let names = crate::capabilities::possible_names();
        let mut with = self;
        for set in [
            "bounding",
            "effective",
            "permitted",
            "inheritable",
            "ambient",
        ] {
            with = with.set(&format!("/process/capabilities/{set}"), json!(names));
        }
        with
    }

    pub(crate) fn bundle(&self) -> &TestBundle {
        self.bundle.as_ref().expect("it is taken at the end only")
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.bundle().rootfs()
    }

    pub(crate) fn id(&self) -> &str {
        self.bundle().id()
    }

    /// A path in the bundle, as text.
    pub(crate) fn path(&self, name: &str) -> String {
        let path = self.bundle().path().join(name);
        path.to_str().expect("a temporary path is text").to_owned()
    }

    /// Writes a file of the rootfs; its directory is made.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.rootfs().join(name);
        let parent = path.parent().expect("it is below the rootfs");
        fs::create_dir_all(parent).expect("a directory can be made");
        fs::write(path, text).expect("a file can be written");
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) -> Finished {
        self.runtime.run(self.bundle())
    }

    /// Runs it to its end and gives what it prints; it must succeed.
    pub(crate) fn prints(&self) -> String {
        self.run().success().stdout
    }

    /// Runs this script to its end and gives what it prints; it must succeed.
    pub(crate) fn prints_of(self, script: &str) -> String {
        self.script(script).prints()
    }

    /// The pid of a container that sleeps.
    pub(crate) fn sleeping(self) -> (Self, i32) {
        let with = self.args(&["sleep", "1000"]);
        let pid = with.detached();
        (with, pid)
    }

    /// `run --detach`; gives the pid of init.
    pub(crate) fn detached(&self) -> i32 {
        self.runtime.run_detached(self.bundle()).succeeded();
        self.pid()
    }

    /// The pid that `state` tells.
    pub(crate) fn pid(&self) -> i32 {
        let pid = self.runtime.state(self.id())["pid"].as_i64();
        pid.and_then(|pid| i32::try_from(pid).ok())
            .expect("a state has a pid")
    }

    /// What a script prints that runs in the running container.
    pub(crate) fn exec(&self, script: &str) -> String {
        self.runtime
            .call(&["exec", self.id(), "/bin/sh", "-c", script])
            .success()
            .stdout
    }

    /// `create` has to fail, and leaves nothing: what it says.
    pub(crate) fn refused(&self) -> String {
        let create = self.runtime.create(self.bundle());
        assert_eq!(create.code, 1, "{create}");
        let left = fs::read_dir(self.runtime.root()).map_or(0, Iterator::count);
        assert_eq!(left, 0, "a failed create leaves no state: {create}");
        create.stderr
    }

    /// The runtime's command in a mount namespace of its own, after `setup` (a shell script with
    /// the bundle's directory in `$B`) has run there.
    pub(crate) fn in_private_mounts(&self, setup: &str, command: &[&str]) -> Finished {
        self.bundle().save();
        let bundle = self.path("");
        let arguments: Vec<&str> = command
            .iter()
            .copied()
            .chain(["--bundle", &bundle, self.id()])
            .collect();
        let inner = self.runtime.command(&arguments);
        finish(&mut in_mount_namespace(setup, &bundle, &inner), LIMIT)
    }

    /// The same for a command that takes nothing but the id.
    pub(crate) fn call_in_private_mounts(&self, setup: &str, command: &[&str]) -> Finished {
        let inner = self.runtime.command(command);
        finish(
            &mut in_mount_namespace(setup, &self.path(""), &inner),
            LIMIT,
        )
    }

    /// The mounts of the container's init, as the host sees them.
    pub(crate) fn mounts(&self) -> MountInfo {
        MountInfo::of(self.pid())
    }
}

/// `command` in a private mount namespace after `setup`.
pub(crate) fn in_mount_namespace(setup: &str, bundle: &str, command: &Command) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-ec"]);
    unshare.arg(format!("{setup}\nexec \"$@\"")).arg("sh");
    unshare.arg(command.get_program()).args(command.get_args());
    unshare.env("B", bundle);
    unshare
}

impl Drop for Container {
    fn drop(&mut self) {
        let delete = self
            .runtime
            .call(&["delete", "--force", self.marker.as_str()]);
        if std::thread::panicking() {
            return;
        }
        assert_eq!(delete.code, 0, "{delete}");
        drop(self.bundle.take());
        self.residue.assert_none(&[&self.runtime]);
    }
}

/// A file of `/proc/PID`.
pub(crate) fn proc_file(pid: i32, name: &str) -> String {
    let path = Path::new("/proc").join(pid.to_string()).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A line of `/proc/PID/status`, without its name.
pub(crate) fn status_line(status: &str, name: &str) -> String {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{name} in {status}"))
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// Which namespace a process is in: `net:[4026531840]`.
pub(crate) fn namespace_of(pid: i32, file: &str) -> String {
    let path = format!("/proc/{pid}/ns/{file}");
    let link = fs::read_link(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    link.display().to_string()
}

/// Which namespace the test is in.
pub(crate) fn own_namespace(file: &str) -> String {
    let pid = i32::try_from(std::process::id()).expect("a pid fits into an i32");
    namespace_of(pid, file)
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what}: not within twenty seconds");
}
