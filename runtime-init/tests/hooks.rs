//! Hooks in the container's namespaces.

#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

mod kit;

use std::fs;
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use kit::{Outcome, Root, array, c, failure, keep};
use runtime_init::{Call, Failure, Hook, Step};

const MINUTE_MS: u32 = 60_000;

/// A hook of the runtime's namespace, its state and its output.
struct Fixture {
    root: Root,
    state: fs::File,
    output: fs::File,
}

impl Fixture {
    fn new() -> Self {
        let mut state = tempfile::tempfile().unwrap();
        state.write_all(b"{\"id\":\"it\"}").unwrap();
        Self {
            root: Root::new(),
            state,
            output: tempfile::tempfile().unwrap(),
        }
    }

    fn hook(&self, script: &str, timeout_ms: u32) -> Hook<'static> {
        Hook {
            path: c("/bin/sh"),
            argv: array(&["a-hook", "-c", script]),
            envp: array(&["MINE=yes"]),
            timeout_ms,
            state: self.state.as_raw_fd(),
            output: self.output.as_raw_fd(),
        }
    }

    fn run(&self, hooks: &[Hook<'static>]) -> Outcome {
        let steps: Vec<_> = hooks.iter().map(|hook| Step::Hook(*hook)).collect();
        self.root.scene().before(&steps).run("echo started")
    }

    fn printed(&mut self) -> String {
        let mut text = String::new();
        self.output.rewind().unwrap();
        self.output.read_to_string(&mut text).unwrap();
        text
    }
}

#[test]
fn every_hook_reads_the_state_and_has_its_own_environment() {
    let mut fixture = Fixture::new();
    let hook = fixture.hook(
        "cat; echo \" $0 $MINE ${PATH-none}\"; echo oops >&2",
        MINUTE_MS,
    );
    assert_eq!(fixture.run(&[hook, hook]).output(), "started\n");
    let printed = fixture.printed();
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines.len(), 4, "{printed}");
    assert!(
        lines[0].starts_with("{\"id\":\"it\"} a-hook yes"),
        "{printed}"
    );
    assert_eq!(lines[1], "oops");
    assert_eq!(lines[0], lines[2]);
}

#[test]
fn a_hook_has_three_descriptors_and_no_blocked_signal() {
    let mut fixture = Fixture::new();
    let script = "ls /proc/self/fd | tr '\\n' ' '; grep -E 'SigBlk|SigIgn' /proc/self/status";
    fixture.run(&[fixture.hook(script, MINUTE_MS)]).output();
    // The fourth is the directory that ls(1) reads.
    let printed = fixture.printed();
    assert!(printed.starts_with("0 1 2 3 Sig"), "{printed}");
    assert!(printed.contains("SigBlk:\t0000000000000000"), "{printed}");
    let ignored = printed.rsplit('\t').next().unwrap().trim();
    let ignored = u64::from_str_radix(ignored, 16).unwrap();
    assert_eq!(ignored >> (libc::SIGPIPE - 1) & 1, 0, "{printed}");
}

#[test]
fn neither_hooks_nor_the_program_ignore_what_the_caller_ignores() {
    for signal in [libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR2, libc::SIGRTMAX()] {
        kit::ignore_signal(signal);
    }
    let mut fixture = Fixture::new();
    let hook = Step::Hook(fixture.hook("grep -E 'SigBlk|SigIgn' /proc/self/status", MINUTE_MS));
    let signals = |status: &str| {
        let lines = status.lines();
        let lines = lines.filter(|line| line.starts_with("SigBlk") || line.starts_with("SigIgn"));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    // Without a shell: busybox's ignores SIGQUIT.
    let run = |steps: &[Step<'static>]| {
        let scene = fixture.root.scene().first(steps).before(&[hook]);
        let scene = scene.after(&[Step::Mount(kit::proc("/proc"))]);
        let outcome = scene.exec(&["/bin/busybox", "cat", "/proc/self/status"]);
        signals(&outcome.output())
    };
    let none = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
    assert_ne!(run(&[]), none);
    assert_eq!(run(&[Step::DefaultSignals]), none);
    let printed = fixture.printed();
    assert!(printed.ends_with(none), "{printed}");
}

#[test]
fn a_hook_that_fails_is_told_with_its_wait_status() {
    let fixture = Fixture::new();
    let failed = fixture.run(&[fixture.hook("exit 7", MINUTE_MS)]).failure();
    assert_eq!(failed, failure(Call::HookStatus, 7 << 8));
    let killed = fixture
        .run(&[fixture.hook("kill -9 $$", MINUTE_MS)])
        .failure();
    assert_eq!(killed, failure(Call::HookStatus, 9));
}

#[test]
fn a_hook_that_can_not_be_started_is_told_with_its_errno() {
    let fixture = Fixture::new();
    let run = |path: &'static str| {
        let hook = Hook {
            path: c(path),
            ..fixture.hook("true", MINUTE_MS)
        };
        fixture.run(&[hook]).failure()
    };
    assert_eq!(run("/no/such/hook"), failure(Call::Execve, libc::ENOENT));
    assert_eq!(run("/etc/passwd"), failure(Call::Execve, libc::EACCES));
}

#[test]
fn a_hook_that_takes_too_long_is_killed_with_its_children() {
    let mut fixture = Fixture::new();
    let script = "sleep 300 & echo $!; wait";
    let before = Instant::now();
    // The pids are those of the pid namespace, so the children are looked for by a descriptor.
    let failed = fixture.run(&[fixture.hook(script, 300)]).failure();
    assert_eq!(failed, failure(Call::HookStatus, Failure::TIMED_OUT));
    assert!(before.elapsed() < Duration::from_secs(30));
    assert!(!fixture.printed().is_empty(), "the hook has not even begun");
}

#[test]
fn what_a_hook_leaves_behind_does_not_keep_the_container_waiting() {
    let fixture = Fixture::new();
    let before = Instant::now();
    let hook = fixture.hook("sleep 20 & exit 0", MINUTE_MS);
    // The container's first process ends, and with it its pid namespace.
    assert_eq!(fixture.run(&[hook]).output(), "started\n");
    assert!(before.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_hook_after_the_pivot_is_a_file_of_the_container() {
    let mut fixture = Fixture::new();
    fixture
        .root
        .script("hook", "#!/bin/sh\nls / | tr '\\n' ' '\n");
    let hook = Hook {
        path: c"/hook",
        ..fixture.hook("", MINUTE_MS)
    };
    let outcome = fixture
        .root
        .scene()
        .after(&[Step::Hook(hook)])
        .run("echo started");
    assert_eq!(outcome.output(), "started\n");
    assert_eq!(fixture.printed(), "bin hook ");
}

#[test]
fn a_state_that_can_not_be_rewound_fails() {
    let fixture = Fixture::new();
    let (read, _write) = std::io::pipe().unwrap();
    let hook = Hook {
        state: read.as_raw_fd(),
        ..fixture.hook("true", MINUTE_MS)
    };
    assert_eq!(
        fixture.run(&[hook]).failure(),
        failure(Call::Read, libc::ESPIPE)
    );
}

#[test]
fn hooks_run_in_order_and_the_first_failure_ends_them() {
    let mut fixture = Fixture::new();
    let hooks = keep(&["echo 1", "echo 2; exit 1", "echo 3"]);
    let hooks: Vec<_> = hooks
        .iter()
        .map(|script| fixture.hook(script, MINUTE_MS))
        .collect();
    assert_eq!(
        fixture.run(&hooks).failure(),
        failure(Call::HookStatus, 1 << 8)
    );
    assert_eq!(fixture.printed(), "1\n2\n");
}
