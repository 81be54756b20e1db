//! Units from config.json's text on hosts of each kind.

use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::quantity::{bits, quota};
use super::text::{Kind, parse};
use super::*;
use crate::host::{CgroupLayout, CgroupMount, Machine};
use crate::plan::cgroup::{CgroupPlan, Limit};

fn mount(controllers: &[&str], mount_point: &str, own_path: &str) -> CgroupMount {
    CgroupMount {
        controllers: controllers.iter().map(ToString::to_string).collect(),
        mount_point: mount_point.into(),
        own_path: own_path.into(),
    }
}

fn host(cgroups: CgroupLayout) -> Host {
    Host {
        euid: 0,
        egid: 0,
        in_user_namespace: false,
        may_make_cgroups: true,
        may_set_groups: true,
        kernel: (6, 1),
        last_capability: 40,
        capability_bounds: u64::MAX,
        machine: Machine::X86_64,
        cgroups,
        apparmor: false,
        selinux: false,
    }
}

fn v2_at(own_path: &str) -> Host {
    let all = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];
    host(CgroupLayout::V2(mount(&all, "/sys/fs/cgroup", own_path)))
}

fn v2() -> Host {
    v2_at("/system.slice/containerd.service")
}

fn v1() -> Host {
    let all = [
        "cpu",
        "cpuset",
        "memory",
        "devices",
        "blkio",
        "pids",
        "name=systemd",
    ];
    host(CgroupLayout::V1 {
        hierarchies: all
            .map(|name| mount(&[name], &format!("/sys/fs/cgroup/{name}"), "/"))
            .to_vec(),
        unified: None,
    })
}

fn user(own_path: &str) -> Host {
    Host {
        euid: 1000,
        egid: 1000,
        ..v2_at(own_path)
    }
}

fn try_plan(config: &Json, host: &Host) -> Result<CgroupPlan, Vec<String>> {
    let text = config.to_string();
    let spec: Spec<'_> = serde_json::from_str(&text).unwrap();
    let mut violations = Violations::default();
    let driver = CgroupDriver::Systemd;
    let id = "box".parse().unwrap();
    let plan = crate::plan::cgroup::plan(&spec, &id, host, driver, &mut violations);
    if violations.is_empty() {
        Ok(plan)
    } else {
        Err(violations.0.iter().map(ToString::to_string).collect())
    }
}

fn at(path: &str, host: &Host) -> Result<CgroupPlan, Vec<String>> {
    try_plan(&json!({ "linux": { "cgroupsPath": path } }), host)
}

fn properties(plan: &CgroupPlan) -> Vec<String> {
    let unit = plan.unit.as_ref().unwrap();
    unit.properties.iter().map(ToString::to_string).collect()
}

fn with_resources(resources: &Json, host: &Host) -> Result<Vec<String>, Vec<String>> {
    let config = json!({ "linux": { "resources": resources } });
    try_plan(&config, host).map(|plan| properties(&plan))
}

fn annotated(name: &str, value: &str) -> Result<Vec<String>, Vec<String>> {
    let key = format!("org.systemd.property.{name}");
    let resources = json!({ "memory": { "limit": 1 << 20 } });
    let config = json!({ "annotations": { key: value }, "linux": { "resources": resources } });
    try_plan(&config, &v2()).map(|plan| properties(&plan))
}

fn all_limits() -> Json {
    json!({
        "memory": { "limit": 64 << 20, "reservation": 32 << 20, "swap": 64 << 20 },
        "cpu": { "shares": 512, "quota": 25_000, "period": 50_000, "cpus": "0-1,9", "mems": "0" },
        "pids": { "limit": 32 },
        "blockIO": { "weight": 500 },
        "devices": [
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 195, "access": "rw" },
            { "allow": true, "type": "b", "major": 8, "minor": 0, "access": "r" },
        ],
    })
}

#[test]
fn a_unit_on_cgroup_v2() {
    let config = json!({
        "annotations": {
            "org.systemd.property.TimeoutStopUSec": "uint64 123456789",
            "org.systemd.property.CollectMode": "'inactive'",
            "org.systemd.property.After": "['crio.service']",
            "other": "left alone",
        },
        "linux": { "cgroupsPath": "machine-a.slice:cri:box", "resources": all_limits() },
    });
    let plan = try_plan(&config, &v2()).unwrap();
    assert_snapshot!(plan.words().join("\n"));
}

