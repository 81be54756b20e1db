//! Another runtime's binary, with runc's command line: the only file that knows what such a
//! binary is called with, and what it says when it fails.
//!
//! The container's processes are children of the runtime, which ends; while a call runs this
//! program is a child subreaper (prctl(2)), and becomes their parent.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use runtime_core::Process;
use runtime_core::errno::of_io;

use self::adoption::Adoption;
use self::call::{Call, Input};
use self::console::Console;
use crate::bundle_files;
use crate::engine::{ChildStdio, Created};
use crate::failure::{Code, Failure};
use crate::options::{CheckpointOptions, Options};

mod adoption;
mod call;
mod console;
mod log;
mod sys;

/// How long a call may take that does little.
const SHORT: Duration = Duration::from_secs(30);

/// How long a call may take that runs hooks, or CRIU.
const LONG: Duration = Duration::from_secs(600);

/// A runtime and what it is called with.
#[derive(Clone, Debug)]
pub struct Foreign {
    binary: PathBuf,
    root: PathBuf,
    /// Where its log and pid files go.
    bundle: PathBuf,
    systemd_cgroup: bool,
    no_pivot_root: bool,
    no_new_keyring: bool,
    criu_work_path: String,
}

/// What a failed call is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Create,
    Start,
    Exec,
    Kill,
    KillAll,
    Delete,
    Pause,
    Resume,
    Processes,
    Update,
    Checkpoint,
    Restore,
}

impl Operation {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Create => "OCI runtime create failed",
            Self::Start => "OCI runtime start failed",
            Self::Exec => "OCI runtime exec failed",
            Self::Kill => "OCI runtime kill failed",
            Self::KillAll => "OCI runtime killall failed",
            Self::Delete => "OCI runtime delete failed",
            Self::Pause => "OCI runtime pause failed",
            Self::Resume => "OCI runtime resume failed",
            Self::Processes => "OCI runtime ps failed",
            Self::Update => "OCI runtime update failed",
            Self::Checkpoint => "OCI runtime checkpoint failed",
            Self::Restore => "OCI runtime restore failed",
        }
    }

    /// The failure that a runtime's words mean.
    fn failure(self, words: &str) -> Failure {
        let lower = words.to_lowercase();
        let says = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
        let is_kill = matches!(self, Self::Kill | Self::KillAll);
        // What does not exist for these may be a file of the container.
        let launches = matches!(
            self,
            Self::Create | Self::Exec | Self::Restore | Self::Start
        );
        let is_missing = says(&NO_CONTAINER) || !launches && says(&["does not exist"]);
        if is_kill && says(&NOT_RUNNING) {
            return Failure::not_found(format!("process already finished: {words}"));
        }
        if is_kill && is_missing {
            return Failure::not_found(format!("no such container: {words}"));
        }
        let code = if is_missing || says(&["container not running"]) {
            Code::NOT_FOUND
        } else if says(&TAKEN) {
            Code::ALREADY_EXISTS
        } else if says(&WRONG_STATUS) {
            Code::FAILED_PRECONDITION
        } else {
            Code::UNKNOWN
        };
        Failure::new(code, format!("{}: {words}", self.prefix()))
    }
}

/// What kill says of a process that has ended, in small letters.
const NOT_RUNNING: [&str; 3] = ["process already finished", "not running", "no such process"];

/// What runtimes say of a container that is not there. crun has no words for it but open(2)'s.
const NO_CONTAINER: [&str; 3] = [
    "container does not exist",
    "/status`: no such file",
    "cannot open directory",
];

/// What they say of an id that is taken.
const TAKEN: [&str; 2] = ["given id already exists", "` already exists"];

/// What they say of a container that is not in the right state for it.
const WRONG_STATUS: [&str; 9] = [
    "cannot exec in a",
    "cannot start a",
    "cannot delete container",
    "invalid state transition",
    "container not paused",
    "container paused",
    "is not in `created`",
    "the container is not stopped",
    // crun's start of a container that has been started.
    "/exec.fifo`: no such file",
];

