//! What a container's processes have of the runtime's caller, and what they are refused.

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use testkit::{Finished, Marker, Residue, Runtime, TestBundle, finish, needs};

const LIMIT: Duration = Duration::from_secs(20);

/// A runtime and a bundle.
struct Ground {
    marker: Marker,
    residue: Residue,
    runtime: Runtime,
}

impl Ground {
    fn new(topic: &str) -> Self {
        let marker = Marker::new(topic);
        Self {
            residue: Residue::watch(&marker),
            runtime: Runtime::under_test(env!("CARGO_BIN_EXE_tare"), &marker),
            marker,
        }
    }

    fn bundle(&self, script: &str) -> TestBundle {
        TestBundle::busybox(&self.marker).script(script)
    }

    /// The runtime's command below other programs, which change what it inherits.
    fn below(&self, before: &[&str], arguments: &[&str]) -> Finished {
        let command = self.runtime.command(arguments);
        let mut outer = Command::new(before[0]);
        outer
            .args(&before[1..])
            .arg(command.get_program())
            .args(command.get_args());
        finish(&mut outer, LIMIT)
    }

    fn run_below(&self, before: &[&str], bundle: &TestBundle) -> Finished {
        bundle.save();
        let path = bundle.path().to_str().expect("a temporary path is text");
        self.below(before, &["run", "--bundle", path, bundle.id()])
    }

    fn done(self, bundle: TestBundle) {
        drop(bundle);
        self.residue.assert_none(&[&self.runtime]);
    }
}

/// The groups of the caller, which have no place in a container unless it asks for them.
const CALLER: [&str; 2] = ["setpriv", "--groups=4242,4243"];

#[test]
fn groups_of_the_caller_reach_a_container_that_asks_for_them() {
    needs!(Root, Program("setpriv"));
    let ground = Ground::new("groups");
    let bundle = ground.bundle("id -G");
    let run = ground.run_below(&CALLER, &bundle);
    assert_eq!(run.success().stdout, "0\n");

    let bundle = bundle.set("/annotations", json!({"run.oci.keep_original_groups": "1"}));
    let run = ground.run_below(&CALLER, &bundle).success();
    assert_eq!(
        (run.stdout.as_str(), run.stderr.as_str()),
        ("0 4242 4243\n", "")
    );
    ground.done(bundle);
}

#[test]
fn a_process_of_exec_keeps_the_groups_of_its_caller_and_is_told_which_it_does_not_get() {
    needs!(Root, Program("setpriv"));
    let ground = Ground::new("execgroups");
    let bundle = ground
        .bundle("sleep 1000")
        .set("/annotations", json!({"run.oci.keep_original_groups": "1"}));
    ground.runtime.run_detached(&bundle).succeeded();
    let exec = |flags: &[&str]| {
        let line = [&["exec"], flags, &[bundle.id(), "id", "-G"]].concat();
        ground.below(&CALLER, &line).success()
    };
    let plain = exec(&[]);
    assert_eq!(
        (plain.stdout.as_str(), plain.stderr.as_str()),
        ("0 4242 4243\n", "")
    );
    let more = exec(&["--additional-gids", "7"]);
    assert_eq!(more.stdout, "0 4242 4243\n");
    let said = "level=warning msg=\"user.additionalGids are not added";
    assert!(more.stderr.contains(said), "{more}");
    ground
        .runtime
        .call(&["delete", "--force", bundle.id()])
        .succeeded();
    ground.done(bundle);
}

#[test]
fn a_variable_without_an_equals_sign_is_refused() {
    needs!(Root);
    let ground = Ground::new("variable");
    let bundle = ground.bundle("sleep 1000");
    ground.runtime.run_detached(&bundle).succeeded();
    for (word, code) in [("NAME=", 0), ("NAME", 255), ("=x", 255)] {
        let exec = ground
            .runtime
            .call(&["exec", "-e", word, bundle.id(), "true"]);
        assert_eq!(exec.code, code, "{exec}");
        let said = exec.stderr.contains("invalid environment variable");
        assert_eq!(said, code != 0, "{exec}");
    }
    ground
        .runtime
        .call(&["delete", "--force", bundle.id()])
        .succeeded();

    let broken = bundle.set("/process/env", json!(["PATH=/bin", "NAME"]));
    let run = ground.runtime.run(&broken);
    assert_eq!(run.code, 1, "{run}");
    assert!(run.stderr.contains("/process/env/1"), "{run}");
    ground.done(broken);
}

#[test]
fn the_names_of_socket_activation_reach_the_container() {
    needs!(Root);
    let ground = Ground::new("activation");
    let bundle = ground.bundle("env | grep ^LISTEN | sort; cat <&3; cat <&4");
    // The shell's own number is the runtime's after exec.
    let start = "exec 3<<A 4<<B\nthree\nA\nfour\nB\n\
        export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=first:second; exec \"$@\"";
    let run = ground
        .run_below(&["sh", "-c", start, "sh"], &bundle)
        .success();
    let printed = "LISTEN_FDNAMES=first:second\nLISTEN_FDS=2\nLISTEN_PID=1\nthree\nfour\n";
    assert_eq!(run.stdout, printed, "{run}");
    ground.done(bundle);
}
