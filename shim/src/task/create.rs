//! `Create`: a container out of its bundle.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use containerd_shim_protos::api::{CreateTaskRequest, CreateTaskResponse};
use containerd_shim_protos::events::task::{TaskCreate, TaskIO};
use containerd_shim_protos::protobuf::MessageField;
use runtime_core::statistics::OomWatch;

use crate::engine::{Created, Engine};
use crate::failure::Failure;
use crate::io::{self, Streams};
use crate::options::Options;
use crate::server::{Caller, Server};
use crate::{bundle_files, mounts};

use super::machine::Subject;
use super::{Container, Name, Process, Stdio};

/// What a job has made.
struct Made {
    engine: Arc<Engine>,
    stdio_owner: (u32, u32),
    /// None of one that `Start` will restore.
    running: Option<Running>,
}

/// A container's init, and what is watched of it.
pub(super) struct Running {
    created: Created,
    streams: Streams,
    memory: Option<OomWatch>,
}

impl Server {
    /// Makes a container.
    pub(super) fn create(&mut self, caller: Caller, request: CreateTaskRequest) {
        let told = request.clone();
        self.create_with(request, false, move |server, pid| match pid {
            Ok(pid) => {
                server.publish("/tasks/create", &create_event(told, pid));
                let response = CreateTaskResponse {
                    pid,
                    ..Default::default()
                };
                server.answer(caller, Ok(response));
            }
            Err(failure) => server.refuse(caller, failure),
        });
    }

    /// Takes the id, and has the container made; `then` gets init's pid.
    pub(crate) fn create_with(
        &mut self,
        request: CreateTaskRequest,
        is_sandbox: bool,
        then: impl FnOnce(&mut Self, Result<u32, Failure>) + Send + 'static,
    ) {
        if let Err(failure) = self.check_create(&request) {
            return then(self, Err(failure));
        }
        let name = Name::init(&request.id);
        let stdio = stdio_of(&request);
        let serial = self.containers.new_serial(&name);
        let container = Container {
            bundle: PathBuf::from(&request.bundle),
            stdio_owner: (0, 0),
            restored_from: checkpoint_of(&request).map(Path::to_owned),
            engine: None,
            init: Process::new(Subject::Init, serial, stdio),
            execs: Default::default(),
            is_sandbox,
            shares_pid_namespace: false,
            is_swept: false,
            memory: None,
        };
        self.containers.insert(&request.id, container);
        let namespace = self.setting.namespace.clone();
        let environment = self.setting.environment.clone();
        self.jobs.run(move || {
            let made = make(&request, &namespace, &environment);
            move |server: &mut Self| {
                let attached = made.and_then(|made| server.made(&request.id, made));
                if attached.is_err() {
                    server.forget(&request.id);
                }
                then(server, attached);
            }
        });
    }

    fn check_create(&self, request: &CreateTaskRequest) -> Result<(), Failure> {
        request
            .id
            .parse::<runtime_core::ContainerId>()
            .map_err(|error| Failure::invalid(error.to_string()))?;
        if !Path::new(&request.bundle).is_absolute() {
            let text = format!("bundle {:?}: not an absolute path", request.bundle);
            return Err(Failure::invalid(text));
        }
        if self.containers.has(&request.id) {
            let text = format!("container {}: already exists", request.id);
            return Err(Failure::already_exists(text));
        }
        Ok(())
    }

    fn made(&mut self, id: &str, made: Made) -> Result<u32, Failure> {
        let container = self.containers.get_mut(id)?;
        container.engine = Some(made.engine);
        container.stdio_owner = made.stdio_owner;
        container.init.machine.created();
        match made.running {
            Some(running) => self.attach(id, running),
            None => Ok(0),
        }
    }

    /// Watches a container's init from now on; gives its pid.
    pub(super) fn attach(&mut self, id: &str, running: Running) -> Result<u32, Failure> {
        let Running {
            created,
            streams,
            memory,
        } = running;
        for warning in &created.warnings {
            self.setting.log.warn(format!("{id}: {warning}"));
        }
        let container = self.containers.get_mut(id)?;
        container.shares_pid_namespace = created.shares_pid_namespace;
        let init = &mut container.init;
        init.attach(&self.poller, created.process, streams)?;
        let pid = init.pid;
        self.watch_memory(id, memory);
        Ok(pid)
    }

