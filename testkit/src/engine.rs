//! Debian's containerd and dockerd, private to one test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::bundle::TestBundle;
use crate::command::{Finished, finish, finish_with_input};
use crate::fact::find_program;
use crate::marker::Marker;

/// How long a daemon may take to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a `docker` or `ctr` command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The image that every engine has: busybox.
const IMAGE: &str = "busybox:test";

/// containerd and dockerd with all of their files in one directory, in a mount namespace of
/// their own with a tmpfs on /run, and with their cgroups below the marker. All of it is gone
/// when dropped.
#[derive(Debug)]
pub struct Engine {
    directory: TempDir,
    marker: Marker,
    /// Where containerd looks for shims first.
    shims: Option<PathBuf>,
    containerd: Child,
    dockerd: Option<Child>,
}

impl Engine {
    /// Starts containerd alone.
    ///
    /// # Panics
    ///
    /// With its log, if it does not answer.
    #[must_use]
    pub fn containerd(marker: &Marker) -> Self {
        Self::containerd_finding(marker, None)
    }

    /// The same, whose containerd looks for shims in this directory first.
    ///
    /// # Panics
    ///
    /// With its log, if it does not answer.
    #[must_use]
    pub fn containerd_finding(marker: &Marker, shims: Option<&Path>) -> Self {
        let directory = marker.directory();
        let config = directory.path().join("containerd.toml");
        fs::write(&config, containerd_config(directory.path())).expect("a file can be written");
        let start = "mount -t tmpfs tmpfs /run && exec containerd --config \"$0\"";
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--propagation",
            "private",
        ]);
        command.args(["sh", "-c", start]).arg(&config);
        if let Some(shims) = shims {
            command.env("PATH", path_with(shims));
        }
        let containerd = spawn_logged(command, &directory.path().join("containerd.log"));
        let engine = Self {
            directory,
            marker: marker.clone(),
            shims: shims.map(Path::to_owned),
            containerd,
            dockerd: None,
        };
        engine.wait_until("containerd answers", || engine.ctr(&["version"]).code == 0);
        engine
    }

    /// Kills containerd as a crash would, and starts it again where it was.
    ///
    /// # Panics
    ///
    /// With its log, if it does not answer.
    pub fn crash_containerd(&mut self) {
        let pid = self.containerd.id();
        let namespace = File::open(format!("/proc/{pid}/ns/mnt")).expect("containerd runs");
        drop(self.containerd.kill());
        self.containerd.wait().expect("containerd is ours");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter", "--mount=/proc/self/fd/0"]);
        command.arg("containerd").arg("--config");
        command.arg(self.path("containerd.toml"));
        if let Some(shims) = &self.shims {
            command.env("PATH", path_with(shims));
        }
        let log = self.path("containerd-again.log");
        self.containerd = spawn_logged_with(command, &log, Stdio::from(namespace));
        self.wait_until("containerd answers", || self.ctr(&["version"]).code == 0);
    }

    /// Runs `ctr ARGUMENTS` where containerd is: its FIFOs are below containerd's own /run.
    pub fn ctr_inside(&self, arguments: &[&str], input: &[u8]) -> Finished {
        let mut command = Command::new("nsenter");
        command.arg("--mount").arg("--target");
        command.arg(self.containerd.id().to_string());
        let ctr = self.ctr_command(arguments);
        command.arg(ctr.get_program()).args(ctr.get_args());
        finish_with_input(&mut command, input, LIMIT)
    }

    /// Starts containerd, and dockerd with the `runtimes` (names and paths), and imports
    /// [`Engine::image`].
    ///
    /// # Panics
    ///
    /// With their logs, if they do not answer.
    #[must_use]
    pub fn docker_with(marker: &Marker, runtimes: &[(&str, &Path)]) -> Self {
        Self::docker_finding(marker, None, runtimes)
    }

    /// The same, whose containerd looks for shims in this directory first.
    ///
    /// # Panics
    ///
    /// As [`Engine::docker_with`].
    #[must_use]
    pub fn docker_finding(
        marker: &Marker,
        shims: Option<&Path>,
        runtimes: &[(&str, &Path)],
    ) -> Self {
        let mut engine = Self::containerd_finding(marker, shims);
        let command = engine.dockerd_command(runtimes);
        engine.dockerd = Some(spawn_logged(command, &engine.path("dockerd.log")));
        engine.wait_until("dockerd answers", || engine.docker(&["version"]).code == 0);
        engine.import_image();
        engine
    }

    fn dockerd_command(&self, runtimes: &[(&str, &Path)]) -> Command {
        fs::write(self.path("daemon.json"), "{}").expect("a file can be written");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter", "--mount", "--target"]);
        command.arg(self.containerd.id().to_string()).arg("dockerd");
        for (flag, name) in [
            ("--config-file", "daemon.json"),
            ("--data-root", "docker"),
            ("--exec-root", "docker-exec"),
            ("--pidfile", "docker.pid"),
            ("--containerd", "containerd.sock"),
        ] {
            command.arg(flag).arg(self.path(name));
        }
        command.arg("--host").arg(self.docker_host());
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
        command
            .arg("--cgroup-parent")
            .arg(format!("/{}", self.marker));
        for (name, path) in runtimes {
            command
                .arg("--add-runtime")
                .arg(format!("{name}={}", path.display()));
        }
        command
    }

    fn import_image(&self) {
        let bundle = TestBundle::busybox(&self.marker);
        let archive = self.path("image.tar");
        let mut tar = Command::new("tar");
        tar.arg("-C")
            .arg(bundle.rootfs())
            .arg("-cf")
            .arg(&archive)
            .arg(".");
        finish(&mut tar, LIMIT).succeeded();
        self.docker(&["import", &archive.display().to_string(), IMAGE])
            .succeeded();
    }

    /// The name of the image that [`Engine::docker_with`] imports: busybox, without a command.
    #[must_use]
    pub const fn image(&self) -> &'static str {
        IMAGE
    }

    /// Runs `docker ARGUMENTS` to its end.
    pub fn docker(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.docker_command(arguments), LIMIT)
    }

    /// The command `docker ARGUMENTS`, not started.
    #[must_use]
    pub fn docker_command(&self, arguments: &[&str]) -> Command {
        // The client of the package docker.io, which belongs to its dockerd, before any other.
        let packaged = Path::new("/usr/bin/docker");
        let client = if packaged.exists() {
            packaged
        } else {
            Path::new("docker")
        };
        let mut command = Command::new(client);
        command
            .arg("--config")
            .arg(self.path("client"))
            .arg("--host")
            .arg(self.docker_host());
        command.args(arguments);
        command
    }

    /// Runs `ctr ARGUMENTS` to its end, in the containerd namespace named as the marker.
    pub fn ctr(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.ctr_command(arguments), LIMIT)
    }

    /// The command `ctr ARGUMENTS`, not started.
    #[must_use]
    pub fn ctr_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.path("containerd.sock"));
        command
            .args(["--namespace", self.marker.as_str()])
            .args(arguments);
        command
    }

    /// The mounts that containerd sees, without their ids and without those of docker's own
    /// network namespaces, which it keeps for later.
    #[must_use]
    pub fn mounts(&self) -> Vec<String> {
        let path = format!("/proc/{}/mountinfo", self.containerd.id());
        let text = fs::read_to_string(path).expect("containerd runs");
        let mut mounts: Vec<String> = text
            .lines()
            .filter(|line| !line.contains("/docker-exec/netns/"))
            .filter_map(|line| Some(line.splitn(3, ' ').nth(2)?.to_owned()))
            .collect();
        mounts.sort();
        mounts
    }

    /// A path in the engine's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn docker_host(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let started = Instant::now();
        while !is_so() {
            if started.elapsed() > PATIENCE {
                let log = |name| fs::read_to_string(self.path(name)).unwrap_or_default();
                panic!(
                    "not so: {what}\n{}\n{}",
                    log("containerd.log"),
                    log("dockerd.log")
                );
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Processes with the engine's directory in their arguments: shims, and what they started.
    fn stragglers(&self) -> Vec<Pid> {
        let directory = self.directory.path().display().to_string();
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let pid = entry.file_name().to_str()?.parse().ok()?;
                let arguments = fs::read(entry.path().join("cmdline")).ok()?;
                String::from_utf8_lossy(&arguments)
                    .contains(&directory)
                    .then(|| Pid::from_raw(pid))
            })
            .filter(|pid| *pid != Pid::this())
            .collect()
    }
}

