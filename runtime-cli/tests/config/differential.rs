//! The same bundle under tare and under Debian's runc, compared from inside. What differs is
//! listed here with its reason, and nothing else may.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::{find_program, needs};

use crate::container::Container;

/// Everything that a container sees of how it was made, in sections.
const LOOK: &str = r#"
section() { echo "== $1"; }
section mounts; cut -d' ' -f4- /proc/self/mountinfo
section status; grep -E '^(Uid|Gid|Groups|Umask|Cap|NoNewPrivs|Seccomp|NSpid|NSpgid|NSsid|Sig(Blk|Ign)|Cpus_allowed_list|Mems_allowed_list|THP)' /proc/self/status
section init; grep -E '^(Name|Pid|PPid|NSpid|NSpgid|NSsid|Cap|Threads|Sig(Blk|Ign)|FDSize)' /proc/1/status | grep -v FDSize
section limits; cat /proc/self/limits
section cgroup; cut -d: -f2- /proc/self/cgroup
section dev; ls -lR /dev | sed 's/  */ /g' | cut -d' ' -f1,3-6,10-
section env; env | sort
section cwd; pwd
section id; id; umask
section oom; cat /proc/self/oom_score_adj
section scheduling; cut -d' ' -f18,19,40,41 /proc/self/stat
section personality; cat /proc/self/personality
section names; hostname; cat /proc/sys/kernel/domainname
section sysctl; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range /proc/sys/kernel/shmmax
section network; ip -o addr; ip -o link | cut -d' ' -f2-
section files; ls -l /proc/self/fd | sed 's/.* //' | grep -v /proc/ | sort | sed 's/[0-9]\{4,\}/N/'
section keys; cat /proc/keys 2>/dev/null | wc -l
section timens; cat /proc/self/timens_offsets
section root; ls -la / | cut -d' ' -f1 | sort | uniq -c
"#;

/// What this change to the default config makes a container see under a runtime, with names that
/// belong to the run replaced.
fn seen(binary: &str, change: &dyn Fn(Container) -> Container) -> String {
    let container = change(Container::of(binary, "differential")).script(LOOK);
    let run = container.run().success();
    let bundle = container.path("");
    run.stdout
        .replace(bundle.trim_end_matches('/'), "BUNDLE")
        .replace(container.marker.as_str(), "ID")
        .replace(
            bundle.trim_end_matches('/').trim_start_matches("/tmp"),
            "/BUNDLE",
        )
}

/// Lines of both, by section, as `section: line`; order within a section is not compared.
fn lines(text: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut lines = BTreeSet::new();
    for line in text.lines() {
        match line.strip_prefix("== ") {
            Some(name) => section = name,
            None => {
                lines.insert(format!("{section}: {}", canonical(section, line)));
            }
        }
    }
    lines
}

