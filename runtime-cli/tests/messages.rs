//! What a user reads after a common mistake, end to end: each page of messages is a snapshot.
//!
//! A message names the step, the object, the error's name, the likely cause and what to do, on
//! one line; the JSON record has the same text, and a kind and an errno for programs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Finished, Marker, Residue, Runtime, TestBundle, finish, needs};

const LIMIT: Duration = Duration::from_secs(60);

/// Messages under headings, as they are compared.
struct Page {
    marker: Marker,
    residue: Residue,
    runtime: Runtime,
    /// For log files.
    directory: tempfile::TempDir,
    text: String,
}

impl Page {
    fn new(topic: &str) -> Self {
        let marker = Marker::new(topic);
        Self {
            residue: Residue::watch(&marker),
            runtime: Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker),
            directory: marker.directory(),
            text: String::new(),
            marker,
        }
    }

    /// A bundle of busybox with a cgroup of its own.
    fn bundle(&self) -> TestBundle {
        TestBundle::busybox(&self.marker)
            .set("/linux/cgroupsPath", format!("/{}", self.marker).into())
    }

    /// A bundle that can't be run.
    fn run(&mut self, mistake: &str, bundle: &TestBundle) {
        bundle.save();
        self.run_saved(mistake, bundle);
    }

    /// The same, with config.json as it is.
    fn run_saved(&mut self, mistake: &str, bundle: &TestBundle) {
        let path = text(bundle.path()).to_owned();
        self.call(mistake, &["run", "--bundle", &path, bundle.id()], &path);
        let state = self.runtime.call(&["state", bundle.id()]);
        assert!(
            state.stderr.contains("does not exist"),
            "{mistake}: {state}"
        );
    }

    /// Any call that fails.
    fn call(&mut self, mistake: &str, words: &[&str], bundle: &str) {
        let log = self.directory.path().join("log.json");
        // Twice: the record and the line, and the line alone.
        let record = {
            let mut command = self
                .runtime
                .command(&["--log", text(&log), "--log-format", "json"]);
            command.args(words);
            let finished = finish(&mut command, LIMIT);
            self.note(mistake, &log, &finished, bundle)
        };
        let mut command = self.runtime.command(words);
        let finished = finish(&mut command, LIMIT);
        let line = finished.stderr.strip_suffix('\n').expect("a whole line");
        assert!(
            !line.contains('\n'),
            "{mistake}: more than one line: {line}"
        );
        let quoted = line
            .split_once(" level=error msg=")
            .expect("a text record")
            .1;
        let same = match quoted
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
        {
            Some(inside) => inside.replace("\\\"", "\"").replace("\\\\", "\\"),
            None => quoted.to_owned(),
        };
        let (same, record) = (self.without_pids(&same), self.without_pids(&record));
        assert_eq!(same, record, "{mistake}: text and JSON differ");
    }

    /// Checks the record in `log` and the line on stderr, and adds them to the page.
    fn note(&mut self, mistake: &str, log: &Path, finished: &Finished, bundle: &str) -> String {
        let bytes = fs::read_to_string(log).expect("there is a log");
        fs::remove_file(log).expect("it is ours");
        let record: Value = serde_json::from_str(&bytes)
            .unwrap_or_else(|error| panic!("{mistake}: not one record: {error}: {bytes}"));
        assert_eq!(record["level"], "error", "{mistake}");
        let time = record["time"].as_str().expect("a time");
        assert!(is_rfc3339(time), "{mistake}: {time}");
        let message = record["msg"].as_str().expect("a message");
        assert_eq!(finished.stderr, format!("{message}\n"), "{mistake}");
        assert!(!message.contains('\n'), "{mistake}: {message}");
        assert!(!message.contains("runc"), "{mistake}: {message}");
        assert_no_repetition(mistake, message);
        let kind = record["kind"].as_str().unwrap_or("-");
        let errno = record["errno"].as_i64().map_or_else(String::new, |number| {
            let number = i32::try_from(number).expect("an errno is small");
            format!(" {:?}", nix::errno::Errno::from_raw(number))
        });
        let shown = self.without_names(message, bundle);
        writeln!(
            self.text,
            "{mistake} [{} {kind}{errno}]\n    {shown}\n",
            finished.code
        )
        .expect("a String takes any text");
        message.to_owned()
    }

    fn without_names(&self, message: &str, bundle: &str) -> String {
        let message = message
            .replace(bundle, "BUNDLE")
            .replace(text(self.runtime.root()), "ROOT")
            .replace(self.marker.as_str(), "ID");
        self.without_pids(&message)
    }

    fn without_pids(&self, message: &str) -> String {
        let mut shown = String::new();
        let mut rest = message;
        while let Some(at) = rest.find("(pid ") {
            let (head, tail) = rest.split_at(at + 5);
            shown.push_str(head);
            shown.push('N');
            rest = tail.trim_start_matches(|letter: char| letter.is_ascii_digit());
        }
        shown + rest
    }

    /// The page; nothing is left of all the failures.
    fn done(self) -> String {
        let Self {
            residue,
            runtime,
            directory,
            text,
            ..
        } = self;
        drop(directory);
        residue.assert_none(&[&runtime]);
        text
    }
}

