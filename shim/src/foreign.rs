//! Another runtime's binary, with runc's command line: the only file that knows what such a
//! binary is called with.
//!
//! ```text
//!  Foreign (engine of a server), remove (delete), features (-info)
//!     └─▶ call.rs: one run of the binary, with a deadline ──▶ words.rs, log.rs: why it failed
//!         └─▶ adoption.rs: whose child the container is;  console.rs: its terminal
//! ```
//!
//! The container's processes are children of the runtime, which ends; while a call runs this
//! program is a child subreaper (prctl(2)), and becomes their parent.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use runtime_core::errno::of_io;
use runtime_core::statistics::{OomWatch, ProcessCgroups, Statistics};
use runtime_core::{ErrorKind, Process};

use self::adoption::Adoption;
use self::call::{Call, Input};
use self::console::Console;
use self::words::Operation;
use crate::bundle_files;
use crate::engine::{ChildStdio, Created};
use crate::failure::{Code, Failure};
use crate::options::{CheckpointOptions, Options};

mod adoption;
mod call;
mod console;
mod log;
mod sys;
mod words;

/// How long a call may take that does little.
const SHORT: Duration = Duration::from_secs(30);

/// How long a call may take that runs hooks, or CRIU.
const LONG: Duration = Duration::from_secs(600);

/// How long a runtime may take to say what it can do.
const FEATURES: Duration = Duration::from_secs(5);

/// How long it may take when a container is removed whose shim is gone: containerd gives all of
/// this 5 s.
const QUESTION: Duration = Duration::from_secs(1);
const REMOVAL: Duration = Duration::from_millis(3500);

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
    /// What is known of the container's cgroups since it was created: init may leave them. Held
    /// for moments only.
    cgroups: Arc<Mutex<Option<Arc<ProcessCgroups>>>>,
}

/// How a container was found that is gone now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Init's number; 0 when it has ended.
    pub(crate) pid: u32,
    pub(crate) had_ended: bool,
}

/// What `state` of any runtime says.
#[derive(serde::Deserialize)]
struct StateAnswer {
    status: String,
    #[serde(default)]
    pid: u32,
}

/// What a runtime says that it can do: the JSON of runtime-spec's features.
///
/// # Errors
///
/// It can't be run, fails, or takes too long.
pub(crate) fn features(binary: &str) -> Result<Vec<u8>, Failure> {
    // It is asked without a bundle, so without a log.
    let nowhere = Path::new("");
    let mut call = Call::new(Path::new(binary), nowhere, Operation::Features, FEATURES);
    call.switch("features", true);
    call.run_alone(Input::Nothing).map(|said| said.stdout)
}

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
            cgroups: Arc::default(),
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
                warnings: self.note_cgroups(&process),
                process,
                shares_pid_namespace: shares_pid_namespace(&self.bundle),
            })
            .inspect_err(|_| {
                if !existed {
                    // The first failure is the one to report.
                    self.delete(id, true).ok();
                }
            })
    }

    /// Remembers where the container is counted, while init is still where the runtime has put
    /// it. A container without cgroups of its own runs all the same.
    fn note_cgroups(&self, init: &Process) -> Vec<String> {
        let (cgroups, warnings) = match ProcessCgroups::of(init) {
            Ok(cgroups) => (Some(Arc::new(cgroups)), Vec::new()),
            Err(error) => (None, vec![format!("no statistics: {error}")]),
        };
        *self.cgroups.lock().unwrap_or_else(PoisonError::into_inner) = cgroups;
        warnings
    }

    fn noted_cgroups(&self) -> Option<Arc<ProcessCgroups>> {
        let noted = self.cgroups.lock();
        noted.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn statistics(&self, id: &str) -> Result<Statistics, Failure> {
        let cgroups = self.noted_cgroups().ok_or_else(|| {
            Failure::not_found(format!(
                "statistics of {id}: {} has given it no cgroup of its own",
                self.binary.display()
            ))
        })?;
        let statistics = cgroups.statistics();
        statistics.map_err(|error| Failure::of_runtime("OCI runtime events failed", &error))
    }

    pub(crate) fn watch_memory(&self) -> Result<Option<OomWatch>, Failure> {
        match self.noted_cgroups().map(|cgroups| cgroups.watch_oom()) {
            None => Ok(None),
            Some(Err(error)) if error.kind() == ErrorKind::NotRunning => Ok(None),
            Some(watch) => {
                watch.map_err(|error| Failure::of_runtime("watch the memory limit", &error))
            }
        }
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

    /// Removes a container whose shim is gone, in the time that containerd gives; says how it was
    /// found.
    pub(crate) fn remove(&self, id: &str) -> Result<Option<Found>, Failure> {
        let asked = self.call(Operation::State, QUESTION, "state");
        // Without a state there is no container, or a broken one that is deleted all the same.
        let state = asked.run(id, Input::Nothing).ok();
        let state = state.and_then(|said| serde_json::from_slice::<StateAnswer>(&said.stdout).ok());
        let mut call = self.call(Operation::Delete, REMOVAL, "delete");
        call.switch("--force", true);
        call.of(id)?;
        Ok(state.map(|state| Found {
            pid: state.pid,
            had_ended: state.status == "stopped",
        }))
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
