//! The shim under Debian's containerd, by ctr.

#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

use std::path::Path;
use std::time::{Duration, Instant};

use testkit::{Engine, Fact, Finished, Marker, Residue, busybox_image, needs};

const RUNTIME: &str = "io.containerd.tare.v1";

const SHIM: &str = env!("CARGO_BIN_EXE_containerd-shim-tare-v1");

/// containerd with the shim and an image.
struct Scene {
    engine: Engine,
    image: String,
    marker: Marker,
}

impl Scene {
    fn new(marker: &Marker) -> Self {
        let shims = Path::new(SHIM).parent().unwrap();
        Self::finding(marker, shims)
    }

    /// The same, whose containerd looks for shims in this directory first.
    fn finding(marker: &Marker, shims: &Path) -> Self {
        let engine = Engine::containerd_finding(marker, Some(shims));
        let archive = busybox_image(marker, &engine.path("layout"));
        let archive = archive.display().to_string();
        engine.ctr(&["image", "import", &archive]).succeeded();
        let images = engine.ctr(&["image", "ls", "-q"]);
        let image = images.stdout.lines().next().unwrap().to_owned();
        Self {
            engine,
            image,
            marker: marker.clone(),
        }
    }

    fn ctr(&self, words: &[&str]) -> Finished {
        self.engine.ctr_inside(words, b"")
    }

    fn id(&self, name: &str) -> String {
        format!("{}-{name}", self.marker)
    }

    /// `ctr run` with these flags, of this command.
    fn run(&self, flags: &[&str], name: &str, command: &[&str]) -> Finished {
        let id = self.id(name);
        // Below the marker, where the test looks for what is left.
        let cgroup = format!("/{}/{name}", self.marker);
        let fixed = ["run", "--runtime", RUNTIME, "--cgroup", &cgroup];
        self.ctr(&[&fixed, flags, &[&self.image, &id], command].concat())
    }

    fn start(&self, name: &str, command: &[&str]) -> String {
        self.run(&["--detach"], name, command);
        let id = self.id(name);
        self.until_status(&id, "RUNNING");
        id
    }

    fn status(&self, id: &str) -> String {
        let tasks = self.ctr(&["task", "ls"]);
        let line = tasks.stdout.lines().find(|line| line.starts_with(id));
        line.and_then(|line| line.split_whitespace().nth(2))
            .unwrap_or_default()
            .to_owned()
    }

    fn until_status(&self, id: &str, status: &str) {
        let started = Instant::now();
        while self.status(id) != status {
            let tasks = self.ctr(&["task", "ls"]).stdout;
            assert!(started.elapsed().as_secs() < 20, "no {status}: {tasks}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn remove(&self, id: &str) {
        self.ctr(&["task", "kill", "--signal", "KILL", id]);
        self.until_status(id, "STOPPED");
        self.ctr(&["task", "delete", id]);
        self.ctr(&["container", "delete", id]).succeeded();
    }

    /// The servers of this shim that are alive.
    fn servers(&self) -> Vec<u32> {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
                let is_its = line.contains("containerd-shim-tare-v1\0-namespace\0");
                (is_its && line.contains(self.marker.as_str())).then_some(pid)
            })
            .collect()
    }

