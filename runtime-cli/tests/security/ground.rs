//! What every attack happens on: a canary tree, a runtime, and the host as it was.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{Fact, Finished, Marker, Residue, Runtime, TestBundle};

/// Sysctls that an attacker of the host would change.
const SYSCTLS: [&str; 6] = [
    "kernel/core_pattern",
    "kernel/sysrq",
    "kernel/hostname",
    "kernel/domainname",
    "kernel/shmmax",
    "net/ipv4/ip_forward",
];

/// The host before an attack.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) marker: Marker,
    pub(crate) runtime: Runtime,
    residue: Residue,
    canary: TempDir,
    before: BTreeMap<String, String>,
}

impl Ground {
    /// Makes the canary tree and notes how everything is.
    pub(crate) fn new(topic: &str) -> Self {
        let marker = Marker::new(topic);
        let residue = Residue::watch(&marker);
        let runtime = Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker);
        let canary = marker.directory();
        for name in ["null", "ptmx", "console", "fd", "stdin", "tty", "secret"] {
            let path = canary.path().join(name);
            fs::write(&path, name).expect("the canary can be written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("it is ours");
        }
        fs::create_dir(canary.path().join("directory")).expect("the canary can be written");
        let before = host(canary.path());
        Self {
            marker,
            runtime,
            residue,
            canary,
            before,
        }
    }

    /// The same, with a copy of the binary: one that may be lost.
    pub(crate) fn with_copied_binary(topic: &str) -> (Self, PathBuf) {
        let mut ground = Self::new(topic);
        let copy = ground.canary.path().join("directory/tare");
        fs::copy(binary(), &copy).expect("the binary can be copied");
        ground.runtime = Runtime::new(&copy, &ground.marker);
        ground.before = host(ground.canary.path());
        (ground, copy)
    }

    /// A bundle with busybox and a writable rootfs.
    pub(crate) fn bundle(&self) -> TestBundle {
        let cgroup = format!("/{}", self.marker);
        TestBundle::busybox(&self.marker).set("/linux/cgroupsPath", cgroup.into())
    }

    /// A further bundle on the same ground.
    pub(crate) fn second_bundle(&self) -> TestBundle {
        TestBundle::busybox(&Marker::new("second"))
            .set("/linux/cgroupsPath", format!("/{}-2", self.marker).into())
    }

    /// The root of the canary tree.
    pub(crate) fn canary(&self) -> &Path {
        self.canary.path()
    }

    /// A path of the canary tree.
    pub(crate) fn canary_file(&self, name: &str) -> String {
        text(&self.canary.path().join(name)).to_owned()
    }

    /// `exec ID ARGUMENTS`.
    pub(crate) fn exec(&self, bundle: &TestBundle, arguments: &[&str]) -> Finished {
        let mut words = vec!["exec", bundle.id()];
        words.extend(arguments);
        self.runtime.call(&words)
    }

    /// `delete --force`.
    pub(crate) fn delete(&self, bundle: &TestBundle) {
        let delete = ["delete", "--force", bundle.id()];
        self.runtime.call(&delete).succeeded();
    }

    /// The host is as it was and the canary untouched.
    pub(crate) fn check(&self) {
        let after = host(self.canary.path());
        for (what, before) in &self.before {
            assert_eq!(Some(before), after.get(what), "{what} has changed");
        }
        let new: Vec<_> = after
            .keys()
            .filter(|what| !self.before.contains_key(*what))
            .collect();
        assert!(new.is_empty(), "new on the host: {new:?}");
    }

    /// The same, and nothing is left.
    pub(crate) fn finish(self, bundles: Vec<TestBundle>) {
        self.check();
        drop(bundles);
        let Self {
            runtime,
            residue,
            canary,
            ..
        } = self;
        drop(canary);
        residue.assert_none(&[&runtime]);
    }
}

/// Mounts of the host, the canary's inodes and contents, and sysctls.
fn host(canary: &Path) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("it can be read");
    for line in mounts.lines() {
        facts.insert(format!("mount {line}"), String::new());
    }
    for name in SYSCTLS {
        let value = fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
        facts.insert(format!("sysctl {name}"), value);
    }
    for path in tree(canary) {
        facts.insert(format!("canary {}", path.display()), describe(&path));
    }
    facts
}

/// Everything below a directory, and itself.
pub(crate) fn tree(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    let mut at = 0;
    while let Some(path) = found.get(at).cloned() {
        at += 1;
        if path.is_dir() && !path.is_symlink() {
            let entries = fs::read_dir(&path).expect("a directory can be read");
            found.extend(entries.map(|entry| entry.expect("it can be read").path()));
        }
    }
    found.sort();
    found
}

/// Inode, mode, owner, links, size, time of change, content.
pub(crate) fn describe(path: &Path) -> String {
    let status = fs::symlink_metadata(path).expect("it is there");
    let content = if status.is_file() {
        fs::read_to_string(path).unwrap_or_default()
    } else {
        String::new()
    };
    format!(
        "{} {:o} {}:{} links {} size {} mtime {}.{} {content:?}",
        status.ino(),
        status.mode(),
        status.uid(),
        status.gid(),
        status.nlink(),
        status.size(),
        status.mtime(),
        status.mtime_nsec(),
    )
}

/// A path as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

/// Whether races and soaks are to take their time.
pub(crate) fn is_long() -> bool {
    std::env::var("TARE_LONG").is_ok_and(|value| value == "1")
}

