//! A restored container has what its config.json gives, whatever the image says. Each image
//! here is real: made under a config.json that allows more.

use serde_json::{Value, json};
use testkit::{Finished, TestBundle, needs};

use crate::place::Place;

/// Makes an image under one config.json and restores it under another.
fn restore_under(
    topic: &str,
    before: impl FnOnce(TestBundle) -> TestBundle,
    after: impl FnOnce(TestBundle) -> TestBundle,
) -> (Place, Finished) {
    let place = Place::new(topic, before);
    place.start();
    place.checkpoint(&[]).succeeded();
    let place = place.change(after);
    let restored = place.restore(&[]);
    (place, restored)
}

fn refused(
    topic: &str,
    before: impl FnOnce(TestBundle) -> TestBundle,
    after: impl FnOnce(TestBundle) -> TestBundle,
    says: &[&str],
) {
    let (place, restored) = restore_under(topic, before, after);
    let reached = place.count();
    place.refused(
        &restored,
        &[&["the image does not fit config.json"], says].concat(),
    );
    assert_eq!(place.count(), reached, "it has run for a moment");
    place.finish();
}

fn with_capability(bundle: TestBundle, name: &str) -> TestBundle {
    ["bounding", "effective", "permitted"]
        .into_iter()
        .fold(bundle, |bundle, set| {
            bundle.push(&format!("/process/capabilities/{set}"), name.into())
        })
}

#[test]
fn a_capability_that_config_json_does_not_give_is_refused() {
    needs!(Root, Criu);
    refused(
        "cpcap",
        |bundle| with_capability(bundle, "CAP_SYS_ADMIN"),
        |bundle| {
            let three = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
            bundle
                .set("/process/capabilities/bounding", three.clone())
                .set("/process/capabilities/effective", three.clone())
                .set("/process/capabilities/permitted", three)
        },
        &["has CAP_SYS_ADMIN in its bounding set"],
    );
}

#[test]
fn no_new_privs_is_set_even_if_the_image_lacks_it() {
    needs!(Root, Criu);
    let (place, restored) = restore_under(
        "cpnnp",
        |bundle| bundle.set("/process/noNewPrivileges", false.into()),
        |bundle| bundle.set("/process/noNewPrivileges", true.into()),
    );
    restored.succeeded();
    place.wait_beyond(place.count());
    let pid = place.runtime.state(place.id())["pid"].clone();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    place.finish();
}

fn seccomp(errno_for: &str) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": [errno_for], "action": "SCMP_ACT_ERRNO"}],
    })
}

#[test]
fn a_filter_is_there_again_and_another_one_is_refused() {
    needs!(Root, Criu);
    let filtered = |bundle: TestBundle| bundle.set("/linux/seccomp", seccomp("swapon"));
    let (place, restored) = restore_under("cpfilter", filtered, |bundle| bundle);
    restored.succeeded();
    place.wait_beyond(place.count());
    let pid = place.runtime.state(place.id())["pid"].clone();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Seccomp:\t2"), "{status}");
    place.finish();

    for (topic, before) in [
        ("cpunfiltered", None),
        ("cpotherfilter", Some(seccomp("swapoff"))),
    ] {
        let (place, restored) = restore_under(
            topic,
            |bundle| match before {
                Some(filter) => bundle.set("/linux/seccomp", filter),
                None => bundle,
            },
            filtered,
        );
        place.refused(&restored, &["linux.seccomp", "another seccomp filter"]);
        place.finish();
    }
}

#[test]
fn a_namespace_of_the_hosts_is_refused() {
    needs!(Root, Criu);
    let without_network = |bundle: TestBundle| {
        let namespaces = ["pid", "ipc", "uts", "mount"].map(|kind| json!({"type": kind}));
        bundle.set("/linux/namespaces", json!(namespaces))
    };
    let with_network =
        |bundle: TestBundle| bundle.push("/linux/namespaces", json!({"type": "network"}));
    refused(
        "cpnetns",
        without_network,
        with_network,
        &["another net namespace"],
    );
}

#[test]
fn a_mount_that_may_be_written_where_config_json_forbids_it_is_refused() {
    needs!(Root, Criu);
    let data = |bundle: TestBundle, word: &str| {
        let source = bundle.path().join("data");
        std::fs::create_dir_all(&source).unwrap();
        bundle.mount("bind", source.to_str().unwrap(), "/data", &["bind", word])
    };
    refused(
        "cprw",
        |bundle| data(bundle, "rw"),
        |bundle| bundle.set("/mounts/7/options", json!(["bind", "ro"])),
        &["/data", "is not ro"],
    );
    // And the same container as it was.
    let (place, restored) = restore_under("cpro", |bundle| data(bundle, "ro"), |bundle| bundle);
    restored.succeeded();
    let mounts = place.exec(&["cat", "/proc/self/mountinfo"]);
    let line = mounts
        .lines()
        .find(|line| line.contains(" /data "))
        .unwrap();
    assert!(line.contains(" ro,"), "{line}");
    place.finish();
}

#[test]
fn a_path_that_is_not_hidden_or_not_protected_is_refused() {
    needs!(Root, Criu);
    refused(
        "cpmask",
        |bundle| bundle.set("/linux/maskedPaths", json!([])),
        |bundle| bundle.set("/linux/maskedPaths", json!(["/proc/kcore"])),
        &["/proc/kcore is not hidden"],
    );
    refused(
        "cpreadonly",
        |bundle| bundle.set("/linux/readonlyPaths", json!([])),
        |bundle| bundle.set("/linux/readonlyPaths", json!(["/proc/sys"])),
        &["/proc/sys is not ro"],
    );
    refused(
        "cprootfs",
        |bundle| bundle,
        |bundle| bundle.set("/root/readonly", true.into()),
        &["is not ro"],
    );
}

