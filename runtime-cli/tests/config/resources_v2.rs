//! `linux.resources` on a host with cgroup v2 alone and all of its controllers.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::needs;

use crate::container::{Container, eventually, proc_file, status_line};
use crate::mountinfo::MountInfo;

/// The container's directory in the one hierarchy.
fn directory(pid: i32) -> PathBuf {
    let cgroups = proc_file(pid, "cgroup");
    let path = cgroups
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_else(|| panic!("cgroup v2 in {cgroups}"));
    Path::new("/sys/fs/cgroup").join(path)
}

fn read(pid: i32, file: &str) -> String {
    let path = directory(pid).join(file);
    let text = fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim().to_owned()
}

/// A container under these limits; the rules for devices are the default ones.
fn with(topic: &str, mut resources: Value) -> Container {
    let container = Container::new(topic);
    resources["devices"] = container.bundle().config()["linux"]["resources"]["devices"].clone();
    container.set("/linux/resources", resources)
}

/// Numbers of a disk of this machine.
fn disk() -> (u32, u32) {
    let text = fs::read_to_string("/proc/partitions").expect("there is a procfs");
    let line = text.lines().nth(2).expect("there is a disk");
    let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
    let mut next = || numbers.next().flatten().expect("a number");
    (next(), next())
}

#[test]
fn every_v2_limit_is_in_its_file() {
    needs!(
        Root,
        CgroupV2("memory"),
        CgroupV2("cpu"),
        CgroupV2("cpuset"),
        CgroupV2("pids"),
        CgroupV2("hugetlb")
    );
    let (_container, pid) = with(
        "limits",
        json!({
            "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20},
            "pids": {"limit": 55},
            "cpu": {"shares": 512, "quota": 20_000, "period": 50_000, "burst": 10_000, "cpus": "0", "mems": "0"},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}],
            "unified": {"memory.high": "60000000", "cgroup.max.depth": "3"},
        }),
    )
    .sleeping();
    for (file, value) in [
        ("memory.max", "67108864"),
        ("memory.low", "33554432"),
        // v2 counts swap by itself, and config.json the sum.
        ("memory.swap.max", "33554432"),
        ("memory.high", "59998208"),
        ("pids.max", "55"),
        ("cpu.max", "20000 50000"),
        ("cpu.max.burst", "10000"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
        ("hugetlb.2MB.max", "4194304"),
        ("cgroup.max.depth", "3"),
    ] {
        assert_eq!(read(pid, file), value, "{file}");
    }
    // Below the default, which is 100.
    let weight: u32 = read(pid, "cpu.weight").parse().expect("a number");
    assert!((10..100).contains(&weight), "{weight}");
    let status = proc_file(pid, "status");
    assert_eq!(status_line(&status, "Cpus_allowed_list"), "0");
}

#[test]
fn unlimited_values_are_max_and_an_idle_cgroup_is_idle() {
    needs!(Root, CgroupV2("memory"), CgroupV2("cpu"), CgroupV2("pids"));
    let (_container, pid) = with(
        "unlimited",
        json!({"memory": {"limit": -1, "swap": -1}, "pids": {"limit": -1}, "cpu": {"idle": 1}}),
    )
    .sleeping();
    for file in ["memory.max", "memory.swap.max", "pids.max"] {
        assert_eq!(read(pid, file), "max", "{file}");
    }
    assert_eq!(read(pid, "cpu.idle"), "1");
}

#[test]
fn throttled_disks_are_in_io_max() {
    needs!(Root, CgroupV2("io"));
    let (major, minor) = disk();
    let throttle = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let (_container, pid) = with(
        "iomax",
        json!({"blockIO": {
            "throttleReadBpsDevice": throttle(1_000_000), "throttleWriteBpsDevice": throttle(2_000_000),
            "throttleReadIOPSDevice": throttle(300), "throttleWriteIOPSDevice": throttle(400),
        }}),
    )
    .sleeping();
    assert_eq!(
        read(pid, "io.max"),
        format!("{major}:{minor} rbps=1000000 wbps=2000000 riops=300 wiops=400")
    );
}

