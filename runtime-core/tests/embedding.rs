//! The library in a program with threads: the example, and calls from this test's own ones.
//!
//! These tests call the library in the test process itself, whose harness has threads that
//! allocate: what every other runtime forbids is here the ordinary case.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use runtime_core::{Bundle, ContainerId, CreateOptions, ErrorKind, Exit, Runtime, Status};
use testkit::{Fact, Marker, Residue, TestBundle};

fn needs_root() -> bool {
    testkit::missing(&[Fact::Root])
}

struct Setting {
    marker: Marker,
    residue: Residue,
    root: tempfile::TempDir,
    bundle: TestBundle,
}

impl Setting {
    fn new(topic: &str, script: &str) -> Self {
        let marker = Marker::new(topic);
        let residue = Residue::watch(&marker);
        let bundle = own_cgroup(TestBundle::busybox(&marker).script(script), marker.as_str());
        bundle.save();
        Self {
            residue,
            root: marker.directory(),
            bundle,
            marker,
        }
    }

    fn runtime(&self) -> Runtime {
        Runtime::new(self.root.path())
    }

    fn id(&self) -> ContainerId {
        self.marker.as_str().parse().unwrap()
    }

    fn open(&self) -> Bundle {
        Bundle::open(self.bundle.path()).unwrap()
    }

    fn finish(self) {
        drop(self.bundle);
        self.root.close().unwrap();
        self.residue.assert_none(&[]);
    }
}

/// Gives the bundle a cgroup without parents, which nobody removes.
fn own_cgroup(bundle: TestBundle, name: &str) -> TestBundle {
    bundle.set("/linux/cgroupsPath", format!("/{name}").into())
}

/// The example, built: a test run does not always do that.
fn example() -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build.args([
        "build",
        "--quiet",
        "--package",
        "runtime-core",
        "--example",
        "embed",
    ]);
    testkit::finish(&mut build, Duration::from_secs(600)).succeeded();
    let test = std::env::current_exe().unwrap();
    let directory = test.parent().unwrap().parent().unwrap();
    directory.join("examples/embed")
}

#[test]
fn a_thousand_containers_come_and_go_while_eight_threads_allocate() {
    if needs_root() {
        return;
    }
    let marker = Marker::new("embed");
    let residue = Residue::watch(&marker);
    let bundle = own_cgroup(
        TestBundle::busybox(&marker).args(&["true"]),
        marker.as_str(),
    );
    bundle.save();
    let root = marker.directory();
    let mut command = Command::new(example());
    command.arg(bundle.path()).arg(root.path()).arg("1000");
    testkit::finish(&mut command, Duration::from_secs(400)).succeeded();
    drop((bundle, root));
    residue.assert_none(&[]);
}

