//! A terminal is a peer of the runtime's own master, and nothing that the container names
//! (CVE-2025-52565, CVE-2026-88264).

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use testkit::{Finished, TestBundle, finish, needs, under_terminal};

use crate::ground::{Ground, long_or, privileged, text, with_volume_on_dev, without_mount};

fn call(ground: &Ground, words: &[&str]) -> Finished {
    let command = ground.runtime.command(words);
    finish(&mut under_terminal(&command), Duration::from_secs(60))
}

/// What it printed, without what the terminal makes of it and of the end of its input.
fn said(finished: &Finished) -> String {
    finished
        .stdout
        .replace("^@", "")
        .replace(['\r', '\u{4}', '\0', '\u{8}'], "")
}

fn run(ground: &Ground, bundle: &TestBundle) -> Finished {
    bundle.save();
    call(
        ground,
        &["run", "--bundle", text(bundle.path()), bundle.id()],
    )
}

/// The terminal's filesystem, whether /dev/console is the same device, its name.
const PROOF: &str = "stat -L -f -c %T /proc/self/fd/0; \
     [ $(stat -L -c %t:%T /proc/self/fd/0) = $(stat -c %t:%T /dev/console) ] && echo SAME; tty";

#[test]
fn the_console_is_the_containers_own_terminal() {
    needs!(Root, Program("script"));
    let ground = Ground::new("tty");
    let bundle = ground
        .bundle()
        .set("/process/terminal", true.into())
        .script(PROOF);
    let finished = run(&ground, &bundle);
    finished.succeeded();
    assert_eq!(said(&finished), "devpts\nSAME\n/dev/pts/0\n", "{finished}");
    ground.finish(vec![bundle]);
}

#[test]
fn links_in_place_of_terminals_lead_nowhere() {
    needs!(Root, Program("script"));
    let ground = Ground::new("ptys");
    let canary = ground.canary_file("console");
    for with_devpts in [true, false] {
        let volume = ground.marker.directory();
        fs::create_dir(volume.path().join("pts")).expect("it is ours");
        for number in 0..10 {
            symlink(&canary, volume.path().join(format!("pts/{number}"))).expect("it is ours");
        }
        for name in ["console", "ptmx", "tty"] {
            symlink(&canary, volume.path().join(name)).expect("it is ours");
        }
        let bundle = with_volume_on_dev(ground.bundle(), volume.path())
            .set("/process/terminal", true.into())
            .script("echo x > /dev/pts/0");
        let bundle = if with_devpts {
            bundle
        } else {
            without_mount(bundle, "/dev/pts")
        };
        run(&ground, &bundle);
        ground.delete(&bundle);
        ground.check();
    }
    ground.finish(vec![]);
}

#[test]
fn terminals_of_further_processes_are_the_containers_too() {
    needs!(Root, Program("script"));
    let ground = Ground::new("exectty");
    let bundle = ground.bundle().args(&["sleep", "1000"]);
    ground.runtime.run_detached(&bundle).succeeded();
    let stat = ["stat", "-L", "-f", "-c", "%T", "/proc/self/fd/0"];
    for _ in 0..long_or(1000, 5) {
        let words = [&["exec", "-t", bundle.id()][..], &stat].concat();
        let finished = call(&ground, &words);
        assert_eq!(said(&finished), "devpts\n", "{finished}");
    }
    ground.delete(&bundle);
    ground.finish(vec![bundle]);
}

#[test]
fn a_multiplexer_that_is_none_is_refused() {
    needs!(Root, Program("script"));
    let ground = Ground::new("ptmx");
    let bundle = privileged(ground.bundle()).args(&["sleep", "1000"]);
    ground.runtime.run_detached(&bundle).succeeded();
    ground.exec(&bundle, &["umount", "/dev/pts"]).succeeded();
    for fake in [
        "mknod F c 1 5",
        "mkfifo F",
        "touch F",
        "ln -s /dev/zero F",
        "mknod F c 5 2",
    ] {
        let fake = fake.replace('F', "/dev/pts/ptmx");
        let script = format!("rm -f /dev/pts/ptmx; {fake}");
        ground.exec(&bundle, &["sh", "-c", &script]).succeeded();
        let finished = call(&ground, &["exec", "-t", bundle.id(), "true"]);
        assert!(finished.code != 0, "{fake}: {finished}");
    }
    ground.delete(&bundle);
    ground.finish(vec![bundle]);
}