#[test]
fn a_unit_on_cgroup_v1() {
    let config = json!({ "linux": { "resources": all_limits() } });
    let plan = try_plan(&config, &v1()).unwrap();
    assert_snapshot!(plan.words().join("\n"));
}

#[test]
fn a_unit_as_json() {
    let plan = at("", &user("/user.slice/user-1000.slice/session-3.scope")).unwrap();
    assert_snapshot!(serde_json::to_string_pretty(&plan.unit).unwrap());
}

#[test]
fn names_and_places_are_runcs() {
    let service = "/user.slice/user-1000.slice/user@1000.service/app.slice/docker.service";
    let session = "/user.slice/user-1000.slice/session-3.scope";
    let manager = "user.slice/user-1000.slice/user@1000.service";
    for (host, path, unit, slice, place) in [
        (
            v2(),
            "",
            "tare-box.scope",
            "system.slice",
            "system.slice/tare-box.scope".to_owned(),
        ),
        (
            v2(),
            ":docker:abc",
            "docker-abc.scope",
            "system.slice",
            "system.slice/docker-abc.scope".into(),
        ),
        (
            v2(),
            "a-b.slice:cri:x",
            "cri-x.scope",
            "a-b.slice",
            "a.slice/a-b.slice/cri-x.scope".into(),
        ),
        (v2(), "-:p:x", "p-x.scope", "-.slice", "p-x.scope".into()),
        (
            v2(),
            "a.slice:p:a-x.slice",
            "a-x.slice",
            "a.slice",
            "a.slice/a-x.slice".into(),
        ),
        (
            user(service),
            "",
            "tare-box.scope",
            "user.slice",
            format!("{manager}/user.slice/tare-box.scope"),
        ),
        (
            user(session),
            "user.slice:libpod:x",
            "libpod-x.scope",
            "user.slice",
            format!("{manager}/user.slice/libpod-x.scope"),
        ),
        (
            user("/"),
            ":p:x",
            "p-x.scope",
            "user.slice",
            format!("{manager}/user.slice/p-x.scope"),
        ),
    ] {
        let plan = at(path, &host).unwrap();
        let planned = plan.unit.unwrap();
        assert_eq!((&*planned.name, &*planned.slice), (unit, slice), "{path}");
        assert_eq!(plan.path, CgroupPath::BelowMount(place), "{path}");
    }
}

#[test]
fn root_in_a_users_namespace_asks_the_users_systemd_and_else_the_machines() {
    let inside = |own_path| Host {
        in_user_namespace: true,
        ..v2_at(own_path)
    };
    let below_user = inside("/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope");
    assert_eq!(
        at("", &below_user).unwrap().unit.unwrap().manager,
        Manager::User
    );
    let machine = inside("/init.scope");
    assert_eq!(
        at("", &machine).unwrap().unit.unwrap().manager,
        Manager::System
    );
}

#[test]
fn paths_of_another_form_are_refused_in_runcs_words() {
    let refused = |path: &str| at(path, &v2()).unwrap_err().join("; ");
    for path in ["/system.slice/x", "a:b", "a:b:c:d", "x"] {
        let said = refused(path);
        let text =
            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got ";
        assert!(
            said.starts_with(&format!("/linux/cgroupsPath: {text}")),
            "{said}"
        );
    }
    for path in [
        "system:p:x",
        "a/b.slice:p:x",
        "../x.slice:p:x",
        "-a.slice:p:x",
        "a--b.slice:p:x",
        ".slice:p:x",
        ":p:../../x",
        ":p:a b",
        ":p:a\nb",
        ":p:a+b",
        ":p:",
        ":p:-.slice",
        ":p:a/b.slice",
    ] {
        let said = refused(path);
        assert!(said.starts_with("/linux/cgroupsPath: "), "{path}: {said}");
    }
    let long = format!(":p:{}", "x".repeat(255));
    assert!(refused(&long).contains("longer than 255 bytes"));
}

