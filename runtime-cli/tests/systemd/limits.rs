//! Limits: systemd and the kernel say the same, and go on saying so.

use testkit::needs;

use super::*;

/// What systemd says and what the kernel says, for one limit each.
fn assert_agreed(subject: &Subject, unit: &str, pairs: &[(&str, &str, &str, &str)]) {
    let shown = shown(unit);
    for (property, said, file, holds) in pairs {
        assert_eq!(shown[*property], *said, "{property}");
        assert_eq!(subject.file(file), *holds, "{file}");
    }
}

const ALL: [(&str, &str, &str, &str); 9] = [
    ("MemoryMax", "67108864", "memory.max", "67108864"),
    ("MemoryLow", "16777216", "memory.low", "16777216"),
    ("MemorySwapMax", "0", "memory.swap.max", "0"),
    ("TasksMax", "30", "pids.max", "30"),
    ("CPUWeight", "59", "cpu.weight", "59"),
    ("CPUQuotaPerSecUSec", "500ms", "cpu.max", "25000 50000"),
    ("CPUQuotaPeriodUSec", "50ms", "cpu.max", "25000 50000"),
    ("AllowedCPUs", "0", "cpuset.cpus", "0"),
    ("IOWeight", "4950", "io.weight", "default 4950"),
];

/// What systemd allows, sorted.
fn device_list(unit: &str) -> String {
    let shown = systemctl(&["show", unit, "--property=DeviceAllow"]);
    let shown = shown.success().stdout;
    let mut lines: Vec<&str> = shown.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn limited(topic: &str) -> Subject {
    Subject::new(topic).set(
        "/linux/resources",
        json!({
            "memory": { "limit": 64 << 20, "reservation": 16 << 20, "swap": 64 << 20 },
            "pids": { "limit": 30 },
            "cpu": { "shares": 512, "quota": 25_000, "period": 50_000, "cpus": "0" },
            "blockIO": { "weight": 500 },
            "hugepageLimits": [{ "pageSize": "2MB", "limit": 0 }],
            "devices": [
                { "allow": false, "access": "rwm" },
                rule(true, disk("vda"), "r"),
            ],
        }),
    )
}

/// Major and minor number of one of the guest's disks: reading it takes no capability.
fn disk(name: &str) -> (u32, u32) {
    let path = format!("/sys/block/{name}/dev");
    let numbers = std::fs::read_to_string(&path).expect("a guest has disks");
    let (major, minor) = numbers.trim().split_once(':').expect("two numbers");
    let number = |text: &str| text.parse().expect("a number");
    (number(major), number(minor))
}

fn rule(allow: bool, (major, minor): (u32, u32), access: &str) -> Value {
    json!({ "allow": allow, "type": "b", "major": major, "minor": minor, "access": access })
}

fn node(path: &str, (major, minor): (u32, u32)) -> Value {
    json!({ "path": path, "type": "b", "major": major, "minor": minor })
}

#[test]
fn systemd_and_the_kernel_agree_and_a_daemon_reload_changes_nothing() {
    needs!(Root, Systemd, CgroupV2("memory"));
    let subject = limited("agree");
    subject.create().succeeded();
    let unit = subject.unit();
    assert_agreed(&subject, &unit, &ALL);
    assert_eq!(subject.file("hugetlb.2MB.max"), "0");
    let before = shown(&unit);
    let devices = device_list(&unit);
    assert!(
        devices.contains("DeviceAllow=/dev/char/1:3 rwm"),
        "{devices}"
    );
    assert_eq!(before["Delegate"], "yes");
    assert_eq!(before["Slice"], "system.slice");
    assert_eq!(before["DevicePolicy"], "strict");
    assert_eq!(
        format!("/sys/fs/cgroup{}", before["ControlGroup"]),
        subject.cgroup().display().to_string()
    );
    subject.call(&["start", subject.id()]).succeeded();
    daemon_reload();
    assert_agreed(&subject, &unit, &ALL);
    assert_eq!(subject.file("hugetlb.2MB.max"), "0");
    assert_eq!(device_list(&unit), devices);
    subject.delete();
    subject.done();
}

#[test]
fn devices_are_there_after_a_daemon_reload_and_no_others() {
    needs!(Root, Systemd, CgroupV2("memory"));
    let nodes = json!([
        node("/dev/allowed", disk("vda")),
        node("/dev/denied", disk("vdb")),
    ]);
    let subject = limited("devices").set("/linux/devices", nodes);
    subject.run().succeeded();
    for _ in 0..2 {
        let allowed = subject.exec("echo x >/dev/null && : </dev/allowed");
        allowed.succeeded();
        for denied in [": </dev/denied", ": 1<>/dev/allowed"] {
            let denied = subject.exec(denied);
            let said = "Operation not permitted";
            assert!(denied.stderr.contains(said), "{denied}");
        }
        daemon_reload();
        // systemd writes all of its own again.
        let unit = subject.unit();
        let change = ["set-property", "--runtime", &unit, "TasksMax=25"];
        systemctl(&change).succeeded();
    }
    subject.delete();
    subject.done();
}

#[test]
fn a_device_rule_that_systemd_has_no_form_for_is_kept_by_tares_own_program() {
    needs!(Root, Systemd, CgroupV2("memory"));
    // All but one.
    let all = json!({ "allow": true, "access": "rwm" });
    let rules = json!([all, rule(false, disk("vda"), "rw")]);
    let subject = Subject::new("denied")
        .set("/linux/resources/devices", rules)
        .set(
            "/linux/devices",
            json!([
                node("/dev/denied", disk("vda")),
                node("/dev/other", disk("vdb"))
            ]),
        );
    subject.run().succeeded();
    for _ in 0..2 {
        let denied = subject.exec(": </dev/denied");
        assert!(
            denied.stderr.contains("Operation not permitted"),
            "{denied}"
        );
        subject.exec(": </dev/other").succeeded();
        daemon_reload();
    }
    subject.delete();
    subject.done();
}

#[test]
fn a_container_of_one_process_is_born_beside_the_one_that_holds_the_place() {
    needs!(Root, Systemd, CgroupV2("pids"));
    for resources in [
        json!({ "pids": { "limit": 1 } }),
        json!({ "unified": { "pids.max": "1" } }),
    ] {
        let subject = Subject::new("single").set("/linux/resources", resources);
        subject.create().succeeded();
        assert_eq!(subject.file("pids.max"), "1");
        assert_eq!(subject.file("cgroup.procs"), subject.pid());
        subject.call(&["start", subject.id()]).succeeded();
        let second = subject.exec("true");
        assert!(second.stderr.contains("pids.max"), "{second}");
        subject.delete();
        subject.done();
    }
}

#[test]
fn limits_hold_when_the_program_starts() {
    needs!(Root, Systemd, CgroupV2("memory"));
    let subject = limited("hold");
    // tail keeps more than the limit in memory, and is killed for it.
    let script = "head -c 100000000 /dev/zero | tail -c 99000000 | wc -c";
    let subject = subject.set("/process/args", json!(["sh", "-c", script]));
    let ran = subject.with_bundle(&["run"]);
    assert_eq!(ran.stdout.trim(), "0", "{ran}");
    subject.done();
}

#[test]
fn update_changes_both_and_a_daemon_reload_nothing() {
    needs!(Root, Systemd, CgroupV2("memory"));
    let subject = limited("update");
    subject.run().succeeded();
    let update = |flags: &[&str]| {
        subject
            .call(&[&["update"], flags, &[subject.id()]].concat())
            .succeeded();
    };
    update(&[
        "--memory",
        "50331648",
        "--memory-swap",
        "67108864",
        "--pids-limit",
        "40",
    ]);
    // A period alone keeps the quota.
    update(&["--cpu-period", "100000"]);
    update(&["--cpu-share", "1024", "--cpuset-cpus", "0-1"]);
    let agreed = [
        ("MemoryMax", "50331648", "memory.max", "50331648"),
        ("MemorySwapMax", "16777216", "memory.swap.max", "16777216"),
        ("TasksMax", "40", "pids.max", "40"),
        ("CPUQuotaPerSecUSec", "250ms", "cpu.max", "25000 100000"),
        ("CPUWeight", "100", "cpu.weight", "100"),
        ("AllowedCPUs", "0-1", "cpuset.cpus", "0-1"),
        ("MemoryLow", "16777216", "memory.low", "16777216"),
    ];
    for _ in 0..2 {
        assert_agreed(&subject, &subject.unit(), &agreed);
        daemon_reload();
    }
    // Coarser for systemd, exact in the kernel.
    update(&["--cpu-quota", "12345"]);
    assert_agreed(
        &subject,
        &subject.unit(),
        &[("CPUQuotaPerSecUSec", "130ms", "cpu.max", "12345 100000")],
    );
    subject.delete();
    subject.done();
}

#[test]
fn an_update_that_is_refused_changes_neither() {
    needs!(Root, Systemd, CgroupV2("memory"));
    let subject = limited("refused");
    subject.run().succeeded();
    let refused = subject.call(&[
        "update",
        "--memory",
        "50331648",
        "--cpuset-cpus",
        "77",
        subject.id(),
    ]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("cpuset.cpus"), "{refused}");
    assert_agreed(&subject, &subject.unit(), &ALL);
    let untold = subject.call(&["update", "--cpuset-cpus", "0-1:1/2", subject.id()]);
    assert!(
        untold.stderr.contains("can't be told to systemd"),
        "{untold}"
    );
    assert_agreed(&subject, &subject.unit(), &ALL);
    subject.delete();
    subject.done();
}
