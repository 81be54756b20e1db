//! Plans as wholes: data in, data out.

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::default_spec::{default_config, rootless_config};
use super::{ContentAct, Plan, PlanOptions, ProcessPlan};
use crate::bundle;
use crate::host::{CgroupLayout, CgroupMount, Host, Machine};
use crate::spec::{Process, Spec};
use crate::violation::Violations;

const ENGINE: &str = include_str!("../../tests/data/engine.json");
const MAXIMAL: &str = include_str!("../../tests/data/maximal.json");
const MINIMAL: &str = include_str!("../../tests/data/minimal.json");

/// A root runtime on a cgroup v2 host, without CAP_SYS_RESOURCE.
pub(super) fn host() -> Host {
    Host {
        euid: 0,
        egid: 0,
        in_user_namespace: false,
        may_make_cgroups: true,
        may_set_groups: true,
        kernel: (6, 18),
        last_capability: 40,
        capability_bounds: ((1 << 41) - 1) & !(1 << 24),
        machine: Machine::X86_64,
        cgroups: CgroupLayout::V2(hierarchy(&["cpu", "memory", "pids"], "")),
        apparmor: false,
        selinux: false,
    }
}

fn hierarchy(controllers: &[&str], name: &str) -> CgroupMount {
    CgroupMount {
        controllers: controllers.iter().map(ToString::to_string).collect(),
        mount_point: format!("/sys/fs/cgroup{name}"),
        own_path: "/user.slice".into(),
    }
}

fn hybrid_host() -> Host {
    let hierarchies = vec![
        hierarchy(&["cpu", "cpuacct"], "/cpu,cpuacct"),
        hierarchy(&["memory"], "/memory"),
        hierarchy(&["name=systemd"], "/systemd"),
    ];
    let unified = Some(hierarchy(&["hugetlb"], "/unified"));
    Host {
        cgroups: CgroupLayout::V1 {
            hierarchies,
            unified,
        },
        ..host()
    }
}

fn secured_host() -> Host {
    Host {
        apparmor: true,
        selinux: true,
        ..host()
    }
}

fn unprivileged_host() -> Host {
    Host {
        euid: 1000,
        egid: 100,
        capability_bounds: 0,
        ..host()
    }
}

fn try_plan(text: &str, host: &Host, options: &PlanOptions) -> Result<Plan, Violations> {
    let spec: Spec<'_> = bundle::parse(text.as_bytes()).unwrap();
    Plan::new(
        &spec,
        Path::new("/bundle"),
        &"box".parse().unwrap(),
        host,
        options,
    )
}

fn plan_on(text: &str, host: &Host) -> Plan {
    try_plan(text, host, &PlanOptions::default()).unwrap()
}

fn parse_value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Everything about limits and filters has its own tests.
fn without_resources(text: &str) -> String {
    let mut document = parse_value(text);
    if let Some(linux) = document.get_mut("linux").and_then(Value::as_object_mut) {
        linux.remove("resources");
        linux.remove("seccomp");
    }
    document.to_string()
}

/// The plan's text but for what other modules say about cgroups.
fn shown(plan: &Plan) -> String {
    let sections = plan
        .sections()
        .into_iter()
        .skip(1)
        .filter(|(_, lines)| !lines.is_empty());
    sections
        .map(|(heading, lines)| format!("{heading}\n  {}\n", lines.join("\n  ")))
        .collect()
}

#[test]
fn the_default_config() {
    insta::assert_snapshot!(shown(&plan_on(
        &without_resources(&default_config(true)),
        &host()
    )));
}

#[test]
fn the_default_config_on_a_hybrid_host() {
    let plan = plan_on(&without_resources(&default_config(false)), &hybrid_host());
    insta::assert_snapshot!(shown(&plan));
}

#[test]
fn the_rootless_config() {
    let text = rootless_config(1000, 100, true);
    insta::assert_snapshot!(shown(&plan_on(&text, &unprivileged_host())));
}

#[test]
fn a_container_engine_s_config() {
    insta::assert_snapshot!(shown(&plan_on(&without_resources(ENGINE), &hybrid_host())));
}

#[test]
fn a_config_with_every_property() {
    let plan = plan_on(&without_resources(MAXIMAL), &secured_host());
    insta::assert_snapshot!(shown(&plan));
}

