//! The handle whose methods are the operations on a state root.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use nix::sys::stat::{Mode, fchmod};

use crate::bundle::Bundle;
use crate::cgroup::systemd::{Systemd, UserBus};
use crate::cgroup::{Cgroup, CgroupError};
use crate::container::{Container, State};
use crate::container_hooks::ContainerHooks;
use crate::error::{Error, ErrorKind};
use crate::hooks::HookKind;
use crate::host::{CgroupLayout, Host};
use crate::id::ContainerId;
use crate::launch::{self, LaunchError};
use crate::plan::{CgroupDriver, Plan, PlanOptions, RootEntry};
use crate::process::{self, Process};
use crate::procfs::Procfs;
use crate::readiness;
use crate::state::{self, Record, RecordedUnit, StateDirectory, StateRoot, Status};
use crate::unit;

/// How long removing cgroups and killing what is in them may take.
pub(crate) const REMOVAL_DEADLINE: Duration = Duration::from_secs(10);

/// Whether cgroups that the runtime may not make are an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rootless {
    /// No error when the runtime has no privilege over the host and no limit is asked for.
    #[default]
    Auto,
    /// No error when no limit is asked for.
    Yes,
    /// Always an error.
    No,
}

/// A caller's view of one state root.
#[derive(Clone, Debug)]
pub struct Runtime {
    root: StateRoot,
    environment: Vec<CString>,
    rootless: Rootless,
    cgroup_driver: CgroupDriver,
    user_bus: UserBus,
}

/// What the caller gives a new container besides its bundle.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions<'a> {
    /// What changes the plan.
    pub plan: PlanOptions,
    /// A connected AF_UNIX socket that gets the terminal's master (SCM_RIGHTS).
    pub console_socket: Option<BorrowedFd<'a>>,
    /// A connected AF_UNIX socket that gets a pidfd of init (SCM_RIGHTS).
    pub pidfd_socket: Option<BorrowedFd<'a>>,
    /// Standard input, output and error of the process; the caller's own without.
    pub stdio: Option<[BorrowedFd<'a>; 3]>,
    /// The container may say that it is ready (sd_notify(3)): it gets a socket and the variable
    /// NOTIFY_SOCKET, and [`Container::listen_for_readiness`] what it says.
    pub notifies: bool,
}

/// One container of a list: its id, and its state or why that can't be told.
pub type Listed = (ContainerId, Result<State, Error>);

/// How the user's program gets its word to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// By `start`, which may be another program: over a socket in the state directory.
    Socket,
    /// By this call.
    Here,
}

