//! `State`, `Pids`, `Connect` and `Stats`: what is there.

use containerd_shim_protos::api::{
    ConnectRequest, ConnectResponse, PidsRequest, PidsResponse, ProcessInfo, StateRequest,
    StateResponse, StatsRequest, StatsResponse, Status,
};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{EnumOrUnknown, Message, MessageField};
use containerd_shim_protos::shim::oci::ProcessDetails;

use crate::failure::Failure;
use crate::metrics;
use crate::server::{Caller, Server};

use super::machine::Stage;
use super::{Container, Name, Process, timestamp};

impl Server {
    /// What a process is doing.
    pub(super) fn state(&mut self, caller: Caller, request: &StateRequest) {
        let name = Name::new(&request.id, &request.exec_id);
        let state = self.describe(&name);
        self.answer(caller, state);
    }

    fn describe(&self, name: &Name) -> Result<StateResponse, Failure> {
        let process = self.containers.process(name)?;
        let container = self.containers.get(&name.container)?;
        let exited = process
            .exited
            .filter(|_| process.machine.stage() == Stage::Stopped);
        Ok(StateResponse {
            id: name.id().to_owned(),
            bundle: container.bundle.to_string_lossy().into_owned(),
            pid: process.pid,
            status: EnumOrUnknown::new(status(process)),
            stdin: process.stdio.stdin.clone(),
            stdout: process.stdio.stdout.clone(),
            stderr: process.stdio.stderr.clone(),
            terminal: process.stdio.terminal,
            exit_status: exited.map_or(0, |exited| exited.status),
            exited_at: exited.map_or_else(MessageField::none, |exited| timestamp(exited.at)),
            exec_id: name.exec.clone(),
            ..Default::default()
        })
    }

    /// The processes of a container.
    pub(super) fn pids(&mut self, caller: Caller, request: &PidsRequest) {
        let id = request.id.clone();
        let engine = match self.engine(&id) {
            Ok(engine) => engine,
            Err(failure) => return self.refuse(caller, failure),
        };
        self.jobs.run(move || {
            let pids = engine.processes(&id);
            move |server: &mut Self| {
                let answer = pids.and_then(|pids| server.describe_pids(&id, &pids));
                server.answer(caller, answer);
            }
        });
    }

    fn describe_pids(&self, id: &str, pids: &[i32]) -> Result<PidsResponse, Failure> {
        let container = self.containers.get(id)?;
        let processes = pids
            .iter()
            .map(|pid| process_info(container, pid.unsigned_abs()))
            .collect::<Result<_, _>>()?;
        Ok(PidsResponse {
            processes,
            ..Default::default()
        })
    }

    /// Numbers of the shim and of a container's init.
    pub(super) fn connect(&mut self, caller: Caller, request: &ConnectRequest) {
        let response = ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: self.pid_of(&Name::init(&request.id)),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        };
        self.answer(caller, Ok(response));
    }

    /// The figures of a container's cgroup.
    pub(super) fn stats(&mut self, caller: Caller, request: &StatsRequest) {
        let id = request.id.clone();
        let engine = match self.engine(&id) {
            Ok(engine) => engine,
            Err(failure) => return self.refuse(caller, failure),
        };
        self.jobs.run(move || {
            let stats = engine
                .statistics(&id)
                .and_then(|statistics| metrics::encode(&statistics))
                .map(|any| StatsResponse {
                    stats: MessageField::some(any),
                    ..Default::default()
                });
            move |server: &mut Self| server.answer(caller, stats)
        });
    }
}

fn status(process: &Process) -> Status {
    match process.machine.stage() {
        Stage::Creating | Stage::Created => Status::CREATED,
        Stage::Running => Status::RUNNING,
        Stage::Paused => Status::PAUSED,
        Stage::Stopped | Stage::Deleted => Status::STOPPED,
    }
}

/// A process, with its exec id if it has one.
fn process_info(container: &Container, pid: u32) -> Result<ProcessInfo, Failure> {
    let mut info = ProcessInfo {
        pid,
        ..Default::default()
    };
    let exec = container
        .execs
        .iter()
        .find(|(_, process)| process.pid == pid);
    if let Some((exec_id, _)) = exec {
        let details = ProcessDetails {
            exec_id: exec_id.clone(),
            ..Default::default()
        };
        let value = details
            .write_to_bytes()
            .map_err(|error| Failure::unknown(format!("encode the process's details: {error}")))?;
        info.info = MessageField::some(Any {
            type_url: "containerd.runc.v1.ProcessDetails".to_owned(),
            value,
            ..Default::default()
        });
    }
    Ok(info)
}
