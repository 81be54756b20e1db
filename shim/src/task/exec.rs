//! `Exec`: a further process is described; `Start` runs it.

use containerd_shim_protos::api::ExecProcessRequest;
use containerd_shim_protos::events::task::TaskExecAdded;

use crate::failure::Failure;
use crate::server::{Caller, Server};

use super::machine::Subject;
use super::{Name, Operation, Process, Stdio, Verdict};

/// Further processes of one container, started or not, that nobody has deleted.
const EXECS: usize = 10_000;

impl Server {
    /// Takes the id of a further process.
    pub(super) fn exec(&mut self, caller: Caller, request: ExecProcessRequest) {
        match self.add_exec(request) {
            Ok(event) => {
                self.publish("/tasks/exec-added", &event);
                self.done(caller);
            }
            Err(failure) => self.refuse(caller, failure),
        }
    }

    fn add_exec(&mut self, request: ExecProcessRequest) -> Result<TaskExecAdded, Failure> {
        let name = Name::new(&request.id, &request.exec_id);
        check_exec_id(&request.exec_id)?;
        let container = self.containers.get(&request.id)?;
        if container.execs.contains_key(&request.exec_id) {
            let text = format!("exec id {}: already exists", request.exec_id);
            return Err(Failure::already_exists(text));
        }
        if container.execs.len() >= EXECS {
            let text = format!("container {} has {EXECS} further processes", request.id);
            return Err(Failure::new(crate::failure::Code::RESOURCE_EXHAUSTED, text));
        }
        if let Verdict::Refused(failure) = container.init.machine.ask(Operation::Exec) {
            return Err(failure);
        }
        let document = request.spec.into_option().unwrap_or_default().value;
        let stdio = Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let serial = self.containers.new_serial(&name);
        let mut process = Process::new(Subject::Exec, serial, stdio);
        process.document = document.into();
        process.machine.created();
        let container = self.containers.get_mut(&request.id)?;
        container.execs.insert(request.exec_id.clone(), process);
        Ok(TaskExecAdded {
            container_id: request.id,
            exec_id: request.exec_id,
            ..Default::default()
        })
    }
}

/// An exec id names a file of the bundle: one component of a path, as container ids are.
fn check_exec_id(id: &str) -> Result<(), Failure> {
    match id.parse::<runtime_core::ContainerId>() {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::invalid(format!("exec id {id:?}: {error}"))),
    }
}