impl Runtime {
    /// A runtime whose containers are below the absolute path `root`. Nothing is touched.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: StateRoot::new(root),
            environment: Vec::new(),
            rootless: Rootless::Auto,
            cgroup_driver: CgroupDriver::Filesystem,
            user_bus: UserBus::default(),
        }
    }

    /// Gives hooks that have no environment of their own this one (`NAME=value` each). The
    /// library never looks at the program's environment.
    #[must_use]
    pub fn with_environment(mut self, environment: Vec<CString>) -> Self {
        self.environment = environment;
        self
    }

    /// Says whether cgroups that can't be made are an error.
    #[must_use]
    pub fn with_rootless(mut self, rootless: Rootless) -> Self {
        self.rootless = rootless;
        self
    }

    /// Says who makes the cgroups of new containers; those that exist remember who made theirs.
    #[must_use]
    pub fn with_cgroup_driver(mut self, driver: CgroupDriver) -> Self {
        self.cgroup_driver = driver;
        self
    }

    /// Says how to reach the systemd of the user, for a caller without privilege.
    #[must_use]
    pub fn with_user_bus(mut self, user_bus: UserBus) -> Self {
        self.user_bus = user_bus;
        self
    }

    pub(crate) fn user_bus(&self) -> &UserBus {
        &self.user_bus
    }

    /// The options of a plan with what this handle says.
    pub(crate) fn plan_options(&self, options: &PlanOptions) -> PlanOptions {
        let mut options = options.clone();
        if self.cgroup_driver != CgroupDriver::default() {
            options.cgroup_driver = self.cgroup_driver;
        }
        options
    }

    pub(crate) fn environment(&self) -> &[CString] {
        &self.environment
    }

    pub(crate) fn root(&self) -> &StateRoot {
        &self.root
    }

    /// What `create` would do, without doing any of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`] with every rule that config.json breaks.
    pub fn plan(
        &self,
        id: &ContainerId,
        bundle: &Bundle,
        options: &PlanOptions,
    ) -> Result<Plan, Error> {
        let host = Host::probe(&procfs()?)?;
        Ok(Plan::new(
            &bundle.spec()?,
            bundle.path(),
            id,
            &host,
            &self.plan_options(options),
        )?)
    }

    /// Creates a container whose program waits for [`Container::start`], by this program or
    /// another one: runtime.md "Create".
    ///
    /// # Errors
    ///
    /// Any [`ErrorKind`]; nothing of the container is left then.
    pub fn create(
        &self,
        id: &ContainerId,
        bundle: &Bundle,
        options: &CreateOptions<'_>,
    ) -> Result<Container, Error> {
        self.launch(id, bundle, options, Gate::Socket)
    }

    /// Creates a container and starts its program in one: it runs when this returns.
    ///
    /// # Errors
    ///
    /// Any [`ErrorKind`]; nothing of the container is left then.
    pub fn run(
        &self,
        id: &ContainerId,
        bundle: &Bundle,
        options: &CreateOptions<'_>,
    ) -> Result<Container, Error> {
        self.launch(id, bundle, options, Gate::Here)
    }

    /// The container of this id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] without one, [`ErrorKind::BrokenState`] when its record is
    /// unusable.
    pub fn open(&self, id: &ContainerId) -> Result<Container, Error> {
        Container::open(self.clone(), id)
    }

    /// Deletes a container: runtime.md "Delete". With `force` one that runs is killed first,
    /// and one whose record is missing or broken is removed as far as it is known; one that
    /// does not exist is no error then.
    ///
    /// Gives the failures of poststop hooks: the container is gone all the same.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStatus`] for a running one without `force`.
    pub fn delete(&self, id: &ContainerId, force: bool) -> Result<Vec<String>, Error> {
        crate::delete::delete(self, id, force)
    }

    /// The state of every container, by id; an unusable one has its error. One that is deleted
    /// meanwhile, or whose create was interrupted before it did anything, is none.
    ///
    /// # Errors
    ///
    /// When the root can't be read.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        let ids = self.root.ids()?;
        Ok(ids
            .into_iter()
            .map(|id| (id.clone(), self.open(&id).and_then(|c| c.state())))
            .filter(
                |(_, state)| !matches!(state, Err(error) if error.kind() == ErrorKind::NotFound),
            )
            .collect())
    }

    fn launch(
        &self,
        id: &ContainerId,
        bundle: &Bundle,
        options: &CreateOptions<'_>,
        gate: Gate,
    ) -> Result<Container, Error> {
        process::can_be_ended().map_err(|(call, errno)| {
            let what = format!("what is created must be killed some day: {call}");
            Error::call(what, errno)
        })?;
        let procfs = procfs()?;
        let host = Host::probe(&procfs)?;
        let plan_options = self.plan_options(&options.plan);
        let mut spec = bundle.spec()?;
        if options.notifies {
            let state = self.root.path().join(id.as_str());
            readiness::add_to(&mut spec, &state.join(readiness::DIRECTORY))?;
        }
        let plan = Plan::new(&spec, bundle.path(), id, &host, &plan_options)?;
        check_console(&plan, options)?;
        let systemd = unit::connect(self, &plan)?;
        let directory = self.root.reserve(id)?;
        let mut creation = Creation {
            runtime: self,
            procfs: &procfs,
            host: &host,
            plan: &plan,
            options,
            config: bundle.config(),
            record: intent(id, bundle, &plan, &host),
        };
        match creation.make(&directory, systemd, gate) {
            Ok(launched) => Ok(Container::new(
                self.clone(),
                creation.record,
                bundle.config(),
                launched,
                plan.warnings,
            )),
            Err(error) => {
                creation.hooks().undo();
                directory.remove()?;
                Err(error)
            }
        }
    }
}

pub(crate) fn procfs() -> Result<Procfs, Error> {
    Procfs::open()
        .map_err(|errno| Error::call("open /proc: the runtime needs a procfs there", errno))
}

fn check_console(plan: &Plan, options: &CreateOptions<'_>) -> Result<(), Error> {
    match (plan.process.terminal, options.console_socket) {
        (Some(_), None) => Err(Error::text(
            ErrorKind::InvalidConfig,
            "cannot allocate tty if the caller will detach without setting console socket: process.terminal is true, so give one",
        )),
        (None, Some(_)) => Err(Error::text(
            ErrorKind::InvalidConfig,
            "cannot use console socket if the caller will not detach or allocate tty: process.terminal is false",
        )),
        _ => Ok(()),
    }
}

