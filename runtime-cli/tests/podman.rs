//! tare under Debian's podman and conmon, private to each test.

#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testkit::{Fact, Finished, Marker, Residue, TestBundle, finish_with_input, needs};

const IMAGE: &str = "localhost/busybox";

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// podman with all of its files in one directory.
struct Podman {
    directory: TempDir,
    marker: Marker,
}

impl Podman {
    fn new(marker: &Marker) -> Self {
        let directory = marker.directory();
        let config = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n\
                      [engine]\nruntime_supports_json = [\"tare\", \"crun\", \"runc\"]\n";
        std::fs::write(directory.path().join("containers.conf"), config).unwrap();
        let podman = Self {
            directory,
            marker: marker.clone(),
        };
        let bundle = TestBundle::busybox(marker);
        let archive = podman.path("image.tar");
        let mut tar = Command::new("tar");
        tar.arg("-C")
            .arg(bundle.rootfs())
            .arg("-cf")
            .arg(&archive)
            .arg(".");
        testkit::finish(&mut tar, LIMIT).succeeded();
        let archive = archive.display().to_string();
        podman.call(&["import", &archive, IMAGE]).succeeded();
        podman
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", self.path("containers.conf"));
        for (flag, name) in [
            ("--root", "root"),
            ("--runroot", "run"),
            ("--tmpdir", "tmp"),
        ] {
            command.arg(flag).arg(self.path(name));
        }
        command.args(["--storage-driver", "vfs", "--events-backend", "file"]);
        command.args(["--cgroup-manager", "cgroupfs"]);
        command
            .args(["--runtime", env!("CARGO_BIN_EXE_tare")])
            .args(words);
        command
    }

    fn call(&self, words: &[&str]) -> Finished {
        finish_with_input(&mut self.command(words), b"", LIMIT)
    }

    /// The flags of every container: nothing of the host's network, and the test's cgroup.
    fn run_words<'a>(&self, cgroup: &'a str) -> [&'a str; 5] {
        ["run", "--network", "none", "--cgroup-parent", cgroup]
    }

    fn run(&self, flags: &[&str], command: &[&str]) -> Finished {
        let cgroup = format!("/{}", self.marker);
        let words = self.run_words(&cgroup);
        self.call(&[&words, flags, &[IMAGE], command].concat())
    }

    fn inspect(&self, name: &str, format: &str) -> String {
        let inspected = self.call(&["inspect", "--format", format, name]);
        inspected.stdout.trim().to_owned()
    }

