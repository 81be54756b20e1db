//! tare as an engine: runtime-core, in this process.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use runtime_core::checkpoint::RestoreOptions;
use runtime_core::statistics::{OomWatch, Statistics};
use runtime_core::{
    Bundle, CgroupDriver, Container, ContainerId, CreateOptions, ErrorKind, ExecOptions,
    PlanOptions, Process, Runtime, UserBus, spec,
};

use super::criu::{self, Criu};
use super::{ChildStdio, Created};
use crate::failure::Failure;
use crate::options::{CheckpointOptions, Options};

/// tare, in this process.
#[derive(Clone, Debug)]
pub struct Tare {
    runtime: Runtime,
    plan: PlanOptions,
    bundle: PathBuf,
    criu: Criu,
}

impl Tare {
    pub(super) fn new(
        options: &Options,
        root: &Path,
        bundle: &Path,
        environment: &[CString],
    ) -> Result<Self, Failure> {
        let driver = match options.systemd_cgroup {
            true => CgroupDriver::Systemd,
            false => CgroupDriver::Filesystem,
        };
        Ok(Self {
            runtime: Runtime::new(root)
                .with_environment(environment.to_vec())
                .with_cgroup_driver(driver)
                .with_user_bus(UserBus::of_environment(environment)),
            plan: PlanOptions {
                no_pivot: options.no_pivot_root,
                no_new_keyring: options.no_new_keyring,
                ..PlanOptions::default()
            },
            bundle: bundle.to_owned(),
            criu: Criu::new(options, environment),
        })
    }

    pub(super) fn create(
        &self,
        id: &str,
        bundle: &Path,
        stdio: ChildStdio<'_>,
    ) -> Result<Created, Failure> {
        let failed = |error| Failure::of_runtime("OCI runtime create failed", &error);
        let id = parse_id(id)?;
        let bundle = Bundle::open(bundle).map_err(|error| failed(error.into()))?;
        let options = CreateOptions {
            plan: self.plan.clone(),
            console_socket: stdio.console_socket(),
            stdio: stdio.descriptors(),
            ..CreateOptions::default()
        };
        let container = self
            .runtime
            .create(&id, &bundle, &options)
            .map_err(failed)?;
        created(container)
    }

    pub(super) fn start(&self, id: &str) -> Result<(), Failure> {
        self.open(id)
            .and_then(|mut container| container.start().map_err(Refusal::Runtime))
            .map_err(|refusal| refusal.with("OCI runtime start failed"))
    }

    pub(super) fn exec(
        &self,
        id: &str,
        process: &[u8],
        stdio: ChildStdio<'_>,
    ) -> Result<Process, Failure> {
        const PREFIX: &str = "OCI runtime exec failed";
        let description: spec::Process<'_> = runtime_core::bundle::parse(process)
            .map_err(|fault| Failure::invalid(format!("{PREFIX}: process: {fault}")))?;
        let options = ExecOptions {
            plan: PlanOptions {
                no_new_keyring: self.plan.no_new_keyring,
                ..PlanOptions::default()
            },
            console_socket: stdio.console_socket(),
            stdio: stdio.descriptors(),
            ..ExecOptions::default()
        };
        self.open(id)
            .and_then(|container| {
                container
                    .exec(&description, &options)
                    .map_err(Refusal::Runtime)
            })
            .map_err(|refusal| refusal.with(PREFIX))
    }

    pub(super) fn kill(&self, id: &str, signal: i32, all: bool) -> Result<(), Failure> {
        self.open(id)
            .and_then(|container| container.kill(signal, all).map_err(Refusal::Runtime))
            .map_err(|refusal| match refusal {
                Refusal::Runtime(error) if error.kind() == ErrorKind::NotRunning => {
                    Failure::not_found(format!("process already finished: {error}"))
                }
                Refusal::Runtime(error) if error.kind() == ErrorKind::NotFound => {
                    Failure::not_found(format!("no such container: {error}"))
                }
                refusal => refusal.with("OCI runtime kill failed"),
            })
    }

