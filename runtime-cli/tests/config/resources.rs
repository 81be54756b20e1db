//! `linux.cgroupsPath` and `linux.resources` on this host's cgroups, as they are and in views of
//! them: a private mount namespace shows a pure v1 or a v2 host.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::{Fact, needs};

use crate::container::{Container, eventually, proc_file};
use crate::mountinfo::MountInfo;

/// Shows a host without cgroup2.
const V1_VIEW: &str = "mount -t tmpfs none /sys/fs/cgroup/unified";
/// Shows a host with cgroup2 alone.
const V2_VIEW: &str = "mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup";

/// The container's directory in a v1 hierarchy.
fn directory(pid: i32, controller: &str) -> PathBuf {
    let cgroups = proc_file(pid, "cgroup");
    let path = cgroups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        controllers
            .split(',')
            .any(|name| name == controller)
            .then(|| parts.next())?
    });
    let path = path.unwrap_or_else(|| panic!("{controller} in {cgroups}"));
    Path::new("/sys/fs/cgroup")
        .join(controller)
        .join(path.trim_start_matches('/'))
}

fn read(pid: i32, controller: &str, file: &str) -> String {
    let path = directory(pid, controller).join(file);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim().to_owned()
}

fn with(topic: &str, resources: Value) -> Container {
    let container = Container::new(topic);
    let devices = container.bundle().config()["linux"]["resources"]["devices"].clone();
    let mut resources = resources;
    if resources["devices"].is_null() {
        resources["devices"] = devices;
    }
    container.set("/linux/resources", resources)
}

#[test]
fn the_cgroup_is_where_the_config_says() {
    needs!(Root, CgroupV1("memory"), CgroupV1("pids"));
    let own = fs::read_to_string("/proc/self/cgroup").expect("there is a procfs");
    let own_memory = own
        .lines()
        .find_map(|line| line.split_once(":memory:"))
        .map_or("/", |(_, path)| path)
        .to_owned();
    let place = |value: Value| {
        let container = Container::new("cgrouppath");
        let name = container.marker.as_str().to_owned();
        let value = match value {
            Value::String(text) => json!(text.replace("ID", &name)),
            other => other,
        };
        let (_container, pid) = container.set("/linux/cgroupsPath", value).sleeping();
        let line = proc_file(pid, "cgroup");
        let found = line.lines().find_map(|line| line.split_once(":memory:"));
        found
            .map(|(_, path)| path.replace(&name, "ID"))
            .expect("it has one")
    };
    assert_eq!(place(json!("/ID")), "/ID");
    assert_eq!(place(Value::Null), "/ID");
    assert_eq!(
        place(json!("ID")),
        format!("{}/ID", own_memory.trim_end_matches('/'))
    );
    let said = Container::new("dotdot")
        .set("/linux/cgroupsPath", "/a/../b")
        .refused();
    assert!(said.contains("/linux/cgroupsPath"), "{said}");
}

#[test]
fn every_v1_limit_is_in_its_file() {
    needs!(
        Root,
        CgroupV1("memory"),
        CgroupV1("pids"),
        CgroupV1("cpu"),
        CgroupV1("cpuset")
    );
    let (_container, pid) = with(
        "limits",
        json!({
            "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swappiness": 10, "disableOOMKiller": true},
            "pids": {"limit": 55},
            "cpu": {"shares": 512, "quota": 20_000, "period": 50_000, "burst": 10_000, "cpus": "0", "mems": "0"},
        }),
    )
    .sleeping();
    assert_eq!(
        read(pid, "memory", "memory.limit_in_bytes"),
        (64 << 20).to_string()
    );
    assert_eq!(
        read(pid, "memory", "memory.soft_limit_in_bytes"),
        (32 << 20).to_string()
    );
    assert_eq!(read(pid, "memory", "memory.swappiness"), "10");
    assert!(read(pid, "memory", "memory.oom_control").contains("oom_kill_disable 1"));
    assert_eq!(read(pid, "pids", "pids.max"), "55");
    assert_eq!(read(pid, "cpu", "cpu.shares"), "512");
    assert_eq!(read(pid, "cpu", "cpu.cfs_quota_us"), "20000");
    assert_eq!(read(pid, "cpu", "cpu.cfs_period_us"), "50000");
    if directory(pid, "cpu").join("cpu.cfs_burst_us").exists() {
        assert_eq!(read(pid, "cpu", "cpu.cfs_burst_us"), "10000");
    }
    assert_eq!(read(pid, "cpuset", "cpuset.cpus"), "0");
    assert_eq!(read(pid, "cpuset", "cpuset.mems"), "0");
    let status = proc_file(pid, "status");
    assert_eq!(
        crate::container::status_line(&status, "Cpus_allowed_list"),
        "0"
    );
}

