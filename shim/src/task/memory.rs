//! The memory limit of a container: an event when the kernel has killed for it.

use containerd_shim_protos::events::task::TaskOOM;
use runtime_core::statistics::OomWatch;

use crate::failure::Failure;
use crate::poller::{Interest, Owner, Token};
use crate::server::Server;

impl Server {
    /// Watches a container's limit from now on.
    pub(super) fn watch_memory(&mut self, id: &str, watch: Option<OomWatch>) {
        let (Some(watch), Ok(container)) = (watch, self.containers.get_mut(id)) else {
            return;
        };
        let token = Token {
            owner: Owner::Memory,
            part: 0,
            serial: container.init.serial,
        };
        match self.poller.add(&watch, Interest::READ, token) {
            Ok(()) => container.memory = Some(watch),
            Err(errno) => {
                let failure = Failure::call(format!("watch the memory limit of {id}"), errno);
                self.setting.log.warn(failure);
            }
        }
    }

    /// The kernel has something to say about a container's limit.
    pub(crate) fn memory_met(&mut self, serial: u64) {
        let Some(name) = self.name_of(serial) else {
            return;
        };
        if self.tell_kills(&name.container) {
            self.unwatch_memory(&name.container);
        }
    }

    /// Publishes what has happened since the last look; true when there is nothing more to
    /// watch.
    fn tell_kills(&mut self, id: &str) -> bool {
        let watch = self.containers.get_mut(id).ok();
        let Some(watch) = watch.and_then(|container| container.memory.as_mut()) else {
            return true;
        };
        let kills = watch.kills();
        let is_over = kills.is_err() || watch.is_gone();
        if kills.is_ok_and(|kills| kills > 0) {
            let event = TaskOOM {
                container_id: id.to_owned(),
                ..Default::default()
            };
            self.publish("/tasks/oom", &event);
        }
        is_over
    }

    /// Watches it no more. What has happened until now is told first.
    pub(super) fn unwatch_memory(&mut self, id: &str) {
        self.tell_kills(id);
        let Ok(container) = self.containers.get_mut(id) else {
            return;
        };
        if let Some(watch) = container.memory.take() {
            // Closing does what removing does.
            self.poller.remove(&watch).ok();
        }
    }
}
