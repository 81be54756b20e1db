//! `linux.namespaces`: new, inherited and joined ones; id mappings; time offsets.

use std::fs;

use serde_json::json;
use testkit::needs;

use crate::container::{Container, namespace_of, own_namespace, proc_file, status_line};

/// The specification's names and the kernel's files.
const KINDS: [(&str, &str); 8] = [
    ("pid", "pid"),
    ("network", "net"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("user", "user"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn path_of(pid: i32, file: &str) -> String {
    format!("/proc/{pid}/ns/{file}")
}

#[test]
fn all_eight_namespaces_can_be_new() {
    needs!(Root);
    let mut container = Container::new("alleight").with_user_namespace();
    for (kind, _) in KINDS {
        container = container.with_namespace(kind);
    }
    let (container, pid) = container.sleeping();
    let inside = container
        .exec("for n in pid net mnt ipc uts user cgroup time; do readlink /proc/1/ns/$n; done");
    for ((kind, file), inside) in KINDS.iter().zip(inside.lines()) {
        let outside = namespace_of(pid, file);
        assert_ne!(outside, own_namespace(file), "{kind}");
        assert_eq!(outside, inside, "{kind}");
    }
    // A process that is executed later is in the same ones.
    let inside = container
        .exec("for n in pid net mnt ipc uts user cgroup time; do readlink /proc/self/ns/$n; done");
    for ((kind, file), inside) in KINDS.iter().zip(inside.lines()) {
        assert_eq!(namespace_of(pid, file), inside, "{kind}");
    }
}

#[test]
fn each_namespace_that_is_not_listed_is_inherited() {
    needs!(Root);
    for (kind, file) in [
        ("pid", "pid"),
        ("network", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
    ] {
        let (_container, pid) = Container::new("inherited")
            .set("/hostname", "")
            .without_namespace(kind)
            .sleeping();
        assert_eq!(namespace_of(pid, file), own_namespace(file), "{kind}");
    }
    let (_container, pid) = Container::new("inherited").sleeping();
    for file in ["user", "cgroup", "time"] {
        assert_eq!(namespace_of(pid, file), own_namespace(file), "{file}");
    }
}

#[test]
fn each_namespace_of_another_container_can_be_joined() {
    needs!(Root);
    let mut first = Container::new("joinee").with_user_namespace();
    for kind in ["cgroup", "time"] {
        first = first.with_namespace(kind);
    }
    let (first, first_pid) = first.sleeping();
    for (kind, file) in [
        ("network", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("pid", "pid"),
        ("cgroup", "cgroup"),
        ("time", "time"),
    ] {
        let (second, pid) = Container::new("joiner")
            .set("/hostname", "")
            .joining(kind, &path_of(first_pid, file))
            .sleeping();
        assert_eq!(
            namespace_of(pid, file),
            namespace_of(first_pid, file),
            "{kind}"
        );
        let inside = second.exec(&format!("readlink /proc/self/ns/{file}"));
        assert_eq!(inside.trim(), namespace_of(first_pid, file), "{kind}, exec");
        assert_ne!(
            namespace_of(pid, "mnt"),
            namespace_of(first_pid, "mnt"),
            "{kind}"
        );
    }
    let status = first.runtime.state(first.id());
    assert_eq!(status["status"], "running", "its guests have come and gone");
}

#[test]
fn a_hostname_is_set_in_a_joined_uts_namespace() {
    needs!(Root);
    let (first, first_pid) = Container::new("utsjoinee").sleeping();
    let (_second, _) = Container::new("utsjoiner")
        .set("/hostname", "joined")
        .joining("uts", &path_of(first_pid, "uts"))
        .sleeping();
    assert_eq!(first.exec("hostname"), "joined\n");
}

#[test]
fn containers_share_what_pods_share() {
    needs!(Root);
    let (first, first_pid) = Container::new("pod").sleeping();
    first.exec("ip link set lo up; ip addr add 10.9.8.7/32 dev lo 2>/dev/null; true");
    for with_pid in [false, true] {
        let mut second = Container::new("podmember").set("/hostname", "");
        for (kind, file) in [
            ("network", "net"),
            ("ipc", "ipc"),
            ("uts", "uts"),
            ("pid", "pid"),
        ] {
            if kind != "pid" || with_pid {
                second = second.joining(kind, &path_of(first_pid, file));
            }
        }
        let (second, pid) = second.sleeping();
        for file in ["net", "ipc", "uts"] {
            assert_eq!(
                namespace_of(pid, file),
                namespace_of(first_pid, file),
                "{file}"
            );
        }
        assert_eq!(
            namespace_of(pid, "pid") == namespace_of(first_pid, "pid"),
            with_pid
        );
        assert_ne!(namespace_of(pid, "mnt"), namespace_of(first_pid, "mnt"));
        assert_eq!(second.exec("hostname"), "container\n");
        // It sees the other's processes exactly if it shares their pid namespace.
        let seen = second.exec("cat /proc/[0-9]*/comm | grep -c '^sleep$'");
        assert_eq!(seen, if with_pid { "2\n" } else { "1\n" });
    }
}

#[test]
fn a_mount_namespace_can_be_joined() {
    needs!(Root);
    let (first, first_pid) = Container::new("mntjoinee").sleeping();
    let container = Container::new("mntjoiner")
        .set("/hostname", "")
        .set("/mounts", json!([]))
        .set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!([]))
        .set("/root/path", "/")
        .joining("mount", &path_of(first_pid, "mnt"));
    let (second, pid) = container.sleeping();
    assert_eq!(namespace_of(pid, "mnt"), namespace_of(first_pid, "mnt"));
    assert_eq!(second.exec("cat /etc/hostname"), "image\n");
    assert_eq!(first.exec("cat /etc/hostname"), "image\n");
}

#[test]
fn a_user_namespace_can_be_joined_alone_and_with_what_it_owns() {
    needs!(Root);
    let (first, first_pid) = Container::new("userjoinee")
        .with_user_namespace()
        .sleeping();
    let second = Container::new("userjoiner");
    second.own_rootfs(100_000);
    let mappings = first.bundle().config()["linux"]["uidMappings"].clone();
    let (second, pid) = second
        .joining("user", &path_of(first_pid, "user"))
        .set("/linux/uidMappings", mappings.clone())
        .set("/linux/gidMappings", mappings.clone())
        .sleeping();
    assert_eq!(namespace_of(pid, "user"), namespace_of(first_pid, "user"));
    assert_ne!(namespace_of(pid, "net"), namespace_of(first_pid, "net"));
    assert_eq!(
        status_line(&proc_file(pid, "status"), "Uid"),
        "100000 100000 100000 100000"
    );
    assert_eq!(second.exec("id -u; touch /x; stat -c %u /x"), "0\n0\n");
    drop(second);

    let mut third = Container::new("podinuser").set("/hostname", "");
    third.own_rootfs(100_000);
    for (kind, file) in [
        ("user", "user"),
        ("network", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("pid", "pid"),
    ] {
        third = third.joining(kind, &path_of(first_pid, file));
    }
    let (third, pid) = third
        .set("/linux/uidMappings", mappings.clone())
        .set("/linux/gidMappings", mappings)
        .sleeping();
    for file in ["user", "net", "ipc", "uts", "pid"] {
        assert_eq!(
            namespace_of(pid, file),
            namespace_of(first_pid, file),
            "{file}"
        );
    }
    assert_eq!(third.exec("id -u; hostname"), "0\ncontainer\n");
}

#[test]
fn a_path_of_another_type_or_of_no_namespace_is_refused() {
    needs!(Root);
    let (_first, first_pid) = Container::new("wrongjoinee").sleeping();
    for (kind, path) in [
        ("network", path_of(first_pid, "uts")),
        ("ipc", path_of(first_pid, "net")),
        ("pid", path_of(first_pid, "mnt")),
        ("uts", "/etc/passwd".to_owned()),
        ("network", "/proc/4194304/ns/net".to_owned()),
    ] {
        let said = Container::new("wrongtype")
            .set("/hostname", "")
            .joining(kind, &path)
            .refused();
        assert!(
            said.contains(&format!("join {kind} namespace {path}")),
            "{said}"
        );
    }
    let said = Container::new("doubletype")
        .push("/linux/namespaces", json!({"type": "pid"}))
        .refused();
    assert!(said.contains("/linux/namespaces/5"), "{said}");
    let said = Container::new("relativepath")
        .joining("ipc", "proc/self/ns/ipc")
        .refused();
    assert!(said.contains("/linux/namespaces/4/path"), "{said}");
}

#[test]
fn a_new_user_namespace_on_the_hosts_network_works() {
    needs!(Root);
    let container = Container::new("hostnetwork")
        .with_user_namespace()
        .without_namespace("network");
    // sysfs of a network namespace that the user namespace does not own can't be mounted: bind it.
    let mut mounts = container.bundle().config()["mounts"].clone();
    for mount in mounts.as_array_mut().expect("there is a list") {
        if mount["type"] == "sysfs" {
            *mount = json!({"destination": "/sys", "source": "/sys", "options": ["rbind", "ro"]});
        }
    }
    let (_container, pid) = container.set("/mounts", mounts).sleeping();
    assert_eq!(namespace_of(pid, "net"), own_namespace("net"));
    assert_ne!(namespace_of(pid, "user"), own_namespace("user"));
}

#[test]
fn several_ranges_of_ids_are_mapped() {
    needs!(Root);
    let ranges = json!([
        {"containerID": 0, "hostID": 100_000, "size": 1000},
        {"containerID": 1000, "hostID": 0, "size": 1},
        {"containerID": 1001, "hostID": 200_000, "size": 50_000},
    ]);
    let container = Container::new("ranges");
    container.own_rootfs(100_000);
    let (container, pid) = container
        .with_namespace("user")
        .set("/linux/uidMappings", ranges.clone())
        .set("/linux/gidMappings", ranges)
        .set(
            "/process/user",
            json!({"uid": 1001, "gid": 5, "additionalGids": [1000, 2000]}),
        )
        .sleeping();
    let words = |file: &str| {
        proc_file(pid, file)
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let expected = [
        "0", "100000", "1000", "1000", "0", "1", "1001", "200000", "50000",
    ];
    assert_eq!(words("uid_map"), expected);
    assert_eq!(words("gid_map"), expected);
    let status = proc_file(pid, "status");
    assert_eq!(status_line(&status, "Uid"), "200000 200000 200000 200000");
    assert_eq!(status_line(&status, "Gid"), "100005 100005 100005 100005");
    assert_eq!(status_line(&status, "Groups"), "0 200999");
    assert_eq!(container.exec("id -u; id -g"), "1001\n5\n");
    drop(container);
    let said = Container::new("unmappeduser")
        .with_user_namespace()
        .set("/process/user/uid", 70_000)
        .refused();
    assert!(said.contains("/process/user/uid"), "{said}");
}

#[test]
fn time_offsets_shift_the_containers_clocks() {
    needs!(Root);
    let container = Container::new("timeoffsets")
        .with_namespace("time")
        .set(
            "/linux/timeOffsets",
            json!({"monotonic": {"secs": 1000, "nanosecs": 5}, "boottime": {"secs": 1_000_000, "nanosecs": 0}}),
        )
        .args(&["sleep", "1000"]);
    let pid = container.detached();
    let offsets = proc_file(pid, "timens_offsets");
    let words: Vec<&str> = offsets.split_whitespace().collect();
    assert_eq!(
        words,
        ["monotonic", "1000", "5", "boottime", "1000000", "0"]
    );
    let uptime = |text: &str| -> f64 {
        let first = text.split(' ').next().expect("it has two words");
        first.parse().expect("it is a number")
    };
    let host = fs::read_to_string("/proc/uptime").expect("there is a procfs");
    let inside = container.exec("cat /proc/uptime");
    let difference = uptime(&inside) - uptime(&host);
    assert!(
        (1_000_000.0..1_000_100.0).contains(&difference),
        "{difference}"
    );
    assert_ne!(namespace_of(pid, "time"), own_namespace("time"));
    drop(container);
    for (offsets, pointer) in [
        (
            json!({"realtime": {"secs": 1}}),
            "/linux/timeOffsets/realtime",
        ),
        (
            json!({"monotonic": {"secs": 1, "nanosecs": 1_000_000_000}}),
            "nanosecs",
        ),
    ] {
        let said = Container::new("badoffsets")
            .with_namespace("time")
            .set("/linux/timeOffsets", offsets)
            .refused();
        assert!(said.contains(pointer), "{said}");
    }
    let said = Container::new("notimens")
        .set("/linux/timeOffsets", json!({"monotonic": {"secs": 1}}))
        .refused();
    assert!(said.contains("/linux/timeOffsets"), "{said}");
}

#[test]
fn time_offsets_in_a_user_namespace_work() {
    needs!(Root);
    let container = Container::new("usertime")
        .with_user_namespace()
        .with_namespace("time")
        .set("/linux/timeOffsets", json!({"boottime": {"secs": 777_777}}));
    let printed = container.prints_of("cat /proc/self/timens_offsets | tr -s ' '");
    assert!(printed.contains("boottime 777777 0"), "{printed}");
}

#[test]
fn a_new_network_namespace_has_a_loopback_device_that_is_up() {
    needs!(Root);
    let printed = Container::new("loopback")
        .prints_of("ip -o link; ping -c 1 -W 5 127.0.0.1 >/dev/null 2>&1; ip -o addr");
    assert!(printed.contains("LOOPBACK,UP"), "{printed}");
    assert!(printed.contains("127.0.0.1/8"), "{printed}");
}

#[test]
fn mappings_without_a_user_namespace_and_a_user_namespace_without_mappings_are_refused() {
    needs!(Root);
    let map = json!([{"containerID": 0, "hostID": 1, "size": 1}]);
    let said = Container::new("nouserns")
        .set("/linux/uidMappings", map)
        .refused();
    assert!(said.contains("/linux/uidMappings"), "{said}");
    let said = Container::new("nomappings")
        .with_namespace("user")
        .refused();
    assert!(
        said.contains("/linux/uidMappings") && said.contains("/linux/gidMappings"),
        "{said}"
    );
}