#[test]
fn a_user_needs_cgroup_v2() {
    let host = Host { euid: 1000, ..v1() };
    let said = at("", &host).unwrap_err().join("; ");
    assert!(said.contains("needs a host with cgroup v2 only"), "{said}");
}

#[test]
fn a_quota_is_told_as_time_in_each_second_rounded_up_to_whole_percents() {
    for (share, period, told) in [
        (
            Some(Limit::At(50_000)),
            None,
            "CPUQuotaPerSecUSec=uint64 500000",
        ),
        (
            Some(Limit::At(12_345)),
            Some(1_000_000),
            "CPUQuotaPerSecUSec=uint64 20000 CPUQuotaPeriodUSec=uint64 1000000",
        ),
        (
            Some(Limit::Unlimited),
            None,
            "CPUQuotaPerSecUSec=uint64 18446744073709551615",
        ),
        (None, Some(20_000), "CPUQuotaPeriodUSec=uint64 20000"),
        (None, None, ""),
    ] {
        let words: Vec<String> = quota(share, period)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(words.join(" "), told);
    }
}

#[test]
fn unified_files_that_systemd_writes_too_are_told_to_it() {
    let told = with_resources(
        &json!({ "unified": {
            "memory.high": "max", "memory.min": "4096", "cpu.max": "max 20000", "cpu.weight": "7",
            "cpuset.cpus": "1", "pids.max": "9", "io.weight": "default 50",
            "memory.oom.group": "1", "io.max": "8:0 rbps=1",
        }}),
        &v2(),
    )
    .unwrap();
    for property in [
        "MemoryHigh=uint64 18446744073709551615",
        "MemoryMin=uint64 4096",
        "CPUQuotaPerSecUSec=uint64 18446744073709551615",
        "CPUQuotaPeriodUSec=uint64 20000",
        "CPUWeight=uint64 7",
        "AllowedCPUs=[0x02]",
        "TasksMax=uint64 9",
        "IOWeight=uint64 50",
    ] {
        assert!(told.iter().any(|p| p == property), "{property} of {told:?}");
    }
}

#[test]
fn what_cant_be_told_is_refused_by_the_propertys_name() {
    for (resources, pointer) in [
        (
            json!({ "cpu": { "cpus": "0-7:1/2" } }),
            "/linux/resources/cpu/cpus: ",
        ),
        (
            json!({ "cpu": { "mems": "99999" } }),
            "/linux/resources/cpu/mems: ",
        ),
        (
            json!({ "unified": { "cpu.weight": "0" } }),
            "/linux/resources/unified/cpu.weight: ",
        ),
        (
            json!({ "unified": { "memory.max": "1G" } }),
            "/linux/resources/unified/memory.max: ",
        ),
        (
            json!({ "unified": { "cpu.max": "1 2 3" } }),
            "/linux/resources/unified/cpu.max: ",
        ),
    ] {
        let said = with_resources(&resources, &v2()).unwrap_err();
        assert!(said[0].starts_with(pointer), "{said:?}");
    }
}

#[test]
fn no_process_at_all_is_the_least_that_systemd_knows() {
    let told = with_resources(&json!({ "pids": { "limit": 0 } }), &v2()).unwrap();
    assert!(told.iter().any(|p| p == "TasksMax=uint64 1"), "{told:?}");
}

