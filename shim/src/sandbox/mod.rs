//! The sandbox service: a Kubernetes pod without a pause container (containerd's
//! `sandboxer = "shim"`). The pod's namespaces are held by a process of two hundred bytes that
//! the shim brings along, isolated like any container; no image, no snapshot.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use containerd_shim_protos::api::{CreateTaskRequest, WaitRequest};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::sandbox_api as api;
use containerd_shim_protos::shim::oci;
use containerd_shim_protos::types;

use crate::bundle_files;
use crate::failure::Failure;
use crate::metrics;
use crate::server::call::SandboxCall;
use crate::server::{Caller, Server};
use crate::task::{Name, Operation, Verdict, timestamp};

mod config;
mod holder;
mod pod;
mod users;

use pod::Pod;

/// How long `StopSandbox` takes at most when the call does not say.
const STOP: Duration = Duration::from_secs(10);

/// The pod of this shim.
#[derive(Debug)]
pub(crate) struct Sandbox {
    id: String,
    created_at: SystemTime,
    pid: u32,
}

/// A `StopSandbox` that waits for the pod's processes.
#[derive(Debug)]
pub(crate) struct Stop {
    caller: Caller,
    pub(crate) deadline: Instant,
}

impl Server {
    /// Answers a call of the sandbox service, now or later.
    pub(crate) fn sandbox_call(&mut self, caller: Caller, call: SandboxCall) {
        match call {
            SandboxCall::CreateSandbox(request) => self.create_sandbox(caller, request),
            SandboxCall::StartSandbox(request) => self.start_sandbox(caller, &request),
            SandboxCall::Platform(_) => self.answer(caller, Ok(platform())),
            SandboxCall::StopSandbox(request) => self.stop_sandbox(caller, &request),
            SandboxCall::WaitSandbox(request) => self.wait_sandbox(caller, request),
            SandboxCall::SandboxStatus(request) => {
                let status = self.sandbox_status(&request);
                self.answer(caller, status);
            }
            SandboxCall::PingSandbox(request) => {
                let answer = self.the_sandbox(&request.sandbox_id);
                let answer = answer.map(|_| api::PingResponse::default());
                self.answer(caller, answer);
            }
            SandboxCall::ShutdownSandbox(request) => self.shutdown_sandbox(caller, &request),
            SandboxCall::SandboxMetrics(request) => self.sandbox_metrics(caller, &request),
        }
    }

    fn the_sandbox(&self, id: &str) -> Result<&Sandbox, Failure> {
        self.sandbox
            .as_ref()
            .filter(|sandbox| sandbox.id == id)
            .ok_or_else(|| Failure::not_found(format!("sandbox {id}: not found")))
    }

    /// Makes what holds the pod's namespaces; it does not run yet.
    fn create_sandbox(&mut self, caller: Caller, request: api::CreateSandboxRequest) {
        if let Some(sandbox) = &self.sandbox {
            let text = format!("this shim has a sandbox: {}: already exists", sandbox.id);
            return self.refuse(caller, Failure::already_exists(text));
        }
        let (task, owner) = match prepare(&request) {
            Ok(prepared) => prepared,
            Err(failure) => return self.refuse(caller, failure),
        };
        self.sandbox = Some(Sandbox {
            id: request.sandbox_id,
            created_at: SystemTime::now(),
            pid: 0,
        });
        self.create_with(task, true, move |server, pid| {
            // config.json has named it by its number until now.
            drop(owner);
            match pid {
                Ok(pid) => {
                    if let Some(sandbox) = &mut server.sandbox {
                        sandbox.pid = pid;
                    }
                    server.answer(caller, Ok(api::CreateSandboxResponse::default()));
                }
                Err(failure) => {
                    server.sandbox = None;
                    server.refuse(caller, failure);
                }
            }
        });
    }

    fn start_sandbox(&mut self, caller: Caller, request: &api::StartSandboxRequest) {
        let name = Name::init(&request.sandbox_id);
        let begun = self
            .the_sandbox(&request.sandbox_id)
            .map(drop)
            .and_then(|()| {
                let engine = self.engine(&name.container)?;
                let machine = &mut self.containers.process_mut(&name)?.machine;
                match machine.ask(Operation::Start) {
                    Verdict::Go => machine.begin(Operation::Start),
                    Verdict::Refused(failure) => return Err(failure),
                    Verdict::Later => {
                        return Err(Failure::precondition("the sandbox is being started"));
                    }
                }
                Ok(engine)
            });
        let engine = match begun {
            Ok(engine) => engine,
            Err(failure) => return self.refuse(caller, failure),
        };
        self.jobs.run(move || {
            let started = engine.start(&name.container);
            move |server: &mut Self| {
                let is_done = started.is_ok();
                let answer = started.and_then(|()| server.sandbox_started(&name.container));
                server.answer(caller, answer);
                server.finish(&name, Operation::Start, is_done);
            }
        });
    }