    /// Forgets a container; whoever waits for one of its processes hears that it is gone.
    pub(crate) fn forget(&mut self, id: &str) {
        let Some(container) = self.containers.remove(id) else {
            return;
        };
        if let Some(watch) = &container.memory {
            // Closing does what removing does.
            self.poller.remove(watch).ok();
        }
        let init = std::iter::once((String::new(), container.init));
        for (exec, process) in init.chain(container.execs) {
            self.forget_process(&Name::new(id, &exec), process);
        }
    }
}

fn create_event(request: CreateTaskRequest, pid: u32) -> TaskCreate {
    let io = TaskIO {
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        terminal: request.terminal,
        ..Default::default()
    };
    TaskCreate {
        container_id: request.id,
        bundle: request.bundle,
        rootfs: Vec::new(),
        io: MessageField::some(io),
        checkpoint: request.checkpoint,
        pid,
        ..Default::default()
    }
}

/// Mounts the root filesystem, prepares the streams, creates the container. What has been
/// mounted is unmounted again on a failure.
fn make(
    request: &CreateTaskRequest,
    namespace: &str,
    environment: &[CString],
) -> Result<Made, Failure> {
    let bundle = Path::new(&request.bundle);
    let options = Options::from_any(request.options.as_ref())?;
    let engine = Engine::new(&options, namespace, bundle, environment)?;
    options.write(bundle)?;
    let rootfs = bundle.join("rootfs");
    mounts::mount(&rootfs, &request.rootfs)?;
    let running = match checkpoint_of(request) {
        Some(_) => Ok(None),
        None => {
            let container = New {
                id: &request.id,
                namespace,
                bundle,
                stdio: &stdio_of(request),
                stdio_owner: (options.io_uid, options.io_gid),
            };
            container.launch(&engine, None).map(Some)
        }
    };
    match running {
        Ok(running) => Ok(Made {
            engine: Arc::new(engine),
            stdio_owner: (options.io_uid, options.io_gid),
            running,
        }),
        Err(failure) => {
            // The first failure is the one to report.
            mounts::unmount(&rootfs).ok();
            Err(failure)
        }
    }
}

fn stdio_of(request: &CreateTaskRequest) -> Stdio {
    Stdio {
        stdin: request.stdin.clone(),
        stdout: request.stdout.clone(),
        stderr: request.stderr.clone(),
        terminal: request.terminal,
    }
}

/// A container whose root filesystem is in place.
pub(super) struct New<'a> {
    pub(super) id: &'a str,
    pub(super) namespace: &'a str,
    pub(super) bundle: &'a Path,
    pub(super) stdio: &'a Stdio,
    pub(super) stdio_owner: (u32, u32),
}

impl New<'_> {
    /// Creates it, or restores it from images. Nothing of it is left on a failure.
    pub(super) fn launch(
        &self,
        engine: &Engine,
        images: Option<&Path>,
    ) -> Result<Running, Failure> {
        let Self { id, bundle, .. } = self;
        let io::Prepared { child, mut streams } = io::prepare(&io::Request {
            stdin: &self.stdio.stdin,
            stdout: &self.stdio.stdout,
            stderr: &self.stdio.stderr,
            terminal: self.stdio.terminal,
            owner: self.stdio_owner,
            id,
            namespace: self.namespace,
            bundle,
        })?;
        let created = match images {
            None => engine.create(id, bundle, child.lent()),
            Some(images) => engine.restore(id, bundle, child.lent(), images),
        }?;
        drop(child);
        let watched = streams
            .receive_console(super::console_deadline())
            .and_then(|()| bundle_files::write_pid(bundle, "init.pid", created.process.pid()))
            .and_then(|()| engine.watch_memory(id));
        match watched {
            Ok(memory) => Ok(Running {
                created,
                streams,
                memory,
            }),
            Err(failure) => {
                // The first failure is the one to report.
                engine.delete(id, true).ok();
                created.process.wait().ok();
                Err(failure)
            }
        }
    }
}

/// The directory of the images that the container is to be restored from.
fn checkpoint_of(request: &CreateTaskRequest) -> Option<&Path> {
    Some(Path::new(&request.checkpoint)).filter(|path| !path.as_os_str().is_empty())
}
