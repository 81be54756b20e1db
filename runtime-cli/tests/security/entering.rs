//! Whoever enters a container shows it nothing of the host (CVE-2016-9962, CVE-2024-21626).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use testkit::{TestBundle, finish, needs};

use crate::ground::{
    Ground, arm, assert_none, binary, compiler, long_or, results, stop_attacker, text, wait_until,
    with_capabilities, without_namespace,
};

/// `exec true` while the caller holds directories of the host.
fn exec_with_host_descriptors(ground: &Ground, bundle: &TestBundle) {
    let tare = ground.runtime.command(&["exec", bundle.id(), "true"]);
    let script = format!("exec 5</ 7<{} 9</proc; exec \"$@\"", text(ground.canary()));
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]);
    command.arg(tare.get_program()).args(tare.get_args());
    finish(&mut command, Duration::from_secs(60)).succeeded();
}

/// A container with a user namespace and a mount that is mapped by another.
fn in_a_user_namespace(ground: &Ground) -> TestBundle {
    let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1000}]);
    let mapped = json!({
        "source": ground.canary().join("directory"), "destination": "/mapped",
        "options": ["bind", "idmap"], "uidMappings": map(200_000), "gidMappings": map(200_000),
    });
    let bundle = ground
        .second_bundle()
        .args(&["true"])
        .push("/linux/namespaces", json!({"type": "user"}))
        .set("/linux/uidMappings", map(100_000))
        .set("/linux/gidMappings", map(100_000))
        .push("/mounts", mapped);
    let mut chown = Command::new("chown");
    chown.args(["-hR", "100000:100000"]).arg(bundle.rootfs());
    finish(&mut chown, Duration::from_secs(60)).succeeded();
    bundle
}

fn device_of(path: &str) -> String {
    fs::metadata(path).expect("it is there").dev().to_string()
}

/// The attacker looks into every process while the runtime enters; gives what it saw of
/// processes that execute the runtime's binary.
fn pry(ground: &Ground, bundle: TestBundle, environment: &[&str]) -> Pried {
    arm(&bundle);
    let identity = identity();
    let mut args = vec!["env"];
    args.extend(environment);
    args.extend(["/attacker", "pry", &identity[0], &identity[1]]);
    let bundle = bundle.args(&args);
    ground.runtime.run_detached(&bundle).succeeded();
    let met = |lines: &[Vec<String>]| {
        lines
            .iter()
            .any(|line| matches!(line[0].as_str(), "MET") && line[1..] == identity)
    };
    let mut rounds = 0;
    wait_until("the attacker meets the runtime", || {
        exec_with_host_descriptors(ground, &bundle);
        rounds += 1;
        rounds >= long_or(500, 60) && (met(&results(&bundle)) || environment.is_empty())
    });
    let lines = stop_attacker(&bundle);
    ground.delete(&bundle);
    let of_runtime = |line: &Vec<String>| line.len() > 2 && line[1..3] == identity;
    Pried {
        lines: lines.into_iter().filter(of_runtime).collect(),
        bundle,
    }
}

/// What an attacker has seen, and the bundle that it ran in.
struct Pried {
    lines: Vec<Vec<String>>,
    bundle: TestBundle,
}

fn identity() -> [String; 2] {
    let status = fs::metadata(binary()).expect("the binary is there");
    [status.dev().to_string(), status.ino().to_string()]
}

/// What of it is the host's: `SEE exe-dev exe-ino what dev ino mode`.
fn of_the_host(ground: &Ground, bundle: &TestBundle, lines: &[Vec<String>]) -> Vec<Vec<String>> {
    let rootfs = fs::metadata(bundle.rootfs()).expect("the rootfs is there");
    let root = [rootfs.dev().to_string(), rootfs.ino().to_string()];
    let forbidden = [
        device_of("/proc"),
        device_of("/sys/fs/cgroup"),
        device_of("/sys"),
    ];
    let canary = fs::metadata(ground.canary()).expect("it is there");
    let is_bad = |line: &&Vec<String>| {
        if line[0] != "SEE" {
            return false;
        }
        let what = line[3].as_str();
        let is_root = line[4..6] == root;
        let is_directory = line[6].starts_with('4');
        let is_cgroup = fs::read_dir("/sys/fs/cgroup")
            .expect("cgroups are mounted")
            .filter_map(|entry| fs::metadata(entry.expect("it can be read").path()).ok())
            .any(|status| status.dev().to_string() == line[4]);
        (!is_root && (is_directory || matches!(what, "root" | "cwd")))
            || forbidden.contains(&line[4])
            || is_cgroup
            || line[5] == canary.ino().to_string()
    };
    lines.iter().filter(is_bad).cloned().collect()
}

