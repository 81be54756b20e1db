//! `Pause`, `Resume` and `Shutdown`.

use containerd_shim_protos::api::{PauseRequest, ResumeRequest};
use containerd_shim_protos::events::task::{TaskPaused, TaskResumed};

use crate::failure::Failure;
use crate::server::call::TaskCall;
use crate::server::{Caller, Server};

use super::{Name, Operation};

impl Server {
    /// Freezes a container.
    pub(super) fn pause(&mut self, caller: Caller, request: PauseRequest) {
        let name = Name::init(&request.id);
        if !self.may_begin(caller, &name, Operation::Pause, || TaskCall::Pause(request)) {
            return;
        }
        let engine = self.engine(&name.container);
        self.jobs.run(move || {
            let paused = engine.and_then(|engine| engine.pause(&name.container));
            move |server: &mut Self| {
                if paused.is_ok() {
                    let event = TaskPaused {
                        container_id: name.container.clone(),
                        ..Default::default()
                    };
                    server.publish("/tasks/paused", &event);
                }
                server.steered(caller, &name, Operation::Pause, paused);
            }
        });
    }

    /// Thaws a container.
    pub(super) fn resume(&mut self, caller: Caller, request: ResumeRequest) {
        let name = Name::init(&request.id);
        if !self.may_begin(caller, &name, Operation::Resume, || {
            TaskCall::Resume(request)
        }) {
            return;
        }
        let engine = self.engine(&name.container);
        self.jobs.run(move || {
            let resumed = engine.and_then(|engine| engine.resume(&name.container));
            move |server: &mut Self| {
                if resumed.is_ok() {
                    let event = TaskResumed {
                        container_id: name.container.clone(),
                        ..Default::default()
                    };
                    server.publish("/tasks/resumed", &event);
                }
                server.steered(caller, &name, Operation::Resume, resumed);
            }
        });
    }

    /// Answers a call that has changed a container, and takes up the next one.
    pub(super) fn steered(
        &mut self,
        caller: Caller,
        name: &Name,
        operation: Operation,
        result: Result<(), Failure>,
    ) {
        let is_done = result.is_ok();
        match result {
            Ok(()) => self.done(caller),
            Err(failure) => self.refuse(caller, failure),
        }
        self.finish(name, operation, is_done);
    }

    /// Ends the shim, unless it has containers.
    pub(super) fn shutdown(&mut self, caller: Caller) {
        self.done(caller);
        if self.containers.is_empty() {
            self.end();
        }
    }
}
