//! `tare events` on real containers, beside `runc events`.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use testkit::{Finished, Marker, Residue, Runtime, TestBundle, needs};

/// How long anything of this file may take.
const LIMIT: Duration = Duration::from_secs(40);

/// Asks for memory until it is killed.
const HOG: &str = "tail /dev/zero";

const MEMORY_LIMIT: u64 = 32 << 20;

fn runtime(marker: &Marker) -> Runtime {
    Runtime::under_test(env!("CARGO_BIN_EXE_tare"), marker)
}

fn bundle(marker: &Marker, script: &str) -> TestBundle {
    TestBundle::busybox(marker).script(script).set(
        "/linux/resources",
        json!({
            "memory": {"limit": MEMORY_LIMIT}, "pids": {"limit": 50},
            "cpu": {"quota": 50_000, "period": 100_000},
            "devices": [{"allow": false, "access": "rwm"}],
        }),
    )
}

fn wait_for(bundle: &TestBundle, file: &str) {
    let (path, deadline) = (bundle.rootfs().join(file), Instant::now() + LIMIT);
    while !path.exists() {
        assert!(Instant::now() < deadline, "waited for {}", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn fails(finished: &Finished, words: &str) {
    assert_eq!(finished.code, 1, "{finished}");
    assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
    assert!(finished.stderr.contains(words), "{finished}");
}

/// `events` while the test does something else; killed if it does not end.
struct Following {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Following {
    fn start(runtime: &Runtime, arguments: &[&str]) -> Self {
        let events = runtime.command(&[&["events"], arguments].concat());
        // Whoever runs the tests in the background may have SIGINT ignored for all of them.
        let mut command = std::process::Command::new("env");
        command
            .arg("--default-signal=INT,TERM")
            .arg(events.get_program());
        command.args(events.get_args());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line; the test's own deadline is the runner's.
    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// What it writes until its end, its exit status, and what it says on stderr.
    fn end(mut self) -> (Vec<Value>, Option<i32>, String) {
        let deadline = Instant::now() + LIMIT;
        while self.child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                panic!("still there after {LIMIT:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let lines = self.lines.lines().map(|line| line.unwrap());
        let records = lines.map(|line| serde_json::from_str(&line).unwrap());
        let records = records.collect();
        let mut said = String::new();
        let stderr = self.child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        (records, self.child.wait().unwrap().code(), said)
    }
}

/// Every path of a JSON value with what is there; elements of an array by their index.
fn leaves(value: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, member) in members {
                leaves(member, &format!("{path}/{key}"), found);
            }
        }
        Value::Array(elements) if !elements.is_empty() => {
            for (index, element) in elements.iter().enumerate() {
                leaves(element, &format!("{path}/{index}"), found);
            }
        }
        _ => found.push((path.to_owned(), value.clone())),
    }
}

/// A script that computes, writes past the cache, and then sleeps with two children.
const BUSY: &str = "dd if=/dev/zero of=/file bs=64k count=32 oflag=direct 2>/dev/null; \
    cat /file /file >/dev/null; i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; \
    sleep 1000 & sleep 1000 & : > /ready; wait";

/// Statistics of a container that has done [`BUSY`].
fn statistics_of_busy(binary: &str, topic: &str) -> (Value, Value) {
    let marker = Marker::new(topic);
    let residue = Residue::watch(&marker);
    let runtime = Runtime::new(binary, &marker);
    let bundle = bundle(&marker, BUSY);
    runtime.run_detached(&bundle).succeeded();
    wait_for(&bundle, "ready");
    let finished = runtime.call(&["events", "--stats", bundle.id()]).success();
    assert!(finished.stdout.ends_with("}\n"), "{finished}");
    assert_eq!(finished.stdout.lines().count(), 1, "{finished}");
    let mut record: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(record["id"].take(), *bundle.id());
    let data = record["data"].take();
    runtime
        .call(&["delete", "--force", bundle.id()])
        .succeeded();
    drop(bundle);
    residue.assert_none(&[&runtime]);
    (record, data)
}

/// Whether runc's number and ours can be those of equal containers.
fn is_alike(path: &str, ours: &Value, theirs: &Value) -> bool {
    let (Some(ours), Some(theirs)) = (ours.as_f64(), theirs.as_f64()) else {
        return ours == theirs;
    };
    let is_setting = path.starts_with("/cpuset/")
        || path.ends_with("/limit")
        || path.ends_with("_limit")
        || path.ends_with("/major")
        || path.ends_with("/minor")
        || path == "/pids/current";
    if is_setting {
        return ours == theirs;
    }
    // runc's init is another program, and what it touches is counted as the container's.
    let slack = match path {
        path if path.starts_with("/memory/") => 8e6,
        path if path.starts_with("/cpu/") => 3e9,
        path if path.starts_with("/blkio/") => 8e6,
        _ => 0.0,
    };
    (ours - theirs).abs() <= slack
}

#[test]
fn statistics_have_the_fields_of_runcs_and_numbers_like_them() {
    needs!(Root, Program("runc"), Cgroup("memory"), Cgroup("pids"));
    // In a guest the binary is elsewhere than where it was built.
    let tare = std::env::var("TARE_UNDER_TEST");
    let tare = tare.unwrap_or_else(|_| env!("CARGO_BIN_EXE_tare").to_owned());
    let ours = statistics_of_busy(&tare, "busyours");
    let theirs = statistics_of_busy("runc", "busytheirs");
    assert_eq!(ours.0, theirs.0);
    let (mut ours, mut theirs) = (ours.1, theirs.1);

    // runc tells of huge pages only of cgroups of one version, of interfaces only when it has
    // made them, and newer ones of pressure.
    let network = ours["network_interfaces"].take();
    assert_eq!(network[0]["Name"], "lo");
    assert_eq!(network[0].as_object().unwrap().len(), 9);
    assert!(theirs["network_interfaces"].take().is_null());
    for size in ours["hugetlb"].take().as_object().unwrap().values() {
        assert_eq!(*size, json!({"failcnt": 0}));
    }
    theirs["hugetlb"].take();
    for part in ["cpu", "memory", "blkio"] {
        ours[part].as_object_mut().unwrap().remove("psi");
        theirs[part].as_object_mut().unwrap().remove("psi");
    }

    let (mut our_leaves, mut their_leaves) = (Vec::new(), Vec::new());
    leaves(&ours, "", &mut our_leaves);
    leaves(&theirs, "", &mut their_leaves);
    // What is 0 is left out by both, and need not be 0 in both.
    let may_be_left_out = |path: &str| {
        path.starts_with("/blkio/") && path.ends_with("/value")
            || path.starts_with("/cpu/throttling")
            || ["/memory/cache", "/memory/usage/max"].contains(&path)
    };
    let paths = |leaves: &[(String, Value)]| {
        let paths = leaves.iter().map(|(path, _)| path.clone());
        paths
            .filter(|path| !may_be_left_out(path))
            .collect::<Vec<_>>()
    };
    assert_eq!(paths(&our_leaves), paths(&their_leaves));
    for (path, our) in &our_leaves {
        if let Some((_, their)) = their_leaves.iter().find(|(other, _)| other == path) {
            assert!(
                is_alike(path, our, their),
                "{path}: {our}, and runc's {their}"
            );
        }
    }
    assert!(ours["cpu"]["usage"]["total"].as_u64() > Some(0));
    assert_eq!(ours["memory"]["usage"]["limit"], MEMORY_LIMIT);
    assert_eq!(ours["pids"], json!({"current": 3, "limit": 50}));
}

#[test]
fn statistics_come_in_intervals_until_the_container_ends() {
    needs!(Root, Cgroup("memory"));
    let marker = Marker::new("interval");
    let residue = Residue::watch(&marker);
    let (runtime, bundle) = (runtime(&marker), bundle(&marker, "sleep 1000"));
    runtime.run_detached(&bundle).succeeded();
    let started = Instant::now();
    let mut events = Following::start(&runtime, &["--interval", "150ms", bundle.id()]);
    for _ in 0..3 {
        let record = events.next();
        assert_eq!(record["type"], "stats");
        assert_eq!(record["id"], *bundle.id());
        assert_eq!(record["data"]["pids"]["current"], 1);
    }
    assert!(started.elapsed() >= Duration::from_millis(450));
    runtime
        .call(&["delete", "--force", bundle.id()])
        .succeeded();
    let (rest, code, said) = events.end();
    assert!(rest.iter().all(|record| record["type"] == "stats"));
    assert_eq!((code, said.as_str()), (Some(0), ""));
    drop(bundle);
    residue.assert_none(&[&runtime]);
}

#[test]
fn a_process_that_is_killed_for_want_of_memory_is_told_at_once() {
    needs!(Root, Cgroup("memory"));
    let marker = Marker::new("oom");
    let residue = Residue::watch(&marker);
    let script = format!(
        "while [ ! -e /go ]; do sleep 0.01; done; {HOG}; {HOG}; \
         while [ ! -e /last ]; do sleep 0.01; done; exec {HOG}"
    );
    let (runtime, bundle) = (runtime(&marker), bundle(&marker, &script));
    runtime.run_detached(&bundle).succeeded();
    let mut events = Following::start(&runtime, &["--interval", "1h", bundle.id()]);
    // It has begun to watch when it waits.
    std::thread::sleep(Duration::from_millis(300));
    let oom = json!({"type": "oom", "id": bundle.id()});
    std::fs::write(bundle.rootfs().join("go"), "").unwrap();
    assert_eq!(events.next(), oom);
    assert_eq!(events.next(), oom);
    std::fs::write(bundle.rootfs().join("last"), "").unwrap();
    let (rest, code, said) = events.end();
    assert_eq!(rest, [oom], "{said}");
    assert_eq!(code, Some(0));

    runtime.wait_for_status(bundle.id(), "stopped");
    for arguments in [
        &["events", bundle.id()] as &[_],
        &["events", "--stats", bundle.id()],
    ] {
        let words = format!("container with id {} is not running", bundle.id());
        fails(&runtime.call(arguments), &words);
    }
    runtime.call(&["delete", bundle.id()]).succeeded();
    drop(bundle);
    residue.assert_none(&[&runtime]);
}

#[test]
fn without_a_reader_it_ends_and_says_nothing() {
    needs!(Root, Cgroup("memory"));
    let marker = Marker::new("reader");
    let residue = Residue::watch(&marker);
    let (runtime, bundle) = (runtime(&marker), bundle(&marker, "sleep 1000"));
    runtime.run_detached(&bundle).succeeded();
    // Long before there is anything to write, and while it writes.
    for interval in ["1h", "1ms"] {
        let events = Following::start(&runtime, &["--interval", interval, bundle.id()]);
        std::thread::sleep(Duration::from_millis(200));
        let Following { mut child, lines } = events;
        drop(lines);
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < LIMIT, "it writes for nobody");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut said = String::new();
        child.stderr.unwrap().read_to_string(&mut said).unwrap();
        assert_eq!((status.code(), said.as_str()), (Some(0), ""), "{interval}");
    }
    runtime
        .call(&["delete", "--force", bundle.id()])
        .succeeded();
    drop(bundle);
    residue.assert_none(&[&runtime]);
}

#[test]
fn a_signal_ends_it_and_the_container_runs_on() {
    needs!(Root, Cgroup("memory"));
    let marker = Marker::new("signal");
    let residue = Residue::watch(&marker);
    let (runtime, bundle) = (runtime(&marker), bundle(&marker, "sleep 1000"));
    runtime.run_detached(&bundle).succeeded();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut events = Following::start(&runtime, &["--interval", "50ms", bundle.id()]);
        events.next();
        let pid = i32::try_from(events.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
        let (_, _, said) = events.end();
        assert_eq!(said, "");
    }
    assert_eq!(runtime.state(bundle.id())["status"], "running");
    runtime
        .call(&["delete", "--force", bundle.id()])
        .succeeded();
    drop(bundle);
    residue.assert_none(&[&runtime]);
}

#[test]
fn a_paused_or_created_container_has_statistics_too() {
    needs!(Root, Cgroup("memory"));
    let marker = Marker::new("paused");
    let residue = Residue::watch(&marker);
    let (runtime, bundle) = (runtime(&marker), bundle(&marker, "sleep 1000"));
    let id = bundle.id();
    runtime.create(&bundle).succeeded();
    runtime.call(&["events", "--stats", id]).succeeded();
    runtime.call(&["start", id]).succeeded();
    runtime.call(&["pause", id]).succeeded();
    runtime.call(&["events", "--stats", id]).succeeded();
    runtime.call(&["delete", "--force", id]).succeeded();
    fails(&runtime.call(&["events", id]), "does not exist");
    drop(bundle);
    residue.assert_none(&[&runtime]);
}

#[test]
fn an_interval_is_a_time_and_not_nothing() {
    needs!(Root);
    let marker = Marker::new("wrong");
    let residue = Residue::watch(&marker);
    let (runtime, bundle) = (runtime(&marker), bundle(&marker, "sleep 1000"));
    let id = bundle.id();
    runtime.run_detached(&bundle).succeeded();
    for interval in ["0", "0s", "-1s"] {
        let finished = runtime.call(&["events", "--interval", interval, id]);
        fails(&finished, "duration interval must be greater than 0");
    }
    for interval in ["5", "s", ""] {
        let finished = runtime.call(&["events", "--interval", interval, id]);
        assert_eq!(finished.code, 1, "{finished}");
        assert!(finished.stderr.contains("invalid value"), "{finished}");
        assert!(finished.stderr.contains("parse error"), "{finished}");
    }
    fails(&runtime.call(&["events", "nosuch"]), "does not exist");
    runtime.call(&["delete", "--force", id]).succeeded();
    drop(bundle);
    residue.assert_none(&[&runtime]);
}
