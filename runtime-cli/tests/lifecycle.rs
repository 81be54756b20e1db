//! The commands on real containers: what they print, how they end, what they leave.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use testkit::{
    Finished, Marker, Residue, Runtime, TestBundle, finish, finish_with_input, needs,
    under_terminal,
};

/// How long one command of this file may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs on while its standard input is whatever it is, and ends at once with SIGTERM.
const WAIT: &str = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done";

fn runtime(marker: &Marker) -> Runtime {
    Runtime::under_test(env!("CARGO_BIN_EXE_tare"), marker)
}

/// A path as text.
fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

/// Checks that a command failed with this status and one message with these words.
fn fails(finished: &Finished, code: i32, words: &str) {
    assert_eq!(finished.code, code, "{finished}");
    assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
    assert!(finished.stderr.contains(words), "{finished}");
}

/// A command that runs on while the test does something else; killed if it is not waited for.
struct Running(Option<Child>);

impl Running {
    fn start(runtime: &Runtime, arguments: &[&str]) -> Self {
        let mut command = runtime.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Self(Some(command.spawn().expect("the runtime can be run")))
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it has not been waited for")
    }

    /// Reads stdout up to the first line's end.
    fn wait_until_ready(&mut self) {
        let stdout = self.child().stdout.as_mut().expect("a pipe");
        let mut line = [0; 6];
        stdout
            .read_exact(&mut line)
            .expect("it says that it is ready");
        assert_eq!(&line, b"ready\n");
    }

