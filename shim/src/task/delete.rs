//! `Delete`: what has ended is removed, after its output has been handed on.

use std::time::{Duration, Instant};

use containerd_shim_protos::api::{DeleteRequest, DeleteResponse};
use containerd_shim_protos::events::task::TaskDelete;

use crate::bundle_files;
use crate::failure::Failure;
use crate::mounts;
use crate::server::call::TaskCall;
use crate::server::{Caller, Server};

use super::{Exited, Name, Operation, timestamp};

/// How long output that others hold open is waited for.
const DRAIN: Duration = Duration::from_secs(10);

/// A deletion that waits for the last output.
#[derive(Debug)]
pub(crate) struct Drain {
    caller: Caller,
    name: Name,
    pub(crate) deadline: Instant,
}

impl Server {
    /// Removes a process that has ended, or a container that was never started.
    pub(super) fn delete(&mut self, caller: Caller, request: DeleteRequest) {
        let name = Name::new(&request.id, &request.exec_id);
        if !self.may_begin(caller, &name, Operation::Delete, || {
            TaskCall::Delete(request)
        }) {
            return;
        }
        self.drains.push(Drain {
            caller,
            name,
            deadline: Instant::now() + DRAIN,
        });
    }

    /// Goes on with the deletions whose output has been handed on, or has had its time.
    pub(crate) fn continue_drains(&mut self) {
        let now = Instant::now();
        for drain in std::mem::take(&mut self.drains) {
            if drain.deadline <= now || self.is_drained(&drain.name) {
                self.drained(drain.caller, drain.name);
            } else {
                self.drains.push(drain);
            }
        }
    }

    fn is_drained(&mut self, name: &Name) -> bool {
        let Ok(process) = self.containers.process_mut(name) else {
            return true;
        };
        // What has never run has nothing to say, and its pipes stay open until it is gone.
        process.exited.is_none()
            || process
                .streams
                .as_mut()
                .is_none_or(crate::io::Streams::is_drained)
    }

    fn drained(&mut self, caller: Caller, name: Name) {
        if name.is_init() {
            self.delete_container(caller, name);
        } else {
            self.delete_exec(caller, &name);
        }
    }

    fn delete_exec(&mut self, caller: Caller, name: &Name) {
        let Some(mut process) = self.containers.remove_exec(name) else {
            return self.refuse(caller, Failure::not_found(format!("{} is gone", name.id())));
        };
        process.machine.finish(Operation::Delete, true);
        let (pid, exited) = (process.pid, process.exited.unwrap_or_else(Exited::unseen));
        if let Ok(container) = self.containers.get(&name.container) {
            bundle_files::remove_exec_pid(&container.bundle, &name.exec);
        }
        self.forget_process(name, process);
        self.deleted(caller, name, pid, exited);
        self.settle(&Name::init(&name.container));
    }

    fn delete_container(&mut self, caller: Caller, name: Name) {
        let removal = self
            .containers
            .get(&name.container)
            .map(|container| (container.bundle.join("rootfs"), container.engine.clone()));
        let (rootfs, engine) = match removal {
            Ok((rootfs, Some(engine))) => (rootfs, engine),
            Ok((_, None)) => return self.not_deleted(caller, &name, still_creating(&name)),
            Err(failure) => return self.refuse(caller, failure),
        };
        self.jobs.run(move || {
            let removed = engine
                .delete(&name.container, true)
                .and_then(|_warnings| mounts::unmount(&rootfs));
            move |server: &mut Self| match removed {
                Ok(()) => server.container_deleted(caller, &name),
                Err(failure) => server.not_deleted(caller, &name, failure),
            }
        });
    }

    fn container_deleted(&mut self, caller: Caller, name: &Name) {
        // One that was never started has ended with its deletion.
        if let Ok(init) = self.containers.process_mut(name) {
            if init.exited.is_none() {
                init.reap(&self.poller);
            }
            init.machine.finish(Operation::Delete, true);
        }
        let process = self.containers.process(name);
        let (pid, exited) = process.map_or((0, None), |init| (init.pid, init.exited));
        self.forget(&name.container);
        self.deleted(caller, name, pid, exited.unwrap_or_else(Exited::unseen));
    }

    fn not_deleted(&mut self, caller: Caller, name: &Name, failure: Failure) {
        self.answer::<DeleteResponse>(caller, Err(failure));
        self.finish(name, Operation::Delete, false);
    }

    fn deleted(&mut self, caller: Caller, name: &Name, pid: u32, exited: Exited) {
        let event = TaskDelete {
            container_id: name.container.clone(),
            id: name.exec.clone(),
            pid,
            exit_status: exited.status,
            exited_at: timestamp(exited.at),
            ..Default::default()
        };
        self.publish("/tasks/delete", &event);
        let response = DeleteResponse {
            pid,
            exit_status: exited.status,
            exited_at: timestamp(exited.at),
            ..Default::default()
        };
        self.answer(caller, Ok(response));
    }
}

fn still_creating(name: &Name) -> Failure {
    Failure::precondition(format!(
        "container {} is still being created",
        name.container
    ))
}