    fn sandbox_started(&self, id: &str) -> Result<api::StartSandboxResponse, Failure> {
        let sandbox = self.the_sandbox(id)?;
        Ok(api::StartSandboxResponse {
            pid: sandbox.pid,
            created_at: timestamp(sandbox.created_at),
            ..Default::default()
        })
    }

    /// Kills everything in the pod; the answer comes when it has ended.
    fn stop_sandbox(&mut self, caller: Caller, request: &api::StopSandboxRequest) {
        if let Err(failure) = self.the_sandbox(&request.sandbox_id) {
            return self.refuse(caller, failure);
        }
        let ids: Vec<String> = self.containers.ids().map(str::to_owned).collect();
        for id in ids {
            let Ok(engine) = self.engine(&id) else {
                continue;
            };
            self.jobs.run(move || {
                let killed = engine.kill(&id, libc::SIGKILL, true);
                move |server: &mut Self| {
                    if let Err(failure) = killed {
                        server.setting.log.warn(format!("stop {id}: {failure}"));
                    }
                }
            });
        }
        let time = match request.timeout_secs {
            0 => STOP,
            seconds => Duration::from_secs(seconds.into()),
        };
        self.stops.push(Stop {
            caller,
            deadline: Instant::now() + time,
        });
    }

    /// Answers the stops whose pod has ended, and those that have had their time.
    pub(crate) fn continue_stops(&mut self) {
        if self.stops.is_empty() {
            return;
        }
        let has_ended = self.containers.have_ended();
        let now = Instant::now();
        let (over, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.stops)
            .into_iter()
            .partition(|stop| has_ended || stop.deadline <= now);
        self.stops = waiting;
        for stop in over {
            let answer = if has_ended {
                Ok(api::StopSandboxResponse::default())
            } else {
                let text = "processes of the pod have not ended although they were killed";
                Err(Failure::new(crate::failure::Code::DEADLINE_EXCEEDED, text))
            };
            self.answer(stop.caller, answer);
        }
    }

    /// The end of what holds the namespaces. The messages of both services are one on the wire.
    fn wait_sandbox(&mut self, caller: Caller, request: api::WaitSandboxRequest) {
        match self.the_sandbox(&request.sandbox_id) {
            Ok(_) => {
                let wait = WaitRequest {
                    id: request.sandbox_id,
                    ..Default::default()
                };
                self.wait(caller, &wait);
            }
            Err(failure) => self.refuse(caller, failure),
        }
    }

    fn sandbox_status(
        &self,
        request: &api::SandboxStatusRequest,
    ) -> Result<api::SandboxStatusResponse, Failure> {
        let sandbox = self.the_sandbox(&request.sandbox_id)?;
        let holder = self.containers.process(&Name::init(&sandbox.id))?;
        let state = match holder.machine.stage() {
            crate::task::machine::Stage::Running => "SANDBOX_READY",
            _ => "SANDBOX_NOTREADY",
        };
        let mut status = api::SandboxStatusResponse {
            sandbox_id: sandbox.id.clone(),
            pid: sandbox.pid,
            state: state.to_owned(),
            created_at: timestamp(sandbox.created_at),
            ..Default::default()
        };
        if let Some(exited) = holder.exited {
            status.exited_at = timestamp(exited.at);
        }
        if request.verbose {
            let containers: Vec<&str> = self
                .containers
                .ids()
                .filter(|id| *id != sandbox.id)
                .collect();
            status
                .info
                .insert("containers".to_owned(), containers.join(" "));
            status
                .info
                .insert("shimPid".to_owned(), std::process::id().to_string());
        }
        Ok(status)
    }