impl Foreign {
    pub(crate) fn new(options: &Options, root: &Path, bundle: &Path) -> Self {
        Self {
            binary: PathBuf::from(&options.binary_name),
            root: root.to_owned(),
            bundle: bundle.to_owned(),
            systemd_cgroup: options.systemd_cgroup,
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            criu_work_path: options.criu_work_path.clone(),
        }
    }

    pub(crate) fn create(
        &self,
        id: &str,
        bundle: &Path,
        stdio: ChildStdio<'_>,
    ) -> Result<Created, Failure> {
        let mut call = self.call(Operation::Create, LONG, "create");
        call.option("--bundle", bundle);
        call.switch("--no-pivot", self.no_pivot_root);
        call.switch("--no-new-keyring", self.no_new_keyring);
        self.launch_init(call, id, stdio)
    }

    pub(crate) fn restore(
        &self,
        id: &str,
        bundle: &Path,
        stdio: ChildStdio<'_>,
        images: &Path,
    ) -> Result<Created, Failure> {
        let mut call = self.call(Operation::Restore, LONG, "restore");
        call.option("--image-path", images);
        if !self.criu_work_path.is_empty() {
            call.option("--work-path", Path::new(&self.criu_work_path));
        }
        call.option("--bundle", bundle);
        call.switch("--detach", true);
        call.switch("--no-subreaper", true);
        call.switch("--no-pivot", self.no_pivot_root);
        self.launch_init(call, id, stdio)
    }

    /// A call after which there is an init process. When it has failed or init was not reached,
    /// what there may be of the container is deleted.
    fn launch_init(&self, call: Call, id: &str, stdio: ChildStdio<'_>) -> Result<Created, Failure> {
        let existed = self.root.join(id).exists();
        let launched = self.launch(call, id, stdio, &self.bundle.join("init.pid"));
        launched
            .map(|process| Created {
                process,
                warnings: Vec::new(),
                shares_pid_namespace: shares_pid_namespace(&self.bundle),
            })
            .inspect_err(|_| {
                if !existed {
                    // The first failure is the one to report.
                    self.delete(id, true).ok();
                }
            })
    }

    pub(crate) fn start(&self, id: &str) -> Result<(), Failure> {
        self.call(Operation::Start, LONG, "start").of(id)
    }

    pub(crate) fn exec(
        &self,
        id: &str,
        exec_id: &str,
        process: &[u8],
        stdio: ChildStdio<'_>,
    ) -> Result<Process, Failure> {
        if matches!(exec_id, "" | "." | "..") || exec_id.contains(['/', '\0']) {
            return Err(Failure::invalid(format!(
                "exec id {exec_id:?}: it must be a file name"
            )));
        }
        let description = Temporary::write(self.bundle.join(format!(".{exec_id}.json")), process)?;
        let mut call = self.call(Operation::Exec, LONG, "exec");
        call.option("--process", &description.0);
        call.switch("--detach", true);
        let pid_file = self.bundle.join(bundle_files::exec_pid_file(exec_id));
        self.launch(call, id, stdio, &pid_file)
    }

    /// A call that leaves a process, whose number it writes to a file.
    fn launch(
        &self,
        mut call: Call,
        id: &str,
        stdio: ChildStdio<'_>,
        pid_file: &Path,
    ) -> Result<Process, Failure> {
        remove_if_there(pid_file)?;
        call.option("--pid-file", pid_file);
        let console = match stdio {
            ChildStdio::Terminal(_) => Some(Console::listen(&self.bundle)?),
            ChildStdio::Descriptors(_) => None,
        };
        if let Some(console) = &console {
            call.option("--console-socket", console.path());
        }
        let input = match stdio {
            ChildStdio::Terminal(_) => Input::Nothing,
            ChildStdio::Descriptors(descriptors) => Input::Inherited(descriptors),
        };
        let operation = call.operation();
        let adoption = Adoption::begin()?;
        call.run(id, input)?;
        let process = child_of(pid_file).map_err(|failure| Failure {
            message: format!("{}: {}", operation.prefix(), failure.message),
            ..failure
        })?;
        drop(adoption);
        if let (Some(console), ChildStdio::Terminal(socket)) = (console, stdio)
            && let Err(failure) = console.forward(socket)
        {
            // Without its terminal nobody could use it; the first failure is the one to report.
            process.signal(libc::SIGKILL).ok();
            process.wait().ok();
            return Err(failure);
        }
        Ok(process)
    }