#[test]
fn an_idle_cgroup_and_unlimited_values_are_what_they_say() {
    needs!(Root, CgroupV1("cpu"), CgroupV1("memory"), CgroupV1("pids"));
    let (_container, pid) = with(
        "idle",
        json!({"cpu": {"idle": 1}, "memory": {"limit": -1, "swap": -1}, "pids": {"limit": -1}}),
    )
    .sleeping();
    assert_eq!(read(pid, "cpu", "cpu.idle"), "1");
    assert_eq!(read(pid, "pids", "pids.max"), "max");
    assert!(read(pid, "memory", "memory.limit_in_bytes").len() > 15);
}

#[test]
fn swap_is_limited_together_with_memory() {
    needs!(Root, CgroupV1("memory"));
    if !Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists() {
        let said = with(
            "noswap",
            json!({"memory": {"limit": 32 << 20, "swap": 64 << 20}}),
        )
        .refused();
        assert!(
            said.contains("memory.memsw.limit_in_bytes") || said.contains("swap"),
            "{said}"
        );
        return;
    }
    let (_container, pid) = with(
        "swap",
        json!({"memory": {"limit": 32 << 20, "swap": 64 << 20}}),
    )
    .sleeping();
    assert_eq!(
        read(pid, "memory", "memory.limit_in_bytes"),
        (32 << 20).to_string()
    );
    assert_eq!(
        read(pid, "memory", "memory.memsw.limit_in_bytes"),
        (64 << 20).to_string()
    );
    let said = with(
        "badswap",
        json!({"memory": {"limit": 64 << 20, "swap": 32 << 20}}),
    )
    .refused();
    assert!(said.contains("/linux/resources/memory/swap"), "{said}");
}

#[test]
fn who_takes_more_memory_than_the_limit_is_killed() {
    needs!(Root, Cgroup("memory"));
    let container = with("oomkill", json!({"memory": {"limit": 16 << 20}})).script(
        "head -c 100000000 /dev/zero | tail -c 90000000 > /dev/null; echo status $?; echo alive",
    );
    let run = container.run();
    assert!(run.stdout.contains("status 137\nalive\n"), "{run}");
    // init itself is killed: the status says so.
    let container = with("oominit", json!({"memory": {"limit": 16 << 20}})).args(&[
        "sh",
        "-c",
        "x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo $x",
    ]);
    let run = container.run();
    assert_eq!(run.code, 137, "{run}");
}

#[test]
fn more_processes_than_the_limit_are_not_made() {
    needs!(Root, Cgroup("pids"));
    let container = with("pidslimit", json!({"pids": {"limit": 5}}))
        .script("for i in 1 2 3 4 5 6 7 8; do sleep 100 & done 2>&1; echo no more");
    let run = container.run();
    assert!(
        format!("{}{}", run.stdout, run.stderr).contains("an't fork"),
        "{run}"
    );
    // What the specification calls legal: not even one process more.
    let container = with("nopids", json!({"pids": {"limit": 0}})).script("true & wait; echo here");
    let run = container.run();
    assert!(
        !run.stdout.contains("here") || run.stderr.contains("fork"),
        "{run}"
    );
}