    fn until_no_server(&self) {
        let started = Instant::now();
        while !self.servers().is_empty() {
            assert!(started.elapsed().as_secs() < 60, "{:?}", self.servers());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn containers_run_and_end_as_their_programs_do() {
    needs!(Fact::Root, Fact::Engines, Fact::Program("umoci"));
    let marker = Marker::new("ctrrun");
    let residue = Residue::watch(&marker);
    let scene = Scene::new(&marker);
    let mounts = scene.engine.mounts();
    for (name, script, code) in [
        ("ok", "exit 0", 0),
        ("seven", "exit 7", 7),
        ("killed", "sh -c 'kill -9 $$'; exit $?", 137),
    ] {
        let finished = scene.run(&["--rm"], name, &["sh", "-c", script]);
        assert_eq!(finished.code, code, "{finished:?}");
    }
    let said = scene.run(&["--rm"], "says", &["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!(
        (said.stdout.as_str(), said.stderr.contains("err")),
        ("out\n", true)
    );
    let missing = scene.run(&["--rm"], "missing", &["no-such-program"]);
    assert!(
        missing.stderr.contains("executable file not found"),
        "{missing:?}"
    );
    scene.until_no_server();
    assert_eq!(scene.engine.mounts(), mounts);
    drop(scene);
    residue.assert_none(&[]);
}

#[test]
fn a_running_container_is_steered() {
    needs!(Fact::Root, Fact::Engines, Fact::Program("umoci"));
    let marker = Marker::new("ctrsteer");
    let residue = Residue::watch(&marker);
    let scene = Scene::new(&marker);
    let id = scene.start("one", &["sleep", "1000"]);
    let exec = scene.ctr(&[
        "task",
        "exec",
        "--exec-id",
        "e1",
        &id,
        "sh",
        "-c",
        "hostname; exit 3",
    ]);
    assert_eq!(exec.code, 3, "{exec:?}");
    let inside = scene.ctr(&[
        "task",
        "exec",
        "--exec-id",
        "e2",
        &id,
        "cat",
        "/proc/1/cmdline",
    ]);
    assert_eq!(inside.stdout, "sleep\x001000\0", "{inside:?}");
    let metrics = scene.ctr(&["task", "metrics", &id]);
    assert!(metrics.stdout.contains("memory"), "{metrics:?}");
    scene.ctr(&["task", "pause", &id]).succeeded();
    assert_eq!(scene.status(&id), "PAUSED");
    let refused = scene.ctr(&["task", "exec", "--exec-id", "e3", &id, "true"]);
    assert_ne!(refused.code, 0);
    scene.ctr(&["task", "resume", &id]).succeeded();
    assert_eq!(scene.status(&id), "RUNNING");
    let pids = scene.ctr(&["task", "ps", &id]);
    assert_eq!(pids.stdout.lines().count(), 2, "{pids:?}");
    assert_ne!(scene.ctr(&["task", "delete", &id]).code, 0, "it runs");
    scene.remove(&id);
    scene.until_no_server();
    drop(scene);
    residue.assert_none(&[]);
}

/// ctr gives runc's options, BinaryName among them, to runc's shim only: so this one stands in
/// its place.
#[test]
fn a_container_of_runc_is_steered_and_counted() {
    needs!(
        Fact::Root,
        Fact::Engines,
        Fact::Program("umoci"),
        Fact::Cgroup("memory")
    );
    let marker = Marker::new("ctrrunc");
    let residue = Residue::watch(&marker);
    let shims = marker.directory();
    std::os::unix::fs::symlink(SHIM, shims.path().join("containerd-shim-runc-v2")).unwrap();
    let scene = Scene::finding(&marker, shims.path());
    let runc = testkit::find_program("runc").unwrap();
    let (id, cgroup) = (scene.id("one"), format!("/{marker}/one"));
    let words = [
        "run",
        "--detach",
        "--runtime",
        "io.containerd.runc.v2",
        "--runc-binary",
        runc.to_str().unwrap(),
        "--cgroup",
        &cgroup,
        "--memory-limit",
        "33554432",
        &scene.image,
        &id,
        "sh",
        "-c",
        "while ! test -e /dev/shm/go; do sleep 0.05; done; tail /dev/zero; sleep 1000",
    ];
    scene.ctr(&words).succeeded();
    scene.until_status(&id, "RUNNING");
    let metrics = scene.ctr(&["task", "metrics", "--format", "json", &id]);
    assert!(metrics.stdout.contains("33554432"), "{metrics:?}");
    scene.ctr(&["task", "pause", &id]).succeeded();
    assert_eq!(scene.status(&id), "PAUSED");
    scene.ctr(&["task", "resume", &id]).succeeded();
    let log = scene.engine.path("events.log");
    let mut events = {
        let mut command = scene.engine.ctr_command(&["events"]);
        command.stdout(std::fs::File::create(&log).unwrap());
        command.spawn().unwrap()
    };
    let heard = |word: &str| std::fs::read_to_string(&log).unwrap().contains(word);
    let until_heard = |word: &str, act: &dyn Fn(u32)| {
        let started = Instant::now();
        for number in 0.. {
            act(number);
            if heard(word) || started.elapsed().as_secs() > 30 {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        heard(word)
    };
    // Until somebody listens, nothing is told.
    let listens = until_heard("/tasks/exec-started", &|number| {
        let exec = format!("e{number}");
        scene.ctr(&["task", "exec", "--exec-id", &exec, &id, "true"]);
    });
    scene.ctr(&[
        "task",
        "exec",
        "--exec-id",
        "go",
        &id,
        "touch",
        "/dev/shm/go",
    ]);
    let killed = until_heard("/tasks/oom", &|_| {});
    events.kill().unwrap();
    events.wait().unwrap();
    assert!(
        listens && killed,
        "{}",
        std::fs::read_to_string(&log).unwrap()
    );
    scene.remove(&id);
    drop((scene, shims));
    residue.assert_none(&[]);
}

/// S05, when nothing is under way.
#[test]
fn s05_a_crash_of_containerd_is_survived() {
    needs!(Fact::Root, Fact::Engines, Fact::Program("umoci"));
    let marker = Marker::new("ctrcrash");
    let residue = Residue::watch(&marker);
    let mut scene = Scene::new(&marker);
    let lives = scene.start("lives", &["sleep", "1000"]);
    let ends = scene.start("ends", &["sh", "-c", "sleep 1; exit 5"]);
    scene.engine.crash_containerd();
    scene.until_status(&lives, "RUNNING");
    let exec = scene.ctr(&[
        "task",
        "exec",
        "--exec-id",
        "after",
        &lives,
        "sh",
        "-c",
        "exit 4",
    ]);
    assert_eq!(exec.code, 4, "{exec:?}");
    scene.until_status(&ends, "STOPPED");
    let deleted = scene.ctr(&["task", "delete", &ends]);
    assert!(deleted.stderr.contains("exit code 5"), "{deleted:?}");
    scene.ctr(&["container", "delete", &ends]).succeeded();
    scene.remove(&lives);
    scene.until_no_server();
    drop(scene);
    residue.assert_none(&[]);
}

/// S04, seen by containerd; every call is in `threats/killed.rs`.
#[test]
fn s04_what_a_killed_shim_has_left_is_cleaned_up() {
    needs!(Fact::Root, Fact::Engines, Fact::Program("umoci"));
    let marker = Marker::new("ctrkill");
    let residue = Residue::watch(&marker);
    let scene = Scene::new(&marker);
    let mounts = scene.engine.mounts();
    let id = scene.start("one", &["sleep", "1000"]);
    let [server] = scene.servers()[..] else {
        panic!("one server: {:?}", scene.servers());
    };
    let pid = nix::unistd::Pid::from_raw(i32::try_from(server).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let started = Instant::now();
    let is_clean = || {
        let tasks = scene.ctr(&["task", "ls", "-q"]).stdout;
        !tasks.contains(&id) && scene.engine.mounts() == mounts
    };
    while !is_clean() {
        assert!(
            started.elapsed().as_secs() < 20,
            "the task or its rootfs stays"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    scene.ctr(&["container", "delete", &id]).succeeded();
    drop(scene);
    residue.assert_none(&[]);
}

#[test]
fn a_hundred_in_sequence_and_ten_of_a_pod_leave_nothing() {
    needs!(Fact::Root, Fact::Engines, Fact::Program("umoci"));
    let marker = Marker::new("ctrmany");
    let residue = Residue::watch(&marker);
    let scene = Scene::new(&marker);
    let mounts = scene.engine.mounts();
    let count = if std::env::var_os("TARE_LONG").is_some() {
        1000
    } else {
        100
    };
    for number in 0..count {
        let finished = scene.run(&["--rm", "--null-io"], &format!("n{number}"), &["true"]);
        assert_eq!(finished.code, 0, "{finished:?}");
    }
    let group = format!("io.containerd.runc.v2.group={marker}-pod");
    let flags = ["--detach", "--null-io", "--annotation", &group];
    let names: Vec<String> = (0..10).map(|number| format!("p{number}")).collect();
    for name in &names {
        scene.run(&flags, name, &["sleep", "1000"]);
        scene.until_status(&scene.id(name), "RUNNING");
    }
    assert_eq!(scene.servers().len(), 1, "one shim for the pod");
    scene.remove(&scene.id(&names[3]));
    for name in names.iter().filter(|name| *name != "p3") {
        assert_eq!(scene.status(&scene.id(name)), "RUNNING");
        scene.remove(&scene.id(name));
    }
    scene.until_no_server();
    assert_eq!(scene.engine.mounts(), mounts);
    drop(scene);
    residue.assert_none(&[]);
}

/// S05: containerd is killed while it makes, starts or deletes a container.
#[test]
fn s05_crashes_of_containerd_in_the_midst_leak_nothing() {
    needs!(Fact::Root, Fact::Engines, Fact::Program("umoci"));
    let marker = Marker::new("ctrmidst");
    let residue = Residue::watch(&marker);
    let mut scene = Scene::new(&marker);
    let mounts = scene.engine.mounts();
    let crashes = if std::env::var_os("TARE_LONG").is_some() {
        200
    } else {
        12
    };
    for number in 0..crashes {
        let name = format!("c{number}");
        let id = scene.id(&name);
        let cgroup = format!("/{marker}/{name}");
        let words = [
            "run",
            "--rm",
            "--null-io",
            "--runtime",
            RUNTIME,
            "--cgroup",
            &cgroup,
        ];
        let words = [&words[..], &[&scene.image, &id, "true"]].concat();
        let mut running = scene.engine.ctr_command(&words);
        running
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut running = running.spawn().unwrap();
        // Somewhere between the first call and the last.
        std::thread::sleep(Duration::from_millis(15 + number * 7 % 90));
        scene.engine.crash_containerd();
        drop(running.kill());
        running.wait().unwrap();
        // Whatever is left of it can be removed, twice if need be.
        for _ in 0..2 {
            scene.ctr(&["task", "delete", "--force", &id]);
            scene.ctr(&["container", "delete", &id]);
        }
    }
    let tasks = scene.ctr(&["task", "ls", "-q"]).stdout;
    assert_eq!(tasks, "", "tasks are left");
    scene.until_no_server();
    assert_eq!(scene.engine.mounts(), mounts);
    drop(scene);
    residue.assert_none(&[]);
}
