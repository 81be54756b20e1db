//! The task service: containers, their processes, and one file for each group of methods.

use std::time::{Duration, Instant};

use containerd_shim_protos::api::Empty;

use crate::failure::Failure;
use crate::server::call::TaskCall;
use crate::server::{Caller, Server};

mod checkpoint;
mod container;
mod create;
mod delete;
mod ends;
mod exec;
pub mod machine;
mod memory;
mod observe;
mod signal;
mod start;
mod steer;
mod table;
mod time;
mod update;

pub(crate) use container::{Container, Exited, Name, Process, Stdio};
pub(crate) use delete::Drain;
pub(crate) use machine::{Operation, Verdict};
pub(crate) use table::Containers;
pub(crate) use time::timestamp;

/// How long a runtime that has created a process may take to hand over its terminal.
const CONSOLE: Duration = Duration::from_secs(30);

/// Until when a terminal has to come.
fn console_deadline() -> Instant {
    Instant::now() + CONSOLE
}

impl Server {
    /// Answers a call of the task service, now or later.
    pub(crate) fn task_call(&mut self, caller: Caller, call: TaskCall) {
        match call {
            TaskCall::State(request) => self.state(caller, &request),
            TaskCall::Create(request) => self.create(caller, request),
            TaskCall::Start(request) => self.start(caller, request),
            TaskCall::Delete(request) => self.delete(caller, request),
            TaskCall::Pids(request) => self.pids(caller, &request),
            TaskCall::Pause(request) => self.pause(caller, request),
            TaskCall::Resume(request) => self.resume(caller, request),
            TaskCall::Checkpoint(request) => self.checkpoint(caller, request),
            TaskCall::Kill(request) => self.kill(caller, &request),
            TaskCall::Exec(request) => self.exec(caller, request),
            TaskCall::ResizePty(request) => self.resize_pty(caller, &request),
            TaskCall::CloseIO(request) => self.close_io(caller, &request),
            TaskCall::Update(request) => self.update(caller, request),
            TaskCall::Wait(request) => self.wait(caller, &request),
            TaskCall::Stats(request) => self.stats(caller, &request),
            TaskCall::Connect(request) => self.connect(caller, &request),
            TaskCall::Shutdown(_) => self.shutdown(caller),
        }
    }

    /// Whether the operation may begin on this process: if so it has begun. Otherwise the call
    /// waits for its predecessor, or has been answered.
    pub(crate) fn may_begin(
        &mut self,
        caller: Caller,
        name: &Name,
        operation: Operation,
        call: impl FnOnce() -> TaskCall,
    ) -> bool {
        let process = match self.containers.process_mut(name) {
            Ok(process) => process,
            Err(failure) => {
                self.refuse(caller, failure);
                return false;
            }
        };
        match process.machine.ask(operation) {
            Verdict::Go => {
                process.machine.begin(operation);
                true
            }
            Verdict::Later => {
                process.waiting.push_back((caller, call()));
                false
            }
            Verdict::Refused(failure) => {
                self.refuse(caller, failure);
                false
            }
        }
    }

    /// The operation is over: its end, if the process has one, is told, and the calls that
    /// waited are taken up.
    pub(crate) fn finish(&mut self, name: &Name, operation: Operation, is_done: bool) {
        let Ok(process) = self.containers.process_mut(name) else {
            return;
        };
        process.machine.finish(operation, is_done);
        let waiting = std::mem::take(&mut process.waiting);
        self.settle(name);
        for (caller, call) in waiting {
            self.task_call(caller, call);
        }
    }

    pub(crate) fn refuse(&mut self, caller: Caller, failure: Failure) {
        self.answer::<Empty>(caller, Err(failure));
    }

    pub(crate) fn done(&mut self, caller: Caller) {
        self.answer(caller, Ok(Empty::new()));
    }
}