#[test]
fn device_rules_that_systemd_cant_say_are_wider_on_v2_and_refused_on_v1() {
    let rules = |rules: Json| json!({ "devices": rules });
    let all = json!({ "allow": true, "access": "rwm" });
    let none = json!({ "allow": false, "access": "rwm" });
    let any_major = json!({ "allow": true, "type": "c", "minor": 5, "access": "r" });
    let but_one = json!({ "allow": false, "type": "b", "major": 8, "minor": 0, "access": "rwm" });
    let part = json!({ "allow": false, "type": "c", "major": 1, "access": "rwm" });
    let has = |told: &[String], policy: &str, entry: &str| {
        let list = told.iter().find(|p| p.starts_with("DeviceAllow=")).unwrap();
        assert!(
            told.contains(&format!("DevicePolicy='{policy}'")),
            "{told:?}"
        );
        assert!(list.contains(entry), "{list}");
    };
    let wider = with_resources(&rules(json!([none, any_major])), &v2()).unwrap();
    has(&wider, "strict", "('char-*', 'rm')");
    let open = with_resources(&rules(json!([all])), &v1()).unwrap();
    has(&open, "auto", "@a(ss) []");
    let open_but = with_resources(&rules(json!([all, but_one])), &v2()).unwrap();
    has(&open_but, "auto", "@a(ss) []");
    let narrower = json!([none, { "allow": true, "type": "c", "access": "rw" }, part]);
    let narrower = with_resources(&rules(narrower), &v2()).unwrap();
    has(&narrower, "strict", "('char-*', 'rwm')");
    for list in [json!([none, any_major]), json!([all, but_one])] {
        let said = with_resources(&rules(list), &v1()).unwrap_err();
        assert!(
            said[0].starts_with("/linux/resources/devices: systemd can't keep"),
            "{said:?}"
        );
    }
}

#[test]
fn annotations_reach_the_unit_with_the_type_that_systemd_wants() {
    for (name, value, told) in [
        ("TimeoutStopUSec", "uint64 5", "TimeoutStopUSec=uint64 5"),
        ("TimeoutStopUSec", "5", "TimeoutStopUSec=uint64 5"),
        ("TimeoutStopSec", "5", "TimeoutStopUSec=uint64 5000000"),
        ("TimeoutStopSec", "0.25", "TimeoutStopUSec=uint64 250000"),
        ("KillSignal", "37", "KillSignal=37"),
        ("CollectMode", "'inactive'", "CollectMode='inactive'"),
        ("DefaultDependencies", "true", "DefaultDependencies=true"),
        ("Delegate", "boolean true", "Delegate=true"),
        ("Before", "@as []", "Before=@as []"),
        ("AllowedCPUs", "[byte 0x03, 1]", "AllowedCPUs=[0x03, 0x01]"),
        ("MemoryMax", "uint64 1048576", "MemoryMax=uint64 1048576"),
    ] {
        let properties = annotated(name, value).unwrap();
        assert!(
            properties.iter().any(|p| p == told),
            "{told}: {properties:?}"
        );
        let mut names: Vec<&str> = properties
            .iter()
            .filter_map(|p| p.split('=').next())
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(
            names.len(),
            properties.len(),
            "a name twice: {properties:?}"
        );
    }
}

#[test]
fn annotations_that_reach_beyond_the_unit_are_refused() {
    for name in [
        "SuccessAction",
        "FailureAction",
        "JobTimeoutAction",
        "RebootArgument",
        "OnFailure",
        "Wants",
        "Requires",
        "Conflicts",
        "BindsTo",
        "PropagatesStopTo",
        "ExecStopPost",
        "BPFProgram",
        "IPIngressFilterPath",
        "PIDs",
        "Slice",
        "Description",
        "DeviceAllow",
        "DevicePolicy",
        "User",
        "Group",
        "Controller",
        "AddRef",
        "JoinsNamespaceOf",
        "RequiresMountsFor",
        "Markers",
        "",
        "../x",
        "Memory Max",
        "memorymax",
        "Sec",
        "USec",
    ] {
        for value in ["'x'", "true", "uint64 1", "['x']"] {
            let said = annotated(name, value).unwrap_err().join("; ");
            assert!(
                said.starts_with("/annotations/org.systemd.property."),
                "{name}: {said}"
            );
            assert!(
                said.contains("is no property that an annotation may set"),
                "{name}: {said}"
            );
        }
    }
}

