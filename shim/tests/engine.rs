//! The engine against the kernel: tare in this process, and Debian's runtimes and tare as
//! binaries, by the same cases.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test")]

use std::fs;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use runtime_core::statistics::Statistics;
use runtime_core::{Exit, Process};
use serde_json::json;
use shim::engine::{ChildStdio, Engine};
use shim::failure::{Code, Failure};
use shim::options::Options;
use testkit::{Fact, Marker, Residue, TestBundle, find_program, needs};

/// Which runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    InProcess,
    TareBinary,
    Runc,
    Crun,
}

use Kind::{Crun, InProcess, Runc, TareBinary};

impl Kind {
    fn facts(self) -> Vec<Fact> {
        match self {
            InProcess | TareBinary => vec![Fact::Root],
            Runc => vec![Fact::Root, Fact::Program("runc")],
            Crun => vec![Fact::Root, Fact::Program("crun")],
        }
    }
}

/// tare's binary, built as this test was.
fn tare() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let directory = test.parent().and_then(Path::parent).unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "runtime-cli"]);
        if directory.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
        directory.join("tare")
    })
}

/// A container's bundle, its engine, and what was on the host before.
struct Setting {
    kind: Kind,
    engine: Engine,
    bundle: TestBundle,
    root: tempfile::TempDir,
    residue: Residue,
    marker: Marker,
}

impl Setting {
    fn new(kind: Kind, configure: impl FnOnce(TestBundle) -> TestBundle) -> Self {
        let marker = Marker::new("engine");
        let residue = Residue::watch(&marker);
        let bundle = configure(TestBundle::busybox(&marker));
        bundle.save();
        let root = marker.directory();
        let binary = match kind {
            InProcess => String::new(),
            // Under its own name it would be taken for what needs no binary.
            TareBinary => {
                let other = root.path().join("other");
                std::os::unix::fs::symlink(tare(), &other).unwrap();
                text(&other)
            }
            Runc => text(&find_program("runc").unwrap()),
            Crun => text(&find_program("crun").unwrap()),
        };
        let options = Options {
            binary_name: binary,
            root: text(root.path()),
            ..Options::default()
        };
        let engine = Engine::new(&options, "here", bundle.path(), &[]).unwrap();
        assert_eq!(matches!(engine, Engine::Tare(_)), kind == InProcess);
        Self {
            kind,
            engine,
            bundle,
            root,
            residue,
            marker,
        }
    }

    fn id(&self) -> &str {
        self.bundle.id()
    }

    fn create(&self) -> Result<(Process, Output), Failure> {
        let (output, [stdin, stdout, stderr]) = Output::new();
        let stdio = ChildStdio::Descriptors([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]);
        let created = self.engine.create(self.id(), self.bundle.path(), stdio)?;
        Ok((created.process, output))
    }

    fn exec(&self, exec_id: &str, arguments: &[&str]) -> Result<(Process, Output), Failure> {
        let (output, [stdin, stdout, stderr]) = Output::new();
        let stdio = ChildStdio::Descriptors([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]);
        let process = json!({
            "args": arguments, "cwd": "/", "user": {"uid": 0, "gid": 0},
            "env": ["PATH=/bin", "WHO=exec"],
        });
        let process = serde_json::to_vec(&process).unwrap();
        let process = self.engine.exec(self.id(), exec_id, &process, stdio)?;
        Ok((process, output))
    }

    fn finish(self) {
        assert_eq!(self.engine.delete(self.id(), true), Ok(Vec::new()));
        let state = self.root.path().join("here").join(self.id());
        assert!(!state.exists(), "{state:?} is left");
        let left: Vec<String> = fs::read_dir(self.bundle.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with('.'))
            .collect();
        assert_eq!(left, Vec::<String>::new(), "in the bundle");
        if self.kind == Crun {
            // In the tmpfs that covers the unified hierarchy crun takes it for one of v1.
            fs::remove_dir_all(Path::new("/sys/fs/cgroup/unified").join(self.id())).ok();
        }
        drop((self.root, self.bundle));
        self.residue.assert_none(&[]);
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.0.engine.delete(self.0.id(), true).ok();
    }
}

/// Deletes the container also when the test fails.
struct Kept<'a>(&'a Setting);

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// What a process prints: the reading ends of its streams.
#[derive(Debug)]
struct Output {
    reader: std::io::PipeReader,
}

impl Output {
    fn new() -> (Self, [OwnedFd; 3]) {
        let (reader, writer) = std::io::pipe().unwrap();
        let stdin = fs::File::open("/dev/null").unwrap();
        let stderr = writer.try_clone().unwrap();
        (
            Self { reader },
            [stdin.into(), writer.into(), stderr.into()],
        )
    }

