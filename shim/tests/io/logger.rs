//! Outputs to loggers: `binary://` and `binary-v2://`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shim::failure::Code;
use shim::io::Streams;

use crate::rig::{Ask, Rig, shell, short};

/// A logger that is a shell script, and the directory where it leaves its traces.
struct Script {
    dir: tempfile::TempDir,
}

impl Script {
    fn new(body: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logger");
        let trace = dir.path().display();
        let text = format!("#!/bin/sh\ncd {trace}\necho $$ > pid\n{body}\n");
        // Written by another process: a file that a thread of this one still has open for
        // writing in a child of another test can't be executed.
        let mut child = std::process::Command::new("sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        Self { dir }
    }

    fn ask(&self, scheme: &str, query: &str) -> Ask {
        let text = format!("{scheme}://{}{query}", self.path("logger").display());
        Ask {
            stderr: text.clone(),
            ..Ask::stdout(text)
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Whether the process that ran the script is still there, a zombie included.
    fn is_there(&self) -> bool {
        let pid = self.read("pid");
        Path::new("/proc").join(pid.trim()).exists()
    }
}

/// It ends when its container does, and not before it has written everything.
const COPY: &str =
    "trap '' TERM; cat <&3 >out & cat <&4 >err & echo >&5; exec 3<&- 4<&- 5>&-; wait";

#[test]
fn a_logger_gets_both_outputs_its_arguments_and_no_more_environment_than_the_container() {
    let body = format!(
        "printf '%s\\n' \"$@\" > args; /usr/bin/env -u PWD -u OLDPWD -u _ > environment\nls -l /proc/$$/fd > fds\n{COPY}"
    );
    let script = Script::new(&body);
    let ask = script.ask("binary", "?z=26&a=x%20y&flag");
    let (mut rig, pipes) = Rig::pipes(&ask, short());
    let mut child = shell("echo to out; echo to err >&2", pipes);
    assert_eq!(rig.finish(&mut child), Some(0));
    assert_eq!(script.read("out"), "to out\n");
    assert_eq!(script.read("err"), "to err\n");
    assert_eq!(script.read("args"), "z\n26\na\nx y\nflag\n\n");
    let mut environment: Vec<_> = script
        .read("environment")
        .lines()
        .map(String::from)
        .collect();
    environment.sort();
    assert_eq!(environment, ["CONTAINER_ID=c1", "CONTAINER_NAMESPACE=n1"]);
    let fds = script.read("fds");
    for (number, target) in [(0, "/dev/null"), (3, "pipe:"), (4, "pipe:"), (5, "pipe:")] {
        let row = format!(" {number} -> {target}");
        assert!(fds.contains(&row), "no {row} in {fds}");
    }
    assert!(!script.is_there());
}

#[test]
fn a_logger_gets_stderr_when_only_stdout_names_it() {
    let script = Script::new(COPY);
    let mut ask = script.ask("binary-v2", "");
    ask.stderr.clear();
    let (mut rig, pipes) = Rig::pipes(&ask, short());
    let mut child = shell("echo to err >&2", pipes);
    assert_eq!(rig.finish(&mut child), Some(0));
    assert_eq!(script.read("err"), "to err\n");
}

#[test]
fn a_slow_logger_has_read_everything_before_the_output_counts_as_drained() {
    let body = "trap '' TERM; echo >&5; exec 5>&-; sleep 1; exec cat <&3 >out";
    let script = Script::new(body);
    let (mut rig, pipes) = Rig::pipes(&script.ask("binary", ""), short());
    let mut child = shell("head -c 60000 /dev/zero", pipes);
    let begun = Instant::now();
    assert_eq!(rig.finish(&mut child), Some(0));
    assert!(begun.elapsed() > Duration::from_millis(800));
    assert_eq!(script.read("out").len(), 60_000);
}

#[test]
fn a_logger_that_dies_holds_nobody_up_and_is_told_of() {
    let script = Script::new("echo >&5; exec 5>&-; head -c 1 <&3 >out; exit 7");
    let (mut rig, pipes) = Rig::pipes(&script.ask("binary", ""), short());
    let mut child = shell("trap '' PIPE; yes; yes >&2; exit 4", pipes);
    assert_eq!(rig.finish(&mut child), Some(4));
    let notices = rig.streams.take_notices().join("\n");
    assert!(notices.contains("has ended (exit status 7)"), "{notices}");
    assert!(!script.is_there());
}

#[test]
fn a_logger_that_is_never_ready_is_killed_and_named() {
    let mut limits = short();
    limits.logger_ready = Duration::from_millis(500);
    let script = Script::new("exec sleep 1000");
    let failure = script.ask("binary", "").prepare(limits).unwrap_err();
    assert_eq!(failure.code, Code::DEADLINE_EXCEEDED);
    let said = failure.message;
    assert!(said.contains("was not ready within 0.5 s"), "{said}");
    assert!(said.contains("/logger"), "{said}");
    assert!(!script.is_there());
}

#[test]
fn closing_the_ready_pipe_is_enough_for_the_first_version_only() {
    let script = Script::new("trap '' TERM; exec 5>&-; cat <&3 >out");
    let (mut rig, pipes) = Rig::pipes(&script.ask("binary", ""), short());
    let mut child = shell("echo x", pipes);
    assert_eq!(rig.finish(&mut child), Some(0));
    assert_eq!(script.read("out"), "x\n");
    let said = script.ask("binary-v2", "").prepare(short()).unwrap_err();
    assert!(said.message.contains("without a byte"), "{said}");
    assert!(!script.is_there());
}

#[test]
fn a_logger_that_can_not_be_started_is_an_error() {
    let script = Script::new("");
    fs::set_permissions(script.path("logger"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = |ask: &Ask| ask.prepare(short()).unwrap_err().message;
    let not_executable = said(&script.ask("binary", ""));
    assert!(not_executable.contains("permission denied (EACCES): it is not executable"));
    let missing = said(&Ask::stdout("binary:///nonexistent/logger"));
    assert!(
        missing.contains("start the logger /nonexistent/logger: no such file"),
        "{missing}"
    );
}

#[test]
fn the_close_asks_a_logger_to_end_and_kills_it_later_without_blocking() {
    let body = "trap 'echo asked >>asked' TERM; echo >&5; exec 5>&-; while :; do sleep 0.05; done";
    let script = Script::new(body);
    let (mut rig, pipes) = Rig::pipes(&script.ask("binary", ""), short());
    let mut child = shell("exit 0", pipes);
    rig.until("the process ends", |_| child.try_wait().unwrap().is_some());
    rig.until("the output is drained", Streams::is_drained);
    let begun = Instant::now();
    rig.streams.close(&rig.poller);
    assert!(
        begun.elapsed() < Duration::from_millis(50),
        "the close blocks"
    );
    assert!(!rig.streams.is_closed() && script.is_there());
    rig.until("the logger is gone", |streams| streams.is_closed());
    assert!(begun.elapsed() >= short().logger_end);
    assert_eq!(script.read("asked"), "asked\n");
    assert!(!script.is_there());
    assert!(rig.streams.take_notices().is_empty());
}

#[test]
fn streams_that_come_to_nothing_take_their_logger_along() {
    let script = Script::new("trap '' TERM; echo >&5; exec 5>&-; while :; do sleep 0.05; done");
    let prepared = script.ask("binary", "").prepare(short()).unwrap();
    assert!(script.is_there());
    drop(prepared);
    assert!(!script.is_there());
}

#[test]
fn two_loggers_for_one_process_are_refused() {
    for (stdout, stderr) in [
        ("binary:///bin/cat", "binary:///bin/cat?x=y"),
        ("binary:///bin/cat", "/some/fifo"),
        ("", "binary:///bin/cat"),
        ("file:///tmp/x", "binary:///bin/cat"),
    ] {
        let ask = Ask {
            stderr: stderr.to_owned(),
            ..Ask::stdout(stdout)
        };
        let failure = ask.prepare(short()).unwrap_err();
        assert_eq!(failure.code, Code::INVALID_ARGUMENT);
        assert!(
            failure.message.contains("a logger gets both outputs"),
            "{failure}"
        );
    }
}