/// What is written before anything is done.
pub(crate) fn intent(id: &ContainerId, bundle: &Bundle, plan: &Plan, host: &Host) -> Record {
    use std::os::unix::ffi::OsStrExt;
    let joined = plan
        .namespaces
        .joined
        .iter()
        .fold(0, |all, joined| all | joined.kind);
    let rootfs = Path::new(std::ffi::OsStr::from_bytes(plan.rootfs.path.to_bytes()));
    let record = Record::new(id, bundle.path().to_owned(), rootfs.to_owned());
    Record {
        systemd_unit: plan
            .cgroup
            .unit
            .as_ref()
            .map(|unit| RecordedUnit::new(unit, &record)),
        owner: host.euid,
        cgroup_paths: crate::cgroup::planned_paths(&host.cgroups, &plan.cgroup),
        namespaces: plan.namespaces.new | joined,
        own_pid_namespace: plan.namespaces.new & libc::CLONE_NEWPID as u64 != 0,
        chroot: plan.rootfs.entry == RootEntry::Chroot,
        keyring: plan.keyring.is_some(),
        ..record
    }
}

/// One create, from the intent to the record.
struct Creation<'a> {
    runtime: &'a Runtime,
    procfs: &'a Procfs,
    host: &'a Host,
    plan: &'a Plan,
    options: &'a CreateOptions<'a>,
    config: &'a [u8],
    record: Record,
}