fn is_rfc3339(time: &str) -> bool {
    let shape: String = time
        .chars()
        .map(|letter| if letter.is_ascii_digit() { '0' } else { letter })
        .collect();
    shape.starts_with("0000-00-00T00:00:00") && shape.ends_with('Z')
}

/// No sentence or clause stands twice in a message.
fn assert_no_repetition(mistake: &str, message: &str) {
    let mut seen = BTreeSet::new();
    for clause in message.split(": ").filter(|clause| clause.contains(' ')) {
        assert!(
            seen.insert(clause),
            "{mistake}: {clause:?} twice in {message:?}"
        );
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

/// A program in the bundle's rootfs.
fn install(bundle: &TestBundle, name: &str, bytes: &[u8], mode: u32) {
    let path = bundle.rootfs().join("bin").join(name);
    fs::write(&path, bytes).expect("the rootfs can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// An ELF header of a machine, with a loader where one is given.
fn elf(machine: u8, loader: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\x00");
    bytes[16] = 2;
    bytes[18] = machine;
    bytes[20] = 1;
    bytes[32] = 64;
    bytes[52] = 64;
    bytes[54] = 56;
    if let Some(loader) = loader {
        bytes[56] = 1;
        let mut header = vec![0; 56];
        header[0] = 3;
        header[4] = 4;
        header[8] = 120;
        let length = u8::try_from(loader.len() + 1).expect("a short path");
        header[32] = length;
        header[40] = length;
        bytes.extend(header);
        bytes.extend(loader);
        bytes.push(0);
    }
    bytes
}

#[test]
fn programs_that_do_not_run() {
    needs!(Root);
    let mut page = Page::new("msgprogram");
    let bundle = page.bundle();
    install(&bundle, "plain", b"text", 0o644);
    install(&bundle, "crlf", b"#!/bin/sh\r\necho hi\r\n", 0o755);
    install(&bundle, "python", b"#!/usr/bin/python3\n", 0o755);
    install(&bundle, "noshebang", b"echo hi\n", 0o755);
    install(&bundle, "empty", b"", 0o755);
    install(&bundle, "s390", &elf(22, None), 0o755);
    install(
        &bundle,
        "noloader",
        &elf(62, Some(b"/lib64/ld-none.so")),
        0o755,
    );
    let mut bundle = bundle;
    for (mistake, program) in [
        ("program not in the PATH", "nosuch"),
        ("program not there", "/bin/nosuch"),
        ("program not executable", "/bin/plain"),
        ("program is a directory", "/bin"),
        ("a part of the path is a file", "/bin/busybox/sh"),
        ("wrong architecture", "s390"),
        ("script with CRLF", "crlf"),
        ("script without its interpreter", "/bin/python"),
        ("text without an interpreter", "noshebang"),
        ("empty file", "empty"),
        ("missing loader", "noloader"),
    ] {
        bundle = bundle.args(&[program]);
        page.run(mistake, &bundle);
    }
    drop(bundle);
    insta::assert_snapshot!(page.done());
}

#[test]
fn the_root_filesystem_and_the_working_directory() {
    needs!(Root);
    let mut page = Page::new("msgrootfs");
    page.run(
        "rootfs missing",
        &page.bundle().set("/root/path", "nowhere".into()),
    );
    page.run(
        "rootfs is a file",
        &page.bundle().set("/root/path", "config.json".into()),
    );
    page.run(
        "cwd is a file",
        &page.bundle().set("/process/cwd", "/bin/busybox".into()),
    );
    let read_only = page.bundle().set("/process/cwd", "/sys/new".into());
    page.run("cwd can't be made", &read_only);
    page.run(
        "cwd is relative",
        &page.bundle().set("/process/cwd", "bin".into()),
    );
    drop(read_only);
    insta::assert_snapshot!(page.done());
}

/// A bundle in a user namespace that maps ten ids.
fn in_user_namespace(bundle: TestBundle) -> TestBundle {
    let mappings = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
    bundle
        .push("/linux/namespaces", json!({"type": "user"}))
        .set("/linux/uidMappings", mappings.clone())
        .set("/linux/gidMappings", mappings)
}

#[test]
fn users_and_mounts() {
    needs!(Root);
    let mut page = Page::new("msgmount");
    let uid = in_user_namespace(page.bundle()).set("/process/user/uid", 4711.into());
    page.run("uid not mapped", &uid);
    let gid = in_user_namespace(page.bundle()).set("/process/user/gid", 4711.into());
    page.run("gid not mapped", &gid);
    let groups =
        in_user_namespace(page.bundle()).set("/process/user/additionalGids", json!([4711]));
    page.run("additional gid not mapped", &groups);
    let mount = |kind, source, options: &[&str]| page.bundle().mount(kind, source, "/mnt", options);
    let cases = [
        (
            "mount source missing",
            mount("bind", "/no/such/source", &["rbind"]),
        ),
        ("unknown filesystem", mount("nosuchfs", "none", &[])),
        (
            "unknown option of a filesystem",
            mount("tmpfs", "tmpfs", &["sise=3k"]),
        ),
        (
            "directory on a file",
            page.bundle()
                .mount("bind", "/etc", "/bin/busybox", &["bind"]),
        ),
        (
            "target below a file",
            page.bundle().mount("tmpfs", "t", "/bin/busybox/x", &[]),
        ),
        (
            "target in proc",
            page.bundle().mount("tmpfs", "t", "/proc/sys", &[]),
        ),
        (
            "target missing in a read-only filesystem",
            page.bundle().mount("tmpfs", "t", "/sys/new", &[]),
        ),
        (
            "mount not permitted in a user namespace",
            in_user_namespace(page.bundle().mount("ext4", "/dev/null", "/mnt", &[])),
        ),
    ];
    for (mistake, bundle) in cases {
        page.run(mistake, &bundle);
    }
    drop((uid, gid, groups));
    insta::assert_snapshot!(page.done());
}

#[test]
fn limits() {
    needs!(Root, CgroupV1("memory"), CgroupV1("pids"));
    let mut page = Page::new("msglimit");
    let memory = page
        .bundle()
        .set("/linux/resources/memory", json!({"limit": 4096}));
    page.run("memory limit too low for init", &memory);
    let rdma = page.bundle().set(
        "/linux/resources/rdma",
        json!({"mlx5_1": {"hcaHandles": 3}}),
    );
    page.run("controller not available", &rdma);
    let cpuset = page
        .bundle()
        .set("/linux/resources/cpu", json!({"cpus": "500-600"}));
    page.run("processors that are not there", &cpuset);
    let rlimit = page.bundle().push(
        "/process/rlimits",
        json!({"type": "RLIMIT_CORE", "soft": 5, "hard": 4}),
    );
    page.run("soft limit above the hard one", &rlimit);
    let unified = page.bundle().set(
        "/linux/resources/unified",
        json!({"memory.high": "1000000"}),
    );
    page.run("v2 file of a controller that is v1 here", &unified);
    drop((memory, rdma, cpuset, rlimit, unified));
    insta::assert_snapshot!(page.done());
}

#[test]
fn hooks() {
    needs!(Root);
    let mut page = Page::new("msghook");
    let hook = |kind: &str, path: &str, args: &[&str]| {
        let hook = json!({"path": path, "args": args, "timeout": 1});
        page.bundle().set("/hooks", json!({kind: [hook]}))
    };
    let failing: &[&str] = &["sh", "-c", "echo no network; exit 7"];
    let cases = [
        ("hook missing", hook("createRuntime", "/no/such/hook", &[])),
        (
            "hook not executable",
            hook("createRuntime", "/etc/passwd", &[]),
        ),
        ("hook failed", hook("createRuntime", "/bin/sh", failing)),
        (
            "hook timed out",
            hook("prestart", "/bin/sleep", &["sleep", "100"]),
        ),
        (
            "hook in the container failed",
            hook("createContainer", "/bin/sh", failing),
        ),
        (
            "hook in the container timed out",
            hook("createContainer", "/bin/sleep", &["sleep", "100"]),
        ),
        (
            "hook in the container missing",
            hook("startContainer", "/no/such/hook", &[]),
        ),
        (
            "hook after start failed",
            hook("poststart", "/bin/sh", failing),
        ),
    ];
    for (mistake, bundle) in cases {
        page.run(mistake, &bundle);
    }
    insta::assert_snapshot!(page.done());
}

#[test]
fn config_json() {
    needs!(Root);
    let mut page = Page::new("msgconfig");
    let seccomp = |default: &str, names: Value, action: &str| {
        let profile = json!({
            "defaultAction": default,
            "syscalls": [{"names": names, "action": action}],
        });
        page.bundle().set("/linux/seccomp", profile)
    };
    let cases = [
        (
            "seccomp action unknown",
            seccomp("SCMP_ACT_DENY", json!(["read"]), "SCMP_ACT_ALLOW"),
        ),
        (
            "seccomp name empty",
            seccomp("SCMP_ACT_ALLOW", json!([]), "SCMP_ACT_ERRNO"),
        ),
        (
            "namespace path of the wrong type",
            page.bundle().set(
                "/linux/namespaces/1",
                json!({"type": "network", "path": "/proc/self/ns/uts"}),
            ),
        ),
        (
            "namespace path is no namespace",
            page.bundle().set(
                "/linux/namespaces/1",
                json!({"type": "network", "path": "/etc/passwd"}),
            ),
        ),
        (
            "namespace path missing",
            page.bundle().set(
                "/linux/namespaces/1",
                json!({"type": "network", "path": "/run/netns/gone"}),
            ),
        ),
        (
            "unknown capability",
            page.bundle()
                .set("/process/capabilities/bounding", json!(["CAP_FLY"])),
        ),
        (
            "unknown namespace",
            page.bundle()
                .push("/linux/namespaces", json!({"type": "dream"})),
        ),
        ("no args", page.bundle().set("/process/args", json!([]))),
        (
            "ociVersion of the future",
            page.bundle().set("/ociVersion", "2.0.0".into()),
        ),
    ];
    for (mistake, bundle) in cases {
        page.run(mistake, &bundle);
    }
    let bundle = page.bundle();
    page.run_saved("config.json missing", &bundle);
    let broken = "{\n  \"ociVersion\": \"1.0.2\",\n  \"process\": {\"args\": [\"sh\",]}\n}\n";
    fs::write(bundle.path().join("config.json"), broken).expect("it is ours");
    page.run_saved("config.json broken", &bundle);
    let wrong = "{\"ociVersion\": \"1.0.2\",\n \"process\": {\"args\": \"sh\"}}";
    fs::write(bundle.path().join("config.json"), wrong).expect("it is ours");
    page.run_saved("args of the wrong type", &bundle);
    fs::write(bundle.path().join("config.json"), "").expect("it is ours");
    page.run_saved("config.json empty", &bundle);
    page.call(
        "bundle missing",
        &["run", "--bundle", "/no/such/bundle", "x"],
        "/no-bundle",
    );
    drop(bundle);
    insta::assert_snapshot!(page.done());
}

#[test]
fn a_seccomp_name_that_nobody_knows_is_said() {
    needs!(Root);
    let marker = Marker::new("msgseccomp");
    let runtime = Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker);
    let bundle = TestBundle::busybox(&marker).set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["reed"], "action": "SCMP_ACT_ERRNO"}],
        }),
    );
    bundle.save();
    let plan = runtime.call(&["plan", "--bundle", text(bundle.path())]);
    assert!(
        plan.stderr.contains("reed") || plan.stdout.contains("reed"),
        "{plan}"
    );
}

