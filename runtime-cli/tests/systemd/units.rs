//! Names of units, their places, and what annotations may ask for.

use testkit::needs;

use super::*;

#[test]
fn a_unit_is_in_the_slice_that_is_asked_for() {
    needs!(Root, Systemd);
    let subject = Subject::new("slice");
    let word = subject.marker.as_str().replace('-', "");
    let slice = format!("machine-{word}.slice");
    let path = format!("{slice}:tt:{}", subject.marker);
    let subject = subject.set("/linux/cgroupsPath", json!(path));
    subject.run().succeeded();
    let unit = subject.unit();
    assert_eq!(
        cgroup_of(&subject.pid()),
        format!("/machine.slice/{slice}/{unit}")
    );
    assert_eq!(shown(&unit)["Slice"], slice);
    subject.delete();
    // Slices stay, as with everybody who makes them by the way.
    systemctl(&["stop", &slice]).succeeded();
    subject.done();
}

#[test]
fn a_container_can_be_a_slice() {
    needs!(Root, Systemd);
    let subject = Subject::new("whole");
    let slice = format!("tt{}.slice", subject.marker.as_str().replace('-', ""));
    let path = format!("-:ignored:{slice}");
    let subject = subject.set("/linux/cgroupsPath", json!(path));
    subject.run().succeeded();
    assert_eq!(cgroup_of(&subject.pid()), format!("/{slice}"));
    subject.exec("true").succeeded();
    subject.delete();
    assert_eq!(units_like(&slice), "");
    subject.done();
}

#[test]
fn a_unit_of_somebody_else_is_left_alone() {
    needs!(Root, Systemd);
    let subject = Subject::new("taken");
    let unit = subject.unit();
    let mut other = Command::new("systemd-run");
    other.args([
        "--scope",
        "--quiet",
        &format!("--unit={unit}"),
        "sleep",
        "1000",
    ]);
    let mut other = other.spawn().expect("systemd has it");
    let begin = Instant::now();
    while shown(&unit)["ActiveState"] != "active" {
        assert!(begin.elapsed() < LIMIT, "the other unit has not started");
        std::thread::sleep(Duration::from_millis(50));
    }
    let refused = subject.create();
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains(&unit), "{refused}");
    assert!(
        refused
            .stderr
            .contains("choose another name in cgroupsPath"),
        "{refused}"
    );
    subject.delete();
    assert_eq!(
        other.try_wait().expect("it is a child"),
        None,
        "the other's process was killed"
    );
    assert_eq!(shown(&unit)["ActiveState"], "active");
    other.kill().expect("it runs");
    other.wait().expect("it is a child");
    subject.done();
}

#[test]
fn a_path_of_another_form_is_refused_before_anything_is_done() {
    needs!(Root);
    let subject = Subject::new("form").set("/linux/cgroupsPath", json!("/system.slice/x"));
    let refused = subject.create();
    assert_eq!(refused.code, 1);
    let said = "expected cgroupsPath to be of format \\\"slice:prefix:name\\\" for systemd cgroups, got \\\"/system.slice/x\\\" instead";
    assert!(
        refused.stderr.contains(said) || refused.stderr.contains(&said.replace('\\', "")),
        "{refused}"
    );
    assert_eq!(
        std::fs::read_dir(subject.runtime.root())
            .expect("it is there")
            .count(),
        0
    );
}

#[test]
fn annotations_are_properties_of_the_unit() {
    needs!(Root, Systemd);
    let subject = Subject::new("annotated")
        .annotate("TimeoutStopUSec", "uint64 123456789")
        .annotate("KillSignal", "37")
        .annotate("DefaultDependencies", "true")
        .annotate("After", "['basic.target']")
        .annotate("MemoryHigh", "uint64 33554432");
    subject.run().succeeded();
    let shown = shown(&subject.unit());
    assert_eq!(shown["TimeoutStopUSec"], "2min 3.456789s");
    assert_eq!(shown["KillSignal"], "37");
    assert_eq!(shown["DefaultDependencies"], "yes");
    assert!(
        shown["After"].contains("basic.target"),
        "{}",
        shown["After"]
    );
    assert_eq!(shown["MemoryHigh"], "33554432");
    assert_eq!(subject.file("memory.high"), "33554432");
    subject.delete();
    subject.done();
}

#[test]
fn annotations_that_reach_beyond_the_container_are_refused() {
    needs!(Root);
    let marker = Marker::new("canary");
    let canary = marker.directory();
    let remove = format!("'/bin/rm -rf {}'", canary.path().display());
    for (property, value) in [
        ("ExecStopPost", remove.as_str()),
        ("SuccessAction", "'reboot-force'"),
        ("PIDs", "[uint32 1]"),
        ("Slice", "'-.slice'"),
        ("Wants", "['poweroff.target']"),
        ("Conflicts", "['dbus.service']"),
    ] {
        let subject = Subject::new("beyond").annotate(property, value);
        let refused = subject.create();
        assert_eq!(refused.code, 1, "{refused}");
        let said = format!("/annotations/org.systemd.property.{property}: ");
        assert!(refused.stderr.contains(&said), "{refused}");
        assert_eq!(
            std::fs::read_dir(subject.runtime.root())
                .expect("it is there")
                .count(),
            0
        );
    }
    assert!(canary.path().exists());
}

#[test]
fn a_property_that_systemd_refuses_is_told_in_its_words() {
    needs!(Root, Systemd);
    let subject = Subject::new("words").annotate("CollectMode", "'sometimes'");
    let refused = subject.create();
    assert_ne!(refused.code, 0);
    assert!(
        refused.stderr.contains("systemd refused to start the unit"),
        "{refused}"
    );
    assert!(refused.stderr.contains("sometimes"), "{refused}");
    subject.done();
}

#[test]
fn the_plan_shows_the_unit_and_touches_nothing() {
    needs!(Root);
    let subject = Subject::new("plan");
    subject.bundle.save();
    let path = subject.bundle.path().to_str().expect("text");
    let words = ["plan", "--format", "json", "--bundle", path, subject.id()];
    let planned = subject.call(&words).success().stdout;
    let planned: Value = serde_json::from_str(&planned).expect("it is JSON");
    assert_eq!(planned["cgroup"]["unit"]["name"], subject.unit());
    assert_eq!(planned["cgroup"]["unit"]["slice"], "system.slice");
    let without = subject.runtime.call(&words).success().stdout;
    let without: Value = serde_json::from_str(&without).expect("it is JSON");
    assert!(without["cgroup"].get("unit").is_none());
}