    pub(crate) fn kill(&self, id: &str, signal: i32, all: bool) -> Result<(), Failure> {
        let operation = if all {
            Operation::KillAll
        } else {
            Operation::Kill
        };
        let mut call = self.call(operation, SHORT, "kill");
        call.switch("--all", all);
        call.after(signal.to_string());
        call.of(id)
    }

    pub(crate) fn delete(&self, id: &str, force: bool) -> Result<(), Failure> {
        let mut call = self.call(Operation::Delete, LONG, "delete");
        call.switch("--force", force);
        match call.of(id) {
            Err(failure) if failure.code == Code::NOT_FOUND => Ok(()),
            deleted => deleted,
        }
    }

    pub(crate) fn pause(&self, id: &str) -> Result<(), Failure> {
        self.call(Operation::Pause, SHORT, "pause").of(id)
    }

    pub(crate) fn resume(&self, id: &str) -> Result<(), Failure> {
        self.call(Operation::Resume, SHORT, "resume").of(id)
    }

    pub(crate) fn processes(&self, id: &str) -> Result<Vec<i32>, Failure> {
        let mut call = self.call(Operation::Processes, SHORT, "ps");
        call.option("--format", "json");
        let said = call.run(id, Input::Nothing)?;
        // `null` when there is none.
        let pids: Option<Vec<i32>> = serde_json::from_slice(&said.stdout)
            .map_err(|error| Failure::unknown(format!("what ps has printed: {error}")))?;
        Ok(pids.unwrap_or_default())
    }

    pub(crate) fn update(&self, id: &str, resources: &[u8]) -> Result<(), Failure> {
        let mut call = self.call(Operation::Update, SHORT, "update");
        call.option("--resources", "-");
        call.run(id, Input::Bytes(resources)).map(|_| ())
    }

    pub(crate) fn checkpoint(
        &self,
        id: &str,
        images: &Path,
        options: &CheckpointOptions,
    ) -> Result<(), Failure> {
        let mut call = self.call(Operation::Checkpoint, LONG, "checkpoint");
        call.option("--image-path", images);
        let work = match options.work_path.as_str() {
            "" => &self.criu_work_path,
            work => work,
        };
        if !work.is_empty() {
            call.option("--work-path", work);
        }
        call.switch("--tcp-established", options.open_tcp);
        call.switch("--ext-unix-sk", options.external_unix_sockets);
        call.switch("--shell-job", options.terminal);
        call.switch("--file-locks", options.file_locks);
        call.switch("--leave-running", !options.exit);
        for namespace in &options.empty_namespaces {
            call.option("--empty-ns", namespace);
        }
        if !options.cgroups_mode.is_empty() {
            call.option("--manage-cgroups-mode", &options.cgroups_mode);
        }
        call.of(id)
    }

    /// `BINARY --root ROOT --log LOG --log-format json [--systemd-cgroup] COMMAND`
    fn call(&self, operation: Operation, limit: Duration, command: &str) -> Call {
        let log = self.bundle.join("log.json");
        let mut call = Call::new(&self.binary, &log, operation, limit);
        call.option("--root", &self.root);
        call.option("--log", &log);
        call.option("--log-format", "json");
        call.switch("--systemd-cgroup", self.systemd_cgroup);
        call.switch(command, true);
        call
    }
}