#[test]
fn a_config_with_every_property_as_json() {
    let plan = plan_on(&without_resources(MAXIMAL), &secured_host());
    let mut json = plan.to_json();
    json.as_object_mut().unwrap().remove("cgroup");
    insta::assert_json_snapshot!(json);
}

#[test]
fn the_smallest_config_isolates_nothing_and_says_so() {
    insta::assert_snapshot!(shown(&plan_on(MINIMAL, &host())));
}

/// Whatever has another type than the specification says is refused: so it has been read.
#[test]
fn every_property_of_the_specification_is_read() {
    let document = parse_value(MAXIMAL);
    let mut all = Vec::new();
    pointers(&document, "", &mut all);
    let ignored = [
        "/windows",
        "/com.example.unknown",
        "/process/commandLine",
        "/process/user/username",
    ];
    for pointer in all {
        if ignored.iter().any(|ignored| pointer.starts_with(ignored)) {
            continue;
        }
        let mut document = document.clone();
        let value = document.pointer_mut(&pointer).unwrap();
        *value = if value.is_boolean() {
            json!("text")
        } else {
            json!(true)
        };
        let text = document.to_string();
        let fault = bundle::parse::<Spec<'_>>(text.as_bytes()).expect_err(&pointer);
        if !pointer.is_empty() {
            assert!(
                fault.to_string().starts_with(&format!("{pointer}: ")),
                "{pointer}: {fault}"
            );
        }
    }
}

#[test]
fn an_array_is_no_object() {
    for text in [
        "[]",
        r#"{"root": ["rootfs", true]}"#,
        r#"{"process": {"user": [0, 0, 0, []]}}"#,
    ] {
        let fault = bundle::parse::<Spec<'_>>(text.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(fault.contains("expected an object"), "{fault}");
    }
}