    fn until(&self, name: &str, format: &str, value: &str) {
        let started = Instant::now();
        while self.inspect(name, format) != value {
            let seen = self.inspect(name, format);
            assert!(
                started.elapsed().as_secs() < 30,
                "{format}: {seen}, not {value}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Podman {
    /// Nothing here may panic: a failing test drops its podman while it panics.
    fn drop(&mut self) {
        for words in [
            ["pod", "rm", "--all", "--force"],
            ["rm", "--all", "--force", "--time=0"],
        ] {
            drop(self.command(&words).output());
        }
        // The parent that podman was asked for is its caller's to remove.
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
        {
            let parent = hierarchy.path().join(self.marker.as_str());
            // conmon's is emptied when conmon ends, a moment after its container.
            for _ in 0..100 {
                std::fs::remove_dir(parent.join("conmon")).ok();
                std::fs::remove_dir(&parent).ok();
                if !parent.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

#[test]
fn containers_end_with_the_codes_that_people_know() {
    needs!(Fact::Root, Fact::Program("podman"));
    let marker = Marker::new("podmanrun");
    let residue = Residue::watch(&marker);
    let podman = Podman::new(&marker);
    let said = podman.run(&["--rm"], &["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((said.code, said.stdout.as_str()), (7, "out\n"), "{said:?}");
    assert!(said.stderr.contains("err"), "{said:?}");
    let missing = podman.run(&["--rm"], &["no-such-program"]);
    assert_eq!(missing.code, 127, "{missing:?}");
    // tare's own words have come through conmon.
    assert!(
        missing
            .stderr
            .contains("executable file not found in $PATH"),
        "{missing:?}"
    );
    assert_eq!(podman.run(&["--rm"], &["/tmp"]).code, 126);
    let cgroup = format!("/{marker}");
    let words = [
        &podman.run_words(&cgroup)[..],
        &["--rm", "-i", IMAGE, "cat"],
    ]
    .concat();
    let echoed = finish_with_input(&mut podman.command(&words), b"data\n", LIMIT);
    assert_eq!(echoed.stdout, "data\n", "{echoed:?}");
    let terminal = [
        &podman.run_words(&cgroup)[..],
        &["--rm", "-t", IMAGE, "tty"],
    ]
    .concat();
    let terminal = testkit::under_terminal(&podman.command(&terminal));
    let mut terminal = terminal;
    terminal.env("CONTAINERS_CONF", podman.path("containers.conf"));
    let shown = testkit::finish(&mut terminal, LIMIT);
    assert!(shown.stdout.contains("/dev/pts/0"), "{shown:?}");
    drop(podman);
    residue.assert_none(&[]);
}

#[test]
fn a_running_container_is_steered() {
    needs!(Fact::Root, Fact::Program("podman"), Fact::Cgroup("memory"));
    let marker = Marker::new("podmansteer");
    let residue = Residue::watch(&marker);
    let podman = Podman::new(&marker);
    let name = format!("{marker}-one");
    let script = "trap 'echo stopping; exit 4' TERM; echo started; while :; do sleep 0.1; done";
    let flags = ["--detach", "--name", &name, "--memory", "64m"];
    podman.run(&flags, &["sh", "-c", script]).succeeded();
    let exec = podman.call(&["exec", &name, "sh", "-c", "echo inside; exit 3"]);
    assert_eq!(
        (exec.code, exec.stdout.as_str()),
        (3, "inside\n"),
        "{exec:?}"
    );
    podman.call(&["pause", &name]).succeeded();
    assert_eq!(podman.inspect(&name, "{{.State.Status}}"), "paused");
    podman.call(&["unpause", &name]).succeeded();
    let stats = podman.call(&["stats", "--no-stream", "--format", "{{.MemUsage}}", &name]);
    assert!(stats.stdout.contains("67.11MB"), "{stats:?}");
    let top = podman.call(&["top", &name, "args"]);
    assert!(top.stdout.contains("trap"), "{top:?}");
    podman.call(&["stop", &name]).succeeded();
    assert_eq!(podman.inspect(&name, "{{.State.ExitCode}}"), "4");
    let logs = podman.call(&["logs", &name]);
    assert_eq!(logs.stdout, "started\nstopping\n");
    podman.call(&["start", &name]).succeeded();
    podman.call(&["kill", &name]).succeeded();
    podman.until(&name, "{{.State.Status}} {{.State.ExitCode}}", "exited 137");
    podman.call(&["rm", &name]).succeeded();
    drop(podman);
    residue.assert_none(&[]);
}

#[test]
fn a_checkpoint_that_can_not_be_made_says_why_and_harms_nothing() {
    needs!(Fact::Root, Fact::Program("podman"), Fact::Program("criu"));
    let marker = Marker::new("podmancriu");
    let residue = Residue::watch(&marker);
    let podman = Podman::new(&marker);
    let name = format!("{marker}-one");
    podman
        .run(&["--detach", "--name", &name], &["sleep", "1000"])
        .succeeded();
    let saved = podman.call(&["container", "checkpoint", &name]);
    match saved.code {
        // Where criu can dump on this kernel, the container comes back.
        0 => {
            podman.until(&name, "{{.State.Status}}", "exited");
            podman.call(&["container", "restore", &name]).succeeded();
        }
        _ => assert!(saved.stderr.contains("criu says"), "{saved:?}"),
    }
    podman.until(&name, "{{.State.Status}}", "running");
    let exec = podman.call(&["exec", &name, "sh", "-c", "exit 3"]);
    assert_eq!(exec.code, 3, "{exec:?}");
    drop(podman);
    residue.assert_none(&[]);
}
