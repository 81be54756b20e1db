//! What the caller left open never reaches a container (CVE-2024-21626).

use std::process::Command;
use std::time::Duration;

use testkit::{Finished, TestBundle, finish, needs};

use crate::ground::{
    Ground, arm, assert_none, assert_refused, compiler, results, text, wait_until,
};

/// Runs tare while descriptors 3 to 40 are directories of the host.
fn with_open_directories(ground: &Ground, words: &[&str]) -> Finished {
    let tare = ground.runtime.command(words);
    let open: Vec<String> = (3..=40)
        .map(|fd| {
            let path = if fd % 2 == 0 {
                "/"
            } else {
                text(ground.canary())
            };
            format!("{fd}<{path}")
        })
        .collect();
    // bash: a plain sh knows one digit only.
    let script = format!("exec {}; exec \"$@\"", open.join(" "));
    let mut command = Command::new("bash");
    command.args(["-c", &script, "bash"]);
    command.arg(tare.get_program()).args(tare.get_args());
    finish(&mut command, Duration::from_secs(60))
}

fn run(ground: &Ground, bundle: &TestBundle) -> Finished {
    bundle.save();
    with_open_directories(
        ground,
        &["run", "--bundle", text(bundle.path()), bundle.id()],
    )
}

/// The descriptors that a program in the container sees: 0 to 2, and its own of /proc.
const LIST: &str = "ls -1 /proc/self/fd; pwd -P";

#[test]
fn a_program_has_three_descriptors_whatever_the_caller_left_open() {
    needs!(Root);
    let ground = Ground::new("leak");
    let bundle = ground.bundle().script(LIST);
    let finished = run(&ground, &bundle);
    finished.succeeded();
    assert_eq!(finished.stdout, "0\n1\n2\n3\n/\n");

    let bundle = bundle.args(&["sleep", "1000"]);
    ground.runtime.run_detached(&bundle).succeeded();
    let finished = with_open_directories(&ground, &["exec", bundle.id(), "sh", "-c", LIST]);
    finished.succeeded();
    assert_eq!(finished.stdout, "0\n1\n2\n3\n/\n");
    ground.delete(&bundle);
    ground.finish(vec![bundle]);
}

#[test]
fn preserved_descriptors_are_those_that_were_asked_for() {
    needs!(Root);
    let ground = Ground::new("preserve");
    let bundle = ground.bundle().script("ls -1 /proc/self/fd");
    bundle.save();
    let words = [
        "run",
        "--preserve-fds",
        "2",
        "--bundle",
        text(bundle.path()),
        bundle.id(),
    ];
    let finished = with_open_directories(&ground, &words);
    finished.succeeded();
    assert_eq!(finished.stdout, "0\n1\n2\n3\n4\n5\n");
    ground.finish(vec![bundle]);
}

#[test]
fn a_working_directory_or_program_behind_a_descriptor_is_refused() {
    needs!(Root);
    let ground = Ground::new("cwd");
    let running = ground.bundle().args(&["sleep", "1000"]);
    ground.runtime.run_detached(&running).succeeded();
    let other = ground.second_bundle().script("pwd; ls; cat secret");
    for fd in 3..=40 {
        let cwd = format!("/proc/self/fd/{fd}");
        let finished = with_open_directories(
            &ground,
            &[
                "exec",
                "--cwd",
                &cwd,
                running.id(),
                "sh",
                "-c",
                "pwd; ls; cat secret",
            ],
        );
        assert!(finished.code != 0, "{finished}");
        let program = format!("{cwd}/bin/sh");
        let finished = with_open_directories(&ground, &["exec", running.id(), &program]);
        assert!(finished.code != 0, "{finished}");
        if fd % 6 == 3 {
            let other = ground.second_bundle().set("/process/cwd", cwd.into());
            assert!(run(&ground, &other).code != 0);
        }
    }
    for cwd in [
        "/proc/1/root",
        "/proc/1/cwd",
        "/proc/self/root",
        "/proc/thread-self/cwd",
    ] {
        assert_refused(
            &ground
                .exec(&running, &["true"])
                .code
                .eq(&0)
                .then(|| {
                    with_open_directories(&ground, &["exec", "--cwd", cwd, running.id(), "pwd"])
                })
                .expect("the container runs"),
            "",
        );
    }
    drop(other);
    ground.delete(&running);
    ground.finish(vec![running]);
}

#[test]
fn an_init_that_waits_for_start_holds_nothing_of_the_host() {
    needs!(Root, compiler());
    let ground = Ground::new("waiting");
    let bundle = ground.bundle().args(&["true"]);
    bundle.save();
    with_open_directories(
        &ground,
        &["create", "--bundle", text(bundle.path()), bundle.id()],
    )
    .succeeded();
    let pid = ground.runtime.state(bundle.id())["pid"].clone();
    let mut held = Vec::new();
    let list = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives");
    for entry in list {
        let path = entry.expect("it can be read").path();
        let number: u32 = text(&path)
            .rsplit('/')
            .next()
            .expect("a name")
            .parse()
            .expect("a number");
        let target = std::fs::read_link(&path).expect("it is open");
        if number > 2 && !text(&target).starts_with("socket:") {
            held.push((number, target));
        }
    }
    assert_none(&held, "held by an init that waits");

    // The same as a process inside sees it that may look.
    arm(&bundle);
    let finished = ground.runtime.call(&[
        "exec",
        "--cap",
        "CAP_SYS_PTRACE",
        bundle.id(),
        "/attacker",
        "fds",
        "1",
    ]);
    if finished.code == 0 {
        wait_until("it ends", || {
            results(&bundle).iter().any(|line| line[0] == "END")
        });
        let foreign: Vec<_> = results(&bundle)
            .into_iter()
            .filter(|line| line[0] == "FD" && line[1].len() > 1 && !line[2].starts_with("socket:"))
            .collect();
        assert_none(&foreign, "seen by a process inside");
    }
    ground.delete(&bundle);
    ground.finish(vec![bundle]);
}
