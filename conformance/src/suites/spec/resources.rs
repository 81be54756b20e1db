//! config-linux.md#control-groups: each limit, as the files of the container's cgroup have it.

use serde_json::{Value, json};

use super::Area;
use crate::case::{Case, Trouble, Verdict, failed, holds, skipped};
use crate::host;
use crate::scene::Scene;

const AREA: Area = Area("resources");
const PLACE: &str = "config-linux.md";

/// Where a limit is seen: controller, file, and what the file says (or has among its lines).
type File = (&'static str, &'static str, &'static str);

/// One limit.
struct Limit {
    name: &'static str,
    /// The heading of its section.
    heading: &'static str,
    /// The properties that it is about, below `linux.resources`.
    properties: &'static [&'static str],
    /// `linux.resources`. The string DISK stands for the device of a disk of this host.
    resources: &'static str,
    v1: Option<File>,
    v2: Option<File>,
}

const fn limit(
    name: &'static str,
    heading: &'static str,
    properties: &'static [&'static str],
    resources: &'static str,
    v1: Option<File>,
    v2: Option<File>,
) -> Limit {
    Limit {
        name,
        heading,
        properties,
        resources,
        v1,
        v2,
    }
}

/// Values are multiples of every page size.
const ALL: [Limit; 34] = [
    limit(
        "memory-limit",
        "memory",
        &["memory", "memory.limit"],
        r#"{"memory":{"limit":67108864}}"#,
        Some(("memory", "memory.limit_in_bytes", "67108864")),
        Some(("memory", "memory.max", "67108864")),
    ),
    limit(
        "memory-limit-unlimited",
        "memory",
        &["memory.limit"],
        r#"{"memory":{"limit":-1}}"#,
        Some(("memory", "memory.limit_in_bytes", "9223372036854771712")),
        Some(("memory", "memory.max", "max")),
    ),
    limit(
        "memory-reservation",
        "memory",
        &["memory.reservation"],
        r#"{"memory":{"reservation":33554432}}"#,
        Some(("memory", "memory.soft_limit_in_bytes", "33554432")),
        Some(("memory", "memory.low", "33554432")),
    ),
    limit(
        "memory-swap",
        "memory",
        &["memory.swap"],
        r#"{"memory":{"limit":67108864,"swap":134217728}}"#,
        Some(("memory", "memory.memsw.limit_in_bytes", "134217728")),
        Some(("memory", "memory.swap.max", "67108864")),
    ),
    limit(
        "memory-swap-unlimited",
        "memory",
        &["memory.swap"],
        r#"{"memory":{"limit":67108864,"swap":-1}}"#,
        Some((
            "memory",
            "memory.memsw.limit_in_bytes",
            "9223372036854771712",
        )),
        Some(("memory", "memory.swap.max", "max")),
    ),
    limit(
        "memory-kernel-tcp",
        "memory",
        &["memory.kernelTCP"],
        r#"{"memory":{"kernelTCP":33554432}}"#,
        Some(("memory", "memory.kmem.tcp.limit_in_bytes", "33554432")),
        None,
    ),
    limit(
        "memory-swappiness",
        "memory",
        &["memory.swappiness"],
        r#"{"memory":{"swappiness":37}}"#,
        Some(("memory", "memory.swappiness", "37")),
        None,
    ),
    limit(
        "memory-oom-killer-disabled",
        "memory",
        &["memory.disableOOMKiller"],
        r#"{"memory":{"disableOOMKiller":true}}"#,
        Some(("memory", "memory.oom_control", "oom_kill_disable 1")),
        None,
    ),
    limit(
        "memory-oom-killer-enabled",
        "memory",
        &["memory.disableOOMKiller"],
        r#"{"memory":{"limit":67108864,"disableOOMKiller":false}}"#,
        Some(("memory", "memory.oom_control", "oom_kill_disable 0")),
        Some(("memory", "memory.max", "67108864")),
    ),
    limit(
        "memory-hierarchy",
        "memory",
        &["memory.useHierarchy"],
        r#"{"memory":{"limit":67108864,"useHierarchy":true}}"#,
        Some(("memory", "memory.use_hierarchy", "1")),
        Some(("memory", "memory.max", "67108864")),
    ),
    limit(
        "memory-checked-before-update",
        "memory",
        &["memory.checkBeforeUpdate"],
        r#"{"memory":{"limit":67108864,"checkBeforeUpdate":true}}"#,
        Some(("memory", "memory.limit_in_bytes", "67108864")),
        Some(("memory", "memory.max", "67108864")),
    ),
    limit(
        "cpu-shares",
        "cpu",
        &["cpu", "cpu.shares"],
        r#"{"cpu":{"shares":512}}"#,
        Some(("cpu", "cpu.shares", "512")),
        Some(("cpu", "cpu.weight", ">1")),
    ),
    limit(
        "cpu-quota",
        "cpu",
        &["cpu.quota"],
        r#"{"cpu":{"quota":50000,"period":200000}}"#,
        Some(("cpu", "cpu.cfs_quota_us", "50000")),
        Some(("cpu", "cpu.max", "50000 200000")),
    ),
    limit(
        "cpu-quota-unlimited",
        "cpu",
        &["cpu.quota"],
        r#"{"cpu":{"quota":-1}}"#,
        Some(("cpu", "cpu.cfs_quota_us", "-1")),
        Some(("cpu", "cpu.max", "max 100000")),
    ),
    limit(
        "cpu-period",
        "cpu",
        &["cpu.period"],
        r#"{"cpu":{"quota":50000,"period":200000}}"#,
        Some(("cpu", "cpu.cfs_period_us", "200000")),
        Some(("cpu", "cpu.max", "50000 200000")),
    ),
    limit(
        "cpu-burst",
        "cpu",
        &["cpu.burst"],
        r#"{"cpu":{"quota":50000,"period":100000,"burst":20000}}"#,
        Some(("cpu", "cpu.cfs_burst_us", "20000")),
        Some(("cpu", "cpu.max.burst", "20000")),
    ),
    limit(
        "cpu-realtime-period",
        "cpu",
        &["cpu.realtimePeriod"],
        r#"{"cpu":{"realtimePeriod":900000}}"#,
        Some(("cpu", "cpu.rt_period_us", "900000")),
        None,
    ),
    limit(
        "cpu-realtime-runtime",
        "cpu",
        &["cpu.realtimeRuntime"],
        r#"{"cpu":{"realtimeRuntime":1000}}"#,
        Some(("cpu", "cpu.rt_runtime_us", "1000")),
        None,
    ),
    limit(
        "cpu-idle",
        "cpu",
        &["cpu.idle"],
        r#"{"cpu":{"idle":1}}"#,
        Some(("cpu", "cpu.idle", "1")),
        Some(("cpu", "cpu.idle", "1")),
    ),
    limit(
        "cpu-cpus",
        "cpu",
        &["cpu.cpus"],
        r#"{"cpu":{"cpus":"0"}}"#,
        Some(("cpuset", "cpuset.cpus", "0")),
        Some(("cpuset", "cpuset.cpus", "0")),
    ),
    limit(
        "cpu-mems",
        "cpu",
        &["cpu.mems"],
        r#"{"cpu":{"mems":"0"}}"#,
        Some(("cpuset", "cpuset.mems", "0")),
        Some(("cpuset", "cpuset.mems", "0")),
    ),
    limit(
        "block-weight",
        "block-io",
        &["blockIO", "blockIO.weight"],
        r#"{"blockIO":{"weight":321}}"#,
        Some(("blkio", "blkio.bfq.weight", "321")),
        Some(("io", "io.bfq.weight", "default 321")),
    ),
    limit(
        "block-weight-of-a-device",
        "block-io",
        &[
            "blockIO.weightDevice",
            "blockIO.weightDevice[]",
            "blockIO.weightDevice[].major",
            "blockIO.weightDevice[].minor",
            "blockIO.weightDevice[].weight",
        ],
        r#"{"blockIO":{"weightDevice":[{"DISK":0,"weight":432}]}}"#,
        Some(("blkio", "blkio.bfq.weight_device", "DISK 432")),
        Some(("io", "io.bfq.weight", "DISK 432")),
    ),
    limit(
        "block-leaf-weight",
        "block-io",
        &["blockIO.leafWeight"],
        r#"{"blockIO":{"leafWeight":321}}"#,
        Some(("blkio", "blkio.leaf_weight", "321")),
        None,
    ),
    limit(
        "block-leaf-weight-of-a-device",
        "block-io",
        &["blockIO.weightDevice[].leafWeight"],
        r#"{"blockIO":{"weightDevice":[{"DISK":0,"leafWeight":432}]}}"#,
        Some(("blkio", "blkio.leaf_weight_device", "DISK 432")),
        None,
    ),
    limit(
        "block-read-bytes",
        "block-io",
        &[
            "blockIO.throttleReadBpsDevice",
            "blockIO.throttleReadBpsDevice[]",
            "blockIO.throttleReadBpsDevice[].major",
            "blockIO.throttleReadBpsDevice[].minor",
            "blockIO.throttleReadBpsDevice[].rate",
        ],
        r#"{"blockIO":{"throttleReadBpsDevice":[{"DISK":0,"rate":1048576}]}}"#,
        Some(("blkio", "blkio.throttle.read_bps_device", "DISK 1048576")),
        Some((
            "io",
            "io.max",
            "DISK rbps=1048576 wbps=max riops=max wiops=max",
        )),
    ),
    limit(
        "block-write-bytes",
        "block-io",
        &[
            "blockIO.throttleWriteBpsDevice",
            "blockIO.throttleWriteBpsDevice[]",
            "blockIO.throttleWriteBpsDevice[].major",
            "blockIO.throttleWriteBpsDevice[].minor",
            "blockIO.throttleWriteBpsDevice[].rate",
        ],
        r#"{"blockIO":{"throttleWriteBpsDevice":[{"DISK":0,"rate":2097152}]}}"#,
        Some(("blkio", "blkio.throttle.write_bps_device", "DISK 2097152")),
        Some((
            "io",
            "io.max",
            "DISK rbps=max wbps=2097152 riops=max wiops=max",
        )),
    ),
    limit(
        "block-read-operations",
        "block-io",
        &[
            "blockIO.throttleReadIOPSDevice",
            "blockIO.throttleReadIOPSDevice[]",
            "blockIO.throttleReadIOPSDevice[].major",
            "blockIO.throttleReadIOPSDevice[].minor",
            "blockIO.throttleReadIOPSDevice[].rate",
        ],
        r#"{"blockIO":{"throttleReadIOPSDevice":[{"DISK":0,"rate":1001}]}}"#,
        Some(("blkio", "blkio.throttle.read_iops_device", "DISK 1001")),
        Some((
            "io",
            "io.max",
            "DISK rbps=max wbps=max riops=1001 wiops=max",
        )),
    ),
    limit(
        "block-write-operations",
        "block-io",
        &[
            "blockIO.throttleWriteIOPSDevice",
            "blockIO.throttleWriteIOPSDevice[]",
            "blockIO.throttleWriteIOPSDevice[].major",
            "blockIO.throttleWriteIOPSDevice[].minor",
            "blockIO.throttleWriteIOPSDevice[].rate",
        ],
        r#"{"blockIO":{"throttleWriteIOPSDevice":[{"DISK":0,"rate":1002}]}}"#,
        Some(("blkio", "blkio.throttle.write_iops_device", "DISK 1002")),
        Some((
            "io",
            "io.max",
            "DISK rbps=max wbps=max riops=max wiops=1002",
        )),
    ),
    limit(
        "pids-limit",
        "pids",
        &["pids", "pids.limit"],
        r#"{"pids":{"limit":321}}"#,
        Some(("pids", "pids.max", "321")),
        Some(("pids", "pids.max", "321")),
    ),
    limit(
        "pids-limit-unlimited",
        "pids",
        &["pids.limit"],
        r#"{"pids":{"limit":-1}}"#,
        Some(("pids", "pids.max", "max")),
        Some(("pids", "pids.max", "max")),
    ),
    limit(
        "hugepages",
        "huge-page-limits",
        &[
            "hugepageLimits",
            "hugepageLimits[]",
            "hugepageLimits[].pageSize",
            "hugepageLimits[].limit",
        ],
        r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#,
        Some(("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes", "4194304")),
        Some(("hugetlb", "hugetlb.2MB.rsvd.max", "4194304")),
    ),
    limit(
        "network-class",
        "network",
        &["network", "network.classID"],
        r#"{"network":{"classID":1048577}}"#,
        Some(("net_cls", "net_cls.classid", "1048577")),
        None,
    ),
    limit(
        "network-priorities",
        "network",
        &[
            "network.priorities",
            "network.priorities[]",
            "network.priorities[].name",
            "network.priorities[].priority",
        ],
        r#"{"network":{"priorities":[{"name":"lo","priority":7}]}}"#,
        Some(("net_prio", "net_prio.ifpriomap", "lo 7")),
        None,
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = ALL.into_iter().map(one).collect();
    cases.extend([
        AREA.case("memory-kernel", "config-linux.md#memory", "kernel sets a hard limit for kernel memory, and is not recommended: kernels no longer have it.", |scene| {
            if host::hierarchy("memory").is_none() {
                return skipped("this host has no memory controller");
            }
            scene.report(&scene.bundle().set("/linux/resources/memory", json!({ "kernel": -1 }))).map(drop)
        })
        .of("linux.resources.memory.kernel"),
        AREA.case("rdma", "config-linux.md#rdma", "rdma limits the handles and objects of a device.", rdma)
            .of("linux.resources.rdma").of("linux.resources.rdma.*").of("linux.resources.rdma.*.hcaHandles").of("linux.resources.rdma.*.hcaObjects"),
        AREA.case("unified", "config-linux.md#unified", "Each key refers to a file in the cgroup unified hierarchy, and is written to it.", unified)
            .of("linux.resources.unified").of("linux.resources.unified.*"),
        AREA.case("unified-of-a-missing-controller", "config-linux.md#unified", "The runtime must generate an error when the configuration refers to a controller that is not present.", |scene| {
            let bundle = scene.bundle().set("/linux/resources/unified", json!({ "nosuch.max": "1" }));
            scene.is_refused(&bundle).map(drop)
        }),
        AREA.case("resources-absent", "config-linux.md#cgroups-path", "Do not specify resources unless limits have to be updated: without it nothing is limited.", |scene| {
            scene.report(&scene.bundle().without("/linux/resources")).map(drop)
        })
        .of("linux.resources"),
        AREA.refuses("hugepages-of-an-unknown-size", "config-linux.md#huge-page-limits", "pageSize must match that of a control file.", "/linux/resources/hugepageLimits", json!([{ "pageSize": "3MB", "limit": 0 }])),
        AREA.refuses("cpus-that-are-missing", "runtime.md#create", "If the runtime cannot apply a property it must generate an error.", "/linux/resources/cpu", json!({ "cpus": "4000" })),
        AREA.refuses("cpu-quota-that-is-too-small", "runtime.md#create", "If the runtime cannot apply a property it must generate an error.", "/linux/resources/cpu", json!({ "quota": 1, "period": 100_000 })),
        AREA.refuses("block-throttle-of-a-missing-device", "runtime.md#create", "If the runtime cannot apply a property it must generate an error.", "/linux/resources/blockIO", json!({ "throttleReadBpsDevice": [{ "major": 4000, "minor": 4000, "rate": 1 }] })),
        AREA.case("limit-holds", "config-linux.md#pids", "pids.limit is the maximum number of tasks in the cgroup.", limit_holds),
    ]);
    let missing = [
        ("memory", r#"{"memory":{"limit":67108864}}"#),
        ("pids", r#"{"pids":{"limit":321}}"#),
        ("cpu", r#"{"cpu":{"shares":512}}"#),
        ("cpuset", r#"{"cpu":{"cpus":"0"}}"#),
        (
            "hugetlb",
            r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#,
        ),
        ("net_cls", r#"{"network":{"classID":1048577}}"#),
        (
            "net_prio",
            r#"{"network":{"priorities":[{"name":"lo","priority":7}]}}"#,
        ),
        ("rdma", r#"{"rdma":{"mlx5_1":{"hcaHandles":3}}}"#),
    ];
    cases.extend(missing.map(|(controller, resources)| without_controller(controller, resources)));
    cases
}

fn one(limit: Limit) -> Case {
    let place = format!("{PLACE}#{}", limit.heading);
    let sentence = format!(
        "{}: the limit is what the container's cgroup has.",
        limit.properties.last().unwrap_or(&"")
    );
    let properties = limit.properties;
    let case = AREA.case(limit.name, &place, &sentence, move |scene| {
        is_set(scene, &limit)
    });
    properties.iter().fold(case, |case, property| {
        case.of(&format!("linux.resources.{property}"))
    })
}

fn is_set(scene: &Scene<'_>, limit: &Limit) -> Verdict {
    let Some((controller, file, expected)) = seen_at(limit) else {
        return skipped("the cgroups of this host have no such limit");
    };
    if !host::has_cgroup_file(controller, file, scene.marker()) {
        return skipped(format!("no {file} in this host's cgroups"));
    }
    if limit.name == "block-weight-of-a-device" && !host::disk().is_some_and(host::has_weights) {
        return skipped("no I/O scheduler of this host's disk knows weights");
    }
    let (resources, expected) = with_disk(limit.resources, expected)?;
    let bundle = scene
        .bundle()
        .does(&["wait"])
        .set("/linux/resources", resources);
    scene.start(&bundle)?;
    let Some(cgroup) = host::cgroup(scene.runtime().pid(bundle.id()), controller) else {
        return failed(format!("a cgroup of {controller}"), "none");
    };
    let text = std::fs::read_to_string(cgroup.join(file)).unwrap_or_default();
    let says_it = match expected.strip_prefix('>') {
        Some(least) => text.trim().parse::<u64>().ok() > least.parse().ok() && text.trim() != "100",
        None => text.lines().any(|line| line.trim() == expected),
    };
    holds(says_it, &format!("{file}: {expected}"), text.trim())
}

/// Where it is seen on this host, by the version of the controller's hierarchy.
fn seen_at(limit: &Limit) -> Option<File> {
    let of = |file: Option<File>, is_v2: bool| {
        file.filter(|(controller, ..)| {
            host::hierarchy(controller)
                .is_some_and(|hierarchy| host::is_cgroup2(&hierarchy) == is_v2)
        })
    };
    of(limit.v2, true).or(of(limit.v1, false))
}

/// The resources and what is expected, with the numbers of a disk for DISK.
fn with_disk(resources: &str, expected: &str) -> Result<(Value, String), Trouble> {
    let (major, minor) = match (resources.contains("DISK"), host::disk()) {
        (true, None) => return skipped("this host has no disk to limit"),
        (_, disk) => disk.unwrap_or_default(),
    };
    let resources = resources.replace(
        r#""DISK":0"#,
        &format!(r#""major":{major},"minor":{minor}"#),
    );
    let resources = serde_json::from_str(&resources).expect("the table has JSON");
    Ok((
        resources,
        expected.replace("DISK", &format!("{major}:{minor}")),
    ))
}

fn without_controller(controller: &'static str, resources: &'static str) -> Case {
    AREA.case(format!("without-{}", controller.replace('_', "-")), "runtime.md#create", "If the runtime cannot apply a property as specified, it must generate an error and must not create a container.", move |scene| {
        if host::hierarchy(controller).is_some() {
            return skipped(format!("this host has the controller {controller}"));
        }
        let (resources, _) = with_disk(resources, "")?;
        scene.is_refused(&scene.bundle().set("/linux/resources", resources)).map(drop)
    })
}

fn rdma(scene: &Scene<'_>) -> Verdict {
    let Some(hierarchy) = host::hierarchy("rdma") else {
        return skipped("this host has no rdma controller");
    };
    let devices = std::fs::read_dir("/sys/class/infiniband")
        .into_iter()
        .flatten()
        .flatten();
    let Some(device) = devices
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .next()
    else {
        return skipped("this host has no RDMA device");
    };
    let limits = json!({ device.as_str(): { "hcaHandles": 3, "hcaObjects": 1000 } });
    let bundle = scene
        .bundle()
        .does(&["wait"])
        .set("/linux/resources/rdma", limits);
    scene.start(&bundle)?;
    let text =
        std::fs::read_to_string(hierarchy.join(bundle.id()).join("rdma.max")).unwrap_or_default();
    let expected = format!("{device} hca_handle=3 hca_object=1000");
    holds(text.contains(&expected), &expected, text)
}

fn unified(scene: &Scene<'_>) -> Verdict {
    if !host::has_cgroup2() {
        return skipped("cgroup v2 is not at /sys/fs/cgroup");
    }
    // A file of the core, which no controller is needed for.
    let bundle = scene.bundle().does(&["wait"]).set(
        "/linux/resources/unified",
        json!({ "cgroup.max.descendants": "17" }),
    );
    scene.start(&bundle)?;
    let path = format!("/sys/fs/cgroup/{}/cgroup.max.descendants", bundle.cgroup());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    holds(text.trim() == "17", "cgroup.max.descendants: 17", text)
}

fn limit_holds(scene: &Scene<'_>) -> Verdict {
    if host::hierarchy("pids").is_none() {
        return skipped("this host has no pids controller");
    }
    // A runtime may have a few threads of its own before the program takes their place.
    let bundle = scene
        .bundle()
        .set("/linux/resources/pids", json!({ "limit": 40 }));
    let tried = scene.tries(bundle, &["children:100"])?;
    let made = tried["children:100"].as_u64().unwrap_or(100);
    holds(made < 40, "less than 40 children", made)
}