fn contents(plan: &Plan) -> Vec<String> {
    plan.contents
        .iter()
        .map(super::Content::full_words)
        .collect()
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let target = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

fn patched(patch: &Value) -> String {
    let mut document = parse_value(&default_config(true));
    merge(&mut document, patch);
    document.to_string()
}

fn with_mount(mount: &Value) -> String {
    let mut document = parse_value(&default_config(true));
    document["mounts"] = json!([mount]);
    document.to_string()
}

fn mounted(mount: &Value, host: &Host) -> Plan {
    plan_on(&with_mount(mount), host)
}

/// Each patch of the default config breaks one rule; the snapshot has all messages.
#[test]
fn every_broken_rule_is_named_with_its_place() {
    let patches = parse_value(include_str!("../../tests/data/broken.json"));
    let mut report = String::new();
    for patch in patches.as_array().unwrap() {
        let result = try_plan(&patched(patch), &host(), &PlanOptions::default());
        let violations = result.expect_err(&format!("{patch} was accepted"));
        for violation in violations.0 {
            report.push_str(&format!("{violation}\n"));
        }
    }
    insta::assert_snapshot!(report);
}

#[test]
fn every_wrong_mount_is_named_with_its_place() {
    let mounts = parse_value(include_str!("../../tests/data/broken_mounts.json"));
    let mut report = String::new();
    for mount in mounts.as_array().unwrap() {
        let result = try_plan(&with_mount(mount), &host(), &PlanOptions::default());
        let violations = result.expect_err(&format!("{mount} was accepted"));
        for violation in violations.0 {
            report.push_str(&format!("{violation}\n"));
        }
    }
    insta::assert_snapshot!(report);
}

#[test]
fn an_unprivileged_user_is_told_what_is_missing() {
    let broken = |patch: Value| {
        let mut document = parse_value(&rootless_config(1000, 100, true));
        merge(&mut document, &patch);
        let result = try_plan(
            &document.to_string(),
            &unprivileged_host(),
            &PlanOptions::default(),
        );
        result.unwrap_err().to_string()
    };
    let kinds = json!({"linux": {"namespaces": [{"type": "mount"}, {"type": "uts"}],
        "uidMappings": null, "gidMappings": null}});
    insta::assert_snapshot!(broken(kinds));
    insta::assert_snapshot!(broken(
        json!({"process": {"user": {"uid": 5, "additionalGids": [1]}}})
    ));
    let mount = json!({"mounts": [{"destination": "/x", "source": "x", "options": ["bind", "idmap"]},
        {"destination": "/y", "type": "tmpfs", "options": ["uid=7,gid=0", "gid=8", "uid=x"]}]});
    insta::assert_snapshot!(broken(mount));
}

#[test]
fn violations_come_in_the_order_of_the_document_and_all_of_them() {
    let text = patched(&json!({
        "linux": {"namespaces": [{"type": "pidd"}, {"type": "mount"}], "maskedPaths": ["x"]},
        "hooks": {"poststop": [{"path": "x"}]},
        "process": {"cwd": "x"},
        "ociVersion": "2.0.0",
    }));
    let violations = try_plan(&text, &host(), &PlanOptions::default()).unwrap_err();
    let pointers: Vec<&str> = violations
        .0
        .iter()
        .map(|entry| entry.pointer.as_str())
        .collect();
    assert_eq!(
        pointers,
        [
            "/ociVersion",
            "/process/cwd",
            "/hostname",
            "/hooks/poststop/0/path",
            "/linux/namespaces/0/type",
            "/linux/maskedPaths/0",
        ]
    );
}

#[test]
fn a_bind_mount_keeps_the_attributes_it_does_not_name() {
    let plan = mounted(
        &json!({"destination": "/x", "source": "/y", "options": ["bind", "nosuid", "exec", "atime"]}),
        &host(),
    );
    insta::assert_snapshot!(contents(&plan)[0], @"bind /y on /x (nosuid, exec, relatime)");
}

#[test]
fn a_read_only_dev_becomes_so_after_its_devices() {
    let plan = mounted(
        &json!({"destination": "/dev/", "type": "tmpfs", "options": ["ro"]}),
        &host(),
    );
    let contents = contents(&plan);
    assert_eq!(contents[0], "mount tmpfs on /dev");
    assert_eq!(contents[12], "change the mount on /dev (ro)");
    assert!(contents[11].starts_with("link "), "{contents:?}");
}

#[test]
fn a_read_only_tmpfs_below_another_mount_is_not_confused_with_it() {
    let mut document = parse_value(&default_config(true));
    document["mounts"] = json!([
        {"destination": "/x", "type": "tmpfs", "options": ["ro"]},
        {"destination": "/x", "source": "/y", "options": ["bind"]},
    ]);
    let plan = plan_on(&document.to_string(), &host());
    let contents = contents(&plan);
    assert_eq!(
        contents[..3],
        [
            "mount tmpfs on /x",
            "change the mount on /x (ro)",
            "bind /y on /x"
        ]
    );
}

#[test]
fn a_bound_dev_gets_no_devices_and_no_links() {
    let plan = mounted(
        &json!({"destination": "/dev", "source": "/dev", "options": ["rbind"]}),
        &host(),
    );
    let made = plan.contents.iter().any(|content| {
        matches!(
            content.act,
            ContentAct::Device(_) | ContentAct::Symlink { .. }
        )
    });
    assert!(!made, "{:?}", contents(&plan));
}

#[test]
fn a_bind_mount_on_proc_must_be_a_procfs() {
    let plan = mounted(
        &json!({"destination": "/proc", "source": "/proc", "options": ["rbind"]}),
        &host(),
    );
    let ContentAct::Mount(mount) = &plan.contents[0].act else {
        panic!("no mount")
    };
    assert!(mount.source_is_procfs && mount.refuse_links && !mount.inside_proc);
}

#[test]
fn filesystem_words_on_a_bind_mount_are_a_warning() {
    let plan = mounted(
        &json!({"destination": "/x", "source": "/y", "options": ["bind", "sync"]}),
        &host(),
    );
    insta::assert_snapshot!(plan.warnings.join("\n"), @"/mounts/0: sync, dirsync, mand, lazytime and iversion change a filesystem, not a bind mount of it: it stays as it is");
}

#[test]
fn cgroups_of_the_host_are_never_shown_without_a_cgroup_namespace() {
    let text = patched(
        &json!({"linux": {"namespaces": [{"type": "mount"}, {"type": "uts"}]}, "mounts": [
        {"destination": "/cg", "type": "cgroup", "options": ["ro"]}]}),
    );
    let shown = |text: &str, host: &Host| contents(&plan_on(text, host)).join("\n");
    let until = |text: String| text.split("\nmake the device").next().unwrap().to_owned();
    insta::assert_snapshot!(until(shown(&text, &host())), @"bind /sys/fs/cgroup/box on /cg (ro)");
    insta::assert_snapshot!(until(shown(&text, &hybrid_host())));
}

#[test]
fn a_v1_view_in_a_cgroup_namespace_mounts_each_hierarchy() {
    let mount = json!({"destination": "/cg", "type": "cgroup", "options": ["rw", "nosuid"]});
    let plan = mounted(&mount, &hybrid_host());
    let contents = contents(&plan).join("\n");
    insta::assert_snapshot!(contents.split("\nmake the device").next().unwrap());
}

#[test]
fn an_unprivileged_container_sees_the_cgroup_that_it_stays_in() {
    let host = Host {
        cgroups: hybrid_host().cgroups,
        ..unprivileged_host()
    };
    let plan = plan_on(&rootless_config(1000, 100, false), &host);
    let words = "bind /sys/fs/cgroup/memory/user.slice on /sys/fs/cgroup/memory (ro, nosuid, nodev, noexec, relatime, rslave)";
    assert!(
        contents(&plan).iter().any(|content| content == words),
        "{:?}",
        contents(&plan)
    );
}

#[test]
fn a_relative_cgroup_path_starts_where_the_cgroup_is_made() {
    let text = |kinds: Value| {
        patched(
            &json!({"hostname": null, "mounts": [{"destination": "/cg", "type": "cgroup"}],
            "linux": {"namespaces": kinds, "cgroupsPath": "group/box"}}),
        )
    };
    let plan = plan_on(&text(json!([{"type": "mount"}])), &host());
    insta::assert_snapshot!(contents(&plan)[0], @"bind /sys/fs/cgroup/group/box on /cg");
    let plan = plan_on(&text(json!([{"type": "mount"}])), &hybrid_host());
    insta::assert_snapshot!(contents(&plan)[4], @"bind /sys/fs/cgroup/memory/user.slice/group/box on /cg/memory");
    insta::assert_snapshot!(contents(&plan)[6], @"bind /sys/fs/cgroup/unified/group/box on /cg/unified");
}

/// A tree that is opened among the host's mounts would carry the container's own mounts back.
#[test]
fn a_bind_mount_in_a_user_namespace_is_told_apart_from_the_host() {
    let bind = json!([{"destination": "/x", "source": "/y", "options": ["bind"]}]);
    let mut document = parse_value(&rootless_config(1000, 100, false));
    document["mounts"] = bind.clone();
    insta::assert_snapshot!(contents(&plan_on(&document.to_string(), &host()))[0], @"bind /y on /x (rslave)");
    document["linux"]["rootfsPropagation"] = "shared".into();
    insta::assert_snapshot!(contents(&plan_on(&document.to_string(), &host()))[0], @"bind /y on /x (shared)");
    let mut document = parse_value(&default_config(true));
    document["mounts"] = bind;
    insta::assert_snapshot!(contents(&plan_on(&document.to_string(), &host()))[0], @"bind /y on /x");
}

#[test]
fn devices_are_bound_in_a_user_namespace() {
    let plan = plan_on(&rootless_config(1000, 100, false), &unprivileged_host());
    for content in &plan.contents {
        if let ContentAct::Device(device) = &content.act {
            assert!(device.bind, "{device:?}");
        }
    }
    let inner = Host {
        in_user_namespace: true,
        ..host()
    };
    let plan = plan_on(&default_config(true), &inner);
    assert!(
        contents(&plan)
            .iter()
            .any(|words| words.starts_with("bind the host's /dev/null"))
    );
}

#[test]
fn explicit_false_and_absent_no_new_privileges_plan_the_same() {
    let absent = patched(&json!({"process": {"noNewPrivileges": null}}));
    let explicit = patched(&json!({"process": {"noNewPrivileges": false}}));
    assert_eq!(plan_on(&absent, &host()), plan_on(&explicit, &host()));
}

#[test]
fn options_of_the_caller_are_part_of_the_plan() {
    let options = PlanOptions {
        no_pivot: true,
        no_new_keyring: true,
        preserve_fds: 2,
        extra_env: vec!["LISTEN_FDS=2".into()],
        ..PlanOptions::default()
    };
    let plan = try_plan(&default_config(true), &host(), &options).unwrap();
    assert_eq!(plan.rootfs.entry, super::RootEntry::Move);
    assert_eq!(plan.keyring, None);
    assert_eq!(plan.process.preserve_fds, 2);
    assert_eq!(plan.process.env.last().unwrap().as_c_str(), c"LISTEN_FDS=2");
    let private = patched(&json!({"linux": {"rootfsPropagation": "rprivate"}}));
    let violations = try_plan(&private, &host(), &options)
        .unwrap_err()
        .to_string();
    insta::assert_snapshot!(violations, @"/linux/rootfsPropagation: private is not safe without pivot_root (--no-pivot)");
}

#[test]
fn a_process_of_exec_is_resolved_with_its_container_s_linux() {
    let spec: Spec<'_> = serde_json::from_str(
        r#"{"linux": {"namespaces": [{"type": "user"}], "personality": {"domain": "LINUX32"},
            "uidMappings": [{"containerID": 0, "hostID": 1, "size": 5}],
            "gidMappings": [{"containerID": 0, "hostID": 1, "size": 5}]}}"#,
    )
    .unwrap();
    let exec = |user: &str| {
        let text = format!(r#"{{"args": ["sh"], "cwd": "/", "user": {{"uid": {user}}}}}"#);
        let process: Process<'_> = serde_json::from_str(&text).unwrap();
        ProcessPlan::new(&process, &spec, &host(), &PlanOptions::default())
    };
    let (plan, warnings) = exec("4").unwrap();
    assert_eq!(
        (plan.uid, plan.personality, warnings),
        (4, Some(8), Vec::new())
    );
    let violations = exec("5").unwrap_err().to_string();
    insta::assert_snapshot!(violations, @"/user/uid: user 5 is not mapped in linux.uidMappings");
}

