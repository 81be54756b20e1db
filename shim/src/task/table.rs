//! All containers of this shim.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::failure::Failure;
use crate::io::Streams;
use crate::poller::{Poller, Ready};

use super::{Container, Name, Process};

/// The containers, by id.
#[derive(Debug, Default)]
pub(crate) struct Containers {
    by_id: BTreeMap<String, Container>,
    /// Whose descriptors these are.
    by_serial: BTreeMap<u64, Name>,
    last_serial: u64,
    /// Streams of processes that are forgotten, whose loggers have not ended.
    retired: BTreeMap<u64, Streams>,
    /// What streams have to say to an operator.
    notices: Vec<String>,
}

impl Containers {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.by_id.keys().map(String::as_str)
    }

    /// Whether every container's init has ended.
    pub(crate) fn have_ended(&self) -> bool {
        self.by_id
            .values()
            .all(|container| container.init.exited.is_some())
    }

    /// A number for a process's descriptors.
    pub(crate) fn new_serial(&mut self, name: &Name) -> u64 {
        self.last_serial += 1;
        self.by_serial.insert(self.last_serial, name.clone());
        self.last_serial
    }

    pub(crate) fn name_of(&self, serial: u64) -> Option<Name> {
        self.by_serial.get(&serial).cloned()
    }

    pub(crate) fn insert(&mut self, id: &str, container: Container) {
        self.by_id.insert(id.to_owned(), container);
    }

    /// Forgets a container and its processes.
    pub(crate) fn remove(&mut self, id: &str) -> Option<Container> {
        self.by_serial.retain(|_, name| name.container != id);
        self.by_id.remove(id)
    }

    /// Forgets a further process.
    pub(crate) fn remove_exec(&mut self, name: &Name) -> Option<Process> {
        let container = self.by_id.get_mut(&name.container)?;
        let process = container.execs.remove(&name.exec)?;
        self.by_serial.remove(&process.serial);
        Some(process)
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    pub(crate) fn get(&self, id: &str) -> Result<&Container, Failure> {
        self.by_id.get(id).ok_or_else(|| no_container(id))
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Result<&mut Container, Failure> {
        self.by_id.get_mut(id).ok_or_else(|| no_container(id))
    }

    pub(crate) fn process(&self, name: &Name) -> Result<&Process, Failure> {
        let container = self.get(&name.container)?;
        match name.is_init() {
            true => Ok(&container.init),
            false => container
                .execs
                .get(&name.exec)
                .ok_or_else(|| no_process(name)),
        }
    }

    pub(crate) fn process_mut(&mut self, name: &Name) -> Result<&mut Process, Failure> {
        let container = self.get_mut(&name.container)?;
        match name.is_init() {
            true => Ok(&mut container.init),
            false => container
                .execs
                .get_mut(&name.exec)
                .ok_or_else(|| no_process(name)),
        }
    }

    /// Forgets who waits for ends and has gone.
    pub(crate) fn forget_waiters(&mut self, connection: u64) {
        for process in self.all_processes() {
            process
                .waiters
                .retain(|waiter| waiter.connection != connection);
            if process.waiters.is_empty() {
                process.waiters = Vec::new();
            }
        }
    }

    fn all_processes(&mut self) -> impl Iterator<Item = &mut Process> {
        self.by_id.values_mut().flat_map(|container| {
            std::iter::once(&mut container.init).chain(container.execs.values_mut())
        })
    }

    /// A standard stream is ready.
    pub(crate) fn streams_ready(&mut self, poller: &Poller, ready: Ready) {
        let serial = ready.token.serial;
        if let Some(streams) = self.retired.get_mut(&serial) {
            streams.ready(poller, ready);
            return self.bury();
        }
        let Some(name) = self.name_of(serial) else {
            return;
        };
        let mut notices = Vec::new();
        if let Ok(process) = self.process_mut(&name)
            && let Some(streams) = &mut process.streams
        {
            streams.ready(poller, ready);
            notices = streams.take_notices();
        }
        self.notices.append(&mut notices);
    }

    /// Keeps streams until their logger has ended.
    pub(crate) fn retire(&mut self, serial: u64, streams: Streams) {
        self.retired.insert(serial, streams);
    }

    /// Whether loggers have not ended yet.
    pub(crate) fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    fn bury(&mut self) {
        self.retired.retain(|_, streams| !streams.is_closed());
    }

    /// What streams have had to say since the last time.
    pub(crate) fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// When a standard stream wants to be looked at without being ready.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.by_id
            .values()
            .flat_map(|container| std::iter::once(&container.init).chain(container.execs.values()))
            .filter_map(|process| process.streams.as_ref())
            .chain(self.retired.values())
            .filter_map(Streams::next_deadline)
            .min()
    }

    pub(crate) fn tick(&mut self, poller: &Poller, now: Instant) {
        let mut notices = Vec::new();
        for process in self.all_processes() {
            if let Some(streams) = &mut process.streams {
                streams.tick(poller, now);
                notices.append(&mut streams.take_notices());
            }
        }
        for streams in self.retired.values_mut() {
            streams.tick(poller, now);
        }
        self.notices.append(&mut notices);
        self.bury();
    }
}

fn no_container(id: &str) -> Failure {
    Failure::not_found(format!("no such container: {id}: not found"))
}

fn no_process(name: &Name) -> Failure {
    let text = format!(
        "no such process: {} in container {}: process does not exist",
        name.exec, name.container
    );
    Failure::not_found(text)
}