#[test]
fn a_container_that_may_ptrace_finds_nothing_of_the_host_in_who_enters() {
    needs!(Root, compiler());
    let ground = Ground::new("pry");
    let bundle = with_capabilities(ground.bundle(), &["CAP_SYS_PTRACE", "CAP_KILL"]);
    let Pried { lines, bundle } = pry(&ground, bundle, &["PRY=1"]);
    assert_none(&of_the_host(&ground, &bundle, &lines), "seen of the host");
    ground.finish(vec![bundle]);
}

#[test]
fn nor_when_it_seizes_who_enters() {
    needs!(Root, compiler());
    let ground = Ground::new("seize");
    let bundle = with_capabilities(ground.bundle(), &["CAP_SYS_PTRACE", "CAP_KILL"]);
    let Pried { lines, bundle } = pry(&ground, bundle, &["SEIZE=1"]);
    assert_none(&of_the_host(&ground, &bundle, &lines), "seen of the host");
    ground.finish(vec![bundle]);
}

#[test]
fn a_container_that_may_not_ptrace_cannot_look_into_who_enters() {
    needs!(Root, compiler());
    let ground = Ground::new("nopry");
    let bundle = ground.bundle();
    let Pried { lines, bundle } = pry(&ground, bundle, &[]);
    assert_none(&lines, "seen of a process that is undumpable");
    ground.finish(vec![bundle]);
}

#[test]
fn a_container_that_speaks_with_the_runtimes_voice_turns_it_against_nobody() {
    needs!(Root, compiler());
    let ground = Ground::new("lie");
    let before = fs::read_to_string("/proc/1/oom_score_adj").expect("process 1 is there");
    let bundle = with_capabilities(ground.bundle(), &["CAP_SYS_PTRACE", "CAP_KILL"])
        .set("/process/oomScoreAdj", 777.into())
        .set(
            "/process/rlimits",
            json!([{"type": "RLIMIT_CORE", "hard": 4097, "soft": 4097}]),
        );
    arm(&bundle);
    let [device, inode] = identity();
    let bundle = bundle.args(&["env", "LIE=1", "/attacker", "pry", &device, &inode]);
    ground.runtime.run_detached(&bundle).succeeded();
    for _ in 0..long_or(500, 60) {
        // It may fail: the container can always kill what runs in it.
        ground.exec(&bundle, &["true"]);
    }
    stop_attacker(&bundle);
    ground.delete(&bundle);
    let after = fs::read_to_string("/proc/1/oom_score_adj").expect("process 1 lives");
    assert_eq!(before, after);
    let limits = fs::read_to_string("/proc/1/limits").expect("process 1 lives");
    assert!(!limits.contains("4097"), "{limits}");
    ground.finish(vec![bundle]);
}

/// Whoever has the uid that made a user namespace has every capability in it: root of a container
/// without any, which sees the host's processes, against what has just been cloned into one.
#[test]
fn a_container_in_the_hosts_pid_namespace_seizes_no_process_of_the_runtimes() {
    needs!(Root, compiler());
    let ground = Ground::new("hunt");
    let bundle = without_namespace(with_capabilities(ground.bundle(), &[]), "pid");
    arm(&bundle);
    let [device, inode] = identity();
    let bundle = bundle.args(&["/attacker", "hunt", &device, &inode]);
    ground.runtime.run_detached(&bundle).succeeded();
    wait_until("the attacker hunts", || !results(&bundle).is_empty());
    let victim = in_a_user_namespace(&ground);
    for _ in 0..long_or(500, 30) {
        ground.runtime.run(&victim).succeeded();
    }
    let lines = stop_attacker(&bundle);
    ground.delete(&bundle);
    let seized: Vec<_> = lines.iter().filter(|line| line[0] == "SEIZED").collect();
    assert_none(&seized, "seized");
    ground.finish(vec![bundle, victim]);
}