#[test]
fn a_memory_kill_is_counted_where_init_lives_on() {
    needs!(Root, CgroupV2("memory"));
    let container = with("v2oom", json!({"memory": {"limit": 16 << 20}})).script(
        // One process, which keeps all that it reads: of two the kernel may choose both.
        "tail -c 90000000 /dev/zero > /dev/null; echo status $?; \
         grep -w oom_kill /sys/fs/cgroup/memory.events",
    );
    let run = container.run();
    assert_eq!(run.stdout, "status 137\noom_kill 1\n", "{run}");
}

#[test]
fn a_limit_that_v2_has_no_place_for_is_refused_by_name() {
    needs!(Root, CgroupV2("memory"));
    for (resources, pointer) in [
        (json!({"memory": {"swappiness": 10}}), "memory/swappiness"),
        (
            json!({"memory": {"disableOOMKiller": true}}),
            "memory/disableOOMKiller",
        ),
        (json!({"cpu": {"realtimeRuntime": 1000}}), "cpu/realtime"),
        (json!({"network": {"classID": 1}}), "network"),
        (json!({"memory": {"limit": 4096}}), "memory"),
        (
            json!({"unified": {"memory.nothing": "1"}}),
            "memory.nothing",
        ),
        (json!({"unified": {"../memory.max": "1"}}), "unified"),
    ] {
        let said = with("v2refused", resources.clone()).refused();
        assert!(said.contains(pointer), "{resources}: {said}");
    }
}

/// What a container with a writable or read-only cgroup mount sees of its own cgroup.
fn look(writable: bool, namespace: bool) -> (String, MountInfo, Container) {
    let mut container = Container::new("v2mount")
        .with_all_capabilities()
        .script(
            "cat /proc/self/mountinfo; echo; cat /proc/self/cgroup; \
                 mkdir /sys/fs/cgroup/made 2>/dev/null && echo made; \
                 (echo 9999 > /sys/fs/cgroup/pids.max) 2>/dev/null && echo raised; \
                 cat /sys/fs/cgroup/cgroup.procs | wc -l; true",
        )
        .set("/linux/resources/pids", json!({"limit": 50}));
    let mut mounts = container.bundle().config()["mounts"].clone();
    for mount in mounts.as_array_mut().expect("there is a list") {
        if mount["type"] == "cgroup" {
            let access = if writable { "rw" } else { "ro" };
            mount["options"] = json!(["nosuid", "noexec", "nodev", "relatime", access]);
        }
    }
    container = container.set("/mounts", mounts);
    if namespace {
        container = container.with_namespace("cgroup");
    }
    let printed = container.prints();
    let (mounts, rest) = printed.split_once("\n\n").expect("it has printed both");
    (rest.to_owned(), MountInfo::parse(mounts), container)
}

/// Whether cgroup2 is mounted with nsdelegate, cgroups(7).
fn delegates_by_namespace() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("there is a procfs");
    mounts
        .lines()
        .any(|line| line.contains(" cgroup2 ") && line.contains("nsdelegate"))
}

#[test]
fn the_cgroup_mount_is_the_containers_own_cgroup() {
    needs!(Root, CgroupV2("pids"));
    for namespace in [false, true] {
        for writable in [false, true] {
            let case = format!("namespace {namespace}, writable {writable}");
            let (rest, mounts, container) = look(writable, namespace);
            let top = mounts.at("/sys/fs/cgroup");
            let marker = container.marker.as_str();
            let own = format!("/{marker}");
            assert_eq!(top.kind, "cgroup2", "{case}");
            assert_eq!(top.root, if namespace { "/" } else { &own }, "{case}");
            assert_eq!(top.has("rw"), writable, "{case}: {top:?}");
            assert!(
                top.has("nosuid") && top.has("noexec") && top.has("nodev"),
                "{case}: {top:?}"
            );
            assert_eq!(rest.contains("made"), writable, "{case}: {rest}");
            // The kernel keeps who is in a cgroup namespace from its limits, where the host's
            // cgroup2 is mounted so.
            assert_eq!(
                rest.contains("raised"),
                writable && !(namespace && delegates_by_namespace()),
                "{case}: {rest}"
            );
            assert_eq!(rest.contains(marker), !namespace, "{case}: {rest}");
        }
    }
}

