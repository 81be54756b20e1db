//! Debian's podman with conmon, private to one test.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::bundle::TestBundle;
use crate::command::{Finished, finish, finish_with_input};
use crate::engine::remove_cgroups;
use crate::fact::find_program;
use crate::marker::Marker;

/// How long a `podman` command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How long what ends after a command may take to do so.
const PATIENCE: Duration = Duration::from_secs(10);

/// The image that every podman has: busybox.
const IMAGE: &str = "localhost/busybox:test";

/// Limits that a machine without CAP_SYS_RESOURCE can set: podman's own are above them. The soft
/// ones are the hard ones, since `podman kube play` takes the one for the other.
const LIMITS: &str =
    "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1000:1000\"]\n";

/// Where podman makes cgroups when no flag names another place; `kube play` has no such flag.
const DEFAULT_PARENT: &str = "libpod_parent";

/// What was there before this process has started a podman: it is somebody else's.
static OTHERS: OnceLock<BTreeSet<PathBuf>> = OnceLock::new();

/// podman with all of its files in one directory, in a mount namespace of its own with tmpfs on
/// /run and /dev/shm, and with its cgroups below the marker. All of it is gone when dropped.
#[derive(Debug)]
pub struct Podman {
    directory: TempDir,
    marker: Marker,
    /// Holds the mount namespace.
    holder: Child,
    account: Option<Account>,
}

/// A user account that is removed again.
#[derive(Debug)]
struct Account {
    name: String,
    uid: u32,
}

impl Podman {
    /// podman of root, with the `configuration` (a containers.conf) and [`Podman::image`].
    ///
    /// # Panics
    ///
    /// If podman does not run.
    #[must_use]
    pub fn of_root(marker: &Marker, configuration: &str) -> Self {
        Self::start(marker, configuration, None)
    }

    /// podman of a new user account, which is also in the group `tty`. Its containers have no
    /// cgroups on a host with cgroup v1.
    ///
    /// # Panics
    ///
    /// If the account can't be made or podman does not run.
    #[must_use]
    pub fn of_user(marker: &Marker, configuration: &str) -> Self {
        Self::start(marker, configuration, Some(Account::new(marker)))
    }

    fn start(marker: &Marker, configuration: &str, account: Option<Account>) -> Self {
        OTHERS.get_or_init(default_cgroups);
        let directory = marker.directory();
        let podman = Self {
            holder: hold_namespace(),
            marker: marker.clone(),
            directory,
            account,
        };
        podman.write_configuration(configuration);
        podman.import_image();
        podman
    }

    /// What podman's defaults would have outside of the directory is said to be in it.
    fn write_configuration(&self, configuration: &str) {
        const ENGINE: &str = "[engine]\n";
        let own = "events_logger = \"file\"\nlock_type = \"file\"\n";
        let start = configuration
            .find(ENGINE)
            .expect("a containers.conf has a table `engine`");
        let (before, after) = configuration.split_at(start + ENGINE.len());
        let write = |name: &str, text: &str| {
            fs::write(self.path(name), text).expect("a file can be written");
        };
        write(
            "containers.conf",
            &format!("{before}{own}{after}\n{LIMITS}"),
        );
        write(
            "storage.conf",
            &format!(
                "[storage]\ndriver = \"overlay\"\ngraphroot = \"{0}/root\"\nrunroot = \"{0}/runroot\"\n",
                self.directory.path().display(),
            ),
        );
        for name in ["home", "run", "tmp", "root", "runroot"] {
            let path = self.path(name);
            fs::create_dir(&path).expect("a directory can be made");
            if let Some(account) = &self.account {
                std::os::unix::fs::chown(&path, Some(account.uid), Some(account.uid))
                    .expect("root gives directories away");
            }
        }
        fs::set_permissions(self.path("run"), fs::Permissions::from_mode(0o700))
            .expect("it was made just now");
    }

    fn import_image(&self) {
        let bundle = TestBundle::busybox(&self.marker);
        let archive = self.path("image.tar");
        let mut tar = Command::new("tar");
        tar.args(["--owner=0", "--group=0", "--mode=a+rX", "-C"])
            .arg(bundle.rootfs())
            .arg("-cf")
            .arg(&archive)
            .arg(".");
        finish(&mut tar, LIMIT).succeeded();
        self.podman(&["import", &archive.display().to_string(), IMAGE])
            .succeeded();
    }