#[test]
fn the_lifecycle_goes_through_its_states_in_this_process() {
    if needs_root() {
        return;
    }
    let setting = Setting::new("lifecycle", "sleep 1000 & wait");
    let (runtime, id) = (setting.runtime(), setting.id());
    let mut container = runtime
        .create(&id, &setting.open(), &CreateOptions::default())
        .unwrap();
    let state = container.state().unwrap();
    assert_eq!(
        (state.status, state.pid),
        (Status::Created, container.init().unwrap().pid())
    );
    assert_eq!(
        runtime
            .create(&id, &setting.open(), &CreateOptions::default())
            .unwrap_err()
            .kind(),
        ErrorKind::AlreadyExists
    );

    container.start().unwrap();
    assert_eq!(container.status().unwrap(), Status::Running);
    assert_eq!(
        container.start().unwrap_err().to_string(),
        "cannot start an already running container"
    );
    assert_eq!(
        runtime.delete(&id, false).unwrap_err().kind(),
        ErrorKind::WrongStatus
    );

    container.pause().unwrap();
    assert_eq!(container.status().unwrap(), Status::Paused);
    assert!(container.pause().is_err());
    container.resume().unwrap();
    assert_eq!(container.status().unwrap(), Status::Running);
    assert!(container.processes().unwrap().contains(&state.pid));

    container.kill(libc::SIGKILL, false).unwrap();
    assert_eq!(
        container.init().unwrap().wait().unwrap(),
        Exit::Signal(libc::SIGKILL)
    );
    assert_eq!(container.status().unwrap(), Status::Stopped);
    assert_eq!(
        container.kill(libc::SIGTERM, false).unwrap_err().kind(),
        ErrorKind::NotRunning
    );
    runtime.delete(&id, false).unwrap();
    assert_eq!(runtime.open(&id).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(
        runtime.delete(&id, false).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    runtime.delete(&id, true).unwrap();
    setting.finish();
}

#[test]
fn containers_created_by_many_threads_at_once_are_all_there() {
    if needs_root() {
        return;
    }
    let setting = Setting::new("threads", "exit 7");
    let runtime = setting.runtime();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (runtime, setting) = (&runtime, &setting);
            scope.spawn(move || {
                let id: ContainerId = format!("{}-{number}", setting.marker).parse().unwrap();
                let bundle = TestBundle::busybox(&setting.marker).script("exit 7");
                let bundle = own_cgroup(bundle, id.as_str());
                bundle.save();
                let bundle_of_thread = Bundle::open(bundle.path()).unwrap();
                let container = runtime
                    .run(&id, &bundle_of_thread, &CreateOptions::default())
                    .unwrap();
                assert_eq!(container.init().unwrap().wait().unwrap(), Exit::Code(7));
                runtime.delete(&id, false).unwrap();
            });
        }
    });
    setting.finish();
}

#[test]
fn a_program_that_does_not_exist_leaves_nothing() {
    if needs_root() {
        return;
    }
    let mut setting = Setting::new("nothing", "");
    setting.bundle = setting.bundle.args(&["no-such-program"]);
    setting.bundle.save();
    let runtime = setting.runtime();
    let error = runtime
        .create(&setting.id(), &setting.open(), &CreateOptions::default())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Program);
    assert!(
        error
            .to_string()
            .contains("executable file not found in $PATH"),
        "{error}"
    );
    assert!(runtime.list().unwrap().is_empty());
    setting.finish();
}

#[test]
fn given_streams_are_the_containers_own() {
    use std::io::Read;
    use std::os::fd::AsFd;
    if needs_root() {
        return;
    }
    let setting = Setting::new("streams", "read line; echo out $line; echo err >&2");
    let (input, mut input_writer) = std::io::pipe().unwrap();
    let (mut output_reader, output) = std::io::pipe().unwrap();
    let (mut errors_reader, errors) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut input_writer, b"hello\n").unwrap();
    let options = CreateOptions {
        stdio: Some([input.as_fd(), output.as_fd(), errors.as_fd()]),
        ..CreateOptions::default()
    };
    let container = setting
        .runtime()
        .run(&setting.id(), &setting.open(), &options)
        .unwrap();
    drop((output, errors));
    let (mut out, mut err) = (String::new(), String::new());
    output_reader.read_to_string(&mut out).unwrap();
    errors_reader.read_to_string(&mut err).unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("out hello\n", "err\n"));
    container.init().unwrap().wait().unwrap();
    container.delete(false).unwrap();
    setting.finish();
}

#[test]
fn a_signal_for_all_reaches_every_process() {
    if needs_root() {
        return;
    }
    let script = "(trap 'touch /child; exit' USR1; touch /armed; while :; do sleep 0.1; done) & \
                  trap 'touch /init' USR1; \
                  while ! [ -e /armed ]; do sleep 0.1; done; touch /ready; \
                  while ! [ -e /child -a -e /init ]; do sleep 0.1; done; exit 3";
    let setting = Setting::new("all", script);
    let runtime = setting.runtime();
    let container = runtime
        .run(&setting.id(), &setting.open(), &CreateOptions::default())
        .unwrap();
    while !setting.bundle.rootfs().join("ready").exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    container.kill(libc::SIGUSR1, true).unwrap();
    let init = container.init().unwrap();
    assert_eq!(init.wait().unwrap(), Exit::Code(3));
    container.delete(false).unwrap();
    setting.finish();
}
