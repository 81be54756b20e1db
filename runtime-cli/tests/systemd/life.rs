//! The life of a container in a unit.

use testkit::needs;

use super::*;

#[test]
fn every_operation_works_in_a_scope() {
    needs!(Root, Systemd);
    let subject = Subject::new("life");
    subject.create().succeeded();
    let unit = subject.unit();
    assert_eq!(shown(&unit)["ActiveState"], "active");
    let description = &shown(&unit)["Description"];
    assert!(
        description.starts_with(&format!("tare container {}, created ", subject.id())),
        "{description}"
    );
    subject.call(&["start", subject.id()]).succeeded();
    // A further process is in the same unit.
    let inside = subject.exec("cat /proc/self/cgroup").success().stdout;
    assert!(inside.contains(&unit), "{inside}");
    subject.call(&["pause", subject.id()]).succeeded();
    assert_eq!(subject.runtime.state(subject.id())["status"], "paused");
    subject.call(&["resume", subject.id()]).succeeded();
    let listed = subject
        .call(&["ps", "--format", "json", subject.id()])
        .success()
        .stdout;
    assert_eq!(listed.trim(), format!("[{}]", subject.pid()));
    subject.call(&["kill", subject.id(), "KILL"]).succeeded();
    subject.runtime.wait_for_status(subject.id(), "stopped");
    // systemd has noticed that nobody is left, and delete finds nothing to stop.
    assert_eq!(units_like(subject.marker.as_str()), "");
    subject.call(&["delete", subject.id()]).succeeded();
    subject.done();
}

#[test]
fn run_in_the_foreground_leaves_no_unit() {
    needs!(Root, Systemd);
    let subject = Subject::new("foreground").set(
        "/process/args",
        json!(["sh", "-c", "cat /proc/self/cgroup; exit 7"]),
    );
    let ran = subject.with_bundle(&["run"]);
    assert_eq!(ran.code, 7, "{ran}");
    assert!(
        ran.stdout
            .contains(&format!("/system.slice/{}", subject.unit())),
        "{ran}"
    );
    subject.done();
}

#[test]
fn operations_of_an_existing_container_need_no_flag() {
    needs!(Root, Systemd);
    let subject = Subject::new("flagless");
    subject.run().succeeded();
    let id = subject.id();
    subject.runtime.call(&["exec", id, "true"]).succeeded();
    subject
        .runtime
        .call(&["update", "--pids-limit", "9", id])
        .succeeded();
    assert_eq!(shown(&subject.unit())["TasksMax"], "9");
    subject.runtime.call(&["delete", "--force", id]).succeeded();
    subject.done();
}

#[test]
fn a_unit_that_is_stopped_by_systemd_ends_the_container() {
    needs!(Root, Systemd);
    // Process 1 of a pid namespace takes no SIGTERM that it does not handle.
    let subject = Subject::new("stopped").annotate("TimeoutStopUSec", "uint64 200000");
    subject.run().succeeded();
    systemctl(&["stop", &subject.unit()]).succeeded();
    assert_eq!(subject.runtime.state(subject.id())["status"], "stopped");
    subject.call(&["delete", subject.id()]).succeeded();
    subject.done();
}

#[test]
fn a_unit_that_has_failed_is_forgotten_by_delete() {
    needs!(Root, Systemd);
    let subject = Subject::new("failed")
        .annotate("RuntimeMaxSec", "1")
        .annotate("TimeoutStopSec", "0.2")
        .annotate("CollectMode", "'inactive'");
    subject.run().succeeded();
    subject.runtime.wait_for_status(subject.id(), "stopped");
    let begin = Instant::now();
    while shown(&subject.unit())["ActiveState"] != "failed" {
        assert!(begin.elapsed() < LIMIT, "it did not fail");
        std::thread::sleep(Duration::from_millis(50));
    }
    subject.call(&["delete", subject.id()]).succeeded();
    subject.done();
}

#[test]
fn a_create_that_fails_leaves_no_unit() {
    needs!(Root, Systemd);
    for (pointer, value) in [
        ("/mounts/0/source", json!("/nonexistent/source")),
        ("/process/args", json!(["/nonexistent/program"])),
        (
            "/linux/resources/unified",
            json!({ "memory.oom.group": "7" }),
        ),
    ] {
        let mut subject = Subject::new("fails");
        if pointer == "/mounts/0/source" {
            subject = subject
                .set("/mounts/0/type", json!("bind"))
                .set("/mounts/0/options", json!(["bind"]));
        }
        let subject = subject.set(pointer, value);
        let failed = subject.with_bundle(&["run"]);
        assert_ne!(failed.code, 0, "{failed}");
        subject.done();
    }
}

#[test]
fn many_containers_at_once_have_a_unit_each() {
    needs!(Root, Systemd);
    let subjects: Vec<Subject> = (0..8).map(|_| Subject::new("many")).collect();
    for subject in &subjects {
        subject.bundle.save();
    }
    let mut running: Vec<_> = subjects
        .iter()
        .map(|subject| {
            let path = subject.bundle.path().to_str().expect("text");
            let mut command = subject.command(&["run", "--detach", "--bundle", path, subject.id()]);
            command
                .stdin(std::process::Stdio::null())
                .stdout(std::process::Stdio::null());
            command.spawn().expect("it is there")
        })
        .collect();
    for child in &mut running {
        assert!(child.wait().expect("it is a child").success());
    }
    for subject in &subjects {
        assert_eq!(shown(&subject.unit())["ActiveState"], "active");
        subject.delete();
    }
    for subject in subjects {
        subject.done();
    }
}