    /// Everything, to its end.
    fn all(mut self) -> String {
        let mut text = String::new();
        self.reader.read_to_string(&mut text).unwrap();
        text
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.reader.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }
}

/// Runs the case with every runtime of the list that is here. crun wants a host whose cgroups
/// are v1 alone: in a mount namespace of its thread the unified hierarchy is covered.
fn with_each(kinds: &[Kind], case: impl Fn(Kind) + Sync) {
    for kind in kinds {
        if testkit::missing(&kind.facts()) {
            continue;
        }
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                if *kind == Crun && Path::new("/sys/fs/cgroup/unified").exists() {
                    cover_unified_hierarchy();
                }
                case(*kind);
            });
            if let Err(panic) = thread.join() {
                eprintln!("with {kind:?}:");
                std::panic::resume_unwind(panic);
            }
        });
    }
}

fn cover_unified_hierarchy() {
    use nix::mount::{MsFlags, mount};
    const NONE: Option<&str> = None;
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NONE, "/", NONE, private, NONE).unwrap();
    let unified = "/sys/fs/cgroup/unified";
    mount(NONE, unified, Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
}

/// How the process ends, within a minute.
fn ended(process: &Process) -> Exit {
    let end = Instant::now() + Duration::from_secs(60);
    let timeout = nix::poll::PollTimeout::try_from(end - Instant::now()).unwrap();
    let mut polled = [nix::poll::PollFd::new(
        process.as_fd(),
        nix::poll::PollFlags::POLLIN,
    )];
    assert_eq!(nix::poll::poll(&mut polled, timeout), Ok(1), "still alive");
    process.wait().unwrap()
}

const ALL: [Kind; 4] = [InProcess, TareBinary, Runc, Crun];

#[test]
fn a_container_lives_its_life_and_its_processes_are_children_of_the_caller() {
    with_each(&ALL, |kind| {
        let setting = Setting::new(kind, |bundle| {
            bundle.script("trap 'exit 7' TERM; echo hello; while :; do sleep 0.05; done")
        });
        let kept = Kept(&setting);
        let (engine, id) = (&setting.engine, setting.id());
        let (init, mut output) = setting.create().unwrap();
        assert!(init.is_child());
        assert_eq!(engine.processes(id), Ok(vec![init.pid()]));
        engine.start(id).unwrap();
        assert_eq!(output.line(), "hello");

        let (process, printed) = setting
            .exec("one", &["sh", "-c", "echo $WHO; exit 5"])
            .unwrap();
        assert_eq!(ended(&process), Exit::Code(5));
        assert_eq!(printed.all(), "exec\n");
        let (process, _) = setting.exec("two", &["sleep", "100"]).unwrap();
        assert!(engine.processes(id).unwrap().contains(&process.pid()));
        process.signal(libc::SIGKILL).unwrap();
        assert_eq!(ended(&process), Exit::Signal(libc::SIGKILL));

        engine.pause(id).unwrap();
        engine.resume(id).unwrap();
        engine.kill(id, libc::SIGTERM, false).unwrap();
        assert_eq!(ended(&init), Exit::Code(7));
        assert_eq!(engine.delete(id, false), Ok(Vec::new()));
        assert_eq!(engine.delete(id, false), Ok(Vec::new()), "twice");
        drop(kept);
        setting.finish();
    });
}

#[test]
fn what_the_state_forbids_has_its_code() {
    with_each(&ALL, |kind| {
        let setting = Setting::new(kind, |bundle| bundle.args(&["sleep", "100"]));
        let kept = Kept(&setting);
        let (engine, id) = (&setting.engine, setting.id());
        let code = |result: Result<(), Failure>| result.unwrap_err().code;
        assert_eq!(code(engine.kill(id, libc::SIGKILL, false)), Code::NOT_FOUND);
        assert_eq!(engine.processes(id).unwrap_err().code, Code::NOT_FOUND);
        let (init, _output) = setting.create().unwrap();
        if kind != Crun {
            let taken = setting.create().unwrap_err();
            assert_eq!(taken.code, Code::ALREADY_EXISTS, "{taken}");
            assert!(taken.message.starts_with("OCI runtime create failed: "));
        }
        engine.start(id).unwrap();
        let again = engine.start(id).unwrap_err();
        assert!(
            again.message.starts_with("OCI runtime start failed: "),
            "{again}"
        );
        assert_eq!(again.code, Code::FAILED_PRECONDITION, "{again}");
        let refused = engine.delete(id, false).unwrap_err();
        assert_eq!(refused.code, Code::FAILED_PRECONDITION, "{refused}");
        engine.kill(id, libc::SIGKILL, true).unwrap();
        assert_eq!(ended(&init), Exit::Signal(libc::SIGKILL));
        if kind != Crun {
            let late = engine.kill(id, libc::SIGTERM, false).unwrap_err();
            assert_eq!(late.code, Code::NOT_FOUND, "{late}");
            assert!(
                late.message.starts_with("process already finished: "),
                "{late}"
            );
        }
        let late = setting.exec("late", &["true"]).unwrap_err();
        assert!(
            late.message.starts_with("OCI runtime exec failed: "),
            "{late}"
        );
        drop(kept);
        setting.finish();
    });
}

