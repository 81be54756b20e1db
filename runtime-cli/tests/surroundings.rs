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

/// A caller that ignores every signal that it can, as nohup(1) and a script's `&` do with some.
const DEAF: [&str; 2] = ["env", "--ignore-signal"];

/// Prints what a process ignores and blocks. A shell would not do: busybox's ignores SIGQUIT.
const STATUS: [&str; 2] = ["cat", "/proc/self/status"];

/// Signals that are ignored, and those that are blocked.
fn signals(status: &str) -> Vec<&str> {
    let of = |name| status.lines().find_map(|line| line.strip_prefix(name));
    ["SigIgn:\t", "SigBlk:\t"]
        .into_iter()
        .filter_map(of)
        .collect()
}

const NONE: [&str; 2] = ["0000000000000000"; 2];

#[test]
fn what_the_caller_ignores_no_process_of_a_container_does() {
    needs!(Root);
    // Else there would be nothing to see.
    let mut plain = Command::new(DEAF[0]);
    plain.arg(DEAF[1]).args(STATUS);
    assert_ne!(signals(&finish(&mut plain, LIMIT).success().stdout), NONE);

    let ground = Ground::new("deaf");
    let bundle = ground.bundle("").args(&STATUS);
    // The status is heard although the caller ignores SIGCHLD.
    let run = ground.run_below(&DEAF, &bundle).success();
    assert_eq!(signals(&run.stdout), NONE, "{run}");

    let bundle = bundle.script("sleep 1000");
    ground.runtime.run_detached(&bundle).succeeded();
    let exec = ground.below(&DEAF, &["exec", bundle.id(), STATUS[0], STATUS[1]]);
    assert_eq!(signals(&exec.success().stdout), NONE);
    let exec = ground.below(&DEAF, &["exec", bundle.id(), "sh", "-c", "exit 7"]);
    assert_eq!(exec.code, 7, "{exec}");
    ground
        .runtime
        .call(&["delete", "--force", bundle.id()])
        .succeeded();
    ground.done(bundle);
}

#[test]
fn what_the_caller_ignores_no_hook_does() {
    needs!(Root);
    let ground = Ground::new("deafhooks");
    let mut bundle = ground.bundle("true").mount("", "out", "/out", &["bind"]);
    let out = bundle.path().join("out");
    std::fs::create_dir(&out).expect("a directory can be made");
    let kinds = [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ];
    for kind in kinds {
        let place = match kind {
            "startContainer" => "/out".to_owned(),
            _ => out.display().to_string(),
        };
        let copy = format!("{place}/{kind}");
        let hook = json!([{"path": "/bin/cp", "args": ["cp", "/proc/self/status", copy]}]);
        bundle = bundle.set(&format!("/hooks/{kind}"), hook);
    }
    ground.run_below(&DEAF, &bundle).succeeded();
    for kind in kinds {
        let seen = std::fs::read_to_string(out.join(kind)).unwrap_or_default();
        assert_eq!(signals(&seen), NONE, "{kind}");
    }
    ground.done(bundle);
}

#[test]
fn a_signal_that_the_caller_ignores_is_forwarded() {
    needs!(Root);
    let ground = Ground::new("deafsignal");
    // What POSIX lets a shell do: a signal that was ignored when it began can't be trapped.
    let bundle =
        ground.bundle("trap 'echo heard; exit 3' INT; echo ready; while :; do sleep 0.1; done");
    bundle.save();
    let path = bundle.path().to_str().expect("a temporary path is text");
    let run = ground
        .runtime
        .command(&["run", "--bundle", path, bundle.id()]);
    // The shell ignores SIGINT for its job by itself, and sends it when the container is ready.
    let script = "mkfifo \"$0\"; \"$@\" > \"$0\" & exec 3< \"$0\"; read -r line <&3; \
        kill -INT $!; cat <&3; wait $!";
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .arg(bundle.path().join("said"))
        .arg(run.get_program())
        .args(run.get_args());
    let finished = finish(&mut shell, LIMIT);
    assert_eq!(finished.code, 3, "{finished}");
    assert_eq!(finished.stdout, "heard\n", "{finished}");
    ground.done(bundle);
}