    fn signal(&mut self, signal: Signal) {
        let pid = i32::try_from(self.child().id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    fn code(mut self) -> Option<i32> {
        let mut child = self.0.take().expect("it has not been waited for");
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "still running after {LIMIT:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

#[test]
fn a_container_goes_through_its_life_command_by_command() {
    needs!(Root);
    let marker = Marker::new("life");
    let residue = Residue::watch(&marker);
    let (runtime, bundle) = (runtime(&marker), TestBundle::busybox(&marker).script(WAIT));
    let bundle = bundle.set("/annotations", json!({"a": "b"}));
    let id = bundle.id();

    runtime.create(&bundle).succeeded();
    let state = runtime.state(id);
    assert_eq!(state["status"], "created");
    assert_eq!(state["annotations"], json!({"a": "b"}));
    let keys: Vec<&String> = state.as_object().expect("an object").keys().collect();
    let mut expected = vec![
        "ociVersion",
        "id",
        "pid",
        "status",
        "bundle",
        "rootfs",
        "created",
        "annotations",
        "owner",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    let pid = state["pid"].to_string();

    fails(
        &runtime.create(&bundle),
        1,
        "container with given ID already exists",
    );
    runtime.call(&["start", id]).succeeded();
    runtime.wait_for_status(id, "running");
    fails(
        &runtime.call(&["start", id]),
        1,
        "cannot start an already running container",
    );
    fails(
        &runtime.call(&["delete", id]),
        1,
        "that is not stopped: running",
    );
    fails(&runtime.call(&["resume", id]), 1, "container not paused");

    let listed = runtime.call(&["list"]).success().stdout;
    let row: Vec<&str> = listed
        .lines()
        .nth(1)
        .expect("a row")
        .split_whitespace()
        .collect();
    assert_eq!(row[..3], [id, &pid, "running"]);
    assert_eq!(row[5], "root");
    assert_eq!(
        runtime.call(&["list", "-q"]).success().stdout,
        format!("{id}\n")
    );
    let json = runtime.call(&["list", "-f", "json"]).success().stdout;
    assert_eq!(json.lines().count(), 1);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (&json[0]["id"], &json[0]["owner"]),
        (&id.into(), &"root".into())
    );

    runtime.call(&["pause", id]).succeeded();
    assert_eq!(runtime.state(id)["status"], "paused");
    fails(
        &runtime.call(&["exec", id, "true"]),
        255,
        "cannot exec in a paused container (use --ignore-paused to override)",
    );
    runtime.call(&["resume", id]).succeeded();

    runtime.call(&["kill", id, "TERM"]).succeeded();
    runtime.wait_for_status(id, "stopped");
    assert_eq!(runtime.state(id)["pid"], 0);
    fails(&runtime.call(&["kill", id]), 1, "container not running");
    runtime.call(&["kill", "--all", id, "KILL"]).succeeded();
    fails(
        &runtime.call(&["exec", id, "true"]),
        255,
        "cannot exec in a stopped container",
    );
    runtime.call(&["delete", id]).succeeded();
    fails(&runtime.call(&["state", id]), 1, "does not exist");
    fails(&runtime.call(&["delete", id]), 1, "does not exist");
    runtime.call(&["delete", "--force", id]).succeeded();
    residue.assert_none(&[&runtime]);
}

#[test]
fn a_created_container_can_be_deleted_without_a_start() {
    needs!(Root);
    let marker = Marker::new("created");
    let residue = Residue::watch(&marker);
    let (runtime, bundle) = (runtime(&marker), TestBundle::busybox(&marker));
    runtime.create(&bundle).succeeded();
    runtime.call(&["delete", bundle.id()]).succeeded();
    residue.assert_none(&[&runtime]);
}

#[test]
fn run_ends_with_the_status_of_the_process_and_leaves_nothing() {
    needs!(Root);
    let marker = Marker::new("run");
    let residue = Residue::watch(&marker);
    let runtime = runtime(&marker);
    for (script, code, stdout) in [
        ("echo out; exit 7", 7, "out\n"),
        ("true", 0, ""),
        ("exit 255", 255, ""),
    ] {
        let run = runtime.run(&TestBundle::busybox(&marker).script(script));
        assert_eq!((run.code, run.stdout.as_str()), (code, stdout), "{run}");
        assert_eq!(run.stderr, "");
    }
    let bundle = TestBundle::busybox(&marker).args(&["cat"]);
    bundle.save();
    let line = ["run", "-b", text(bundle.path()), bundle.id()];
    assert_eq!(
        runtime.call_with_input(&line, b"typed").success().stdout,
        "typed"
    );
    assert_eq!(runtime.call(&["list", "-q"]).success().stdout, "");
    residue.assert_none(&[&runtime]);
}

#[test]
fn a_kept_container_is_stopped_and_still_there() {
    needs!(Root);
    let marker = Marker::new("keep");
    let residue = Residue::watch(&marker);
    let (runtime, bundle) = (
        runtime(&marker),
        TestBundle::busybox(&marker).script("exit 3"),
    );
    bundle.save();
    let run = runtime.call(&[
        "run",
        "--keep",
        "--bundle",
        text(bundle.path()),
        bundle.id(),
    ]);
    assert_eq!(run.code, 3, "{run}");
    assert_eq!(runtime.state(bundle.id())["status"], "stopped");
    runtime.call(&["delete", bundle.id()]).succeeded();
    residue.assert_none(&[&runtime]);
}

#[test]
fn signals_to_run_go_to_the_process() {
    needs!(Root);
    let marker = Marker::new("signals");
    let residue = Residue::watch(&marker);
    let runtime = runtime(&marker);
    let bundle = TestBundle::busybox(&marker).script(WAIT);
    bundle.save();
    let mut run = Running::start(&runtime, &["run", "-b", text(bundle.path()), bundle.id()]);
    run.wait_until_ready();
    // Neither is passed on; both would end a process without a handler, or do nothing.
    run.signal(Signal::SIGWINCH);
    run.signal(Signal::SIGURG);
    run.signal(Signal::SIGTERM);
    assert_eq!(run.code(), Some(5));

    let mut run = Running::start(&runtime, &["run", "-b", text(bundle.path()), bundle.id()]);
    run.wait_until_ready();
    runtime.call(&["kill", bundle.id(), "9"]).succeeded();
    assert_eq!(run.code(), Some(137));
    residue.assert_none(&[&runtime]);
}

#[test]
fn hooks_and_processes_start_with_no_signal_blocked() {
    needs!(Root);
    let marker = Marker::new("blocked");
    let residue = Residue::watch(&marker);
    let runtime = runtime(&marker);
    let bundle = TestBundle::busybox(&marker).args(&["grep", "SigBlk", "/proc/self/status"]);
    let seen = bundle.path().join("seen");
    let script = format!("grep SigBlk /proc/self/status > {}", text(&seen));
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    let bundle = bundle.set("/hooks/createRuntime", hook);
    let run = runtime.run(&bundle).success();
    assert_eq!(run.stdout, "SigBlk:\t0000000000000000\n");
    assert_eq!(fs::read_to_string(&seen).expect("the hook ran"), run.stdout);
    residue.assert_none(&[&runtime]);
}

#[test]
fn a_detached_container_runs_on_under_the_pid_in_its_pid_file() {
    needs!(Root);
    let marker = Marker::new("detach");
    let residue = Residue::watch(&marker);
    let (runtime, bundle) = (runtime(&marker), TestBundle::busybox(&marker).script(WAIT));
    bundle.save();
    let mut command = runtime.command(&[
        "run",
        "-d",
        "--pid-file",
        "pid",
        "--bundle",
        text(bundle.path()),
        bundle.id(),
    ]);
    finish(command.current_dir(bundle.path()), LIMIT).succeeded();
    let pid = fs::read_to_string(bundle.path().join("pid")).expect("a pid file");
    assert_eq!(pid, runtime.state(bundle.id())["pid"].to_string());
    assert_eq!(runtime.state(bundle.id())["status"], "running");
    let pids = runtime
        .call(&["ps", "--format", "json", bundle.id()])
        .success()
        .stdout;
    let pids: Vec<i32> = serde_json::from_str(&pids).expect("an array of pids");
    assert!(pids.contains(&pid.parse().expect("digits")), "{pids:?}");
    let table = runtime
        .call(&["ps", bundle.id(), "-o", "pid,comm"])
        .success()
        .stdout;
    let mut lines = table.lines();
    assert_eq!(lines.next().map(str::trim_start), Some("PID COMMAND"));
    assert!(
        lines.any(|line| line.trim_start() == format!("{pid} sh")),
        "{table}"
    );
    runtime.call(&["delete", "-f", bundle.id()]).succeeded();
    residue.assert_none(&[&runtime]);
}

#[test]
fn exec_runs_a_process_as_its_flags_say() {
    needs!(Root);
    let marker = Marker::new("exec");
    let residue = Residue::watch(&marker);
    let (runtime, bundle) = (runtime(&marker), TestBundle::busybox(&marker).script(WAIT));
    runtime.run_detached(&bundle).succeeded();
    let exec = |line: &[&str]| runtime.call(&[&["exec"], line].concat());
    let id = bundle.id();

    let plain = exec(&[id, "sh", "-c", "echo $0 $*; exit 4", "-t", "--", "-e"]);
    assert_eq!(
        (plain.code, plain.stdout.as_str()),
        (4, "-t -- -e\n"),
        "{plain}"
    );
    let changed = exec(&[
        "--cwd=/tmp",
        "-e",
        "A=1,2",
        "--env",
        "B=3",
        "-u",
        "7:8",
        "-g",
        "9",
        id,
        "sh",
        "-c",
        "pwd; echo $A $B; id -u; id -G",
    ]);
    assert_eq!(changed.success().stdout, "/tmp\n1,2 3\n7\n8 9\n");
    let capabilities = |flags: &[&str]| {
        let line = [flags, &[id, "grep", "CapEff", "/proc/self/status"]].concat();
        exec(&line).success().stdout
    };
    assert_eq!(capabilities(&[]), "CapEff:\t0000000020000420\n");
    assert_eq!(
        capabilities(&["-c", "CAP_CHOWN"]),
        "CapEff:\t0000000020000421\n"
    );

    assert_eq!(exec(&[id, "sh", "-c", "kill -9 $$"]).code, 137);
    fails(
        &exec(&[id, "nosuch"]),
        255,
        "executable file not found in $PATH",
    );
    fails(&exec(&[id, "/nosuch"]), 255, "no such file or directory");
    fails(
        &exec(&["--cwd=/missing", id, "true"]),
        255,
        "working directory /missing",
    );
    assert!(!bundle.rootfs().join("missing").exists());
    fails(&exec(&[id]), 255, "process args cannot be empty");
    for user in [
        "-1",
        "4294967295",
        "4294967296",
        "1e1",
        "",
        "0x0",
        "root ",
        "root",
        ":5",
    ] {
        fails(&exec(&["--user", user, id, "true"]), 255, "invalid --user");
    }
    runtime.call(&["delete", "-f", id]).succeeded();
    residue.assert_none(&[&runtime]);
}

#[test]
fn exec_takes_a_whole_process_from_a_file() {
    needs!(Root);
    let marker = Marker::new("process");
    let residue = Residue::watch(&marker);
    let (runtime, bundle) = (runtime(&marker), TestBundle::busybox(&marker).script(WAIT));
    runtime.run_detached(&bundle).succeeded();
    let path = bundle.path().join("process.json");
    let process = json!({"args": ["/bin/sh", "-c", "pwd; id -u; echo $A"], "cwd": "/tmp",
        "user": {"uid": 3, "gid": 0}, "env": ["A=1"]});
    fs::write(&path, process.to_string()).expect("a file can be written");
    let exec = runtime.call(&["exec", "--process", text(&path), bundle.id()]);
    assert_eq!(exec.success().stdout, "/tmp\n3\n1\n");
    fs::write(&path, r#"{"args": 1}"#).expect("a file can be written");
    let exec = runtime.call(&["exec", "-p", text(&path), bundle.id()]);
    fails(&exec, 255, "process.json: ");
    let exec = runtime.call(&["exec", "-p", "/nosuch", bundle.id()]);
    fails(&exec, 255, "read /nosuch: no such file or directory");
    runtime.call(&["delete", "-f", bundle.id()]).succeeded();
    residue.assert_none(&[&runtime]);
}

#[test]
fn a_terminal_in_the_foreground_is_the_callers() {
    needs!(Root, Program("script"));
    let marker = Marker::new("terminal");
    let residue = Residue::watch(&marker);
    let runtime = runtime(&marker);
    let script = "tty; stty size; echo out; read line; echo got $line; exit 9";
    let bundle = TestBundle::busybox(&marker)
        .script(script)
        .set("/process/terminal", true.into());
    bundle.save();
    let line = ["run", "--bundle", text(bundle.path()), bundle.id()];
    let mut command = under_terminal(&runtime.command(&line));
    let run = finish_with_input(&mut command, b"typed\n", LIMIT);
    assert_eq!(run.code, 9, "{run}");
    // The echo of what is typed may come between any two lines.
    for line in ["/dev/pts/0\r\n", "30 100\r\n", "out\r\n"] {
        assert!(run.stdout.contains(line), "{run:?}");
    }
    assert!(run.stdout.ends_with("got typed\r\n"), "{run:?}");

    // Without a terminal of its own the caller gets the same, and the end of its input is that
    // of the process's.
    let run = runtime.call_with_input(&line, b"typed\n");
    assert!(run.stdout.ends_with("got typed\r\n"), "{run:?}");
    // After an unfinished line too: its reader takes what there is, then the end.
    let run = runtime.call_with_input(&line, b"typed");
    assert!(
        run.stdout.ends_with("got typed\r\n") && run.code == 9,
        "{run:?}"
    );
    assert_eq!(runtime.call(&line).code, 9);
    residue.assert_none(&[&runtime]);
}

#[test]
fn exec_in_a_terminal_restores_the_callers_mode() {
    needs!(Root, Program("script"));
    let marker = Marker::new("exectty");
    let residue = Residue::watch(&marker);
    let (runtime, bundle) = (runtime(&marker), TestBundle::busybox(&marker).script(WAIT));
    runtime.run_detached(&bundle).succeeded();
    let exec = runtime.command(&["exec", "-t", bundle.id(), "stty", "size"]);
    let run = finish(&mut under_terminal(&exec), LIMIT);
    // script(1) types an end of input, and the terminal shows it wherever the cursor is.
    let shown = |run: &Finished| run.stdout.replace("^@", "").replace("^D\u{8}\u{8}", "");
    let printed = shown(&run);
    assert!(run.code == 0 && printed.contains("30 100\r\n"), "{run}");

    let tare: Vec<String> = std::iter::once(exec.get_program())
        .chain(exec.get_args())
        .map(|word| testkit::quote(&word.to_string_lossy()))
        .collect();
    let mut shell = std::process::Command::new("sh");
    let line = format!("{}; stty -a", tare.join(" "));
    shell.args(["-c", &line]);
    let run = finish(&mut under_terminal(&shell), LIMIT);
    let printed = shown(&run);
    let mode: Vec<&str> = printed.split_whitespace().collect();
    for word in ["icanon", "echo", "opost", "isig", "icrnl"] {
        assert!(mode.contains(&word), "{run}");
    }
    runtime.call(&["delete", "-f", bundle.id()]).succeeded();
    residue.assert_none(&[&runtime]);
}

#[test]
fn the_console_socket_gets_the_terminal() {
    needs!(Root);
    let marker = Marker::new("console");
    let residue = Residue::watch(&marker);
    let runtime = runtime(&marker);
    let bundle = TestBundle::busybox(&marker)
        .script("read line; echo got $line")
        .set("/process/terminal", true.into());
    bundle.save();
    let path = bundle.path().join("console");
    let listener = UnixListener::bind(&path).expect("a socket can be bound");
    let (directory, id) = (text(bundle.path()), bundle.id());

    fails(
        &runtime.create(&bundle),
        1,
        "cannot allocate tty if tare will detach",
    );
    let refused = runtime.call(&["run", "--console-socket", text(&path), "-b", directory, id]);
    fails(
        &refused,
        1,
        "cannot use console socket if tare will not detach",
    );

    let create = [
        "create",
        "--console-socket",
        text(&path),
        "-b",
        directory,
        id,
    ];
    runtime.call(&create).succeeded();
    let (connection, _) = listener.accept().expect("tare connects");
    let mut master = receive_file(&connection);
    runtime.call(&["start", id]).succeeded();
    std::io::Write::write_all(&mut master, b"typed\n").expect("the terminal takes it");
    let mut output = Vec::new();
    // The end of a terminal whose other side is closed is EIO.
    master.read_to_end(&mut output).ok();
    let output = String::from_utf8(output).expect("text");
    assert_eq!(output, "typed\r\ngot typed\r\n");
    runtime.wait_for_status(id, "stopped");
    runtime.call(&["delete", id]).succeeded();
    // The terminal was opened by the container's process, and holds what that held.
    drop((master, connection, listener));
    fs::remove_file(&path).expect("the socket is there");
    residue.assert_none(&[&runtime]);
}

#[test]
fn the_pidfd_socket_gets_a_pidfd_and_a_word() {
    needs!(Root);
    let marker = Marker::new("pidfd");
    let residue = Residue::watch(&marker);
    let (runtime, bundle) = (runtime(&marker), TestBundle::busybox(&marker).script(WAIT));
    bundle.save();
    let path = bundle.path().join("pidfd");
    let listener = UnixListener::bind(&path).expect("a socket can be bound");
    let run = [
        "run",
        "-d",
        "--pidfd-socket",
        text(&path),
        "-b",
        text(bundle.path()),
        bundle.id(),
    ];
    runtime.call(&run).succeeded();
    let (connection, _) = listener.accept().expect("tare connects");
    let pidfd = receive_file(&connection);
    let info = format!(
        "/proc/self/fdinfo/{}",
        std::os::fd::AsRawFd::as_raw_fd(&pidfd)
    );
    let info = fs::read_to_string(info).expect("it is open");
    let pid = runtime.state(bundle.id())["pid"].to_string();
    assert!(info.contains(&format!("Pid:\t{pid}\n")), "{info}");
    drop((pidfd, connection, listener));
    fs::remove_file(&path).expect("the socket is there");
    runtime.call(&["delete", "-f", bundle.id()]).succeeded();
    residue.assert_none(&[&runtime]);
}

/// The descriptor in a message, and its payload dropped.
fn receive_file(connection: &std::os::unix::net::UnixStream) -> fs::File {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::os::fd::FromRawFd;
    let mut payload = [0; 64];
    let mut buffers = [std::io::IoSliceMut::new(&mut payload)];
    let mut control = nix::cmsg_space!([i32; 1]);
    let socket = std::os::fd::AsRawFd::as_raw_fd(&connection.as_fd());
    let message = recvmsg::<()>(
        socket,
        &mut buffers,
        Some(&mut control),
        MsgFlags::MSG_CMSG_CLOEXEC,
    );
    let message = message.expect("a message");
    let rights = message.cmsgs().expect("control messages").next();
    let Some(ControlMessageOwned::ScmRights(fds)) = rights else {
        panic!("no descriptor in the message");
    };
    // SAFETY: the kernel has just made this descriptor for us alone.
    unsafe { fs::File::from_raw_fd(fds[0]) }
}

#[test]
fn preserved_descriptors_must_be_there_and_reach_the_process() {
    needs!(Root);
    let marker = Marker::new("preserve");
    let residue = Residue::watch(&marker);
    let runtime = runtime(&marker);
    let bundle = TestBundle::busybox(&marker).script("cat <&3; cat <&4; ls /proc/self/fd | wc -l");
    bundle.save();
    for name in ["a", "b"] {
        fs::write(bundle.path().join(name), name).expect("a file can be written");
    }
    let command = |redirections: &str, count: &str| {
        let line = [
            "run",
            "--preserve-fds",
            count,
            "-b",
            text(bundle.path()),
            bundle.id(),
        ];
        let command = runtime.command(&line);
        let words: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| testkit::quote(&word.to_string_lossy()))
            .collect();
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("exec {} {redirections}", words.join(" "))]);
        shell.current_dir(bundle.path());
        finish(&mut shell, LIMIT)
    };
    let run = command("3<a 4<b 5<a", "2").success();
    // 0 to 4, and the one that ls reads the directory by.
    assert_eq!(run.stdout, "ab6\n");
    let run = command("3<a 4<&- 5<&-", "2");
    fails(&run, 1, "unable to stat preserved-fd 2 (of 2)");
    residue.assert_none(&[&runtime]);
}

#[test]
fn a_failed_pid_file_or_socket_leaves_no_container() {
    needs!(Root);
    let marker = Marker::new("failed");
    let residue = Residue::watch(&marker);
    let (runtime, bundle) = (runtime(&marker), TestBundle::busybox(&marker).script(WAIT));
    bundle.save();
    let (directory, id) = (text(bundle.path()), bundle.id());
    for command in ["create", "run"] {
        for (flag, path) in [
            ("--pid-file", "/proc/none/pid"),
            ("--pidfd-socket", "/proc/none"),
        ] {
            let finished = runtime.call(&[command, flag, path, "-b", directory, id]);
            fails(&finished, 1, &format!("{flag}: "));
            assert_eq!(runtime.call(&["list", "-q"]).success().stdout, "");
        }
    }
    residue.assert_none(&[&runtime]);
}

#[test]
fn a_failed_create_is_one_record_and_leaves_nothing() {
    needs!(Root);
    let marker = Marker::new("record");
    let residue = Residue::watch(&marker);
    let runtime = runtime(&marker);
    let bundle = TestBundle::busybox(&marker).args(&["nosuch"]);
    bundle.save();
    let log = bundle.path().join("log.json");
    let command = runtime.call(&[
        "--log",
        text(&log),
        "--log-format",
        "json",
        "create",
        "-b",
        text(bundle.path()),
        bundle.id(),
    ]);
    assert_eq!(command.code, 1, "{command}");
    let record = fs::read_to_string(&log).expect("a log");
    let record: Value = serde_json::from_str(&record).expect("one JSON value");
    assert_eq!(
        (&record["level"], &record["kind"]),
        (&"error".into(), &"program".into())
    );
    let message = record["msg"].as_str().expect("a message");
    assert!(
        message.contains("executable file not found in $PATH"),
        "{message}"
    );
    assert_eq!(command.stderr, format!("{message}\n"));
    residue.assert_none(&[&runtime]);
}

#[test]
fn plan_tells_what_would_be_done_or_what_is_wrong() {
    let marker = Marker::new("plan");
    let runtime = runtime(&marker);
    let bundle = TestBundle::busybox(&marker);
    bundle.save();
    let directory = text(bundle.path()).to_owned();
    let plan = ["plan", "--bundle", &directory];
    let shown = runtime.call(&plan).success().stdout;
    assert!(shown.contains("/proc"), "{shown}");
    let json = runtime
        .call(&[&plan[..], &["--format", "json"]].concat())
        .success()
        .stdout;
    serde_json::from_str::<Value>(&json).expect("JSON");

    let bundle = bundle
        .set("/process/cwd", "relative".into())
        .set("/mounts/0/destination", "".into());
    bundle.save();
    let shown = runtime.call(&plan);
    assert_eq!(shown.code, 1, "{shown}");
    assert_eq!(shown.stderr.lines().count(), 1, "{shown}");
    for place in ["/mounts/0/destination: ", "/process/cwd: "] {
        assert!(
            shown.stdout.lines().any(|line| line.starts_with(place)),
            "{shown}"
        );
    }
    let json = runtime
        .call(&[&plan[..], &["--format=json"]].concat())
        .stdout;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        json["violations"].as_array().map(Vec::len),
        Some(2),
        "{json}"
    );
}