#[test]
fn a_program_that_is_not_there_is_told_in_words_that_callers_know_and_leaves_nothing() {
    with_each(&ALL, |kind| {
        let setting = Setting::new(kind, |bundle| bundle.args(&["nosuchprogram"]));
        let failure = match setting.create() {
            Err(failure) => failure,
            Ok((init, _)) => {
                let failure = setting.engine.start(setting.id()).unwrap_err();
                ended(&init);
                failure
            }
        };
        assert_eq!(failure.code, Code::UNKNOWN);
        assert!(
            failure.message.contains("executable file") && failure.message.contains("not found"),
            "{failure}"
        );
        setting.finish();
        let setting = Setting::new(kind, |bundle| bundle.args(&["sleep", "100"]));
        let kept = Kept(&setting);
        let (init, _output) = setting.create().unwrap();
        setting.engine.start(setting.id()).unwrap();
        let failure = setting.exec("x", &["nosuchprogram"]).unwrap_err();
        assert_eq!(failure.code, Code::UNKNOWN);
        assert!(
            failure.message.starts_with("OCI runtime exec failed: ")
                && failure.message.contains("executable file"),
            "{failure}"
        );
        assert_eq!(setting.engine.delete(setting.id(), true), Ok(Vec::new()));
        drop(kept);
        ended(&init);
        setting.finish();
    });
}

#[test]
fn a_terminals_master_arrives_over_the_callers_socket() {
    with_each(&ALL, |kind| {
        let setting = Setting::new(kind, |bundle| {
            bundle
                .set("/process/terminal", json!(true))
                .script("test -t 0 && read -r line && echo got $line")
        });
        let kept = Kept(&setting);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let created = setting.engine.create(
            setting.id(),
            setting.bundle.path(),
            ChildStdio::Terminal(theirs.as_fd()),
        );
        let init = created.unwrap().process;
        let mut master = fs::File::from(received(&ours));
        setting.engine.start(setting.id()).unwrap();
        master.write_all(b"ping\n").unwrap();
        assert_eq!(ended(&init), Exit::Code(0));
        // What was typed is echoed first, perhaps by itself; EIO is the end of a terminal.
        let mut text = String::new();
        let mut piece = [0; 100];
        while !text.contains("got ping") {
            let count = master.read(&mut piece).unwrap_or(0);
            assert_ne!(count, 0, "{text:?}");
            text += &String::from_utf8_lossy(&piece[..count]);
        }
        // Init has opened it, so it holds init's keyring.
        drop((master, kept));
        setting.finish();
    });
}

/// The descriptor of the next message.
fn received(socket: &UnixStream) -> OwnedFd {
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut word = [0; 64];
    let mut room = nix::cmsg_space!(RawFd);
    let mut parts = [IoSliceMut::new(&mut word)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut room), flags).unwrap();
    assert!(message.bytes > 0);
    let rights = message.cmsgs().unwrap().find_map(|part| match part {
        ControlMessageOwned::ScmRights(numbers) => numbers.first().copied(),
        _ => None,
    });
    // SAFETY: the kernel has just installed this descriptor for this message alone.
    unsafe { OwnedFd::from_raw_fd(rights.unwrap()) }
}

