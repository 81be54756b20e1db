//! Exec: a further process in a running container.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;

use crate::cgroup::Cgroup;
use crate::container::Container;
use crate::error::{Error, ErrorKind};
use crate::host::Host;
use crate::launch::{self, LaunchError};
use crate::plan::{PlanOptions, ProcessPlan};
use crate::process::Process;
use crate::runtime::procfs;
use crate::spec;
use crate::state::{Operation, Status};

const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;

/// What the caller gives a further process besides its description.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions<'a> {
    /// `--preserve-fds` and more environment.
    pub plan: PlanOptions,
    /// A connected AF_UNIX socket that gets the terminal's master.
    pub console_socket: Option<BorrowedFd<'a>>,
    /// A connected AF_UNIX socket that gets a pidfd of the process.
    pub pidfd_socket: Option<BorrowedFd<'a>>,
    /// Standard input, output and error; the caller's own without.
    pub stdio: Option<[BorrowedFd<'a>; 3]>,
    /// Start it in a paused container: it is frozen as soon as it is in the cgroup.
    pub ignore_paused: bool,
    /// Cgroup below the container's own, by controller; the empty name is for all.
    pub cgroups: Vec<(String, String)>,
}

impl Container {
    /// Starts `process` inside; it runs when this returns.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStatus`] or [`ErrorKind::NotRunning`] unless the container is created or
    /// running; [`ErrorKind::InvalidConfig`]; [`ErrorKind::Program`].
    pub fn exec(
        &self,
        process: &spec::Process<'_>,
        options: &ExecOptions<'_>,
    ) -> Result<Process, Error> {
        self.try_exec(process, options)
            .map_err(|error| self.unless_gone(error))
    }

    /// The failure of an exec; of one whose container ended or was deleted meanwhile, that is
    /// what there is to say.
    fn unless_gone(&self, error: Error) -> Error {
        if !matches!(error.kind(), ErrorKind::System | ErrorKind::Cgroup) {
            return error;
        }
        match self.status() {
            Err(gone) if gone.kind() == ErrorKind::NotFound => gone,
            Ok(Status::Stopped) => self.not_inside(Status::Stopped),
            _ if self.is_ending() => self.not_inside(Status::Stopped),
            _ => error,
        }
    }

    /// Whether init dies right now. Its pid namespace answers ENOMEM to who wants in, and an init
    /// that has to wait for the other processes to be reaped stays so for a while.
    fn is_ending(&self) -> bool {
        let record = self.record();
        procfs().is_ok_and(|procfs| {
            procfs.is_exiting(record.init_process_pid, record.init_process_start)
        })
    }

    /// Why nothing can be started inside.
    fn not_inside(&self, status: Status) -> Error {
        let kind = match status {
            Status::Stopped => ErrorKind::NotRunning,
            _ => ErrorKind::WrongStatus,
        };
        Error::text(kind, status.refusal(Operation::Exec, self.id().as_str()))
    }