impl Creation<'_> {
    /// The intent, the cgroups, the process, the record. On an error the guards of this
    /// function have removed the cgroups and ended the process.
    fn make(
        &mut self,
        directory: &StateDirectory,
        systemd: Option<Systemd>,
        gate: Gate,
    ) -> Result<(Process, Option<Cgroup>), Error> {
        directory.write_intent(&self.record, self.config)?;
        if self.options.notifies {
            readiness::make_directory(directory)?;
        }
        let mut cgroup = match systemd {
            Some(systemd) => {
                let plan = (&self.plan.cgroup, self.host, self.procfs);
                unit::start(systemd, plan, self.runtime, &mut self.record, directory)?
            }
            None => self.make_cgroup(directory)?,
        };
        let listener = match gate {
            Gate::Socket => Some(listen_for_start(directory)?),
            Gate::Here => None,
        };
        let launched = self
            .launch(&cgroup, listener)
            .map_err(|error| blame_memory(error, &cgroup))?;
        let settled = cgroup
            .as_mut()
            .map_or(Ok(()), |c| c.settle(&self.plan.cgroup))
            .and_then(|()| self.give_cgroup_away(cgroup.as_ref()));
        let committed = settled
            .map_err(Error::from)
            .and_then(|()| self.commit(directory, &launched));
        match committed {
            Ok(()) => {}
            Err(error) => {
                launched.abandon();
                return Err(error);
            }
        }
        let start_step = launched.start_step;
        let process = match gate {
            Gate::Socket => launched.commit()?,
            Gate::Here => launched
                .execute(&|at, text| launch::start_failure(self.plan, start_step, at, text))?,
        };
        if gate == Gate::Here {
            self.poststart(&process)?;
        }
        if let Some(cgroup) = &mut cgroup {
            cgroup.keep();
            cgroup.close_task_files();
        }
        // What create has opened is for who stays to delete it; a program that creates many
        // containers has better uses for its descriptors.
        Ok((process, cgroup.filter(|_| gate == Gate::Here)))
    }

    /// The container's user gets the cgroup2 directory that it may write, but for its limits. What
    /// a runtime without privilege makes is its own user's anyway.
    fn give_cgroup_away(&self, cgroup: Option<&Cgroup>) -> Result<(), CgroupError> {
        let is_v2 = matches!(self.host.cgroups, CgroupLayout::V2(_));
        match (cgroup, self.plan.cgroup_owner()) {
            (Some(cgroup), Some(uid)) if is_v2 && !self.host.is_rootless() => cgroup.delegate(uid),
            _ => Ok(()),
        }
    }

    /// The container's cgroups with their limits; none when the runtime may not make them and
    /// none are needed.
    fn make_cgroup(&mut self, directory: &StateDirectory) -> Result<Option<Cgroup>, Error> {
        let made = Cgroup::create(&self.host.cgroups, &self.plan.cgroup);
        let tolerant = match self.runtime.rootless {
            Rootless::Auto => self.host.is_rootless(),
            Rootless::Yes => true,
            Rootless::No => false,
        };
        match made {
            Err(error) if tolerant && error.is_no_permission() => {
                if self.plan.cgroup.has_limits() {
                    return Err(no_cgroup_for_limits(&error));
                }
                self.record.cgroup_paths = BTreeMap::new();
                Ok(None)
            }
            made => {
                let cgroup = made?;
                self.record.cgroups_owned = 1;
                directory.mark_cgroups_owned()?;
                cgroup.apply(&self.plan.cgroup)?;
                Ok(Some(cgroup))
            }
        }
    }

    fn launch(
        &self,
        cgroup: &Option<Cgroup>,
        listener: Option<OwnedFd>,
    ) -> Result<launch::Launched, LaunchError> {
        let tasks = cgroup.as_ref().map(Cgroup::v1_task_numbers);
        let setting = launch::Setting {
            procfs: self.procfs,
            rootless: self.host.is_rootless(),
            tasks: tasks.as_deref().unwrap_or_default(),
            cgroup: cgroup.as_ref().and_then(Cgroup::v2_dir),
            console: self.options.console_socket,
            stdio: self.options.stdio,
            environment: &self.runtime.environment,
        };
        launch::create(self.plan, &setting, listener, &|pid, status| {
            self.hooks().state_json(pid, status)
        })
    }

    /// Sends the pidfd and writes the record: from here on the container exists.
    fn commit(
        &mut self,
        directory: &StateDirectory,
        launched: &launch::Launched,
    ) -> Result<(), Error> {
        let pid = launched.process.pid();
        let started = self.procfs.start_time(pid);
        let (start_time, _) =
            started.map_err(|errno| Error::call(format!("read /proc/{pid}/stat"), errno))?;
        self.record.init_process_pid = pid;
        self.record.init_process_start = start_time;
        self.record.start_step = launched.start_step;
        if let Some(socket) = self.options.pidfd_socket {
            launched
                .process
                .send_to(socket, b"standard")
                .map_err(|errno| Error::call("send the pidfd: sendmsg(2)", errno))?;
        }
        Ok(directory.write_record(&self.record, self.config)?)
    }

    /// poststart hooks: a failure stops the container and deletes it (runtime.md "Lifecycle").
    fn poststart(&self, process: &Process) -> Result<(), Error> {
        let run = self
            .hooks()
            .run(HookKind::Poststart, process.pid(), Status::Running);
        run.map_err(|error| {
            launch::end(process);
            Error::from(error)
        })
    }

    fn hooks(&self) -> ContainerHooks<'_> {
        ContainerHooks {
            plan: self.plan,
            record: &self.record,
            environment: &self.runtime.environment,
        }
    }
}

/// Why a caller without permission for cgroups can't have limits.
fn no_cgroup_for_limits(error: &CgroupError) -> Error {
    let text = format!(
        "linux.resources: {error}: limits need a cgroup that this user may write; have one delegated, or leave them out"
    );
    Error::text(ErrorKind::Cgroup, text).with_errno(error.errno())
}

/// Whether it was the memory limit that ended a child which ended without a word.
fn blame_memory(error: LaunchError, cgroup: &Option<Cgroup>) -> Error {
    let killed = cgroup.as_ref().and_then(Cgroup::oom_killed).unwrap_or(0);
    match error {
        LaunchError::Died(crate::process::Exit::Signal(libc::SIGKILL)) if killed > 0 => {
            LaunchError::OutOfMemory.into()
        }
        error => error.into(),
    }
}

/// A listening socket in the state directory; the child accepts on it.
fn listen_for_start(directory: &StateDirectory) -> Result<OwnedFd, Error> {
    let path = directory.socket_path(state::START_SOCKET);
    let listener = (|| {
        let listener = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        // The mode that bind(2) gives the socket, whatever the umask.
        fchmod(&listener, Mode::S_IRUSR | Mode::S_IWUSR)?;
        bind(listener.as_raw_fd(), &UnixAddr::new(&path)?)?;
        listen(&listener, Backlog::new(1)?)?;
        Ok(listener)
    })();
    listener.map_err(|errno: Errno| Error::call(format!("listen on {}", path.display()), errno))
}
