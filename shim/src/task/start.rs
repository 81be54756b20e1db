//! `Start`: the program of a container, or a further process in it.

use std::path::PathBuf;
use std::sync::Arc;

use containerd_shim_protos::api::{StartRequest, StartResponse};
use containerd_shim_protos::events::task::{TaskExecStarted, TaskStart};

use crate::bundle_files;
use crate::engine::Engine;
use crate::failure::Failure;
use crate::io::{self, Streams};
use crate::server::call::TaskCall;
use crate::server::{Caller, Server};

use super::create::New;
use super::{Name, Operation, Stdio};

/// What a job needs to start a further process.
struct Further {
    name: Name,
    engine: Arc<Engine>,
    stdio: Stdio,
    stdio_owner: (u32, u32),
    document: Arc<[u8]>,
    namespace: String,
    bundle: PathBuf,
}

impl Server {
    /// Runs a program that waits for it.
    pub(super) fn start(&mut self, caller: Caller, request: StartRequest) {
        let name = Name::new(&request.id, &request.exec_id);
        if let Err(failure) = self.check_start(&name) {
            return self.refuse(caller, failure);
        }
        if !self.may_begin(caller, &name, Operation::Start, || TaskCall::Start(request)) {
            return;
        }
        if name.is_init() {
            self.start_init(caller, name);
        } else {
            self.start_exec(caller, name);
        }
    }

    /// A further process needs a container that runs.
    fn check_start(&self, name: &Name) -> Result<(), Failure> {
        let container = self.containers.get(&name.container)?;
        if !name.is_init() && !container.init.machine.may_be_alive() {
            let text = format!("container {} init process is not running", name.container);
            return Err(Failure::precondition(text));
        }
        Ok(())
    }

    fn start_init(&mut self, caller: Caller, name: Name) {
        let engine = match self.engine(&name.container) {
            Ok(engine) => engine,
            Err(failure) => return self.not_started(caller, &name, failure),
        };
        if let Ok(container) = self.containers.get(&name.container)
            && let Some(images) = container.restored_from.clone()
        {
            return self.restore(caller, name, engine, images);
        }
        self.jobs.run(move || {
            let started = engine.start(&name.container);
            move |server: &mut Self| match started {
                Ok(()) => server.init_started(caller, &name),
                Err(failure) => server.not_started(caller, &name, failure),
            }
        });
    }

    /// Runs a container from its images instead of its program.
    fn restore(&mut self, caller: Caller, name: Name, engine: Arc<Engine>, images: PathBuf) {
        let Ok(container) = self.containers.get(&name.container) else {
            return;
        };
        let (bundle, stdio_owner) = (container.bundle.clone(), container.stdio_owner);
        let stdio = container.init.stdio.clone();
        let namespace = self.setting.namespace.clone();
        self.jobs.run(move || {
            let container = New {
                id: &name.container,
                namespace: &namespace,
                bundle: &bundle,
                stdio: &stdio,
                stdio_owner,
            };
            let restored = container.launch(&engine, Some(&images));
            move |server: &mut Self| {
                let attached = restored.and_then(|running| server.attach(&name.container, running));
                match attached {
                    Ok(_) => server.init_started(caller, &name),
                    Err(failure) => server.not_started(caller, &name, failure),
                }
            }
        });
    }

    fn init_started(&mut self, caller: Caller, name: &Name) {
        let pid = self.pid_of(name);
        let event = TaskStart {
            container_id: name.container.clone(),
            pid,
            ..Default::default()
        };
        self.publish("/tasks/start", &event);
        self.answer_start(caller, pid);
        self.finish(name, Operation::Start, true);
    }

    fn not_started(&mut self, caller: Caller, name: &Name, failure: Failure) {
        self.answer::<StartResponse>(caller, Err(failure));
        self.finish(name, Operation::Start, false);
    }

    fn start_exec(&mut self, caller: Caller, name: Name) {
        let further = match self.further(name.clone()) {
            Ok(further) => further,
            Err(failure) => return self.not_started(caller, &name, failure),
        };
        self.jobs.run(move || {
            let executed = execute(&further);
            move |server: &mut Self| match executed
                .and_then(|process| server.exec_started(&name, process))
            {
                Ok(pid) => {
                    server.answer_start(caller, pid);
                    server.finish(&name, Operation::Start, true);
                }
                Err(failure) => server.exec_failed(caller, &name, failure),
            }
        });
    }

    fn further(&self, name: Name) -> Result<Further, Failure> {
        let process = self.containers.process(&name)?;
        let container = self.containers.get(&name.container)?;
        Ok(Further {
            engine: self.engine(&name.container)?,
            stdio: process.stdio.clone(),
            stdio_owner: container.stdio_owner,
            bundle: container.bundle.clone(),
            document: process.document.clone(),
            namespace: self.setting.namespace.clone(),
            name,
        })
    }

    fn exec_started(
        &mut self,
        name: &Name,
        (process, streams): (runtime_core::Process, Streams),
    ) -> Result<u32, Failure> {
        let pid = process.pid().unsigned_abs();
        let event = TaskExecStarted {
            container_id: name.container.clone(),
            exec_id: name.exec.clone(),
            pid,
            ..Default::default()
        };
        let further = self.containers.process_mut(name)?;
        further.attach(&self.poller, process, streams)?;
        self.publish("/tasks/exec-started", &event);
        Ok(pid)
    }

    /// A process that could not be started has ended for those who wait for it, without an
    /// exit that anybody is told of.
    fn exec_failed(&mut self, caller: Caller, name: &Name, failure: Failure) {
        self.answer::<StartResponse>(caller, Err(failure));
        if let Ok(process) = self.containers.process_mut(name) {
            process.exited = Some(super::Exited::unseen());
        }
        self.finish(name, Operation::Start, false);
    }

    fn answer_start(&mut self, caller: Caller, pid: u32) {
        let response = StartResponse {
            pid,
            ..Default::default()
        };
        self.answer(caller, Ok(response));
    }

    pub(super) fn pid_of(&self, name: &Name) -> u32 {
        self.containers
            .process(name)
            .map_or(0, |process| process.pid)
    }

    /// What carries out calls on a container.
    pub(crate) fn engine(&self, id: &str) -> Result<Arc<Engine>, Failure> {
        let container = self.containers.get(id)?;
        container
            .engine
            .clone()
            .ok_or_else(|| Failure::precondition(format!("container {id} is still being created")))
    }
}

fn execute(further: &Further) -> Result<(runtime_core::Process, Streams), Failure> {
    let Further { name, engine, .. } = further;
    let io::Prepared { child, mut streams } = io::prepare(&io::Request {
        stdin: &further.stdio.stdin,
        stdout: &further.stdio.stdout,
        stderr: &further.stdio.stderr,
        terminal: further.stdio.terminal,
        owner: further.stdio_owner,
        id: &name.container,
        namespace: &further.namespace,
        bundle: &further.bundle,
    })?;
    let process = engine.exec(&name.container, &name.exec, &further.document, child.lent())?;
    drop(child);
    let finished = streams
        .receive_console(super::console_deadline())
        .and_then(|()| {
            let file = bundle_files::exec_pid_file(&name.exec);
            bundle_files::write_pid(&further.bundle, &file, process.pid())
        });
    match finished {
        Ok(()) => Ok((process, streams)),
        Err(failure) => {
            // It has ended already: then it is as good as killed.
            process.signal(libc::SIGKILL).ok();
            process.wait().ok();
            Err(failure)
        }
    }
}