/// The process whose number is in a file, and which is a child of this program.
fn child_of(pid_file: &Path) -> Result<Process, Failure> {
    let text = fs::read_to_string(pid_file).map_err(|error| {
        Failure::call(
            format_args!("read the pid file {}", pid_file.display()),
            of_io(&error),
        )
    })?;
    let pid = text.trim().parse().ok().filter(|pid| *pid > 0);
    let pid = pid.ok_or_else(|| {
        Failure::unknown(format!("the pid file {} says {text:?}", pid_file.display()))
    })?;
    let process = Process::open(pid)
        .map_err(|errno| Failure::call(format_args!("pidfd_open(2) of {pid}"), errno))?;
    if process.is_child() {
        return Ok(process);
    }
    Err(Failure::unknown(format!(
        "process {pid} is no child of the shim: the runtime has left it to somebody else"
    )))
}

fn remove_if_there(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if of_io(&error) != Errno::ENOENT => Err(Failure::call(
            format_args!("remove {}", path.display()),
            of_io(&error),
        )),
        _ => Ok(()),
    }
}

/// A file that is there as long as this.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Temporary {
    fn write(path: PathBuf, content: &[u8]) -> Result<Self, Failure> {
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path);
        let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, content));
        let temporary = Self(path);
        written.map_err(|error| {
            Failure::call(
                format_args!("write {}", temporary.0.display()),
                of_io(&error),
            )
        })?;
        Ok(temporary)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // The bundle is removed in the end, and this with it.
        fs::remove_file(&self.0).ok();
    }
}

/// Whether its processes may outlive init, as config.json says; a config.json that the runtime
/// has taken and this can't read is taken to share.
fn shares_pid_namespace(bundle: &Path) -> bool {
    let Ok(bundle) = runtime_core::Bundle::open(bundle) else {
        return true;
    };
    let Ok(spec) = bundle.spec() else { return true };
    let namespaces = spec.linux.and_then(|linux| linux.namespaces);
    !namespaces.into_iter().flatten().any(|namespace| {
        namespace.kind.as_ref().is_some_and(|kind| kind.0 == "pid") && namespace.path.is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtimes_words_have_the_codes_that_containerd_decides_by() {
        use Operation::{Create, Delete, Exec, Kill, Processes, Start};
        let cases = [
            (Kill, "container not running", Code::NOT_FOUND),
            (Kill, "os: process already finished", Code::NOT_FOUND),
            (Kill, "kill container: No such process", Code::NOT_FOUND),
            (Kill, "container does not exist", Code::NOT_FOUND),
            (Kill, "invalid signal", Code::UNKNOWN),
            (Delete, "container x does not exist", Code::NOT_FOUND),
            (
                Delete,
                "cannot open directory '/run/x': No such file or directory",
                Code::NOT_FOUND,
            ),
            (
                Processes,
                "error opening file `/run/x/status`: No such file or directory",
                Code::NOT_FOUND,
            ),
            (
                Delete,
                "cannot delete container x that is not stopped: running",
                Code::FAILED_PRECONDITION,
            ),
            (Create, "bundle /b does not exist", Code::UNKNOWN),
            (
                Create,
                "container with given ID already exists",
                Code::ALREADY_EXISTS,
            ),
            (Create, "container `x` already exists", Code::ALREADY_EXISTS),
            (
                Create,
                "exec: \"x\": executable file not found in $PATH",
                Code::UNKNOWN,
            ),
            (
                Exec,
                "cannot exec in a stopped container",
                Code::FAILED_PRECONDITION,
            ),
            (
                Start,
                "cannot start an already running container",
                Code::FAILED_PRECONDITION,
            ),
        ];
        for (operation, words, code) in cases {
            let failure = operation.failure(words);
            assert_eq!(failure.code, code, "{operation:?}: {words}");
            assert!(failure.message.ends_with(words), "{failure}");
        }
        let message = |operation: Operation, words| operation.failure(words).message;
        assert_eq!(message(Create, "no"), "OCI runtime create failed: no");
        assert_eq!(
            message(Kill, "container not running"),
            "process already finished: container not running"
        );
    }
}