#[test]
fn a_variable_has_a_name_and_an_equals_sign() {
    let text = patched(&json!({"process": {"env": ["A=1", "NAME", "=x", "EMPTY=", "B==", ""]}}));
    let violations = try_plan(&text, &host(), &PlanOptions::default())
        .unwrap_err()
        .to_string();
    let expected = [(1, "NAME"), (2, "=x"), (5, "")].map(|(index, entry)| {
        format!("/process/env/{index}: invalid environment variable {entry:?}: NAME=VALUE is one")
    });
    assert_eq!(violations, expected.join("; "));
}

#[test]
fn an_annotation_keeps_the_groups_of_the_caller_and_says_which_are_not_added() {
    let kept = |annotations: Value| {
        let text = patched(&json!({"annotations": annotations,
            "process": {"user": {"additionalGids": [7]}}}));
        let plan = plan_on(&text, &host());
        (
            plan.process.set_groups,
            plan.process.additional_gids,
            plan.warnings,
        )
    };
    assert_eq!(kept(json!({"other": "1"})), (true, vec![7], Vec::new()));
    let warning = "user.additionalGids are not added: run.oci.keep_original_groups keeps the caller's groups as they are";
    assert_eq!(
        kept(json!({"run.oci.keep_original_groups": "1"})),
        (false, Vec::new(), vec![warning.to_owned()])
    );
}