    fn try_exec(
        &self,
        process: &spec::Process<'_>,
        options: &ExecOptions<'_>,
    ) -> Result<Process, Error> {
        let status = self.status()?;
        if !(status.permits(Operation::Exec) || status == Status::Paused && options.ignore_paused) {
            return Err(self.not_inside(status));
        }
        let Some(init) = self.init_process()? else {
            return Err(self.not_inside(Status::Stopped));
        };
        let procfs = procfs()?;
        let host = Host::probe(&procfs)?;
        let spec = self.spec()?;
        let (plan, warnings) = ProcessPlan::new(process, &spec, &host, &options.plan)?;
        check_terminal(&plan, options)?;
        let cgroup = self.cgroup_for(options)?;
        let tasks = cgroup.as_ref().map(Cgroup::v1_task_numbers);
        let setting = launch::Setting {
            procfs: &procfs,
            rootless: host.is_rootless(),
            tasks: tasks.as_deref().unwrap_or_default(),
            cgroup: cgroup.as_ref().and_then(Cgroup::v2_dir),
            console: options.console_socket,
            stdio: options.stdio,
            environment: &[],
        };
        let rootfs = CString::new(self.record().rootfs.as_os_str().as_bytes()).unwrap_or_default();
        let home = launch::needs_home(&plan).then(|| launch::home_variable(&rootfs, plan.uid));
        let keyring = self
            .record()
            .keyring
            .then(|| keyring_name(self.id().as_str()));
        let entry = launch::ExecEntry {
            init: init.as_fd().as_raw_fd(),
            namespaces: self.record().namespaces & !NEWUSER,
            user: self.record().namespaces & NEWUSER != 0,
            rootless: host.is_rootless(),
            rootfs: &rootfs,
            chroot: self.record().chroot.then_some(rootfs.as_c_str()),
            keyring: keyring.as_deref(),
        };
        let state = || {
            self.describe(status)
                .map(|state| state.to_hook_json())
                .unwrap_or_default()
        };
        let launched = match launch::exec(&plan, entry, home.as_deref(), &setting, &state) {
            // The container runs systemd or containers of its own, and its cgroup takes no
            // processes any more: init's own is the one that does.
            Err(
                busy @ LaunchError::Step {
                    errno: Errno::EBUSY,
                    call: "clone3(2)",
                    ..
                },
            ) => {
                let leaf = cgroup
                    .as_ref()
                    .map(|cgroup| cgroup.v2_dir_of(init.pid()))
                    .transpose()?
                    .flatten();
                // Without one the process would be born in the caller's cgroup, unlimited.
                let Some(leaf) = leaf else {
                    return Err(busy.into());
                };
                let setting = launch::Setting {
                    cgroup: Some(leaf.as_fd()),
                    ..setting
                };
                launch::exec(&plan, entry, home.as_deref(), &setting, &state)?
            }
            launched => launched?,
        };
        if let Some(socket) = options.pidfd_socket {
            let sent = launched.process.send_to(socket, b"setns");
            if let Err(errno) = sent {
                launched.abandon();
                return Err(Error::call("send the pidfd: sendmsg(2)", errno));
            }
        }
        let started =
            launched.execute(&|at, _| launch::exec_start_failure(&plan, &rootfs, at.failure))?;
        Ok(started.with_warnings(warnings))
    }

    /// The cgroups that the process enters: the container's, or some below them.
    fn cgroup_for(&self, options: &ExecOptions<'_>) -> Result<Option<Cgroup>, Error> {
        if self.record().cgroup_paths.is_empty() {
            return Ok(None);
        }
        let mut paths = self.record().cgroup_paths.clone();
        for (controller, below) in &options.cgroups {
            enter_below(&mut paths, controller, below)?;
        }
        Ok(Some(Cgroup::open_to_enter(&paths)?))
    }
}

/// Replaces the paths that `--cgroup` names by ones below them.
fn enter_below(
    paths: &mut std::collections::BTreeMap<String, String>,
    controllers: &str,
    below: &str,
) -> Result<(), Error> {
    let parts = below
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    if below.split('/').any(|part| part == "..") || below.contains('\0') {
        let text = format!("invalid --cgroup {below:?}: it must stay below the container's cgroup");
        return Err(Error::text(ErrorKind::InvalidConfig, text));
    }
    let below = parts.collect::<Vec<_>>().join("/");
    let mut wanted: Vec<&str> = controllers
        .split(',')
        .filter(|name| !name.is_empty())
        .collect();
    for (controller, path) in paths.iter_mut() {
        let names: Vec<&str> = controller.split(',').collect();
        let before = wanted.len();
        wanted.retain(|name| !names.contains(name));
        if controllers.is_empty() || wanted.len() < before {
            *path = format!("{path}/{below}");
        }
    }
    match wanted.first() {
        None => Ok(()),
        Some(name) => Err(Error::text(
            ErrorKind::InvalidConfig,
            format!(
                "unknown controller {name} in --cgroup: the container has {:?}",
                paths.keys()
            ),
        )),
    }
}

fn check_terminal(plan: &ProcessPlan, options: &ExecOptions<'_>) -> Result<(), Error> {
    if plan.terminal.is_some() && options.console_socket.is_none() {
        return Err(Error::text(
            ErrorKind::InvalidConfig,
            "cannot allocate tty if the caller will detach without setting console socket: the process has a terminal, so give one",
        ));
    }
    Ok(())
}

/// The session keyring's name, as create has made it.
pub(crate) fn keyring_name(id: &str) -> CString {
    // An id has no NUL.
    CString::new(format!("_ses.{id}")).unwrap_or_default()
}
