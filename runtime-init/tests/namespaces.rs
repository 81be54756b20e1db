//! Namespaces made and joined, and what is set in them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests end by a panic, and say aloud what they skip"
)]

mod kit;

use std::fs;
use std::os::fd::AsRawFd;

use kit::{
    NEWCGROUP, NEWIPC, NEWNET, NEWPID, NEWUSER, NEWUTS, Root, can_be_root, failure, keep, proc,
};
use runtime_init::{Call, Exec, Gate, Phase, Step};

fn sh(script: &str) -> [Step<'static>; 2] {
    let argv = kit::array(&["sh", "-c", script]);
    let envp = kit::array(&["PATH=/bin:/usr/bin:/sbin:/usr/sbin"]);
    [
        Step::FindProgram(keep(&[c"/bin/sh"])),
        Step::Exec(Exec { argv, envp }),
    ]
}

#[test]
fn a_new_uts_namespace_has_its_names() {
    let root = Root::new();
    let steps = [
        Step::Hostname(b"inside"),
        Step::Domainname(b"example"),
        Step::Mount(proc("/proc")),
    ];
    let script = "cd /proc/sys/kernel; cat hostname domainname";
    for flags in [NEWUTS, NEWUTS | NEWUSER] {
        let outcome = root.scene().flags(flags).before(&steps).run(script);
        assert_eq!(outcome.output(), "inside\nexample\n");
    }
}

#[test]
fn the_loopback_device_comes_up() {
    let root = Root::new();
    let steps = [Step::LoopbackUp, Step::Mount(proc("/proc"))];
    let script = "cat /proc/net/if_inet6 | grep -c lo; /bin/busybox ip link show lo | head -1";
    let output = root
        .scene()
        .flags(NEWNET | NEWUSER)
        .before(&steps)
        .run(script)
        .output();
    assert!(output.contains("LOOPBACK,UP"), "{output}");
}

#[test]
fn a_sysctl_is_written_in_the_new_namespace() {
    let root = Root::new();
    let before = fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap();
    let steps = [
        Step::Sysctl {
            path: c"net/ipv4/ip_default_ttl",
            value: b"77",
        },
        Step::Mount(proc("/proc")),
    ];
    let script = "cat /proc/sys/net/ipv4/ip_default_ttl";
    for flags in [NEWNET, NEWNET | NEWUSER] {
        let outcome = root.scene().flags(flags).before(&steps).run(script);
        assert_eq!(outcome.output(), "77\n");
    }
    assert_eq!(
        fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap(),
        before
    );
}

#[test]
fn a_sysctl_that_leaves_proc_sys_is_refused() {
    let root = Root::new();
    let run = |path| {
        let steps = [Step::Sysctl { path, value: b"x" }];
        root.scene()
            .flags(NEWNET)
            .before(&steps)
            .run("true")
            .failure()
    };
    assert_eq!(run(c"../../etc/passwd"), failure(Call::Open, libc::EXDEV));
    assert_eq!(run(c"net/no/such"), failure(Call::Open, libc::ENOENT));
    let wrong = [Step::Sysctl {
        path: c"net/ipv4/ip_default_ttl",
        value: b"none",
    }];
    let failed = root
        .scene()
        .flags(NEWNET)
        .before(&wrong)
        .run("true")
        .failure();
    assert_eq!(failed, failure(Call::Write, libc::EINVAL));
}

#[test]
fn a_time_namespace_has_its_offsets() {
    let root = Root::new();
    let offsets = b"monotonic 0 0\nboottime 1000000 0\n";
    let steps = [Step::Mount(proc("/proc"))];
    for flags in [0, NEWUSER] {
        let outcome = root
            .scene()
            .flags(flags)
            .first(&[Step::Undumpable, Step::TimeOffsets(offsets)])
            .before(&steps)
            .run("cut -d. -f1 /proc/uptime");
        let uptime: u64 = outcome.output().trim().parse().unwrap();
        assert!(uptime >= 1_000_000, "{uptime}");
    }
}

#[test]
fn a_session_keyring_is_new_and_its_owner_may_search_it() {
    let root = Root::new();
    let steps = [
        Step::SessionKeyring(c"_ses.of-the-test"),
        Step::Mount(proc("/proc")),
    ];
    let outcome = root
        .scene()
        .before(&steps)
        .run("grep '_ses.of-the-test' /proc/keys");
    let output = outcome.output();
    let permissions = output.split_whitespace().nth(4).unwrap();
    let permissions = u32::from_str_radix(permissions, 16).unwrap();
    assert_ne!(permissions & 0x0008_0000, 0, "{output}");
}

#[test]
fn a_namespace_of_another_type_is_not_joined() {
    let namespace = fs::File::open("/proc/self/ns/uts").unwrap();
    let kind = if kit::is_root() { NEWNET } else { NEWPID };
    let steps = [Step::Join {
        namespace: namespace.as_raw_fd(),
        kind,
    }];
    let failed = kit::run_steps(0, &steps).failure();
    assert_eq!(failed, failure(Call::Setns, libc::EINVAL));
}

/// A process that waits in new namespaces, with its end of the conversation.
fn waiting(flags: u64) -> kit::Child {
    let steps = [
        Step::Hostname(b"joined"),
        Step::Tell(Phase::Joined),
        Step::Await(Gate::HooksDone),
    ];
    let child = kit::start(flags, &steps);
    assert!(kit::receive(child.sync.as_raw_fd()).is_some());
    child
}

fn end(child: kit::Child) {
    let pid = child.pid;
    kit::open_gate(&child, Gate::HooksDone);
    drop(child);
    kit::wait(pid);
}