#[test]
fn terminals() {
    needs!(Root);
    let mut page = Page::new("msgterminal");
    let bundle = page.bundle().set("/process/terminal", true.into());
    bundle.save();
    let path = text(bundle.path()).to_owned();
    let create = ["create", "--bundle", &path, bundle.id()];
    page.call("terminal without a console socket", &create, &path);
    let socket = [
        "create",
        "--bundle",
        &path,
        "--console-socket",
        "/no/such/socket",
        bundle.id(),
    ];
    page.call("console socket missing", &socket, &path);
    let plain = page.bundle().set("/process/terminal", false.into());
    plain.save();
    let other = text(plain.path()).to_owned();
    let listener = page.directory.path().join("console");
    let _listener = std::os::unix::net::UnixListener::bind(&listener).expect("it can be bound");
    let listener = text(&listener).to_owned();
    let needless = [
        "create",
        "--bundle",
        &other,
        "--console-socket",
        &listener,
        plain.id(),
    ];
    page.call("console socket without a terminal", &needless, &other);
    drop((bundle, plain, _listener));
    insta::assert_snapshot!(page.done());
}

#[test]
fn containers_in_the_wrong_state() {
    needs!(Root);
    let mut page = Page::new("msgstate");
    let bundle = page.bundle().args(&["sleep", "1000"]);
    let id = bundle.id().to_owned();
    let path = text(bundle.path()).to_owned();
    for verb in ["state", "start", "kill", "delete", "pause", "resume", "ps"] {
        page.call(&format!("{verb} of nothing"), &[verb, &id], &path);
    }
    page.call("exec in nothing", &["exec", &id, "true"], &path);
    page.call("bad id", &["create", "--bundle", &path, "../x"], &path);
    page.runtime.create(&bundle).succeeded();
    page.call("resume of a created container", &["resume", &id], &path);
    page.runtime.call(&["start", &id]).succeeded();
    page.call("id in use", &["run", "--bundle", &path, &id], &path);
    page.call("start of a running container", &["start", &id], &path);
    page.call("delete of a running container", &["delete", &id], &path);
    page.call("unknown signal", &["kill", &id, "SIGFOO"], &path);
    page.call("exec of nothing", &["exec", &id, "nosuch"], &path);
    page.call(
        "exec in a missing directory",
        &["exec", "--cwd", "/bin/sh", &id, "true"],
        &path,
    );
    page.runtime.call(&["pause", &id]).succeeded();
    page.call("exec in a paused container", &["exec", &id, "true"], &path);
    page.call("pause of a paused container", &["pause", &id], &path);
    page.call("delete of a paused container", &["delete", &id], &path);
    page.runtime.call(&["resume", &id]).succeeded();
    page.runtime.call(&["kill", &id, "KILL"]).succeeded();
    page.runtime.wait_for_status(&id, "stopped");
    page.call("kill of a stopped container", &["kill", &id], &path);
    page.call("exec in a stopped container", &["exec", &id, "true"], &path);
    page.call("start of a stopped container", &["start", &id], &path);
    page.call("pause of a stopped container", &["pause", &id], &path);
    page.runtime.call(&["delete", &id]).succeeded();
    drop(bundle);
    insta::assert_snapshot!(page.done());
}