    pub(super) fn delete(&self, id: &str, force: bool) -> Result<Vec<String>, Failure> {
        match self.runtime.delete(&parse_id(id)?, force) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            deleted => {
                deleted.map_err(|error| Failure::of_runtime("OCI runtime delete failed", &error))
            }
        }
    }

    pub(super) fn pause(&self, id: &str) -> Result<(), Failure> {
        self.open(id)
            .and_then(|mut container| container.pause().map_err(Refusal::Runtime))
            .map_err(|refusal| refusal.with("OCI runtime pause failed"))
    }

    pub(super) fn resume(&self, id: &str) -> Result<(), Failure> {
        self.open(id)
            .and_then(|mut container| container.resume().map_err(Refusal::Runtime))
            .map_err(|refusal| refusal.with("OCI runtime resume failed"))
    }

    pub(super) fn processes(&self, id: &str) -> Result<Vec<i32>, Failure> {
        self.open(id)
            .and_then(|container| container.processes().map_err(Refusal::Runtime))
            .map_err(|refusal| refusal.with("OCI runtime ps failed"))
    }

    pub(super) fn update(&self, id: &str, resources: &[u8]) -> Result<(), Failure> {
        const PREFIX: &str = "OCI runtime update failed";
        let resources: spec::Resources<'_> = runtime_core::bundle::parse(resources)
            .map_err(|fault| Failure::invalid(format!("{PREFIX}: resources: {fault}")))?;
        self.open(id)
            .and_then(|mut container| container.update(&resources).map_err(Refusal::Runtime))
            .map_err(|refusal| refusal.with(PREFIX))
    }

    pub(super) fn checkpoint(
        &self,
        id: &str,
        images: &Path,
        options: &CheckpointOptions,
    ) -> Result<(), Failure> {
        let log = self.bundle.join("criu-dump.log");
        self.criu
            .with_dump(images, options, &self.bundle, |options| {
                self.open(id)
                    .and_then(|mut container| {
                        container.checkpoint(options).map_err(Refusal::Runtime)
                    })
                    .map_err(|refusal| refusal.with("OCI runtime checkpoint failed"))
            })
            .inspect_err(|_| criu::keep_log(options, &self.bundle, &log))
    }

    pub(super) fn restore(
        &self,
        id: &str,
        bundle: &Path,
        stdio: ChildStdio<'_>,
        images: &Path,
    ) -> Result<Created, Failure> {
        let failed = |error| Failure::of_runtime("OCI runtime restore failed", &error);
        let id = parse_id(id)?;
        let container = Bundle::open(bundle).map_err(|error| failed(error.into()))?;
        let options = self.criu.restoring(images, bundle)?;
        let options = RestoreOptions {
            plan: self.plan.clone(),
            console_socket: stdio.console_socket(),
            stdio: stdio.descriptors(),
            ..options.options()
        };
        let restored = self.runtime.restore(&id, &container, &options);
        created(restored.map_err(failed)?)
    }

    pub(super) fn statistics(&self, id: &str) -> Result<Statistics, Failure> {
        self.open(id)
            .and_then(|container| container.statistics().map_err(Refusal::Runtime))
            .map_err(|refusal| refusal.with("OCI runtime events failed"))
    }

    pub(super) fn watch_memory(&self, id: &str) -> Result<Option<OomWatch>, Failure> {
        self.open(id)
            .and_then(|container| container.watch_oom().map_err(Refusal::Runtime))
            .map_err(|refusal| refusal.with("watch the memory limit"))
    }

    fn open(&self, id: &str) -> Result<Container, Refusal> {
        let id = parse_id(id).map_err(Refusal::Id)?;
        self.runtime.open(&id).map_err(Refusal::Runtime)
    }
}

/// Why a container was not reached, or what it has refused.
#[derive(Debug)]
enum Refusal {
    Id(Failure),
    Runtime(runtime_core::Error),
}

impl Refusal {
    fn with(self, prefix: &str) -> Failure {
        match self {
            Self::Id(failure) => failure,
            Self::Runtime(error) => Failure::of_runtime(prefix, &error),
        }
    }
}

/// What the shim keeps of a container: its init.
fn created(container: Container) -> Result<Created, Failure> {
    let warnings = container.warnings().to_vec();
    let shares_pid_namespace = !container.has_own_pid_namespace();
    let process = container
        .into_init()
        .ok_or_else(|| Failure::unknown("the container has no init process"))?;
    Ok(Created {
        process,
        warnings,
        shares_pid_namespace,
    })
}

fn parse_id(id: &str) -> Result<ContainerId, Failure> {
    id.parse()
        .map_err(|error: runtime_core::id::InvalidContainerId| Failure::invalid(error.to_string()))
}