#[test]
fn a_mount_that_config_json_does_not_have_is_refused() {
    needs!(Root, Criu);
    refused(
        "cpextra",
        |bundle| bundle.mount("tmpfs", "tmpfs", "/root", &[]),
        |bundle| {
            let mut mounts = bundle.config()["mounts"].clone();
            mounts.as_array_mut().unwrap().pop();
            bundle.set("/mounts", mounts)
        },
        &["a mount on", "/root", "that config.json does not have"],
    );
}

#[test]
fn another_user_is_refused_where_nothing_could_have_become_it() {
    needs!(Root, Criu);
    refused(
        "cpuser",
        |bundle| bundle,
        |bundle| bundle.set("/process/user", json!({"uid": 1000, "gid": 1000})),
        &["is another user than process.user.uid"],
    );
}

#[test]
fn a_higher_limit_is_refused() {
    needs!(Root, Criu);
    refused(
        "cplimit",
        |bundle| bundle,
        |bundle| {
            let limit = json!([{"type": "RLIMIT_NOFILE", "hard": 512, "soft": 512}]);
            bundle.set("/process/rlimits", limit)
        },
        &["has a hard RLIMIT_NOFILE of 1024"],
    );
}

#[test]
fn the_cgroup_and_its_limits_are_those_of_config_json() {
    needs!(Root, Criu, CgroupV2("pids"));
    let (place, restored) = restore_under(
        "cpcgroup",
        |bundle| bundle.set("/linux/resources/pids", json!({"limit": 100})),
        |bundle| bundle.set("/linux/resources/pids", json!({"limit": 55})),
    );
    restored.succeeded();
    let cgroup = format!("/sys/fs/cgroup/{}", place.marker);
    let read = |file: &str| std::fs::read_to_string(format!("{cgroup}/{file}")).unwrap();
    assert_eq!(read("pids.max"), "55\n");
    let pid = place.runtime.state(place.id())["pid"].to_string();
    assert!(read("cgroup.procs").lines().any(|line| line == pid));
    place.finish();
}

#[test]
fn a_rule_for_devices_is_that_of_config_json() {
    needs!(Root, Criu);
    let all = json!([{"allow": true, "access": "rwm"}]);
    let (place, restored) = restore_under(
        "cpdevices",
        |bundle| bundle.set("/linux/resources/devices", all),
        |bundle| {
            bundle.set(
                "/linux/resources/devices",
                json!([{"allow": false, "access": "rwm"}]),
            )
        },
    );
    restored.succeeded();
    place.wait_beyond(place.count());
    // /dev/full is allowed, the host's memory is not.
    place.exec(&[
        "sh",
        "-c",
        "cat /dev/null; mknod /tmp/mem c 1 1 2>/dev/null; ! head -c1 /tmp/mem 2>/dev/null",
    ]);
    place.finish();
}

#[test]
fn another_group_is_refused() {
    needs!(Root, Criu);
    refused(
        "cpgroup",
        |bundle| bundle.set("/process/user/additionalGids", json!([6])),
        |bundle| bundle.set("/process/user/additionalGids", json!([7])),
        &["is of group 6", "additionalGids"],
    );
}

#[test]
fn a_realtime_policy_and_a_better_niceness_are_refused() {
    needs!(Root, Criu);
    let scheduler = |policy: &str, nice: i32, priority: u32| json!({"policy": policy, "nice": nice, "priority": priority});
    let without = |bundle: TestBundle| bundle.set("/process/scheduler", Value::Null);
    refused(
        "cpfifo",
        |bundle| bundle.set("/process/scheduler", scheduler("SCHED_FIFO", 0, 5)),
        without,
        &["real-time policy"],
    );
    refused(
        "cpnice",
        |bundle| bundle.set("/process/scheduler", scheduler("SCHED_OTHER", -5, 0)),
        without,
        &["has niceness -5"],
    );
}

/// A profile that allows everything but one thing; unloaded when dropped.
struct Profile(String);

impl Profile {
    fn load(name: &str) -> Self {
        let text = format!(
            "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n\
             file,\ncapability,\nnetwork,\nsignal,\nptrace,\nunix,\nmount,\numount,\n}}\n"
        );
        parser(&["--replace", "--skip-cache"], &text);
        Self(name.to_owned())
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        parser(&["--remove"], &format!("profile {} {{}}\n", self.0));
    }
}

fn parser(flags: &[&str], text: &str) {
    let mut command = std::process::Command::new("apparmor_parser");
    testkit::finish_with_input(command.args(flags), text.as_bytes(), crate::place::LIMIT)
        .succeeded();
}

#[test]
fn the_label_is_that_of_config_json() {
    needs!(Root, Criu, AppArmor, Program("apparmor_parser"));
    let one = Profile::load("tare-checkpoint-one");
    let other = Profile::load("tare-checkpoint-other");
    let under = |bundle: TestBundle, profile: &Profile| {
        bundle.set("/process/apparmorProfile", profile.0.as_str().into())
    };
    let (place, restored) = restore_under(
        "cplabel",
        |bundle| under(bundle, &one),
        |bundle| under(bundle, &other),
    );
    restored.succeeded();
    let pid = place.runtime.state(place.id())["pid"].clone();
    let label = std::fs::read_to_string(format!("/proc/{pid}/attr/current")).unwrap();
    assert_eq!(label.trim(), format!("{} (enforce)", other.0));
    place.wait_beyond(place.count());
    place.finish();

    // criu gives a label only to what had one.
    refused(
        "cpunlabelled",
        |bundle| bundle,
        |bundle| under(bundle, &one),
        &["has the label", "unconfined"],
    );
}