#[test]
fn device_rules_are_enforced() {
    needs!(Root);
    let rules = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
        {"allow": true, "type": "c", "major": 10, "access": "rw"},
        {"allow": true, "type": "b", "access": "m"},
    ]);
    let nodes = json!([
        {"type": "c", "path": "/dev/kmsg", "major": 1, "minor": 11},
        {"type": "c", "path": "/dev/port-like", "major": 1, "minor": 4},
        {"type": "b", "path": "/dev/block", "major": 7, "minor": 0},
    ]);
    let views = match Fact::CgroupV1("devices").holds() {
        true => &["", V2_VIEW][..],
        false => &[""],
    };
    for view in views {
        let container = with("devicerules", json!({"devices": rules}))
            .with_all_capabilities()
            .set("/linux/devices", nodes.clone())
            .script(
                "(: < /dev/kmsg) 2>&1 && echo kmsg read; (: > /dev/kmsg) 2>/dev/null || echo kmsg not written; \
                 (: < /dev/port-like) 2>/dev/null || echo port refused; (: < /dev/block) 2>&1; \
                 mknod /tmp/b b 7 1 && echo block made; mknod /tmp/c c 7 1 && echo char made; \
                 (: < /dev/null) && (: < /dev/zero) && (: < /dev/urandom) && echo defaults",
            );
        let run = if view.is_empty() {
            container.run()
        } else {
            // Without namespaces of its own for cgroups the mount would show the view's.
            container.in_private_mounts(view, &["run"])
        };
        let said = &run.stdout;
        for line in [
            "kmsg read",
            "kmsg not written",
            "port refused",
            "block made",
            "char made",
            "defaults",
        ] {
            assert!(said.contains(line), "{line:?} in view {view:?}: {run}");
        }
        assert!(
            said.contains("/dev/block: Operation not permitted"),
            "{view:?}: {run}"
        );
    }
}

#[test]
fn a_rule_that_v1_can_not_express_is_refused_there_and_enforced_on_v2() {
    needs!(Root);
    let rules = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "access": "rwm"},
        {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "w"},
    ]);
    let container = || {
        with("partialrule", json!({"devices": rules})).set(
            "/linux/devices",
            json!([{"type": "c", "path": "/dev/kmsg", "major": 1, "minor": 11}]),
        )
    };
    let is_v1 = Fact::CgroupV1("devices").holds();
    if is_v1 {
        let said = container().refused();
        assert!(said.contains("/linux/resources/devices/2"), "{said}");
    }
    let container = container()
        .with_all_capabilities()
        .script("(: < /dev/kmsg) && echo read; (: > /dev/kmsg) 2>/dev/null || echo not written");
    let view = if is_v1 { V2_VIEW } else { "" };
    let run = container.in_private_mounts(view, &["run"]).success();
    assert_eq!(run.stdout, "read\nnot written\n", "{run}");
}

#[test]
fn everything_is_allowed_to_who_is_allowed_everything() {
    needs!(Root, CgroupV1("devices"));
    let (_container, pid) = with(
        "alldevices",
        json!({"devices": [{"allow": true, "access": "rwm"}]}),
    )
    .sleeping();
    assert_eq!(read(pid, "devices", "devices.list"), "a *:* rwm");
}

#[test]
fn block_io_limits_are_in_their_files() {
    needs!(Root, CgroupV1("blkio"));
    let device = {
        let text = fs::read_to_string("/proc/partitions").expect("there is a procfs");
        let line = text
            .lines()
            .nth(2)
            .expect("there is a disk")
            .split_whitespace()
            .take(2);
        let numbers: Vec<u32> = line
            .map(|number| number.parse().expect("a number"))
            .collect();
        (numbers[0], numbers[1])
    };
    let (major, minor) = device;
    let throttle = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let (_container, pid) = with(
        "blkio",
        json!({"blockIO": {
            "throttleReadBpsDevice": throttle(1_000_000), "throttleWriteBpsDevice": throttle(2_000_000),
            "throttleReadIOPSDevice": throttle(300), "throttleWriteIOPSDevice": throttle(400),
        }}),
    )
    .sleeping();
    for (file, rate) in [
        ("blkio.throttle.read_bps_device", 1_000_000),
        ("blkio.throttle.write_bps_device", 2_000_000),
        ("blkio.throttle.read_iops_device", 300),
        ("blkio.throttle.write_iops_device", 400),
    ] {
        assert_eq!(read(pid, "blkio", file), format!("{major}:{minor} {rate}"));
    }
}