/// Optional fields of mountinfo carry numbers of the kernel's.
fn canonical(section: &str, line: &str) -> String {
    if section != "mounts" {
        return line.to_owned();
    }
    line.split(' ')
        .map(|word| match word.split_once(':') {
            Some((field @ ("shared" | "master"), _)) => field.to_owned(),
            _ => word.to_owned(),
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// What only one of them has, without what is known and has a reason.
fn differences(change: &dyn Fn(Container) -> Container) -> Vec<String> {
    let runc = find_program("runc").expect("it is there");
    let tare = testkit::Runtime::binary_under_test(env!("CARGO_BIN_EXE_tare"));
    let ours = lines(&seen(tare.to_str().expect("it is text"), change));
    let theirs = lines(&seen(runc.to_str().expect("it is text"), change));
    let only = |whose: &'static str, a: &BTreeSet<String>, b: &BTreeSet<String>| {
        a.difference(b)
            .map(|line| format!("only {whose}: {line}"))
            .collect::<Vec<_>>()
    };
    let mut found = only("tare", &ours, &theirs);
    found.extend(only("runc", &theirs, &ours));
    found.retain(|line| !KNOWN.iter().any(|(known, _)| line.contains(known)));
    found
}

/// Known differences: a part of the line, and the reason.
const KNOWN: &[(&str, &str)] = &[
    ("status: NSpid", "runc has made more processes before"),
    (
        "SigIgn",
        "runc passes on what the caller ignores of the signals that C libraries keep, and Go takes 33 for itself",
    ),
    (
        "only tare: files: ",
        "runc copies the streams of a foreground container through pipes of its own",
    ),
    (
        "/proc/acpi ro",
        "tare's masks are nosuid, nodev, noexec as well, and hold no inode",
    ),
    ("/sys/firmware ro", "the same"),
    (
        "mounts: /null /proc/",
        "tare masks with the host's /dev/null, not with what the image may have made of it",
    ),
    (
        "/sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs",
        "`ro` is an attribute of the mount in tare, and in runc of the filesystem too",
    ),
    (
        "/sys/fs/cgroup r",
        "of a read-only cgroup mount runc leaves the tmpfs writable",
    ),
    (
        "/sys/fs/cgroup/unified ",
        "runc 1.1 shows no cgroup2 on a hybrid host",
    ),
    (
        "/sys/fs/cgroup/systemd ",
        "another word for the source, which nothing reads",
    ),
    (
        "dev: drwxrwxrwt ",
        "/dev/mqueue in a user namespace: the IPC namespace is made by the same clone3, when its \
         maker is not root in there yet; everybody may write in it all the same",
    ),
];

fn same(change: &dyn Fn(Container) -> Container) {
    let found = differences(change);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_default_config_looks_the_same() {
    needs!(Root, Program("runc"));
    same(&|container| container);
}

#[test]
fn a_read_only_root_with_every_capability_looks_the_same() {
    needs!(Root, Program("runc"));
    same(&|container| {
        container
            .set("/root/readonly", true)
            .set("/process/noNewPrivileges", false)
            .with_all_capabilities()
    });
}

#[test]
fn a_user_with_limits_looks_the_same() {
    needs!(Root, Program("runc"), CgroupV1("memory"));
    same(&|container| {
        container
            .set(
                "/process/user",
                json!({"uid": 1000, "gid": 1001, "umask": 0o077, "additionalGids": [5, 6]}),
            )
            .set("/process/cwd", "/tmp/sub")
            .set("/process/oomScoreAdj", 100)
            .set("/process/env", json!(["PATH=/bin", "A=b"]))
            .set(
                "/linux/sysctl",
                json!({"net.ipv4.ip_unprivileged_port_start": "80", "kernel.shmmax": "123456"}),
            )
            .set("/linux/resources/memory", json!({"limit": 100 << 20}))
            .set("/linux/resources/cpu", json!({"shares": 100, "cpus": "0"}))
    });
}

#[test]
fn a_user_namespace_and_a_cgroup_namespace_look_the_same() {
    needs!(Root, Program("runc"));
    same(&|container| container.with_user_namespace().with_namespace("cgroup"));
}

#[test]
fn mounts_of_many_kinds_look_the_same() {
    needs!(Root, Program("runc"));
    same(&|container| {
        std::fs::create_dir_all(container.path("tree")).expect("a directory can be made");
        std::fs::write(container.path("file"), "x").expect("a file can be written");
        container
            .mount("tmpfs", "tmpfs", "/a", &["nosuid", "noexec", "size=1m", "mode=1777"])
            .mount("bind", "tree", "/b", &["rbind", "ro", "nosuid"])
            .mount("bind", "file", "/c/file", &["bind", "noexec", "rprivate"])
            .mount("tmpfs", "tmpfs", "/d", &["ro", "noatime"])
            .mount("bind", "tree", "/e", &["rbind", "rw", "nodev", "rslave"])
            .mount("tmpfs", "tmpfs", "/etc", &["tmpcopyup"])
            .mount("tmpfs", "tmpfs", "/f", &["strictatime", "nodiratime"])
            .set("/linux/devices", json!([
                {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 0o660, "uid": 1, "gid": 2},
                {"type": "p", "path": "/dev/fifo", "fileMode": 0o600},
            ]))
    });
}

#[test]
fn dockers_config_looks_the_same() {
    needs!(Root, Program("runc"));
    let config: Value = serde_json::from_str(include_str!(
        "../../../runtime-core/tests/fixtures/docker-config.json"
    ))
    .expect("the fixture is JSON");
    same(&move |container| {
        let mut mounts = config["mounts"].as_array().cloned().unwrap_or_default();
        mounts.retain(|mount| mount["type"] != "bind");
        container
            .set(
                "/process/capabilities",
                config["process"]["capabilities"].clone(),
            )
            .set("/linux/seccomp", config["linux"]["seccomp"].clone())
            .set("/linux/maskedPaths", config["linux"]["maskedPaths"].clone())
            .set(
                "/linux/readonlyPaths",
                config["linux"]["readonlyPaths"].clone(),
            )
            .set("/linux/resources", config["linux"]["resources"].clone())
            .set("/linux/namespaces", config["linux"]["namespaces"].clone())
            .set("/mounts", json!(mounts))
    });
}
