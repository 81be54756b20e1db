//! An ordinary user's containers: one mapped id or many, a terminal, exec, kill and delete,
//! without any permission for cgroups; and runtimes in user namespaces and in containers.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Finished, Marker, Residue, Runtime, TestBundle, finish, needs, under_terminal};

const LIMIT: Duration = Duration::from_secs(60);

/// A user account that is removed again, with a runtime, a runtime directory and a bundle.
struct Account {
    name: String,
    uid: u32,
    marker: Marker,
    residue: Residue,
    directory: tempfile::TempDir,
}

impl Account {
    fn new(topic: &str) -> Self {
        let marker = Marker::new(topic);
        let residue = Residue::watch(&marker);
        let directory = marker.directory();
        let name = format!("tt{}{topic}", std::process::id());
        let home = directory.path().join("home");
        let mut add = Command::new("useradd");
        add.args(["--create-home", "--home-dir", text(&home), &name]);
        finish(&mut add, LIMIT).succeeded();
        let uid = nix::unistd::User::from_name(&name)
            .expect("the accounts can be read")
            .expect("it was made")
            .uid
            .as_raw();
        let account = Self {
            name,
            uid,
            marker,
            residue,
            directory,
        };
        fs::create_dir(account.at("run")).expect("it is ours");
        let binary = Runtime::binary_under_test(env!("CARGO_BIN_EXE_tare"));
        fs::copy(binary, account.at("tare")).expect("a program can be copied");
        account.add_bundle();
        account
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A bundle of the user's with a rootfs of busybox and `spec --rootless`'s config.
    fn add_bundle(&self) {
        let busybox = TestBundle::busybox(&self.marker);
        fs::create_dir(self.at("bundle")).expect("it is ours");
        let mut copy = Command::new("cp");
        copy.arg("--archive")
            .arg(busybox.rootfs())
            .arg(self.at("bundle"));
        finish(&mut copy, LIMIT).succeeded();
        let mut give = Command::new("chown");
        give.args([
            "--recursive",
            "--no-dereference",
            &format!("{0}:{0}", self.uid),
        ]);
        give.arg(self.at("bundle")).arg(self.at("run"));
        finish(&mut give, LIMIT).succeeded();
        self.tare(&["spec", "--rootless", "--bundle", text(&self.at("bundle"))])
            .succeeded();
    }

    /// A command as the user.
    fn command(&self, words: &[&str]) -> Command {
        let id = self.uid;
        let mut command = Command::new("setpriv");
        command
            .args([
                &format!("--reuid={id}"),
                &format!("--regid={id}"),
                "--init-groups",
                "env",
            ])
            .arg(format!("XDG_RUNTIME_DIR={}", text(&self.at("run"))))
            .args(words)
            .current_dir(self.directory.path());
        command
    }

    fn tare_command(&self, words: &[&str]) -> Command {
        let tare = self.at("tare");
        self.command(&[&[text(&tare)], words].concat())
    }

    fn tare(&self, words: &[&str]) -> Finished {
        finish(&mut self.tare_command(words), LIMIT)
    }

    fn run(&self, before: &[&str]) -> Finished {
        let bundle = self.at("bundle");
        let after = ["--bundle", text(&bundle), self.marker.as_str()];
        self.tare(&[before, &after].concat())
    }

    /// Changes the bundle's config.json.
    fn configure(&self, changes: &[(&str, Value)]) {
        let path = self.at("bundle").join("config.json");
        let bytes = fs::read(&path).expect("`spec` wrote it");
        let mut config: Value = serde_json::from_slice(&bytes).expect("it is JSON");
        for (pointer, value) in changes {
            let (parent, name) = pointer.rsplit_once('/').expect("a pointer has a slash");
            config.pointer_mut(parent).expect("the parent is there")[name] = value.clone();
        }
        fs::write(&path, config.to_string()).expect("it is ours");
        chown(&path, Some(self.uid), Some(self.uid)).expect("root gives files away");
    }

    /// The init process runs a script, without a terminal.
    fn script(&self, script: &str) {
        self.configure(&[
            ("/process/args", json!(["sh", "-c", script])),
            ("/process/terminal", false.into()),
        ]);
    }

    fn done(mut self) {
        let state = self.at("run/tare");
        if state.exists() {
            let left: Vec<_> = fs::read_dir(&state).expect("root can read it").collect();
            assert!(left.is_empty(), "{left:?}");
        }
        self.remove();
        self.directory = Marker::new("gone").directory();
        self.residue.assert_none(&[]);
    }

    fn remove(&mut self) {
        if !self.name.is_empty() {
            let name = std::mem::take(&mut self.name);
            finish(Command::new("userdel").args(["--remove", &name]), LIMIT);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.remove();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

#[test]
fn one_command_makes_a_config_and_another_runs_it() {
    needs!(Root, UserNamespaces, Program("useradd"), Program("setpriv"));
    let account = Account::new("one");
    account.script("id -u; cat /proc/self/uid_map; hostname; ps | wc -l; exit 5");
    let run = account.run(&["run"]);
    assert_eq!(run.code, 5, "{run}");
    let lines: Vec<Vec<&str>> = run
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let uid = account.uid.to_string();
    assert_eq!(lines[0], ["0"], "{run}");
    assert_eq!(lines[1], ["0", &uid, "1"], "{run}");
    assert_eq!(run.stderr, "");
    assert!(
        account.at("run/tare").exists(),
        "its state is not in its runtime directory"
    );
    account.done();
}

#[test]
fn many_ids_are_mapped_by_the_hosts_helpers() {
    needs!(
        Root,
        UserNamespaces,
        Program("useradd"),
        Program("setpriv"),
        Program("newuidmap")
    );
    let account = Account::new("many");
    let first = |file: &str| -> u32 {
        let ranges = fs::read_to_string(file).expect("the package uidmap is installed");
        let prefix = format!("{}:", account.name);
        let range = ranges.lines().find_map(|line| line.strip_prefix(&prefix));
        let range = range.unwrap_or_else(|| panic!("useradd gives ids of {file}"));
        range
            .split(':')
            .next()
            .expect("a first field")
            .parse()
            .expect("a number")
    };
    let mapping = |first: u32| {
        json!([
            {"containerID": 0, "hostID": account.uid, "size": 1},
            {"containerID": 1, "hostID": first, "size": 1000},
        ])
    };
    account
        .script("id -u; id -G; cat /proc/self/uid_map | wc -l; touch /tmp/x && stat -c %u /tmp/x");
    account.configure(&[
        ("/root/readonly", false.into()),
        ("/linux/uidMappings", mapping(first("/etc/subuid"))),
        ("/linux/gidMappings", mapping(first("/etc/subgid"))),
        (
            "/process/user",
            json!({"uid": 42, "gid": 43, "additionalGids": [44]}),
        ),
    ]);
    let tmp = account.at("bundle/rootfs/tmp");
    fs::set_permissions(tmp, std::os::unix::fs::PermissionsExt::from_mode(0o1777))
        .expect("it is ours");
    let run = account.run(&["run"]);
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (0, "42\n43 44\n2\n42\n"),
        "{run}"
    );
    account.done();
}

#[test]
fn a_detached_container_is_entered_killed_and_deleted_without_cgroups() {
    needs!(Root, UserNamespaces, Program("useradd"), Program("setpriv"));
    let account = Account::new("life");
    let id = account.marker.as_str().to_owned();
    account.script("exec sleep 1000");
    account.run(&["create"]).succeeded();
    let status = |account: &Account| -> Value {
        let state = account.tare(&["state", &id]).success();
        let mut state: Value = serde_json::from_str(&state.stdout).expect("`state` prints JSON");
        state["status"].take()
    };
    assert_eq!(status(&account), "created");
    account.tare(&["start", &id]).succeeded();
    assert_eq!(status(&account), "running");
    let exec = account.tare(&["exec", &id, "sh", "-c", "id -u; cat /proc/1/comm; exit 3"]);
    assert_eq!(
        (exec.code, exec.stdout.as_str()),
        (3, "0\nsleep\n"),
        "{exec}"
    );
    let list = account.tare(&["list"]).success();
    assert!(list.stdout.contains(&account.name), "{list}");
    let pause = account.tare(&["pause", &id]);
    assert_eq!(pause.code, 1, "{pause}");
    assert!(pause.stderr.contains("no cgroup"), "{pause}");
    let delete = account.tare(&["delete", &id]);
    assert!(delete.stderr.contains("not stopped: running"), "{delete}");
    account.tare(&["kill", &id, "KILL"]).succeeded();
    for _ in 0..200 {
        if status(&account) == "stopped" {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    account.tare(&["delete", &id]).succeeded();
    account.run(&["run", "--detach"]).succeeded();
    account.tare(&["delete", "--force", &id]).succeeded();
    account.done();
}

#[test]
fn limits_that_can_not_be_set_are_refused() {
    needs!(
        Root,
        UserNamespaces,
        Program("useradd"),
        Program("setpriv"),
        Cgroup("pids")
    );
    let account = Account::new("limits");
    account.script("true");
    account.configure(&[("/linux/resources", json!({"pids": {"limit": 10}}))]);
    let run = account.run(&["run"]);
    assert_eq!(run.code, 1, "{run}");
    assert!(run.stderr.contains("limits need a cgroup"), "{run}");
    account.done();
}

#[test]
fn the_rootless_flag_says_whether_missing_cgroups_are_an_error() {
    needs!(
        Root,
        UserNamespaces,
        Program("useradd"),
        Program("setpriv"),
        Cgroup("pids")
    );
    let account = Account::new("flag");
    account.script("echo ran");
    for flag in ["--rootless=true", "--rootless=auto"] {
        let run = account.run(&[flag, "run"]);
        assert_eq!((run.code, run.stdout.as_str()), (0, "ran\n"), "{run}");
    }
    let run = account.run(&["--rootless=false", "run"]);
    assert_eq!(run.code, 1, "{run}");
    assert!(run.stderr.contains("EACCES"), "{run}");
    let wrong = account.run(&["--rootless=maybe", "run"]);
    assert_eq!(wrong.code, 1, "{wrong}");
    account.done();
}

#[test]
fn a_users_container_has_a_terminal() {
    needs!(
        Root,
        UserNamespaces,
        Program("useradd"),
        Program("setpriv"),
        Program("script")
    );
    let account = Account::new("tty");
    account.configure(&[(
        "/process/args",
        json!(["sh", "-c", "tty; stty size; exit 4"]),
    )]);
    let bundle = account.at("bundle");
    let command =
        account.tare_command(&["run", "--bundle", text(&bundle), account.marker.as_str()]);
    let run = finish(&mut under_terminal(&command), LIMIT);
    assert_eq!(run.code, 4, "{run}");
    assert!(
        run.stdout.contains("/dev/pts/0") || run.stdout.contains("/dev/console"),
        "{run}"
    );
    assert!(run.stdout.contains("30 100"), "{run}");
    account.done();
}

#[test]
fn root_of_a_user_namespace_runs_containers() {
    needs!(
        Root,
        UserNamespaces,
        Program("useradd"),
        Program("setpriv"),
        Program("unshare")
    );
    let account = Account::new("userns");
    fs::remove_file(account.at("bundle/config.json")).expect("it is ours");
    let tare = account.at("tare");
    let bundle = account.at("bundle");
    let inside = |words: &[&str]| {
        let start = ["unshare", "--user", "--map-root-user", text(&tare)];
        finish(&mut account.command(&[&start, words].concat()), LIMIT)
    };
    inside(&["spec", "--rootless", "--bundle", text(&bundle)]).succeeded();
    account.script("id -u; exit 6");
    let root = account.at("run/inner");
    let id = account.marker.as_str();
    let run = inside(&["--root", text(&root), "run", "--bundle", text(&bundle), id]);
    assert_eq!((run.code, run.stdout.as_str()), (6, "0\n"), "{run}");
    account.done();
}

/// As rootless podman runs containers with `--userns`: by root of a user namespace with many
/// ids, without USER, into a namespace of fewer.
#[test]
fn root_of_a_user_namespace_maps_its_ids_further() {
    needs!(
        Root,
        UserNamespaces,
        Program("useradd"),
        Program("setpriv"),
        Program("unshare"),
        Program("newuidmap")
    );
    let account = Account::new("further");
    account.script("cat /proc/self/uid_map /proc/self/gid_map; id -G; exit 6");
    let map = json!([{"containerID": 0, "hostID": 1, "size": 1000},
        {"containerID": 1000, "hostID": 0, "size": 1}]);
    account.configure(&[
        ("/linux/uidMappings", map.clone()),
        ("/linux/gidMappings", map),
        (
            "/process/user",
            json!({"uid": 1000, "gid": 1000, "additionalGids": [5]}),
        ),
        // The rootfs is the user's own, whom root of the outer namespace is.
        ("/root/readonly", true.into()),
    ]);
    let run = |map: &[&str]| {
        let tare = account.at("tare");
        let bundle = account.at("bundle");
        let end = ["run", "--bundle", text(&bundle), account.marker.as_str()];
        let start = ["--unset=USER", "unshare", "--user"];
        let words = [&start, map, &[text(&tare)], &end].concat();
        finish(&mut account.command(&words), LIMIT)
    };
    let many = run(&["--map-root-user", "--map-auto"]);
    let maps = "         0          1       1000\n      1000          0          1\n";
    let printed = format!("{maps}{maps}1000 5\n");
    assert_eq!(
        (many.code, many.stdout.as_str()),
        (6, printed.as_str()),
        "{many}"
    );
    assert!(
        account.at("run/tare").exists(),
        "its state is not in its runtime directory"
    );
    let one = run(&["--map-root-user"]);
    assert_eq!(one.code, 1, "{one}");
    let why = "the ids have to be mapped in the runtime's own user namespace";
    assert!(one.stderr.contains(why), "{one}");
    account.done();
}

/// Another runtime in a container that may do what a host's root may.
#[test]
fn a_container_runs_in_a_container() {
    needs!(Root);
    let marker = Marker::new("nested");
    let residue = Residue::watch(&marker);
    let runtime = Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker);
    let inner = TestBundle::busybox(&marker)
        .script("echo inner $(hostname) $$; exit 9")
        .set("/hostname", "inner".into())
        .set("/linux/cgroupsPath", format!("/{marker}/inner").into());
    inner.save();
    let binary = Runtime::binary_under_test(env!("CARGO_BIN_EXE_tare"));
    let capabilities: Vec<String> = (0..=40_u8).filter_map(capability).collect();
    let all =
        json!({"bounding": capabilities, "effective": capabilities, "permitted": capabilities});
    let outer = TestBundle::busybox(&marker)
        .script("/tare --root /tmp/state run --bundle /inner nested; echo outer $?")
        .set("/linux/cgroupsPath", format!("/{marker}").into())
        .set("/process/capabilities", all)
        .set("/process/rlimits", json!([]))
        .set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!([]))
        .set(
            "/linux/resources/devices",
            json!([{"allow": true, "access": "rwm"}]),
        )
        .set(
            "/mounts/6/options",
            json!(["nosuid", "noexec", "nodev", "rw"]),
        )
        .mount("bind", "/usr", "/usr", &["rbind", "ro"])
        .mount("bind", text(inner.path()), "/inner", &["rbind"])
        .mount("bind", text(&binary), "/tare", &["bind", "ro"]);
    for link in ["lib", "lib64"] {
        let target = format!("usr/{link}");
        std::os::unix::fs::symlink(target, outer.rootfs().join(link)).expect("it is ours");
    }
    let run = runtime.run(&outer);
    assert_eq!(run.stdout, "inner inner 1\nouter 9\n", "{run}");
    drop((inner, outer));
    residue.assert_none(&[&runtime]);
}

/// The name of a capability that this test has itself.
fn capability(number: u8) -> Option<String> {
    let names = [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ];
    let name = names.get(usize::from(number))?;
    testkit::Fact::Capability(number)
        .holds()
        .then(|| format!("CAP_{name}"))
}

#[test]
fn limits_are_refused_where_there_is_no_cgroup_to_set_them_in() {
    needs!(Root, UserNamespaces, Program("useradd"), Program("setpriv"));
    let account = Account::new("update");
    account.script("sleep 1000");
    account.run(&["run", "--detach"]).succeeded();
    let id = account.marker.as_str();
    let update = account.tare(&["update", "--memory", "9m", id]);
    assert_eq!(update.code, 1, "{update}");
    let said = format!("cannot update {id}: it has no cgroup of its own (rootless)");
    assert!(update.stderr.contains(&said), "{update}");
    account.tare(&["delete", "--force", id]).succeeded();
    account.done();
}