#[test]
fn huge_pages_are_limited_where_there_is_a_controller() {
    needs!(Root);
    let unified = "/sys/fs/cgroup/unified";
    let has = fs::read_to_string(format!("{unified}/cgroup.controllers"))
        .is_ok_and(|list| list.contains("hugetlb"));
    let limits = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]});
    if !has {
        return;
    }
    for view in ["", V2_VIEW] {
        let container = with("hugepages", limits.clone()).args(&["sleep", "1000"]);
        container
            .in_private_mounts(view, &["run", "--detach"])
            .succeeded();
        let directory = Path::new(unified).join(container.marker.as_str());
        let limit = fs::read_to_string(directory.join("hugetlb.2MB.max")).expect("it is there");
        assert_eq!(limit.trim(), (4 << 20).to_string(), "{view:?}");
        container
            .call_in_private_mounts(view, &["delete", "--force", container.id()])
            .succeeded();
    }
    let said = with(
        "oddpages",
        json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}),
    )
    .refused();
    assert!(said.contains("3MB"), "{said}");
}

#[test]
fn unified_is_for_v2() {
    needs!(Root, CgroupV1("memory"));
    let container = with("unified", json!({"unified": {"memory.high": "10000000"}})).script("true");
    let run = container.in_private_mounts(V1_VIEW, &["run"]);
    assert_eq!(run.code, 1, "{run}");
    assert!(run.stderr.contains("unified"), "{run}");
    let container = with("unified", json!({"unified": {"memory.high": "10000000"}})).script("true");
    let run = container.in_private_mounts(V2_VIEW, &["run"]);
    assert_eq!(
        run.code, 1,
        "this host's cgroup2 has no memory controller: {run}"
    );
    assert!(run.stderr.contains("memory"), "{run}");
    let container = with("unified", json!({"unified": {"cgroup.max.depth": "3"}}))
        .script("cat /sys/fs/cgroup/cgroup.max.depth");
    let run = container.in_private_mounts(V2_VIEW, &["run"]).success();
    assert_eq!(run.stdout, "3\n");
}

#[test]
fn a_controller_that_is_not_there_is_an_error_that_names_the_property() {
    needs!(Root, CgroupV1("memory"));
    let container = with("nocontroller", json!({"memory": {"limit": 64 << 20}})).script("true");
    let run = container.in_private_mounts(V2_VIEW, &["run"]);
    assert_eq!(run.code, 1, "{run}");
    assert!(run.stderr.contains("/linux/resources/memory"), "{run}");
    let said = with("nettoday", json!({"network": {"classID": 1}})).refused();
    assert!(said.contains("/linux/resources/network"), "{said}");
}

#[test]
fn limits_too_low_for_init_say_so() {
    needs!(Root, CgroupV1("memory"));
    let said = with("lowmemory", json!({"memory": {"limit": 4096}})).refused();
    assert!(said.contains("memory"), "{said}");
}

/// The mounts below `/sys/fs/cgroup` and what the container sees of its own cgroup.
const LOOK: &str = "cat /proc/self/mountinfo; echo; cat /proc/self/cgroup; echo; \
    mkdir /sys/fs/cgroup/made 2>/dev/null && echo made top; \
    mkdir /sys/fs/cgroup/memory/made 2>/dev/null && echo made v1; rmdir /sys/fs/cgroup/memory/made 2>/dev/null; \
    mkdir /sys/fs/cgroup/unified/made 2>/dev/null && echo made v2; rmdir /sys/fs/cgroup/unified/made 2>/dev/null; \
    rmdir /sys/fs/cgroup/made 2>/dev/null; cat /sys/fs/cgroup/memory/tasks /sys/fs/cgroup/cgroup.procs 2>/dev/null | wc -l; \
    ls -d /sys/fs/cgroup/*/process_api /sys/fs/cgroup/process_api 2>/dev/null; true";