#[test]
fn a_joined_user_namespace_may_come_with_its_mappings() {
    let text = patched(&json!({"linux": {
        "namespaces": [{"type": "user", "path": "/proc/7/ns/user"}, {"type": "mount"}, {"type": "uts"}],
        "uidMappings": [{"containerID": 0, "hostID": 9, "size": 1}],
    }}));
    let plan = plan_on(&text, &host());
    assert!(plan.namespaces.uid_mappings.is_empty());
    assert_eq!(plan.namespaces.joined.len(), 1);
}

#[test]
fn a_document_with_countless_faults_is_refused_soon() {
    let names = vec!["CAP_NONE"; 500_000];
    let text = patched(&json!({"process": {"capabilities": {"bounding": names}}}));
    let violations = try_plan(&text, &host(), &PlanOptions::default()).unwrap_err();
    assert_eq!(violations.0.len(), Violations::MAX);
}

#[test]
fn ten_thousand_mounts_are_planned_and_seventy_thousand_refused() {
    let many = |count: usize| {
        let mount = json!({"destination": "/x", "type": "tmpfs", "options": ["ro", "size=1m"]});
        patched(&json!({"mounts": vec![mount; count]}))
    };
    assert_eq!(
        plan_on(&many(10_000), &host()).contents.len(),
        20_000 + 11 + 17
    );
    let violations = try_plan(&many(70_000), &host(), &PlanOptions::default()).unwrap_err();
    insta::assert_snapshot!(violations, @"asks for 131100 mounts, devices, paths, sysctls and hooks; 60000 are possible; /mounts: are more than 65536");
}