#[test]
fn joined_namespaces_are_those_of_the_other_process() {
    if !can_be_root("joined_namespaces_are_those_of_the_other_process") {
        return;
    }
    let other = waiting(NEWUTS | NEWIPC);
    let namespace = |name: &str| fs::File::open(format!("/proc/{}/ns/{name}", other.pid)).unwrap();
    let (uts, ipc) = (namespace("uts"), namespace("ipc"));
    let mut steps = vec![
        Step::Join {
            namespace: uts.as_raw_fd(),
            kind: NEWUTS,
        },
        Step::Join {
            namespace: ipc.as_raw_fd(),
            kind: NEWIPC,
        },
    ];
    steps.extend(sh("uname -n; readlink /proc/self/ns/ipc"));
    let output = kit::run_steps(0, &steps).output();
    let ipc = fs::read_link(format!("/proc/{}/ns/ipc", other.pid)).unwrap();
    assert_eq!(output, format!("joined\n{}\n", ipc.display()));
    end(other);
}

#[test]
fn a_second_process_goes_on_in_a_joined_pid_namespace() {
    if !can_be_root("a_second_process_goes_on_in_a_joined_pid_namespace") {
        return;
    }
    let other = waiting(NEWUTS | NEWPID);
    let pid_namespace = fs::File::open(format!("/proc/{}/ns/pid", other.pid)).unwrap();
    let mut steps = vec![
        Step::Join {
            namespace: pid_namespace.as_raw_fd(),
            kind: NEWPID,
        },
        Step::Respawn(0),
        Step::Tell(Phase::Joined),
        Step::Await(Gate::HooksDone),
    ];
    steps.extend(sh("echo $$"));
    // The kit waits for the pid that the first process has told, so that is the right one.
    let outcome = kit::run_steps(0, &steps);
    assert_eq!(outcome.phases, [Phase::Joined as u16]);
    assert_eq!(outcome.output(), "2\n");
    end(other);
}

#[test]
fn a_second_process_is_told_before_it_speaks() {
    for _ in 0..50 {
        let steps = [Step::Respawn(0), Step::Tell(Phase::Joined)];
        let child = kit::start(0, &steps);
        let first = kit::receive(child.sync.as_raw_fd()).unwrap().0;
        let second = kit::receive(child.sync.as_raw_fd()).unwrap().0;
        assert_eq!(first.kind, runtime_init::Message::RESPAWNED);
        assert_eq!(second.kind, runtime_init::Message::PHASE);
        assert_eq!((kit::wait(child.pid), kit::wait(first.code)), (0, 1));
    }
}

#[test]
fn a_second_process_may_have_new_namespaces() {
    let root = Root::new();
    let steps = [
        Step::Respawn(NEWUTS),
        Step::Hostname(b"second"),
        Step::Mount(proc("/proc")),
    ];
    let outcome = root.scene().flags(NEWUSER).before(&steps[..0]).run("true");
    assert!(outcome.failure.is_none());
    if can_be_root("a_second_process_may_have_new_namespaces") {
        let mut steps = vec![Step::Respawn(NEWUTS), Step::Hostname(b"second")];
        steps.extend(sh("uname -n"));
        assert_eq!(kit::run_steps(0, &steps).output(), "second\n");
    }
}

#[test]
fn unshare_makes_namespaces_of_its_own() {
    if !can_be_root("unshare_makes_namespaces_of_its_own") {
        return;
    }
    let mut steps = vec![
        Step::Unshare(NEWCGROUP | NEWUTS),
        Step::Hostname(b"unshared"),
    ];
    steps.extend(sh("uname -n"));
    assert_eq!(kit::run_steps(0, &steps).output(), "unshared\n");
    assert_ne!(
        fs::read_to_string("/proc/sys/kernel/hostname")
            .unwrap()
            .trim(),
        "unshared"
    );
}

#[test]
fn root_of_a_user_namespace_has_all_capabilities_there() {
    let root = Root::new();
    let steps = [Step::Mount(proc("/proc"))];
    let script = "grep -E '^(Uid|Gid|CapEff)' /proc/self/status | tr -s '\\t' ' '";
    let output = root
        .scene()
        .flags(NEWUSER)
        .before(&steps)
        .run(script)
        .output();
    assert!(
        output.starts_with("Uid: 0 0 0 0\nGid: 0 0 0 0\nCapEff: "),
        "{output}"
    );
    let effective = output.trim().rsplit(' ').next().unwrap();
    let last: u32 = fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert_eq!(
        u64::from_str_radix(effective, 16).unwrap(),
        (1 << (last + 1)) - 1
    );
}

#[test]
fn a_cgroup_is_entered_by_its_tasks_file() {
    // Any writable cgroup v1 hierarchy will do.
    let made = ["pids", "cpuset", "freezer"].iter().find_map(|controller| {
        let path = format!(
            "/sys/fs/cgroup/{controller}/tare-init-test-{}",
            std::process::id()
        );
        fs::create_dir(&path).ok().map(|()| path)
    });
    let Some(path) = made.filter(|path| fs::metadata(format!("{path}/tasks")).is_ok()) else {
        assert!(
            std::env::var_os("REQUIRE_KERNEL").is_none(),
            "no cgroup v1 to write to"
        );
        println!("SKIPPED a_cgroup_is_entered_by_its_tasks_file: no cgroup v1 to write to");
        return;
    };
    let tasks = fs::File::options()
        .write(true)
        .open(format!("{path}/tasks"))
        .unwrap();
    let descriptors = keep(&[tasks.as_raw_fd()]);
    let name = path.rsplit('/').next().unwrap();
    let mut steps = vec![Step::EnterCgroups(descriptors)];
    steps.extend(sh(&format!("grep -c {name} /proc/self/cgroup")));
    let outcome = kit::run_steps(0, &steps);
    fs::remove_dir(&path).unwrap();
    assert_eq!(outcome.output(), "1\n");
}