    /// Removes what held the namespaces, and ends the shim if no container is left.
    fn shutdown_sandbox(&mut self, caller: Caller, request: &api::ShutdownSandboxRequest) {
        let id = request.sandbox_id.clone();
        let engine = self
            .the_sandbox(&id)
            .map(drop)
            .and_then(|()| self.engine(&id));
        let engine = match engine {
            Ok(engine) => engine,
            Err(failure) => return self.refuse(caller, failure),
        };
        self.jobs.run(move || {
            let deleted = engine.delete(&id, true);
            move |server: &mut Self| match deleted {
                Ok(_) => {
                    server.forget(&id);
                    server.sandbox = None;
                    server.answer(caller, Ok(api::ShutdownSandboxResponse::default()));
                    if server.containers.is_empty() {
                        server.end();
                    }
                }
                Err(failure) => server.refuse(caller, failure),
            }
        });
    }

    fn sandbox_metrics(&mut self, caller: Caller, request: &api::SandboxMetricsRequest) {
        let id = request.sandbox_id.clone();
        let engine = self
            .the_sandbox(&id)
            .map(drop)
            .and_then(|()| self.engine(&id));
        let engine = match engine {
            Ok(engine) => engine,
            Err(failure) => return self.refuse(caller, failure),
        };
        self.jobs.run(move || {
            let metrics = engine
                .statistics(&id)
                .and_then(|statistics| metrics::encode(&statistics))
                .map(|data| sandbox_metrics(id, data));
            move |server: &mut Self| server.answer(caller, metrics)
        });
    }
}

fn sandbox_metrics(id: String, data: Any) -> api::SandboxMetricsResponse {
    let mut response = api::SandboxMetricsResponse::default();
    let metric = response.metrics.mut_or_insert_default();
    metric.timestamp = timestamp(SystemTime::now());
    metric.id = id;
    metric.data = MessageField::some(data);
    response
}

fn platform() -> api::PlatformResponse {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    api::PlatformResponse {
        platform: MessageField::some(types::platform::Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Writes the bundle of what holds the namespaces, and gives the call that makes it.
fn prepare(
    request: &api::CreateSandboxRequest,
) -> Result<(CreateTaskRequest, Option<OwnedFd>), Failure> {
    let bundle = PathBuf::from(&request.bundle_path);
    if !bundle.is_absolute() {
        let text = format!("bundle {:?}: not an absolute path", request.bundle_path);
        return Err(Failure::invalid(text));
    }
    let pod = Pod::decode(request.options.as_ref())?;
    let owner = match pod.users {
        Some(_) => users::owner_of(&request.netns_path)?,
        None => None,
    };
    let owner_name = owner.as_ref().map(users::name);
    let (id, network) = (&request.sandbox_id, &request.netns_path);
    let config = config::config(id, &pod, network, owner_name.as_deref());
    bundle_files::write(&bundle, "config.json", config.to_string().as_bytes())?;
    let root = pod.users.as_ref().and_then(users::Users::root);
    write_program(&bundle.join(config::ROOTFS), root)?;
    let options = oci::Options {
        systemd_cgroup: config::is_of_systemd(&pod),
        ..Default::default()
    };
    let task = CreateTaskRequest {
        id: request.sandbox_id.clone(),
        bundle: request.bundle_path.clone(),
        options: MessageField::some(any_of(&options)?),
        ..Default::default()
    };
    Ok((task, owner))
}

fn any_of(options: &oci::Options) -> Result<Any, Failure> {
    let value = options
        .write_to_bytes()
        .map_err(|error| Failure::unknown(format!("encode the sandbox's options: {error}")))?;
    Ok(Any {
        type_url: "containerd.runc.v1.Options".to_owned(),
        value,
        ..Any::default()
    })
}

/// A root filesystem with one file in it. The pod's root, if it is mapped, makes the places of
/// devices there.
fn write_program(rootfs: &Path, root: Option<(u32, u32)>) -> Result<(), Failure> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let failed = |error: std::io::Error| {
        let errno = runtime_core::errno::of_io(&error);
        Failure::call(format!("make the sandbox's {}", rootfs.display()), errno)
    };
    match std::fs::DirBuilder::new().mode(0o711).create(rootfs) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(failed(error));
        }
        _ => {}
    }
    if let Some((uid, gid)) = root {
        std::os::unix::fs::lchown(rootfs, Some(uid), Some(gid)).map_err(failed)?;
    }
    bundle_files::write(rootfs, config::PROGRAM, &holder::program())?;
    let mode = std::fs::Permissions::from_mode(0o555);
    std::fs::set_permissions(rootfs.join(config::PROGRAM), mode).map_err(failed)
}