/// Any value that could stand in a config.json, hostile ones included.
fn any_value() -> impl Strategy<Value = Value> {
    const TEXTS: [&str; 22] = [
        "",
        "/",
        "..",
        "/../../x",
        "a\0b",
        "/proc",
        "/proc/self",
        "/dev",
        "/sys/fs/cgroup",
        "bind",
        "rbind",
        "remount",
        "ro",
        "rro",
        "idmap",
        "cgroup",
        "tmpfs",
        "user",
        "mount",
        "CAP_KILL",
        "\u{202e}",
        "net/../kernel",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2i64..70_000).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::sample::select(&TEXTS[..]).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z/~]{0,4}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Every JSON pointer of a document.
fn pointers(value: &Value, here: &str, found: &mut Vec<String>) {
    found.push(here.to_owned());
    let below: Vec<(String, &Value)> = match value {
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, value)| (index.to_string(), value))
            .collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (crate::violation::pointer_token(key), value))
            .collect(),
        _ => Vec::new(),
    };
    for (token, value) in below {
        pointers(value, &format!("{here}/{token}"), found);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The maximal document with some values replaced: a plan or violations, never a panic,
    /// and twice the same. No path of a plan leaves the rootfs.
    #[test]
    fn any_document_gives_a_plan_or_violations(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any_value()), 0..5),
        euid in prop::sample::select(vec![0, 1000]),
    ) {
        let mut document = parse_value(&without_resources(MAXIMAL));
        for (index, value) in edits {
            let mut all = Vec::new();
            pointers(&document, "", &mut all);
            let pointer = &all[index.index(all.len())];
            *document.pointer_mut(pointer).unwrap() = value;
        }
        let text = document.to_string();
        let Ok(spec) = bundle::parse::<Spec<'_>>(text.as_bytes()) else {
            return Ok(());
        };
        let host = Host { euid, ..secured_host() };
        let once = || Plan::new(
            &spec, Path::new("/bundle"), &"box".parse().unwrap(), &host, &PlanOptions::default(),
        );
        let plan = once();
        prop_assert_eq!(&plan, &once());
        match plan {
            Ok(plan) => stays_inside(&plan)?,
            Err(violations) => prop_assert!(!violations.is_empty()),
        }
    }
}

fn stays_inside(plan: &Plan) -> Result<(), TestCaseError> {
    for content in &plan.contents {
        let path = match &content.act {
            ContentAct::Mount(mount) => &mount.target,
            ContentAct::Device(device) => &device.path,
            ContentAct::Directory { path, .. }
            | ContentAct::Symlink { path, .. }
            | ContentAct::Readonly(path)
            | ContentAct::Masked(path) => path,
        };
        let path = path.to_str().unwrap();
        let clean = path.starts_with('/')
            && path
                .split('/')
                .skip(1)
                .all(|part| !matches!(part, "" | "." | ".."));
        prop_assert!(clean, "{}", path);
    }
    prop_assert!(!plan.to_text().is_empty());
    prop_assert!(plan.to_json().is_object());
    Ok(())
}

#[test]
fn a_writable_cgroup_of_its_own_belongs_to_the_containers_user() {
    let owner = |options: &[&str], kinds: &[&str]| {
        let mut document = parse_value(&default_config(true));
        let kinds = kinds.iter().chain(&["mount", "pid", "uts"]);
        let namespaces: Vec<Value> = kinds.map(|kind| json!({ "type": kind })).collect();
        let mount = json!({ "destination": "/cgroup", "type": "cgroup", "options": options });
        let ids = json!([{ "containerID": 0, "hostID": 100_000, "size": 5000 }]);
        document["mounts"] = json!([mount]);
        document["process"]["user"] = json!({ "uid": 7, "gid": 0 });
        document["linux"] = json!({ "namespaces": namespaces });
        if namespaces.contains(&json!({ "type": "user" })) {
            document["linux"]["uidMappings"] = ids.clone();
            document["linux"]["gidMappings"] = ids;
        }
        plan_on(&document.to_string(), &host()).cgroup_owner()
    };
    assert_eq!(owner(&[], &["user", "cgroup"]), Some(100_007));
    assert_eq!(owner(&["ro"], &["user", "cgroup"]), None);
    assert_eq!(owner(&[], &["cgroup"]), None);
    assert_eq!(owner(&[], &["user"]), None);
}