#[test]
fn an_exec_goes_where_init_is_once_it_has_made_itself_a_cgroup() {
    needs!(Root, CgroupV2("pids"));
    let container = Container::new("v2nested").with_namespace("cgroup");
    let mut mounts = container.bundle().config()["mounts"].clone();
    for mount in mounts.as_array_mut().expect("there is a list") {
        if mount["type"] == "cgroup" {
            mount["options"] = json!(["rw"]);
        }
    }
    // As systemd in a container does: nothing may stay in the top once controllers are passed on.
    let container = container.set("/mounts", mounts).script(
        "cd /sys/fs/cgroup; mkdir -p init.scope deep/er; echo 1 > init.scope/cgroup.procs; \
         echo +pids > cgroup.subtree_control && touch /tmp/ready; exec sleep 1000",
    );
    container.detached();
    eventually("init has moved", || {
        container.rootfs().join("tmp/ready").exists()
    });
    assert_eq!(container.exec("cat /proc/self/cgroup"), "0::/init.scope\n");
    // Everything, however deep, goes with `delete`: the oracle looks when this is dropped.
}

#[test]
fn a_paused_container_is_frozen_as_a_whole() {
    needs!(Root, CgroupV2("memory"));
    let (container, pid) = Container::new("v2pause").sleeping();
    container
        .runtime
        .call(&["pause", container.id()])
        .succeeded();
    assert!(read(pid, "cgroup.events").contains("frozen 1"));
    assert_eq!(container.runtime.state(container.id())["status"], "paused");
    container
        .runtime
        .call(&["resume", container.id()])
        .succeeded();
    assert!(read(pid, "cgroup.events").contains("frozen 0"));
}

#[test]
fn update_changes_each_v2_file_or_says_why_not() {
    needs!(
        Root,
        CgroupV2("memory"),
        CgroupV2("cpu"),
        CgroupV2("cpuset"),
        CgroupV2("pids")
    );
    let limits = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 100}});
    let (container, pid) = with("v2update", limits).sleeping();
    let update = |flags: &[&str]| {
        let words = [&["update"], flags, &[container.id()]].concat();
        container.runtime.call(&words)
    };
    for (flags, file, value) in [
        (["--memory", "32m"], "memory.max", "33554432"),
        (["--memory-swap", "64m"], "memory.swap.max", "33554432"),
        (["--memory-reservation", "16m"], "memory.low", "16777216"),
        (["--cpu-quota", "60000"], "cpu.max", "60000 100000"),
        (["--cpu-period", "200000"], "cpu.max", "60000 200000"),
        (["--cpu-burst", "1000"], "cpu.max.burst", "1000"),
        (["--cpu-idle", "1"], "cpu.idle", "1"),
        (["--cpu-idle", "0"], "cpu.idle", "0"),
        (["--cpuset-cpus", "1"], "cpuset.cpus", "1"),
        (["--pids-limit", "77"], "pids.max", "77"),
        (["--pids-limit", "-1"], "pids.max", "max"),
        (["--memory", "-1"], "memory.max", "max"),
    ] {
        update(&flags).succeeded();
        assert_eq!(read(pid, file), value, "{flags:?}");
    }
    let status = proc_file(pid, "status");
    assert_eq!(status_line(&status, "Cpus_allowed_list"), "1");
    // One limit that can't be set keeps all of them as they were.
    let run = update(&["--pids-limit", "5", "--cpuset-cpus", "4000"]);
    assert_eq!(run.code, 1, "{run}");
    assert!(run.stderr.contains("cpuset.cpus"), "{run}");
    assert_eq!(read(pid, "pids.max"), "max");
    assert_eq!(container.runtime.state(container.id())["status"], "running");
}