impl Drop for Engine {
    /// Nothing here may panic: a failing test drops its engine while it panics.
    fn drop(&mut self) {
        if let Some(mut dockerd) = self.dockerd.take() {
            let all = "\"$@\" ps --all --quiet | xargs -r \"$@\" rm --force";
            let client = self.docker_command(&[]);
            let mut remove = Command::new("sh");
            remove
                .args(["-c", all, "sh"])
                .arg(client.get_program())
                .args(client.get_args());
            remove
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            drop(remove.status());
            end(&mut dockerd);
        }
        end(&mut self.containerd);
        for pid in self.stragglers() {
            kill(pid, Signal::SIGKILL).ok();
        }
        std::thread::sleep(Duration::from_millis(50));
        remove_cgroups(self.marker.as_str());
    }
}

/// All of containerd's files in one directory, and no CRI.
fn containerd_config(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        r#"version = 2
root = "{directory}/containerd"
state = "{directory}/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]

[grpc]
address = "{directory}/containerd.sock"

[ttrpc]
address = "{directory}/containerd.sock.ttrpc"
"#
    )
}

fn spawn_logged(command: Command, log: &Path) -> Child {
    spawn_logged_with(command, log, Stdio::null())
}

fn spawn_logged_with(mut command: Command, log: &Path, stdin: Stdio) -> Child {
    let log = File::create(log).expect("a log can be written");
    let copy = log.try_clone().expect("a descriptor can be duplicated");
    let program = command.get_program().to_owned();
    command
        .stdin(stdin)
        .stdout(copy)
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

/// PATH with a directory before all others.
fn path_with(directory: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(directory.to_owned()).chain(std::env::split_paths(&path));
    std::env::join_paths(all).expect("directories without a colon")
}

/// SIGTERM, then SIGKILL after a while.
fn end(child: &mut Child) {
    let Ok(pid) = i32::try_from(child.id()) else {
        return;
    };
    kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
    let started = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if started.elapsed() > PATIENCE {
            drop(child.kill());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Removes the cgroup of this name and those below it, in every hierarchy.
pub(crate) fn remove_cgroups(name: &str) {
    let Ok(hierarchies) = fs::read_dir("/sys/fs/cgroup") else {
        return;
    };
    let roots = hierarchies.filter_map(|entry| Some(entry.ok()?.path()));
    for root in roots.chain([PathBuf::from("/sys/fs/cgroup")]) {
        remove_tree(&root.join(name));
    }
}

fn remove_tree(cgroup: &Path) {
    let Ok(entries) = fs::read_dir(cgroup) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.path().is_dir() {
            remove_tree(&entry.path());
        }
    }
    drop(fs::remove_dir(cgroup));
}

/// The programs that an engine consists of, for [`crate::needs!`].
#[must_use]
pub(crate) fn is_installed() -> bool {
    [
        "containerd",
        "containerd-shim-runc-v2",
        "ctr",
        "dockerd",
        "docker",
        "runc",
    ]
    .iter()
    .all(|name| find_program(name).is_some())
}