#[test]
fn limits_are_changed_by_a_runtime_that_can() {
    needs!(Fact::CgroupV1("pids"));
    with_each(&[Runc, Crun], |kind| {
        let setting = Setting::new(kind, |bundle| bundle.args(&["sleep", "100"]));
        let kept = Kept(&setting);
        let (init, _output) = setting.create().unwrap();
        let limit = format!("/sys/fs/cgroup/pids/{}/pids.max", setting.marker);
        setting
            .engine
            .update(setting.id(), br#"{"pids": {"limit": 77}}"#)
            .unwrap();
        assert_eq!(fs::read_to_string(limit).unwrap().trim(), "77");
        let refused = setting.engine.update(setting.id(), b"{").unwrap_err();
        assert!(
            refused.message.starts_with("OCI runtime update failed: "),
            "{refused}"
        );
        drop(kept);
        ended(&init);
        setting.finish();
    });
}

/// What it has in memory, in bytes, and its limit.
fn memory(statistics: &Statistics) -> (u64, Option<u64>) {
    match statistics {
        Statistics::V1(v1) => (
            v1.memory.usage.usage.unwrap_or_default(),
            v1.memory.usage.limit,
        ),
        Statistics::V2(v2) => (
            v2.memory.usage.unwrap_or_default(),
            v2.memory.limit.map(|limit| limit.value_or(u64::MAX)),
        ),
    }
}

#[test]
fn a_container_is_counted_whoever_has_made_it() {
    needs!(Fact::Cgroup("memory"));
    with_each(&ALL, |kind| {
        let setting = Setting::new(kind, |bundle| {
            let limit = json!({"limit": 64 << 20});
            let bundle = bundle.set("/linux/resources/memory", limit);
            bundle.script("head -c 8000000 /dev/zero >/dev/shm/a; echo full; sleep 100")
        });
        let kept = Kept(&setting);
        let (engine, id) = (&setting.engine, setting.id());
        let (init, mut output) = setting.create().unwrap();
        engine.start(id).unwrap();
        assert_eq!(output.line(), "full");
        let statistics = engine.statistics(id).unwrap();
        let (usage, limit) = memory(&statistics);
        assert!(usage > 8_000_000, "{usage}");
        assert_eq!(limit, Some(64 << 20));
        let network = statistics.network().unwrap();
        assert!(network.iter().any(|one| one.name == "lo"), "{network:?}");
        init.signal(libc::SIGKILL).unwrap();
        ended(&init);
        assert_eq!(engine.delete(id, true), Ok(Vec::new()));
        let failure = engine.statistics(id).unwrap_err();
        assert_eq!(failure.code, Code::NOT_FOUND, "{failure}");
        drop(kept);
        setting.finish();
    });
}

#[test]
fn kills_for_want_of_memory_are_told_whoever_has_made_the_container() {
    needs!(Fact::Cgroup("memory"));
    with_each(&ALL, |kind| {
        let setting = Setting::new(kind, |bundle| {
            let limit = json!({"limit": 16 << 20});
            let bundle = bundle.set("/linux/resources/memory", limit);
            bundle.script("tail /dev/zero; sleep 100")
        });
        let kept = Kept(&setting);
        let (engine, id) = (&setting.engine, setting.id());
        let (init, _output) = setting.create().unwrap();
        let mut watch = engine.watch_memory(id).unwrap().unwrap();
        assert_eq!(watch.kills(), Ok(0));
        engine.start(id).unwrap();
        let mut kills = 0;
        let end = Instant::now() + Duration::from_secs(60);
        while kills == 0 && Instant::now() < end {
            let timeout = nix::poll::PollTimeout::try_from(end - Instant::now()).unwrap();
            let mut polled = [nix::poll::PollFd::new(
                watch.as_fd(),
                nix::poll::PollFlags::POLLIN,
            )];
            nix::poll::poll(&mut polled, timeout).unwrap();
            kills += watch.kills().unwrap();
        }
        assert!(kills > 0, "nobody was killed");
        drop((watch, kept));
        ended(&init);
        setting.finish();
    });
}

#[test]
fn many_at_once_have_their_own_processes() {
    with_each(&[InProcess, Runc], |kind| {
        std::thread::scope(|scope| {
            for number in 0..4 {
                scope.spawn(move || {
                    let script = format!("exit 1{number}");
                    let setting = Setting::new(kind, |bundle| bundle.script(&script));
                    let kept = Kept(&setting);
                    let (init, _output) = setting.create().unwrap();
                    setting.engine.start(setting.id()).unwrap();
                    assert_eq!(ended(&init), Exit::Code(10 + number));
                    drop(kept);
                    setting.finish();
                });
            }
        });
        // Nothing is adopted any more, nor by other tests of this process, which do so meanwhile.
        let started = Instant::now();
        while nix::sys::prctl::get_child_subreaper() != Ok(false) {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "still a subreaper"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

/// A runtime that is a shell script.
fn scripted(script: &str) -> (Engine, tempfile::TempDir, Marker, Residue) {
    let marker = Marker::new("scripted");
    let residue = Residue::watch(&marker);
    let directory = marker.directory();
    let binary = directory.path().join("runtime");
    fs::write(&binary, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let options = Options {
        binary_name: text(&binary),
        root: text(directory.path()),
        systemd_cgroup: true,
        no_pivot_root: true,
        no_new_keyring: true,
        ..Options::default()
    };
    let engine = Engine::new(&options, "n", directory.path(), &[]).unwrap();
    (engine, directory, marker, residue)
}

#[test]
fn the_command_lines_are_those_that_runtimes_know() {
    needs!(Fact::Root);
    let (engine, directory, _marker, residue) = scripted(
        "directory=$(dirname \"$0\"); echo \"$@\" >> $directory/lines; env > $directory/env",
    );
    let here = text(directory.path());
    let lines = || {
        let lines = fs::read_to_string(directory.path().join("lines")).unwrap_or_default();
        fs::remove_file(directory.path().join("lines")).ok();
        lines.replace(&here, "DIR")
    };
    let globals = "--root DIR/n --log DIR/log.json --log-format json --systemd-cgroup";
    let (_output, [stdin, stdout, stderr]) = Output::new();
    let stdio = ChildStdio::Descriptors([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]);
    let failure = engine.create("c", Path::new("/b"), stdio).unwrap_err();
    assert!(failure.message.contains("init.pid"), "{failure}");
    assert_eq!(
        lines(),
        format!(
            "{globals} create --bundle /b --no-pivot --no-new-keyring --pid-file DIR/init.pid c\n\
             {globals} delete --force c\n"
        )
    );
    engine.start("c").unwrap();
    engine.kill("c", 9, true).unwrap();
    engine.kill("c", 15, false).unwrap();
    engine.pause("c").unwrap();
    engine.resume("c").unwrap();
    engine.update("c", b"{}").unwrap();
    engine.exec("c", "e", b"{}", stdio).unwrap_err();
    let checkpoint = shim::options::CheckpointOptions {
        open_tcp: true,
        terminal: true,
        empty_namespaces: vec!["network".into()],
        cgroups_mode: "soft".into(),
        work_path: "/w".into(),
        ..Default::default()
    };
    engine
        .checkpoint("c", Path::new("/i"), &checkpoint)
        .unwrap();
    engine
        .restore("c", Path::new("/b"), stdio, Path::new("/i"))
        .unwrap_err();
    engine.delete("c", false).unwrap();
    let expected = [
        "start c",
        "kill --all c 9",
        "kill c 15",
        "pause c",
        "resume c",
        "update --resources - c",
        "exec --process DIR/.e.json --detach --pid-file DIR/e.pid c",
        "checkpoint --image-path /i --work-path /w --tcp-established --shell-job --leave-running --empty-ns network --manage-cgroups-mode soft c",
        "restore --image-path /i --bundle /b --detach --no-subreaper --no-pivot --pid-file DIR/init.pid c",
        "delete --force c",
        "delete c",
    ];
    let expected: String = expected.map(|line| format!("{globals} {line}\n")).concat();
    assert_eq!(lines(), expected);
    for bad in ["", "..", "a/b"] {
        let failure = engine.exec("c", bad, b"{}", stdio).unwrap_err();
        assert_eq!(failure.code, Code::INVALID_ARGUMENT);
    }
    drop(directory);
    residue.assert_none(&[]);
}

#[test]
fn what_a_runtime_says_is_found_in_its_log_then_on_its_standard_error() {
    let (engine, directory, ..) = scripted(
        r#"case "$*" in
        *pause*) echo '{"level":"error","msg":"why it failed","time":"x"}' >> $(dirname $0)/log.json; exit 1;;
        *resume*) printf 'two\nlines\n' >&2; exit 3;;
        *start*) kill -9 $$;;
        *ps*) echo '[1, 2'; exit 0;;
        esac"#,
    );
    let message = |result: Result<(), Failure>| result.unwrap_err().message;
    assert_eq!(
        message(engine.pause("c")),
        "OCI runtime pause failed: why it failed"
    );
    assert_eq!(
        message(engine.resume("c")),
        "OCI runtime resume failed: two lines"
    );
    let text = message(engine.start("c"));
    assert!(
        text.contains("killed by SIGKILL, and it has not said why"),
        "{text}"
    );
    let text = engine.processes("c").unwrap_err().message;
    assert!(text.starts_with("what ps has printed: EOF"), "{text}");
    drop(directory);
    let text = message(engine.pause("c"));
    assert!(
        text.starts_with("OCI runtime pause failed: run /")
            && text.ends_with("no such file or directory (ENOENT): BinaryName in the runtime's options names no program"),
        "{text}"
    );
}
