//! The same for a user without privilege, whose own binary may be the one that runs.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use testkit::{Finished, TestBundle, finish, needs};

use crate::ground::{
    Ground, arm, assert_none, binary, compiler, describe, lure, results, text, tree, wait_until,
};

const USER: u32 = 54_321;

/// A container that a user without privilege may make: its own user namespace, one id.
fn bundle_of_user(ground: &Ground) -> TestBundle {
    let mapping = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
    let bundle = ground
        .bundle()
        .push("/linux/namespaces", json!({"type": "user"}))
        .set("/linux/uidMappings", mapping.clone())
        .set("/linux/gidMappings", mapping)
        .set("/linux/resources", json!({}))
        .set("/linux/cgroupsPath", serde_json::Value::Null)
        .set("/process/rlimits", json!([]));
    // The group of devpts's gid=5 is not mapped; sysfs of a new network namespace is.
    let mounts = bundle.config()["mounts"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|mount| mount["type"] != "cgroup")
        .cloned()
        .map(|mut mount| {
            if mount["type"] == "devpts" {
                mount["options"] = json!([
                    "nosuid",
                    "noexec",
                    "newinstance",
                    "ptmxmode=0666",
                    "mode=0620"
                ]);
            }
            mount
        })
        .collect();
    bundle.set("/mounts", serde_json::Value::Array(mounts))
}

fn give(path: &Path) {
    for path in tree(path) {
        if !path.is_symlink() {
            chown(&path, Some(USER), Some(USER)).expect("root gives files away");
        }
    }
}

/// A directory of the user's with a copy of the binary and a state root.
struct Home {
    directory: tempfile::TempDir,
    binary: PathBuf,
}

impl Home {
    fn new(ground: &Ground) -> Self {
        let directory = ground.marker.directory();
        let copy = directory.path().join("tare");
        fs::copy(binary(), &copy).expect("the binary can be copied");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("it is ours");
        fs::create_dir(directory.path().join("state")).expect("it is ours");
        give(directory.path());
        Self {
            directory,
            binary: copy,
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        let user = USER.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]);
        command.arg(&self.binary).arg("--root");
        command.arg(self.directory.path().join("state")).args(words);
        command.env("XDG_RUNTIME_DIR", self.directory.path());
        command
    }

    fn call(&self, words: &[&str]) -> Finished {
        finish(&mut self.command(words), Duration::from_secs(60))
    }
}

#[test]
fn a_users_own_binary_is_out_of_its_containers_reach() {
    needs!(Root, UserNamespaces, compiler(), Program("setpriv"));
    let ground = Ground::new("rootless");
    let home = Home::new(&ground);
    let before = (
        describe(&home.binary),
        fs::read(&home.binary).expect("it is there"),
    );
    let status = fs::metadata(&home.binary).expect("it is there");
    let identity = [status.dev().to_string(), status.ino().to_string()];
    let bundle = bundle_of_user(&ground);
    arm(&bundle);
    lure(&bundle);
    let capabilities = json!(crate::ground::PRIVILEGED);
    let bundle = bundle
        .set(
            "/process/capabilities",
            json!({"bounding": capabilities, "effective": capabilities, "permitted": capabilities}),
        )
        .args(&["/attacker", "exe", &identity[0], &identity[1]]);
    bundle.save();
    give(bundle.path());
    let run = ["run", "-d", "--bundle", text(bundle.path()), bundle.id()];
    home.call(&run).succeeded();
    let mut rounds = 0;
    wait_until("the attacker holds the binary", || {
        home.call(&["exec", bundle.id(), "true"]).succeeded();
        // A process that is undumpable can't be seen from a user namespace at all; one that
        // the container itself lets execute the binary can.
        home.call(&["exec", bundle.id(), "/script"]);
        rounds += 1;
        rounds >= 20 && results(&bundle).iter().any(|line| line[0] == "HELD")
    });
    let lines = crate::ground::stop_attacker(&bundle);
    let after: Vec<_> = lines
        .iter()
        .skip_while(|line| line[0] != "AFTER")
        .filter(|line| line[0] == "TRY" && line[2] == "0")
        .collect();
    assert!(lines.iter().any(|line| line[0] == "AFTER"), "{lines:?}");
    assert_none(&after, "ways to write to the user's binary");
    let now = (
        describe(&home.binary),
        fs::read(&home.binary).expect("it is there"),
    );
    assert!(before == now, "the user's binary has changed");
    home.call(&["delete", "--force", bundle.id()]).succeeded();
    drop(home);
    ground.finish(vec![bundle]);
}

#[test]
fn without_a_cgroup_namespace_the_users_cgroup_is_read_only() {
    needs!(Root, UserNamespaces, Program("setpriv"));
    let ground = Ground::new("usercgroup");
    let home = Home::new(&ground);
    let bundle = bundle_of_user(&ground)
        .mount(
            "cgroup",
            "cgroup",
            "/sys/fs/cgroup",
            &["nosuid", "noexec", "nodev", "rw"],
        )
        .script(
            "for f in $(find /sys/fs/cgroup -name cgroup.procs); do (echo 0 > $f) 2>&1; done; \
             grep -E ' (cgroup|cgroup2) ' /proc/self/mountinfo | cut -d' ' -f6 | grep -v ^ro",
        );
    bundle.save();
    give(bundle.path());
    let run = ["run", "--bundle", text(bundle.path()), bundle.id()];
    let finished = home.call(&run);
    // Cgroups of other tests come and go meanwhile.
    let is_refusal =
        |line: &str| line.contains("Read-only file system") || line.contains("No such");
    assert!(finished.stdout.lines().all(is_refusal), "{finished}");
    home.call(&["delete", "--force", bundle.id()]).succeeded();
    drop(home);
    ground.finish(vec![bundle]);
}
