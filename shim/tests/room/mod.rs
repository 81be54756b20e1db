//! A place in which the shim's program is run as containerd runs it: a mount namespace with a
//! /run of its own, so that no test meets another one's sockets, nor the machine's containerd.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use testkit::Marker;

/// The address of a containerd that is not there.
pub(crate) const CONTAINERD: &str = "/run/containerd/containerd.sock";

/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// How the program has ended, when its output was at its end too.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    /// Its output, if it has succeeded and said nothing else.
    pub(crate) fn answer(self) -> Vec<u8> {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{self:?}");
        self.stdout
    }

    /// The address in it.
    pub(crate) fn address(self) -> String {
        String::from_utf8(self.answer()).unwrap()
    }

    /// What it has complained of, if it has failed and said nothing to containerd.
    pub(crate) fn complaint(self) -> String {
        assert_eq!(
            (self.code, self.stdout.as_slice()),
            (1, &b""[..]),
            "{self:?}"
        );
        let text = self.stderr.strip_prefix("io.containerd.tare.v1: ");
        let line = text.and_then(|text| text.strip_suffix('\n'));
        line.unwrap_or_else(|| panic!("{:?}", self.stderr))
            .to_owned()
    }
}

/// The namespace, and what runs in it.
#[derive(Debug)]
pub(crate) struct Room {
    marker: Marker,
    holder: Child,
}

impl Room {
    pub(crate) fn new(marker: &Marker) -> Self {
        let script = "mount -t tmpfs tmpfs /run && echo ready && exec sleep 14400";
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .env("MARK", marker.as_str())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare(1) is there");
        let mut ready = [0; 6];
        let output = holder.stdout.as_mut().expect("it is a pipe");
        std::io::Read::read_exact(output, &mut ready).expect("the namespace can be made");
        Self {
            marker: marker.clone(),
            holder,
        }
    }

    /// A path as this namespace has it.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.holder.id()))
    }

    /// The beginning of a command that runs in the namespace.
    pub(crate) fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()));
        command
    }

    /// A shell command in the namespace.
    pub(crate) fn shell(&self, script: &str) {
        let mut command = self.inside();
        command.args(["sh", "-ec", script]);
        testkit::finish(&mut command, LIMIT).succeeded();
    }

    /// The shim, to be run in this directory with these arguments.
    pub(crate) fn shim(&self, directory: &Path, arguments: &[&str]) -> Command {
        let mut command = self.inside();
        command
            .args(["sh", "-c", "cd \"$0\" && exec \"$@\""])
            .arg(directory)
            .arg(env!("CARGO_BIN_EXE_containerd-shim-tare-v1"))
            .args(arguments)
            .env("TTRPC_ADDRESS", "/nonexistent/from-environment")
            .env_remove("SCHED_CORE");
        command
    }

    /// `start` of a container, with this on standard input.
    pub(crate) fn start(&self, bundle: &Path, id: &str, input: &[u8]) -> Ended {
        let arguments = [
            "-namespace",
            "default",
            "-address",
            CONTAINERD,
            "-publish-binary=/usr/bin/containerd",
            "-id",
            id,
            "start",
        ];
        run(self.shim(bundle, &arguments), input)
    }

    /// `delete` of a container, as containerd runs it.
    pub(crate) fn delete(&self, bundle: &Path, id: &str) -> Ended {
        let arguments = ["-namespace", "default", "-address", CONTAINERD, "-id", id];
        let bundle_flag = bundle.to_str().unwrap();
        let arguments = [&arguments[..], &["-bundle", bundle_flag, "delete"]].concat();
        run(self.shim(bundle, &arguments), b"")
    }

    /// What is mounted in the namespace, in its order.
    pub(crate) fn mount_points(&self) -> Vec<String> {
        let table = format!("/proc/{}/mountinfo", self.holder.id());
        let table = std::fs::read_to_string(table).expect("it lives");
        let point = |line: &str| line.split(' ').nth(4).map(str::to_owned);
        table.lines().filter_map(point).collect()
    }

    /// The servers of this room.
    pub(crate) fn servers(&self) -> Vec<i32> {
        let servers = processes_with("containerd-shim-tare-v1 -namespace");
        let is_here = |pid: &i32| {
            let arguments = arguments_of(*pid).join(" ");
            arguments.contains(" -socket ") && arguments.contains(self.marker.as_str())
        };
        servers.into_iter().filter(is_here).collect()
    }

    /// The only server.
    pub(crate) fn server(&self) -> i32 {
        let servers = self.servers();
        assert_eq!(servers.len(), 1, "{servers:?}");
        servers[0]
    }

    /// Kills the servers as the OOM killer would.
    pub(crate) fn kill_servers(&self) {
        for pid in self.servers() {
            kill(pid);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.kill_servers();
        self.holder.kill().ok();
        self.holder.wait().ok();
    }
}

/// The fields of /proc/PID/stat after the name, from the state on; none without the process.
pub(crate) fn stat(pid: i32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = text.rsplit_once(") ")?.1;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// The arguments of a process.
pub(crate) fn arguments_of(pid: i32) -> Vec<String> {
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let arguments = String::from_utf8_lossy(&arguments).into_owned();
    let arguments = arguments.trim_end_matches('\0').split('\0');
    arguments.map(str::to_owned).collect()
}

/// The living processes with this text in their arguments.
pub(crate) fn processes_with(text: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("there is a /proc");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| arguments_of(*pid).join(" ").contains(text))
        .filter(|pid| stat(*pid).is_some_and(|stat| stat[0] != "Z"))
        .collect()
}

/// Kills a process, which is no child, and waits for its end.
pub(crate) fn kill(pid: i32) {
    let number = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(number, nix::sys::signal::Signal::SIGKILL).ok();
    wait_until("a killed process ends", || {
        stat(pid).is_none_or(|stat| stat[0] == "Z")
    });
}

/// Waits for something to become true.
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a command until it has ended, and both pipes of its output too: like containerd.
pub(crate) fn run(mut command: Command, input: &[u8]) -> Ended {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it can be started");
    let mut stdin = child.stdin.take().expect("it is a pipe");
    // One that ends without reading is judged by its answer.
    stdin.write_all(input).ok();
    drop(stdin);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let output = receiver
        .recv_timeout(LIMIT)
        .unwrap_or_else(|_| panic!("{command:?} or its output has no end"))
        .expect("it is a child");
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