    /// The name of the image: busybox, without a command.
    #[must_use]
    pub const fn image(&self) -> &'static str {
        IMAGE
    }

    /// Runs `podman ARGUMENTS` to its end.
    pub fn podman(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.command(arguments), LIMIT)
    }

    /// The same with standard input.
    pub fn podman_with_input(&self, arguments: &[&str], input: &[u8]) -> Finished {
        finish_with_input(&mut self.command(arguments), input, LIMIT)
    }

    /// The command `podman ARGUMENTS`, not started.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_with_environment(&[], arguments)
    }

    /// The same with further variables (`NAME=value`).
    #[must_use]
    pub fn command_with_environment(&self, variables: &[&str], arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--mount").arg("--target");
        command.arg(self.holder.id().to_string());
        if let Some(Account { uid, .. }) = &self.account {
            command.args(["setpriv", "--init-groups"]);
            command.args([format!("--reuid={uid}"), format!("--regid={uid}")]);
        }
        command.args(["env", "--ignore-environment"]);
        // By its name in the namespace: a directory that was entered before is of another one.
        command.arg(format!("--chdir={}", self.directory.path().display()));
        let path = std::env::var("PATH").unwrap_or_default();
        command.arg(format!("PATH={path}:/usr/sbin:/sbin"));
        for (name, file) in [
            ("HOME", "home"),
            ("XDG_RUNTIME_DIR", "run"),
            ("CONTAINERS_CONF", "containers.conf"),
            ("CONTAINERS_STORAGE_CONF", "storage.conf"),
        ] {
            command.arg(format!("{name}={}", self.path(file).display()));
        }
        command.args(variables).arg("podman");
        command.arg("--tmpdir").arg(self.path("tmp"));
        command.args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"]);
        command.args(arguments);
        command
    }

    /// Removes every pod and container; gives the ids of the pods.
    pub fn remove_all(&self) -> Vec<String> {
        let pods = self.podman(&["pod", "ps", "--quiet", "--no-trunc"]).stdout;
        let all = ["--all", "--force", "--time", "0"];
        self.podman(&[&["pod", "rm"], &all[..]].concat())
            .succeeded();
        self.podman(&[&["rm"], &all[..]].concat()).succeeded();
        pods.lines().map(str::to_owned).collect()
    }

    /// Waits until a runtime that keeps its state in a directory of this name (below the
    /// runtime directory) has left nothing of containers that are removed: state, cgroups,
    /// mounts, processes. The cgroups of `pods` are podman's, who does not know all hierarchies:
    /// empty ones may stay, whatever the runtime.
    ///
    /// # Panics
    ///
    /// With what is left.
    pub fn assert_nothing_is_left(&self, state: &str, pods: &[String]) {
        let started = Instant::now();
        loop {
            let left = self.left(state, pods);
            if left.is_empty() {
                return;
            }
            let is_late = started.elapsed() > PATIENCE;
            assert!(!is_late, "left where podman runs:\n{}", left.join("\n"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn left(&self, state: &str, pods: &[String]) -> Vec<String> {
        let runtime_directory = match &self.account {
            Some(_) => self.path("run"),
            None => PathBuf::from(format!("/proc/{}/root/run", self.holder.id())),
        };
        let states = entries(&runtime_directory.join(state));
        let is_of_pod = |path: &Path| {
            let is_named = pods.iter().any(|pod| path.ends_with(pod));
            is_named && !entries(path).iter().any(|below| below.is_dir())
        };
        // conmon's own cgroup is podman's, too.
        let cgroups = hierarchies()
            .flat_map(|root| entries(&root.join(self.marker.as_str())))
            .filter(|path| path.is_dir() && !path.ends_with("conmon") && !is_of_pod(path));
        let mounts = self
            .mounts()
            .into_iter()
            .filter(|mount| mount.contains("/merged") || mount.contains("/userdata/"));
        let is_podmans = |line: &String| !line.contains("catatonit") && !line.contains("sleep");
        let processes = self.processes().into_iter().map(|(_, line)| line);
        states
            .into_iter()
            .chain(cgroups)
            .map(|path| path.display().to_string())
            .chain(mounts)
            .chain(processes.filter(is_podmans))
            .collect()
    }

    /// The mounts that podman sees, without their ids.
    #[must_use]
    pub fn mounts(&self) -> Vec<String> {
        let path = format!("/proc/{}/mountinfo", self.holder.id());
        let text = fs::read_to_string(path).expect("the holder lives");
        text.lines()
            .filter_map(|line| Some(line.splitn(4, ' ').nth(3)?.to_owned()))
            .collect()
    }

    /// A path in the directory, which podman's user can read.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The user's id; 0 for root.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.account.as_ref().map_or(0, |account| account.uid)
    }

    /// Living processes that podman started: those in its mount namespace, of its account, or
    /// with its directory in their arguments.
    fn processes(&self) -> Vec<(Pid, String)> {
        let own = fs::read_link(format!("/proc/{}/ns/mnt", self.holder.id())).ok();
        let directory = self.directory.path().display().to_string();
        let is_ours = |process: &Path, arguments: &str| {
            let uid = fs::metadata(process).map_or(0, |status| status.uid());
            arguments.contains(&directory)
                || (own.is_some() && fs::read_link(process.join("ns/mnt")).ok() == own)
                || self
                    .account
                    .as_ref()
                    .is_some_and(|account| account.uid == uid)
        };
        let living = |process: PathBuf| {
            let pid: i32 = process.file_name()?.to_str()?.parse().ok()?;
            let arguments = fs::read(process.join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&arguments).replace('\0', " ");
            (!line.is_empty() && is_ours(&process, &line)).then(|| (Pid::from_raw(pid), line))
        };
        let is_other = |(pid, _): &(Pid, String)| {
            *pid != Pid::this() && u32::try_from(pid.as_raw()) != Ok(self.holder.id())
        };
        let all = entries(Path::new("/proc"));
        all.into_iter()
            .filter_map(living)
            .filter(is_other)
            .collect()
    }
}

impl Drop for Podman {
    /// Nothing here may panic: a failing test drops its podman while it panics.
    fn drop(&mut self) {
        for kind in [&["pod", "rm"][..], &["rm"], &["rmi"]] {
            let mut remove = self.command(&[kind, &["--all", "--force"]].concat());
            let null = Stdio::null;
            drop(remove.stdin(null()).stdout(null()).stderr(null()).status());
        }
        for (pid, _) in self.processes() {
            kill(pid, Signal::SIGKILL).ok();
        }
        drop(self.holder.kill());
        drop(self.holder.wait());
        std::thread::sleep(Duration::from_millis(50));
        remove_cgroups(self.marker.as_str());
        remove_default_cgroups();
    }
}

/// The cgroups at podman's own place, and those in them, in every hierarchy.
fn default_cgroups() -> BTreeSet<PathBuf> {
    let parents = hierarchies().map(|root| root.join(DEFAULT_PARENT));
    let there = parents.filter(|parent| parent.is_dir());
    let with_children = there.flat_map(|parent| {
        let mut all = entries(&parent);
        all.push(parent);
        all
    });
    with_children.filter(|path| path.is_dir()).collect()
}

/// Removes what podman has left at its own place: the cgroups of pods in hierarchies that it does
/// not know, its conmon's, the place itself. Those of another test's podman have processes.
fn remove_default_cgroups() {
    let others = OTHERS.get_or_init(BTreeSet::new);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        let all = default_cgroups();
        // What is in a cgroup comes after it.
        let ours: Vec<&PathBuf> = all.difference(others).collect();
        if ours.is_empty() {
            return;
        }
        for path in ours.into_iter().rev() {
            drop(fs::remove_dir(path));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Account {
    fn new(marker: &Marker) -> Self {
        // At most 32 letters; the marker's topic is left out.
        let numbers = marker.as_str().rsplit('-').take(2).collect::<Vec<_>>();
        let name = format!("ttp{}x{}", numbers[1], numbers[0]);
        let mut add = Command::new("useradd");
        add.args(["--no-create-home", "--groups", "tty", &name]);
        finish(&mut add, LIMIT).succeeded();
        let user = nix::unistd::User::from_name(&name).expect("the accounts can be read");
        let uid = user.expect("it was made").uid.as_raw();
        Self { name, uid }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut remove = Command::new("userdel");
        let null = Stdio::null;
        remove.arg(&self.name);
        drop(remove.stdin(null()).stdout(null()).stderr(null()).status());
    }
}

/// A process that sleeps in a new mount namespace, where nothing of the host's runs.
fn hold_namespace() -> Child {
    let start = "mount -t tmpfs tmpfs /run && mount -t tmpfs -o mode=1777 tmpfs /dev/shm \
        && mount --make-shared / && echo ready && exec sleep 100000";
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "unshare",
        "--mount",
        "--propagation",
        "private",
    ]);
    command.args(["sh", "-c", start]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut holder = command.spawn().expect("setpriv is there");
    let mut word = [0; 6];
    let mut output = holder.stdout.take().expect("it is a pipe");
    std::io::Read::read_exact(&mut output, &mut word).expect("the namespace is made");
    holder
}

fn hierarchies() -> impl Iterator<Item = PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let below = entries(&root).into_iter().filter(|path| path.is_dir());
    below.chain([root])
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The programs that podman consists of, for [`crate::needs!`].
#[must_use]
pub(crate) fn is_installed() -> bool {
    ["podman", "conmon", "catatonit", "runc", "nsenter"]
        .iter()
        .all(|name| find_program(name).is_some())
}