/// A bundle in a user namespace that maps the user's own id alone.
fn in_own_namespace(bundle: TestBundle) -> TestBundle {
    let own = json!([{"containerID": 0, "hostID": 65534, "size": 1}]);
    bundle
        .push("/linux/namespaces", json!({"type": "user"}))
        .set("/linux/uidMappings", own.clone())
        .set("/linux/gidMappings", own)
        .set(
            "/mounts/2/options",
            json!(["nosuid", "noexec", "newinstance"]),
        )
}

/// The runtime as a user without privilege, from a copy that everybody can reach.
fn as_nobody(page: &Page, root: &Path, words: &[&str], log: &Path) -> Command {
    let copy = page.directory.path().join("tare");
    if !copy.exists() {
        let binary: PathBuf = Runtime::binary_under_test(env!("CARGO_BIN_EXE_tare"));
        fs::copy(binary, &copy).expect("a program can be copied");
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(copy)
        .args([
            "--log",
            text(log),
            "--log-format",
            "json",
            "--root",
            text(root),
        ])
        .args(words);
    command
}

#[test]
fn users_without_privilege() {
    needs!(Root, UserNamespaces, Program("setpriv"));
    let mut page = Page::new("msguser");
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(page.directory.path(), open).expect("it is ours");
    let root = page.directory.path().join("root");
    let bundle = page.bundle();
    let id = bundle.id().to_owned();
    let run = |page: &mut Page, mistake: &str, bundle: &TestBundle, root: &Path| {
        bundle.save();
        let log = page.directory.path().join("log.json");
        let path = text(bundle.path()).to_owned();
        let words = ["run", "--bundle", &path, &id];
        let finished = finish(&mut as_nobody(page, root, &words, &log), LIMIT);
        let names = text(page.directory.path()).to_owned();
        let before = page.text.len();
        page.note(mistake, &log, &finished, &path);
        let shown = page.text.split_off(before).replace(&names, "DIRECTORY");
        page.text.push_str(&shown);
    };
    run(&mut page, "no user namespace", &bundle, &root);
    let own = in_own_namespace(page.bundle());
    run(
        &mut page,
        "state root not writable",
        &own,
        Path::new("/sys/tare"),
    );
    let foreign = in_user_namespace(page.bundle());
    run(&mut page, "ids that are not the user's", &foreign, &root);
    let limited = in_own_namespace(page.bundle()).set("/linux/resources/pids", json!({"limit": 5}));
    run(
        &mut page,
        "limits without permission for cgroups",
        &limited,
        &root,
    );
    drop(own);
    drop((bundle, foreign, limited));
    insta::assert_snapshot!(page.done());
}
