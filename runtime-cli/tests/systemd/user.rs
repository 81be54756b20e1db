//! An ordinary user's containers: units of the user's own systemd.

use testkit::{default_config, needs};

use super::*;

/// A container with the one id that a user can map without help.
fn subject(topic: &str) -> Subject {
    let (uid, gid) = (
        nix::unistd::geteuid().as_raw(),
        nix::unistd::getegid().as_raw(),
    );
    let map = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    let mut subject = Subject::new(topic);
    let mut config = default_config();
    let mounts = config["mounts"].as_array_mut().expect("it has mounts");
    for mount in mounts.iter_mut() {
        if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|option| !option.as_str().is_some_and(|text| text.starts_with("gid=")));
        }
    }
    config["linux"]["namespaces"]
        .as_array_mut()
        .expect("it has namespaces")
        .push(json!({ "type": "user" }));
    config["linux"]["uidMappings"] = map(uid);
    config["linux"]["gidMappings"] = map(gid);
    config["linux"]["resources"] = json!({
        "memory": { "limit": 64 << 20 },
        "pids": { "limit": 20 },
    });
    config["linux"]["cgroupsPath"] = json!(format!(":tt:{}", subject.marker));
    config["process"]["args"] = json!(["sleep", "1000"]);
    subject.bundle = subject.bundle.with_config(config);
    let path = format!(":tt:{}", subject.marker);
    subject.set("/linux/cgroupsPath", json!(path))
}

#[test]
fn a_users_container_is_a_unit_of_the_users_systemd() {
    needs!(OrdinaryUser, Systemd, CgroupV2("memory"));
    let subject = subject("user");
    subject.create().succeeded();
    let unit = subject.unit();
    let uid = nix::unistd::geteuid();
    let place = format!("/user.slice/user-{uid}.slice/user@{uid}.service/user.slice/{unit}");
    assert_eq!(cgroup_of(&subject.pid()), place);
    let shown = shown(&unit);
    assert_eq!(
        (&*shown["MemoryMax"], &*shown["TasksMax"]),
        ("67108864", "20")
    );
    assert_eq!(subject.file("memory.max"), "67108864");
    assert_eq!(subject.file("pids.max"), "20");
    subject.call(&["start", subject.id()]).succeeded();
    let inside = subject.exec("cat /proc/self/cgroup").success().stdout;
    assert!(inside.contains(&unit), "{inside}");
    subject.call(&["pause", subject.id()]).succeeded();
    subject.call(&["resume", subject.id()]).succeeded();
    subject
        .call(&["update", "--pids-limit", "10", subject.id()])
        .succeeded();
    daemon_reload();
    assert_eq!(subject.file("pids.max"), "10");
    subject.delete();
    subject.done();
}

#[test]
fn a_user_without_a_systemd_is_told_what_is_missing() {
    needs!(OrdinaryUser, Systemd);
    let subject = subject("nobus");
    subject.bundle.save();
    let path = subject.bundle.path().to_str().expect("text");
    let mut command = subject.command(&["create", "--bundle", path, subject.id()]);
    command
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("DBUS_SESSION_BUS_ADDRESS");
    let refused = finish(&mut command, LIMIT);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("the user's systemd can't be found"),
        "{refused}"
    );
    assert!(refused.stderr.contains("XDG_RUNTIME_DIR"), "{refused}");
    subject.done();
}