fn cgroup_mount(view: &str, namespace: bool, writable: bool) -> (String, MountInfo, Container) {
    let container = Container::new("cgroupmount");
    let mut mounts = container.bundle().config()["mounts"].clone();
    for mount in mounts.as_array_mut().expect("there is a list") {
        if mount["type"] == "cgroup" {
            let access = if writable { "rw" } else { "ro" };
            mount["options"] = json!(["nosuid", "noexec", "nodev", "relatime", access]);
        }
    }
    let mut container = container
        .set("/mounts", mounts)
        .script(LOOK)
        .with_all_capabilities();
    if namespace {
        container = container.with_namespace("cgroup");
    }
    let run = container.in_private_mounts(view, &["run"]).success();
    let (mounts, rest) = run.stdout.split_once("\n\n").expect("it has printed both");
    (rest.to_owned(), MountInfo::parse(mounts), container)
}

#[test]
fn cgroup_mounts_show_the_containers_own_cgroup_and_never_the_hosts() {
    needs!(Root, CgroupV1("memory"));
    for view in ["true", V1_VIEW, V2_VIEW] {
        for namespace in [false, true] {
            for writable in [false, true] {
                let case = format!("{view}, namespace {namespace}, writable {writable}");
                let (rest, mounts, container) = cgroup_mount(view, namespace, writable);
                let v2 = view == V2_VIEW;
                let top = mounts.at("/sys/fs/cgroup");
                assert_eq!(top.kind, if v2 { "cgroup2" } else { "tmpfs" }, "{case}");
                let points: Vec<&str> = if v2 {
                    vec!["/sys/fs/cgroup"]
                } else {
                    vec![
                        "/sys/fs/cgroup/memory",
                        "/sys/fs/cgroup/pids",
                        "/sys/fs/cgroup/cpu",
                    ]
                };
                for point in points {
                    let mount = mounts.at(point);
                    let marker = container.marker.as_str();
                    let root = if namespace {
                        "/".to_owned()
                    } else {
                        format!("/{marker}")
                    };
                    assert_eq!(mount.root, root, "{case}: {mount:?}");
                    assert_eq!(mount.has("rw"), writable, "{case}: {mount:?}");
                    assert!(
                        mount.has("nosuid") && mount.has("noexec") && mount.has("nodev"),
                        "{case}: {mount:?}"
                    );
                }
                assert_eq!(
                    mounts.find("/sys/fs/cgroup/unified").is_some(),
                    view == "true",
                    "{case}"
                );
                assert_eq!(rest.contains("made v1"), writable && !v2, "{case}: {rest}");
                assert_eq!(
                    rest.contains("made v2"),
                    writable && view == "true",
                    "{case}: {rest}"
                );
                assert!(
                    !rest.contains("/sys/fs/cgroup/"),
                    "the host's cgroups are out of sight: {case}: {rest}"
                );
                let line = if v2 { "0::" } else { ":memory:" };
                let own = rest.lines().find(|found| found.contains(line));
                let own = own.unwrap_or_else(|| panic!("{line} in {rest}"));
                let marker = container.marker.as_str();
                assert_eq!(own.contains(marker), !namespace, "{case}: {own}");
                container
                    .call_in_private_mounts(view, &["delete", "--force", container.id()])
                    .succeeded();
            }
        }
    }
}

#[test]
fn a_read_only_v1_view_has_a_read_only_top() {
    needs!(Root, CgroupV1("memory"));
    let (rest, mounts, _container) = cgroup_mount(V1_VIEW, true, false);
    assert!(mounts.at("/sys/fs/cgroup").has("ro"));
    assert!(!rest.contains("made top"), "{rest}");
}

#[test]
fn what_a_container_makes_in_its_cgroup_is_removed_with_it() {
    needs!(Root, CgroupV1("memory"));
    let container = Container::new("nestedcgroups").with_namespace("cgroup");
    let mut mounts = container.bundle().config()["mounts"].clone();
    for mount in mounts.as_array_mut().expect("there is a list") {
        if mount["type"] == "cgroup" {
            mount["options"] = json!(["rw"]);
        }
    }
    let run = container.set("/mounts", mounts).script(
        "mkdir -p /sys/fs/cgroup/memory/a/b /sys/fs/cgroup/pids/c && (sleep 1000 & echo $! > /sys/fs/cgroup/memory/a/b/tasks); sleep 1000",
    );
    let pid = run.detached();
    let nested = directory(pid, "memory").join("a/b");
    eventually("the nested cgroup has a process", || {
        fs::read_to_string(nested.join("tasks")).is_ok_and(|text| !text.is_empty())
    });
}
