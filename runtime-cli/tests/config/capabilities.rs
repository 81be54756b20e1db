//! `process.capabilities`: five sets in many combinations.

use serde_json::json;
use testkit::needs;

use crate::container::{Container, proc_file, status_line};

/// Linux's capabilities by number.
const NAMES: [&str; 41] = [
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
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The capabilities that the tests themselves have.
pub(crate) fn possible_names() -> Vec<&'static str> {
    let status = std::fs::read_to_string("/proc/self/status").expect("there is a procfs");
    let mask = u64::from_str_radix(&status_line(&status, "CapBnd"), 16).expect("a mask");
    names_of(mask)
}

fn names_of(mask: u64) -> Vec<&'static str> {
    NAMES
        .iter()
        .enumerate()
        .filter(|(number, _)| mask & (1 << number) != 0)
        .map(|(_, name)| *name)
        .collect()
}

fn mask_of(names: &[&str]) -> u64 {
    let number = |name: &&str| NAMES.iter().position(|known| known == name);
    names
        .iter()
        .filter_map(number)
        .map(|number| 1 << number)
        .sum()
}

/// The five masks of a process, in the order of [`SETS`].
fn masks(status: &str) -> [u64; 5] {
    ["CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"].map(|name| {
        u64::from_str_radix(&status_line(status, name), 16).expect("a mask is hexadecimal")
    })
}

const SETS: [&str; 5] = [
    "bounding",
    "effective",
    "permitted",
    "inheritable",
    "ambient",
];

/// Runs `cat /proc/self/status` with these five sets as this user.
fn with_sets(topic: &str, uid: u32, sets: [&[&str]; 5]) -> Container {
    let mut container = Container::new(topic)
        .set("/process/capabilities", json!({}))
        .set("/process/user/uid", uid)
        .set("/process/user/gid", uid)
        .set("/process/noNewPrivileges", false);
    for (set, names) in SETS.iter().zip(sets) {
        container = container.set(&format!("/process/capabilities/{set}"), json!(names));
    }
    container
}

const KILL: &[&str] = &["CAP_KILL"];
const THREE: &[&str] = &["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"];
const NONE: &[&str] = &[];

/// What execve(2) makes of the sets: capabilities(7), "Transformation of capabilities during
/// execve()", for a program without file capabilities.
fn after_execve(uid: u32, sets: [&[&str]; 5]) -> [u64; 5] {
    let [bounding, effective, permitted, inheritable, ambient] = sets.map(mask_of);
    let _ = (effective, permitted);
    if uid == 0 {
        let permitted = inheritable | bounding;
        // A root program has all it may have, whatever its effective set was before.
        return [bounding, permitted, permitted, inheritable, 0];
    }
    [bounding, ambient, ambient, inheritable, ambient]
}

#[test]
fn the_five_sets_are_what_execve_makes_of_the_config() {
    needs!(Root);
    let cases: [(&str, u32, [&[&str]; 5]); 8] = [
        ("none", 0, [NONE, NONE, NONE, NONE, NONE]),
        ("capbound", 0, [THREE, NONE, NONE, NONE, NONE]),
        ("capthree", 0, [THREE, THREE, THREE, NONE, NONE]),
        ("capinherit", 0, [THREE, KILL, THREE, THREE, NONE]),
        ("capuser", 1000, [THREE, THREE, THREE, NONE, NONE]),
        ("capuserinh", 1000, [THREE, THREE, THREE, THREE, NONE]),
        ("capambient", 1000, [THREE, THREE, THREE, THREE, KILL]),
        ("capuserall", 1000, [THREE, THREE, THREE, THREE, THREE]),
    ];
    for (topic, uid, sets) in cases {
        let (container, pid) = with_sets(topic, uid, sets).sleeping();
        let outside = masks(&proc_file(pid, "status"));
        assert_eq!(outside, after_execve(uid, sets), "{topic}");
        drop(container);
        let inside = with_sets(topic, uid, sets).prints_of("cat /proc/self/status");
        assert_eq!(masks(&inside), after_execve(uid, sets), "{topic}");
    }
}

#[test]
fn ambient_capabilities_of_root_stay_until_execve_gives_root_its_own() {
    needs!(Root);
    let sets = [THREE, THREE, THREE, THREE, THREE];
    let (_container, pid) = with_sets("ambientroot", 0, sets).sleeping();
    let [bounding, effective, permitted, inheritable, _] = masks(&proc_file(pid, "status"));
    let three = mask_of(THREE);
    assert_eq!([bounding, effective, permitted, inheritable], [three; 4]);
}

#[test]
fn without_capabilities_a_process_has_none_at_all() {
    needs!(Root);
    let (_container, pid) = Container::new("nocapabilities")
        .set("/process/capabilities", serde_json::Value::Null)
        .sleeping();
    assert_eq!(masks(&proc_file(pid, "status")), [0; 5]);
}

#[test]
fn all_capabilities_of_the_runtime_can_be_given() {
    needs!(Root);
    let (_container, pid) = Container::new("allcapabilities")
        .with_all_capabilities()
        .sleeping();
    let all = mask_of(&possible_names());
    let [bounding, effective, permitted, inheritable, ambient] = masks(&proc_file(pid, "status"));
    assert_eq!([bounding, effective, permitted, inheritable], [all; 4]);
    // Raised before execve(2), and root keeps them: it executes no set-user-ID program.
    assert!(ambient == all || ambient == 0, "{ambient:x}");
}

#[test]
fn a_capability_that_the_runtime_has_not_is_a_warning() {
    needs!(Root);
    let possible = possible_names();
    let Some(missing) = NAMES.iter().find(|name| !possible.contains(name)) else {
        return;
    };
    let container = Container::new("lackedcapability")
        .push("/process/capabilities/bounding", json!(missing))
        .push("/process/capabilities/permitted", json!(missing))
        .push("/process/capabilities/effective", json!(missing))
        .script("grep CapBnd /proc/self/status");
    let run = container.run().success();
    assert!(run.stderr.contains(missing), "{run}");
    assert_eq!(run.stdout.trim(), "CapBnd:\t0000000020000420", "{run}");
}

#[test]
fn capabilities_are_enforced() {
    needs!(Root);
    let printed = with_sets("enforced", 0, [KILL, KILL, KILL, NONE, NONE])
        .prints_of("touch /x; chown 5 /x 2>/dev/null || echo refused; stat -c %u /x");
    assert_eq!(printed, "refused\n0\n");
    let chown = &["CAP_CHOWN"][..];
    let printed = with_sets("enforced", 0, [chown, chown, chown, NONE, NONE])
        .prints_of("touch /x; chown 5 /x && stat -c %u /x");
    assert_eq!(printed, "5\n");
    // An ambient capability works for a user too.
    let bind = &["CAP_NET_BIND_SERVICE"][..];
    let sets = [bind, bind, bind, bind, bind];
    let script =
        "echo 80 > /dev/null; nc -l -p 80 127.0.0.1 & pid=$!; sleep 0.2; kill $pid && echo bound";
    let container = with_sets("enforced", 1000, sets).set(
        "/linux/sysctl",
        json!({"net.ipv4.ip_unprivileged_port_start": "1024"}),
    );
    assert_eq!(container.prints_of(script), "bound\n");
}
