//! The ends of processes: noticed by pidfd, told once, after their starts, init's last.

use containerd_shim_protos::api::WaitResponse;
use containerd_shim_protos::events::task::TaskExit;

use crate::exit_record::ExitRecord;
use crate::failure::{Code, Failure};
use crate::io::Streams;
use crate::server::{Caller, Server};

use super::{Exited, Name, Process, timestamp};

/// Calls that wait for the end of one process. Who has given up waiting, and has not closed the
/// connection, is not to be told from who has not.
const WAITERS: usize = 4096;

impl Server {
    /// A pidfd says that its process has ended.
    pub(crate) fn process_ended(&mut self, serial: u64) {
        let Some(name) = self.name_of(serial) else {
            return;
        };
        if let Ok(process) = self.containers.process_mut(&name) {
            process.reap(&self.poller);
        }
        // At once: it may be long before it can be told, and nobody else has seen it.
        self.record_end(&name);
        self.settle(&name);
    }

    /// Tells the end of a process, if it has one and nothing has to be told before.
    pub(super) fn settle(&mut self, name: &Name) {
        if name.is_init() {
            return self.settle_init(name);
        }
        let Ok(process) = self.containers.process_mut(name) else {
            return;
        };
        if process.machine.settle() {
            self.tell_end(name);
        }
        self.settle_init(&Name::init(&name.container));
    }

    /// The end of a container's init is told when everything else in it has ended.
    fn settle_init(&mut self, name: &Name) {
        let Ok(container) = self.containers.get_mut(&name.container) else {
            return;
        };
        if container.init.exited.is_none() {
            return;
        }
        if container.shares_pid_namespace && !container.is_swept {
            return self.sweep(name);
        }
        if container.has_running_execs() || !container.init.machine.settle() {
            return;
        }
        self.unwatch_memory(&name.container);
        self.tell_end(name);
    }

    /// Kills what a container without a pid namespace of its own has left.
    fn sweep(&mut self, name: &Name) {
        let Ok(container) = self.containers.get_mut(&name.container) else {
            return;
        };
        container.is_swept = true;
        let Some(engine) = container.engine.clone() else {
            return;
        };
        let name = name.clone();
        self.jobs.run(move || {
            let swept = engine.kill(&name.container, libc::SIGKILL, true);
            move |server: &mut Self| {
                if let Err(failure) = swept {
                    let id = &name.container;
                    let text = format!("{id}: processes may be left behind: {failure}");
                    server.setting.log.warn(text);
                }
                server.settle(&name);
            }
        });
    }

    fn tell_end(&mut self, name: &Name) {
        let Ok(process) = self.containers.process_mut(name) else {
            return;
        };
        let (pid, waiters) = (process.pid, std::mem::take(&mut process.waiters));
        let exited = *process.exited.get_or_insert_with(Exited::unseen);
        let is_sandbox = self
            .containers
            .get(&name.container)
            .is_ok_and(|container| container.is_sandbox);
        if pid != 0 && !is_sandbox {
            let event = TaskExit {
                container_id: name.container.clone(),
                id: name.id().to_owned(),
                pid,
                exit_status: exited.status,
                exited_at: timestamp(exited.at),
                ..Default::default()
            };
            self.publish("/tasks/exit", &event);
        }
        for waiter in waiters {
            self.answer_parked(waiter, Ok(wait_response(exited)));
        }
    }

    /// Leaves a note of init's end for `delete`, which is asked when this shim is no more.
    fn record_end(&self, name: &Name) {
        let Ok(container) = self.containers.get(&name.container) else {
            return;
        };
        let is_told_of = name.is_init() && !container.is_sandbox;
        let Some(exited) = container.init.exited.filter(|_| is_told_of) else {
            return;
        };
        let record = ExitRecord::new(container.init.pid, exited.status, exited.at);
        if let Err(failure) = record.write(&container.bundle) {
            self.setting.log.warn(failure);
        }
    }

    /// `Wait`: the end of a process, when it comes or as it was.
    pub(crate) fn wait(
        &mut self,
        caller: Caller,
        request: &containerd_shim_protos::api::WaitRequest,
    ) {
        let name = Name::new(&request.id, &request.exec_id);
        let process = match self.containers.process_mut(&name) {
            Ok(process) => process,
            Err(failure) => return self.refuse(caller, failure),
        };
        if let Some(exited) = process.exited.filter(|_| is_told(process)) {
            return self.answer(caller, Ok(wait_response(exited)));
        }
        if process.waiters.len() >= WAITERS {
            let text = format!("{WAITERS} calls wait for the end of {}", name.id());
            return self.refuse(caller, Failure::new(Code::RESOURCE_EXHAUSTED, text));
        }
        if self.park(caller)
            && let Ok(process) = self.containers.process_mut(&name)
        {
            process.waiters.push(caller);
        }
    }

    /// Whoever waits for a process that is forgotten hears how it ended, or that it is gone.
    pub(super) fn forget_process(&mut self, name: &Name, process: Process) {
        let mut process = process;
        if let Some(streams) = process.streams.take() {
            self.retire_streams(name, process.serial, streams);
        }
        for waiter in process.waiters {
            let answer = process
                .exited
                .map(wait_response)
                .ok_or_else(|| Failure::not_found(format!("{} is gone: not found", name.id())));
            self.answer_parked(waiter, answer);
        }
        for (caller, _) in process.waiting {
            self.refuse(
                caller,
                Failure::not_found(format!("{} is gone: not found", name.id())),
            );
        }
    }
}

impl Server {
    /// Closes the streams of a process that is forgotten; they stay as long as a logger takes to
    /// end.
    fn retire_streams(&mut self, name: &Name, serial: u64, mut streams: Streams) {
        streams.close(&self.poller);
        let dropped = streams.dropped();
        if dropped > 0 {
            let text = format!(
                "{}: {dropped} bytes of output were dropped: nobody read them",
                name.id()
            );
            self.setting.log.warn(text);
        }
        if !streams.is_closed() {
            self.containers.retire(serial, streams);
        }
    }

    /// Passes on what the streams have to say to an operator.
    pub(crate) fn log_notices(&mut self) {
        for notice in self.containers.take_notices() {
            self.setting.log.warn(notice);
        }
    }
}

fn is_told(process: &Process) -> bool {
    matches!(
        process.machine.stage(),
        super::machine::Stage::Stopped | super::machine::Stage::Deleted
    )
}

fn wait_response(exited: Exited) -> WaitResponse {
    WaitResponse {
        exit_status: exited.status,
        exited_at: timestamp(exited.at),
        ..Default::default()
    }
}