#[test]
fn annotations_of_a_wrong_type_or_against_the_limits_are_refused() {
    for (name, value, why) in [
        (
            "TimeoutStopUSec",
            "'5'",
            "is no GVariant text of type uint64",
        ),
        ("TimeoutStopUSec", "-5", "is no GVariant text"),
        (
            "TimeoutStopUSec",
            "99999999999999999999",
            "is no GVariant text",
        ),
        (
            "TimeoutStopSec",
            "18446744073709551615",
            "number of seconds",
        ),
        ("TimeoutStopSec", "1.", "number of seconds"),
        (
            "CollectMode",
            "inactive",
            "is no GVariant text of type string",
        ),
        ("CollectMode", "'a' 'b'", "is no GVariant text"),
        ("CollectMode", "'a\nExecStart=/x'", "is no GVariant text"),
        ("CollectMode", r"'a\nb'", "is no GVariant text"),
        ("After", "['a', ]", "is no GVariant text"),
        ("After", "['a'", "is no GVariant text"),
        ("Delegate", "false", "must be true"),
        (
            "MemoryMax",
            "uint64 5",
            "contradicts linux.resources, by which MemoryMax=uint64 1048576",
        ),
    ] {
        let said = annotated(name, value).unwrap_err().join("; ");
        assert!(said.contains(why), "{name}={value}: {said}");
    }
    let twice = json!({ "annotations": {
        "org.systemd.property.RuntimeMaxSec": "1",
        "org.systemd.property.RuntimeMaxUSec": "uint64 2",
    }});
    assert!(try_plan(&twice, &v2()).unwrap_err()[0].contains("a second time"));
}

#[test]
fn without_systemd_annotations_and_paths_mean_nothing_of_it() {
    let config = json!({
        "annotations": { "org.systemd.property.SuccessAction": "'reboot'" },
        "linux": { "cgroupsPath": "/a/b" },
    });
    let text = config.to_string();
    let spec: Spec<'_> = serde_json::from_str(&text).unwrap();
    let mut violations = Violations::default();
    let id = "box".parse().unwrap();
    let driver = CgroupDriver::Filesystem;
    let plan = crate::plan::cgroup::plan(&spec, &id, &v2(), driver, &mut violations);
    assert_eq!((plan.unit, violations), (None, Violations::default()));
}

proptest! {
    #[test]
    fn a_list_has_the_bits_that_it_names(numbers in proptest::collection::btree_set(0_usize..8192, 1..40)) {
        let list = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let Some(Value::Bytes(bytes)) = bits(&list) else {
            return Err(TestCaseError::fail("no bits"));
        };
        let found: std::collections::BTreeSet<usize> = (0..bytes.len() * 8)
            .filter(|bit| bytes[bit / 8] & (1 << (bit % 8)) != 0)
            .collect();
        prop_assert_eq!(found, numbers);
        prop_assert_ne!(bytes.last(), Some(&0));
    }

    #[test]
    fn a_quota_is_never_told_smaller_than_it_is(share in 1000_u64..1 << 40, period in 1000_u64..1_000_000) {
        let told = quota(Some(Limit::At(share)), Some(period));
        let Value::Uint64(per_second) = told[0].value else {
            return Err(TestCaseError::fail("no number"));
        };
        let exact = u128::from(share) * 1_000_000;
        prop_assert!(u128::from(per_second) * u128::from(period) >= exact);
        prop_assert!(u128::from(per_second - 10_000) * u128::from(period) < exact);
    }

    #[test]
    fn a_value_comes_back_from_its_text(
        number in any::<u64>(), signed in any::<i32>(), flag in any::<bool>(),
        texts in proptest::collection::vec("[ -~äöü]{0,12}", 0..5),
        bytes in proptest::collection::vec(any::<u8>(), 0..9),
    ) {
        for (value, kind) in [
            (Value::Uint64(number), Kind::Uint64),
            (Value::Int32(signed), Kind::Int32),
            (Value::Bool(flag), Kind::Bool),
            (Value::Text(texts.concat()), Kind::Text),
            (Value::Texts(texts), Kind::Texts),
            (Value::Bytes(bytes), Kind::Bytes),
        ] {
            prop_assert_eq!(parse(&value.to_string(), kind), Some(value));
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,40}", name in "[A-Za-z]{0,12}") {
        for kind in [Kind::Bool, Kind::Int32, Kind::Uint64, Kind::Text, Kind::Texts, Kind::Bytes] {
            drop(parse(&text, kind));
        }
        drop(annotated(&name, &text));
    }
}