/// A count or a number of seconds: short by default, long by request.
pub(crate) fn long_or<T>(long: T, short: T) -> T {
    if is_long() { long } else { short }
}

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    let path = Runtime::binary_under_test(env!("CARGO_BIN_EXE_tare"));
    path.canonicalize().expect("the binary is there")
}

/// What [`arm`] needs: a compiler, unless `TARE_ATTACKER` names the attacker program, compiled.
pub(crate) fn compiler() -> Fact {
    match std::env::var_os("TARE_ATTACKER") {
        Some(_) => Fact::Root,
        None => Fact::Program("gcc"),
    }
}

/// Puts the attacker program into a rootfs, as `/attacker`.
pub(crate) fn arm(bundle: &TestBundle) {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let attacker = BUILT.get_or_init(|| {
        if let Some(path) = std::env::var_os("TARE_ATTACKER") {
            return path.into();
        }
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("attacker-{}", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/security/attacker.c");
        let built = Command::new("gcc")
            .args(["-static", "-no-pie", "-O1", "-w", "-o", text(&path), source])
            .output()
            .expect("gcc is there");
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        path
    });
    fs::copy(attacker, bundle.rootfs().join("attacker")).expect("the rootfs can be written");
}

/// What the attacker in this bundle has written so far.
pub(crate) fn results(bundle: &TestBundle) -> Vec<Vec<String>> {
    let text = fs::read_to_string(bundle.rootfs().join("out")).unwrap_or_default();
    text.lines()
        .map(|line| line.split(' ').map(str::to_owned).collect())
        .collect()
}

/// Lets the attacker come to its end, and gives all that it wrote.
pub(crate) fn stop_attacker(bundle: &TestBundle) -> Vec<Vec<String>> {
    fs::write(bundle.rootfs().join("stop"), "").expect("the rootfs can be written");
    wait_until("the attacker ends", || {
        results(bundle).iter().any(|line| line[0] == "END")
    });
    results(bundle)
}

/// Waits until a condition holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Capabilities of a container that its user calls privileged, without the one that the
/// project's machines lack.
pub(crate) const PRIVILEGED: [&str; 20] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_ADMIN",
    "CAP_SYS_NICE",
    "CAP_MKNOD",
    "CAP_SETFCAP",
    "CAP_CHECKPOINT_RESTORE",
];

/// A container with nearly all capabilities, all devices, and nothing masked.
pub(crate) fn privileged(bundle: TestBundle) -> TestBundle {
    with_capabilities(bundle, &PRIVILEGED)
        .set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!([]))
        .set(
            "/linux/resources/devices",
            json!([{"allow": true, "access": "rwm"}]),
        )
}

/// A container with these capabilities, and without no_new_privs.
pub(crate) fn with_capabilities(bundle: TestBundle, names: &[&str]) -> TestBundle {
    bundle
        .set(
            "/process/capabilities",
            json!({"bounding": names, "effective": names, "permitted": names}),
        )
        .set("/process/noNewPrivileges", false.into())
}

/// The same without the namespace of this type: it is the host's.
pub(crate) fn without_namespace(bundle: TestBundle, kind: &str) -> TestBundle {
    let namespaces = bundle.config()["linux"]["namespaces"]
        .as_array()
        .expect("the config has namespaces")
        .iter()
        .filter(|namespace| namespace["type"] != kind)
        .cloned()
        .collect();
    bundle.set("/linux/namespaces", Value::Array(namespaces))
}

/// The same with one mount less.
pub(crate) fn without_mount(bundle: TestBundle, destination: &str) -> TestBundle {
    let mounts = bundle.config()["mounts"]
        .as_array()
        .expect("the config has mounts")
        .iter()
        .filter(|mount| mount["destination"] != destination)
        .cloned()
        .collect();
    bundle.set("/mounts", Value::Array(mounts))
}

/// A bundle whose `/dev` is a volume, with the other mounts on top of it.
pub(crate) fn with_volume_on_dev(bundle: TestBundle, volume: &Path) -> TestBundle {
    let bundle = without_mount(bundle, "/dev");
    let mount = json!({
        "type": "bind", "source": volume, "destination": "/dev", "options": ["bind"],
    });
    let mut mounts = bundle.config()["mounts"].clone();
    mounts
        .as_array_mut()
        .expect("the config has mounts")
        .insert(0, mount);
    bundle.set("/mounts", mounts)
}

/// Checks that a call failed, and that its message has these words.
#[track_caller]
pub(crate) fn assert_refused(finished: &Finished, words: &str) {
    assert!(
        finished.code != 0 && finished.stderr.contains(words),
        "not refused with {words:?}: {finished}"
    );
}

/// Checks that nothing in `things` is wrong.
#[track_caller]
pub(crate) fn assert_none<T: Debug>(things: &[T], what: &str) {
    assert!(things.is_empty(), "{what}: {things:#?}");
}

/// Puts a script into a rootfs, as `/script`, whose interpreter is whoever executes it; and
/// what the binary under test needs to run in there if it is no static one.
pub(crate) fn lure(bundle: &TestBundle) {
    let script = bundle.rootfs().join("script");
    fs::write(&script, "#!/proc/self/exe\n").expect("the rootfs can be written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let listed = Command::new("ldd").arg(binary()).output();
    let listed = listed.map(|output| output.stdout).unwrap_or_default();
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let libraries = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for library in libraries {
        let place = bundle.rootfs().join(library.trim_start_matches('/'));
        let parent = place.parent().expect("it has one");
        fs::create_dir_all(parent).expect("the rootfs can be written");
        fs::copy(library, &place).expect("the rootfs can be written");
    }
}
