//! Cgroups that are limits, keyrings that run out, cgroups that are somebody else's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{TestBundle, needs};

use crate::ground::{Ground, assert_refused, long_or, privileged};

/// The directory of this name in the hierarchy that has this controller.
fn cgroup(controller: &str, name: &str) -> Option<PathBuf> {
    let v1 = PathBuf::from("/sys/fs/cgroup").join(controller);
    if v1.join("cgroup.procs").exists() {
        return Some(v1.join(name));
    }
    let v2 = PathBuf::from("/sys/fs/cgroup");
    v2.join("cgroup.controllers")
        .exists()
        .then(|| v2.join(name))
}

#[test]
fn a_container_is_in_its_cgroups_and_cannot_leave_or_change_them() {
    needs!(Root);
    let ground = Ground::new("cgroups");
    for namespace in [false, true] {
        let mut bundle = ground.bundle().script(
            "for f in $(find /sys/fs/cgroup -name cgroup.procs -o -name tasks -o -name memory.max \
             -o -name release_agent -o -name notify_on_release); do (echo 0 > $f) && echo WRITTEN $f; done; \
             mkdir /sys/fs/cgroup/x && echo MADE; ls -d /sys/fs/cgroup/*/process_api; sleep 1000",
        );
        if namespace {
            bundle = bundle.push("/linux/namespaces", json!({"type": "cgroup"}));
        }
        let finished = ground.runtime.run_detached(&bundle).success();
        let pid = ground.runtime.state(bundle.id())["pid"].clone();
        let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
        let marker = format!("/{}", ground.marker);
        assert!(
            own.lines()
                .all(|line| line.ends_with(&marker) || line.split(':').nth(1) == Some("misc")),
            "{own}"
        );
        std::thread::sleep(Duration::from_millis(500));
        let said = finished.stdout_now();
        assert!(
            !said.contains("WRITTEN") && !said.contains("MADE") && !said.contains("process_api"),
            "{said}"
        );
        ground.delete(&bundle);
    }
    ground.finish(vec![]);
}

#[test]
fn limits_hold() {
    needs!(Root, Cgroup("pids"), Cgroup("memory"));
    let ground = Ground::new("limits");
    let bundle = ground
        .bundle()
        .set("/linux/resources/pids/limit", 8.into())
        .set("/linux/resources/memory/limit", (32 << 20).into())
        .script("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo STARTED");
    let finished = ground.runtime.run(&bundle);
    assert!(finished.stderr.contains("can't fork"), "{finished}");
    let bundle = bundle.script("head -c 100000000 /dev/zero | tail -c 90000000 | wc -c");
    let finished = ground.runtime.run(&bundle);
    assert!(!finished.stdout.contains("90000000"), "{finished}");
    ground.finish(vec![bundle]);
}

/// `create` within ten seconds: what can't work is said at once.
fn create_at_once(ground: &Ground, bundle: &TestBundle) -> testkit::Finished {
    let started = Instant::now();
    let finished = ground.runtime.create(bundle);
    assert!(started.elapsed() < Duration::from_secs(10), "{finished}");
    finished
}

#[test]
fn a_cgroup_with_processes_is_refused_and_nobody_in_it_is_touched() {
    needs!(Root, Cgroup("pids"));
    let ground = Ground::new("taken");
    let Some(path) = cgroup("pids", ground.marker.as_str()) else {
        return;
    };
    let below = path.join("below");
    for place in [&path, &below] {
        fs::create_dir_all(place).expect("root can make a cgroup");
        let script = format!("echo 0 > {}/cgroup.procs; exec sleep 1000", place.display());
        let mut sleep = Command::new("sh")
            .args(["-c", &script])
            .spawn()
            .expect("sh is there");
        crate::ground::wait_until("it has moved", || {
            fs::read_to_string(place.join("cgroup.procs"))
                .is_ok_and(|text| text.lines().any(|line| line == sleep.id().to_string()))
        });
        let bundle = ground.bundle().args(&["true"]);
        assert_refused(
            &create_at_once(&ground, &bundle),
            &path.display().to_string(),
        );
        ground.delete(&bundle);
        assert!(
            sleep.try_wait().expect("it is ours").is_none(),
            "it was killed"
        );
        sleep.kill().expect("it is ours");
        sleep.wait().expect("it is ours");
        if below.exists() {
            crate::ground::wait_until("the cgroup is empty", || fs::remove_dir(&below).is_ok());
        }
    }
    crate::ground::wait_until("the cgroup is empty", || {
        !path.exists() || fs::remove_dir(&path).is_ok()
    });
    ground.finish(vec![]);
}

#[test]
fn a_frozen_cgroup_is_refused_at_once() {
    needs!(Root, Cgroup("memory"));
    let ground = Ground::new("frozen");
    let v1 = Path::new("/sys/fs/cgroup/freezer");
    let (root, file, frozen, thawed) = match v1.exists() {
        true => (v1, "freezer.state", "FROZEN", "THAWED"),
        false => (Path::new("/sys/fs/cgroup"), "cgroup.freeze", "1", "0"),
    };
    let path = root.join(ground.marker.as_str());
    fs::create_dir(&path).expect("root can make a cgroup");
    fs::write(path.join(file), frozen).expect("root can freeze it");
    let bundle = ground.bundle().args(&["true"]);
    assert_refused(&create_at_once(&ground, &bundle), "frozen");
    ground.delete(&bundle);
    if path.exists() {
        fs::write(path.join(file), thawed).expect("root can thaw it");
        fs::remove_dir(&path).expect("it is empty");
    }
    ground.finish(vec![bundle]);
}

#[test]
fn keyrings_do_not_run_out_and_the_hosts_are_not_seen() {
    needs!(Root, UserNamespaces);
    let ground = Ground::new("keys");
    let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let bundle = ground
        .bundle()
        .push("/linux/namespaces", json!({"type": "user"}))
        .set("/linux/uidMappings", mapping.clone())
        .set("/linux/gidMappings", mapping)
        .script("cat /proc/keys");
    for _ in 0..long_or(500, 20) {
        let finished = ground.runtime.run(&bundle);
        if finished.code != 0 {
            assert!(finished.stderr.contains("key"), "{finished}");
        }
        assert_eq!(finished.stdout, "", "{finished}");
    }
    ground.finish(vec![bundle]);
}

#[test]
fn a_container_sees_no_more_of_the_host_by_being_entered_often() {
    needs!(Root);
    let ground = Ground::new("often");
    let bundle = privileged(ground.bundle()).args(&["sleep", "1000"]);
    ground.runtime.run_detached(&bundle).succeeded();
    let count = || {
        ground
            .exec(
                &bundle,
                &[
                    "sh",
                    "-c",
                    "wc -l < /proc/self/mountinfo; ls /proc/1/fd | wc -l",
                ],
            )
            .success()
            .stdout
    };
    let before = count();
    for _ in 0..10 {
        ground.exec(&bundle, &["true"]).succeeded();
    }
    assert_eq!(before, count());
    ground.delete(&bundle);
    ground.finish(vec![bundle]);
}
