//! The shim under Debian's dockerd. dockerd before 23 always asks containerd for
//! `io.containerd.runc.v2`, so tare's shim stands in that shim's place, and the runtime `tare` of
//! dockerd names the binary `tare`: then the shim starts containers itself.

#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

use std::time::{Duration, Instant};

use testkit::{Engine, Fact, Finished, Marker, Residue, needs};

/// dockerd with the shim in the place of containerd's own.
struct Scene {
    engine: Engine,
    marker: Marker,
    _drop_in: tempfile::TempDir,
}

impl Scene {
    fn new(marker: &Marker) -> Self {
        let shim = env!("CARGO_BIN_EXE_containerd-shim-tare-v1");
        let drop_in = marker.directory();
        let place = drop_in.path().join("containerd-shim-runc-v2");
        std::os::unix::fs::symlink(shim, place).unwrap();
        // Never run: by this name the shim knows that it is asked for itself.
        let tare = drop_in.path().join("tare");
        std::fs::write(
            &tare,
            "#!/bin/sh\necho 'the shim has run a binary' >&2\nexit 9\n",
        )
        .unwrap();
        let runtimes = [("tare", tare.as_path())];
        Self {
            engine: Engine::docker_finding(marker, Some(drop_in.path()), &runtimes),
            marker: marker.clone(),
            _drop_in: drop_in,
        }
    }

    fn docker(&self, words: &[&str]) -> Finished {
        self.engine.docker(words)
    }

    /// `docker run` with these flags, of this command.
    fn run(&self, flags: &[&str], command: &[&str]) -> Finished {
        let fixed = ["run", "--network", "none", "--runtime", "tare"];
        self.docker(&[&fixed, flags, &[self.engine.image()], command].concat())
    }

    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.marker)
    }

    fn inspect(&self, name: &str, format: &str) -> String {
        let inspected = self.docker(&["inspect", "--format", format, name]);
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

#[test]
fn containers_end_with_the_codes_that_people_know() {
    needs!(Fact::Root, Fact::Engines);
    let marker = Marker::new("dockerrun");
    let residue = Residue::watch(&marker);
    let scene = Scene::new(&marker);
    let said = scene.run(&["--rm"], &["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(
        (said.code, said.stdout.as_str(), said.stderr.as_str()),
        (7, "out\n", "err\n")
    );
    assert_eq!(scene.run(&["--rm"], &["no-such-program"]).code, 127);
    assert_eq!(scene.run(&["--rm"], &["/tmp"]).code, 126);
    let killed = scene.run(&["--rm"], &["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]);
    assert_eq!(killed.code, 137);
    drop(scene);
    residue.assert_none(&[]);
}

#[test]
fn a_running_container_is_steered() {
    needs!(Fact::Root, Fact::Engines, Fact::Cgroup("memory"));
    let marker = Marker::new("dockersteer");
    let residue = Residue::watch(&marker);
    let scene = Scene::new(&marker);
    let name = scene.name("one");
    let script = "trap 'echo stopping; exit 4' TERM; echo started; while :; do sleep 0.1; done";
    let flags = ["--detach", "--name", &name, "--memory", "64m"];
    scene.run(&flags, &["sh", "-c", script]).succeeded();
    let exec = scene.docker(&["exec", &name, "sh", "-c", "echo inside; exit 3"]);
    assert_eq!((exec.code, exec.stdout.as_str()), (3, "inside\n"));
    let terminal = scene
        .engine
        .docker_command(&["exec", "-t", &name, "sh", "-c", "tty"]);
    let terminal = testkit::finish(
        &mut testkit::under_terminal(&terminal),
        Duration::from_secs(30),
    );
    assert!(terminal.stdout.contains("/dev/pts/"), "{terminal:?}");
    let top = scene.docker(&["top", &name]);
    assert!(top.stdout.contains("sleep"), "{top:?}");
    let stats = scene.docker(&["stats", "--no-stream", "--format", "{{.MemUsage}}", &name]);
    assert!(stats.stdout.contains("64MiB"), "{stats:?}");
    scene
        .docker(&["update", "--memory", "96m", "--memory-swap", "96m", &name])
        .succeeded();
    let stats = scene.docker(&["stats", "--no-stream", "--format", "{{.MemUsage}}", &name]);
    assert!(stats.stdout.contains("96MiB"), "{stats:?}");
    scene.docker(&["pause", &name]).succeeded();
    assert_eq!(scene.inspect(&name, "{{.State.Status}}"), "paused");
    scene.docker(&["unpause", &name]).succeeded();
    scene.docker(&["stop", &name]).succeeded();
    assert_eq!(scene.inspect(&name, "{{.State.ExitCode}}"), "4");
    let logs = scene.docker(&["logs", &name]);
    assert_eq!(logs.stdout, "started\nstopping\n");
    scene.docker(&["start", &name]).succeeded();
    scene.docker(&["kill", &name]).succeeded();
    scene.until(&name, "{{.State.ExitCode}}", "137");
    scene.docker(&["rm", &name]).succeeded();
    drop(scene);
    residue.assert_none(&[]);
}

#[test]
fn want_of_memory_and_restarts_are_told() {
    needs!(Fact::Root, Fact::Engines, Fact::Cgroup("memory"));
    let marker = Marker::new("dockeroom");
    let residue = Residue::watch(&marker);
    let scene = Scene::new(&marker);
    let hungry = scene.name("hungry");
    let flags = ["--name", &hungry, "--memory", "16m", "--memory-swap", "16m"];
    // The shell's child is what is killed; init tells of it.
    let eats = "sh -c 'tail /dev/zero'; exit $?";
    let ended = scene.run(&flags, &["sh", "-c", eats]);
    assert_eq!(ended.code, 137, "{ended:?}");
    scene.until(&hungry, "{{.State.OOMKilled}}", "true");
    let again = scene.name("again");
    let flags = ["--detach", "--name", &again, "--restart", "on-failure:2"];
    scene.run(&flags, &["sh", "-c", "exit 5"]).succeeded();
    scene.until(&again, "{{.RestartCount}} {{.State.Status}}", "2 exited");
    scene.docker(&["rm", &hungry, &again]).succeeded();
    drop(scene);
    residue.assert_none(&[]);
}
