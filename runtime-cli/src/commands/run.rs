//! `tare run`.

use std::os::fd::OwnedFd;

use runtime_core::{Bundle, Container, ContainerId, Process, Runtime};

use super::container_id;
use super::create::{create_options, log_creation, open_bundle, wants_terminal};
use crate::command_line::{Command, Count, Parsed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::flags::{
    BUNDLE, CONSOLE_SOCKET, DETACH, KEEP, NO_NEW_KEYRING, NO_PIVOT, NO_SUBREAPER, PID_FILE,
    PIDFD_SOCKET, PRESERVE_FDS,
};
use crate::foreground::{Signals, Told, adopt_orphans};
use crate::globals::Globals;
use crate::launch::{self, Surroundings};
use crate::notify::{self, Readiness};

pub(super) const COMMAND: Command = Command {
    name: "run",
    summary: "create a container from a bundle and start it",
    operands: "<container-id>",
    count: Count::Exactly(1),
    stops_at_first_operand: false,
    description: "Waits for the container's process and ends with its status, or with 128 and the number\n\
                  of the signal that ended it; then the container is deleted. With --detach it returns as\n\
                  soon as the process runs.",
    enters_containers: true,
    flags: &[
        &BUNDLE,
        &CONSOLE_SOCKET,
        &PIDFD_SOCKET,
        &PID_FILE,
        &DETACH,
        &KEEP,
        &NO_SUBREAPER,
        &NO_PIVOT,
        &NO_NEW_KEYRING,
        &PRESERVE_FDS,
    ],
    run,
};

fn run(globals: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    let id = container_id(parsed)?;
    let bundle = open_bundle(parsed)?;
    let detach = parsed.is_on(&DETACH);
    let surroundings = Surroundings::open(parsed, wants_terminal(&bundle)?, detach)?;
    let new = New {
        globals,
        parsed,
        runtime: globals.runtime_with_environment()?,
        id,
        bundle,
    };
    if detach {
        new.detach(surroundings)
    } else {
        new.attend(surroundings)
    }
}

/// A container about to run.
struct New<'a> {
    globals: &'a Globals,
    parsed: &'a Parsed<'a>,
    runtime: Runtime,
    id: ContainerId,
    bundle: Bundle,
}

impl New<'_> {
    /// Leaves the process to itself.
    fn detach(&self, surroundings: Surroundings) -> Result<Exit, Failure> {
        let started = self.start(surroundings, |process, _, readiness| {
            if let Some(readiness) = readiness {
                readiness.wait(process, &self.globals.log)?;
            }
            Ok(Exit::Success)
        });
        started.map(|(exit, _)| exit)
    }

    /// Waits for the process, and deletes the container unless it is to be kept.
    fn attend(&self, surroundings: Surroundings) -> Result<Exit, Failure> {
        let signals = Signals::block()?;
        if !self.parsed.is_on(&NO_SUBREAPER) {
            adopt_orphans()?;
        }
        let log = &self.globals.log;
        let (exit, container) = self.start(surroundings, |process, master, readiness| {
            let told = readiness.map(|readiness| Told { readiness, log });
            launch::attend(&signals, process, master, told)
        })?;
        if !self.parsed.is_on(&KEEP) {
            self.delete(container);
        }
        Ok(exit)
    }

    /// Creates and starts; `then` gets the process, its terminal's master, and what it will say
    /// of its readiness.
    ///
    /// A terminal that we attend ourselves must be ours before the process looks at it, and we
    /// listen before it speaks, so then this is done in two steps.
    ///
    /// What fails once the container is there deletes it. Before, there is none, or another's
    /// of this id.
    fn start(
        &self,
        surroundings: Surroundings,
        then: impl FnOnce(&Process, Option<OwnedFd>, Option<Readiness>) -> Result<Exit, Failure>,
    ) -> Result<(Exit, Container), Failure> {
        let in_two_steps = surroundings.terminal_is_ours() || notify::is_wanted();
        let mut container = {
            let options = create_options(self.parsed, &surroundings);
            if in_two_steps {
                self.runtime.create(&self.id, &self.bundle, &options)?
            } else {
                self.runtime.run(&self.id, &self.bundle, &options)?
            }
        };
        log_creation(self.globals, &container);
        let started = (|| {
            let master = surroundings.settle(init(&container)?)?;
            let readiness = Readiness::listen(&mut container)?;
            if in_two_steps {
                container.start()?;
            }
            then(init(&container)?, master, readiness)
        })();
        match started {
            Ok(exit) => Ok((exit, container)),
            Err(failure) => {
                self.delete_quietly();
                Err(failure)
            }
        }
    }

    /// The status is the process's, whatever becomes of this.
    fn delete(&self, container: Container) {
        let failures = match container.delete(true) {
            Ok(failures) => failures,
            Err(error) => return self.globals.log.error(&error.into()),
        };
        for failure in &failures {
            self.globals.log.warning(failure);
        }
    }

    /// After a failure, which is the one to report.
    fn delete_quietly(&self) {
        self.runtime.delete(&self.id, true).ok();
    }
}

fn init(container: &Container) -> Result<&Process, Failure> {
    let process = container.init();
    process.ok_or_else(|| Failure::new("the container's process is not this program's child"))
}
