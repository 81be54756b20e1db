//! `Kill`, `CloseIO` and `ResizePty`: what reaches a process from outside.

use containerd_shim_protos::api::{CloseIORequest, KillRequest, ResizePtyRequest};

use crate::failure::Failure;
use crate::server::{Caller, Server};

use super::machine::Stage;
use super::{Name, Process};

impl Server {
    /// Sends a signal to a process, or to all of a container.
    pub(super) fn kill(&mut self, caller: Caller, request: &KillRequest) {
        let name = Name::new(&request.id, &request.exec_id);
        let signal = match i32::try_from(request.signal) {
            Ok(signal @ 0..=64) => signal,
            _ => {
                let text = format!("signal {}: there is none", request.signal);
                return self.refuse(caller, Failure::invalid(text));
            }
        };
        if name.is_init() {
            return self.kill_container(caller, &name, signal, request.all);
        }
        let sent = self.containers.process(&name).and_then(|process| {
            is_there(process)?;
            process.signal(signal)
        });
        match sent {
            Ok(()) => self.done(caller),
            Err(failure) => self.refuse(caller, failure),
        }
    }

    fn kill_container(&mut self, caller: Caller, name: &Name, signal: i32, all: bool) {
        let engine = self.containers.process(name).and_then(|init| {
            if !all {
                is_there(init)?;
            }
            self.engine(&name.container)
        });
        let engine = match engine {
            Ok(engine) => engine,
            Err(failure) => return self.refuse(caller, failure),
        };
        let id = name.container.clone();
        self.jobs.run_urgently(move || {
            let killed = engine.kill(&id, signal, all);
            move |server: &mut Self| match killed {
                Ok(()) => server.done(caller),
                Err(failure) => server.refuse(caller, failure),
            }
        });
    }

    /// Ends a process's standard input, when whoever else writes to it has.
    pub(super) fn close_io(&mut self, caller: Caller, request: &CloseIORequest) {
        let name = Name::new(&request.id, &request.exec_id);
        let process = match self.containers.process_mut(&name) {
            Ok(process) => process,
            Err(failure) => return self.refuse(caller, failure),
        };
        if let Some(streams) = &mut process.streams
            && request.stdin
        {
            streams.close_stdin(&self.poller);
        }
        self.done(caller);
    }

    /// Sets the size of a process's terminal; of one without it is no error.
    pub(super) fn resize_pty(&mut self, caller: Caller, request: &ResizePtyRequest) {
        let name = Name::new(&request.id, &request.exec_id);
        let resized = self
            .containers
            .process(&name)
            .and_then(|process| match &process.streams {
                Some(streams) => streams.resize(request.width, request.height),
                None => Ok(()),
            });
        match resized {
            Ok(()) => self.done(caller),
            Err(failure) => self.refuse(caller, failure),
        }
    }
}

/// Whether there is a process that a signal could reach.
fn is_there(process: &Process) -> Result<(), Failure> {
    match process.machine.stage() {
        Stage::Stopped | Stage::Deleted => Err(Failure::not_found("process already finished")),
        Stage::Creating => Err(Failure::precondition(
            "the container is still being created",
        )),
        _ if process.pid == 0 => Err(Failure::precondition(
            "process not created: it has not been started",
        )),
        _ if process.exited.is_some() => Err(Failure::not_found("process already finished")),
        _ => Ok(()),
    }
}
