//! `tare create`, and what `tare run` shares with it.

use runtime_core::{Bundle, Container, CreateOptions, PlanOptions};

use super::container_id;
use crate::command_line::{Command, Count, Parsed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::flags::{
    BUNDLE, CONSOLE_SOCKET, NO_NEW_KEYRING, NO_PIVOT, PID_FILE, PIDFD_SOCKET, PRESERVE_FDS,
};
use crate::globals::{self, Globals};
use crate::launch::Surroundings;
use crate::notify;

pub(super) const COMMAND: Command = Command {
    name: "create",
    summary: "make a container from a bundle, ready to start",
    operands: "<container-id>",
    count: Count::Exactly(1),
    stops_at_first_operand: false,
    description: "The container is made in full, and its process waits for `tare start`.",
    enters_containers: true,
    flags: &[
        &BUNDLE,
        &CONSOLE_SOCKET,
        &PIDFD_SOCKET,
        &PID_FILE,
        &NO_PIVOT,
        &NO_NEW_KEYRING,
        &PRESERVE_FDS,
    ],
    run,
};

fn run(globals: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    let id = container_id(parsed)?;
    let bundle = open_bundle(parsed)?;
    let surroundings = Surroundings::open(parsed, wants_terminal(&bundle)?, true)?;
    let runtime = globals.runtime_with_environment()?;
    let container = runtime.create(&id, &bundle, &create_options(parsed, &surroundings))?;
    log_creation(globals, &container);
    let settled = match container.init() {
        Some(process) => surroundings.settle(process),
        None => Ok(None),
    };
    if let Err(failure) = settled {
        // The first failure is the one to report.
        runtime.delete(&id, true).ok();
        return Err(failure);
    }
    Ok(Exit::Success)
}

/// The bundle that `--bundle` names.
pub(super) fn open_bundle(parsed: &Parsed<'_>) -> Result<Bundle, Failure> {
    let path = globals::absolute(parsed.path(&BUNDLE).unwrap_or("."))?;
    Ok(Bundle::open(&path)?)
}

/// Whether the bundle's process is to have a terminal.
pub(super) fn wants_terminal(bundle: &Bundle) -> Result<bool, Failure> {
    let spec = bundle.spec()?;
    let process = spec.process.as_ref();
    Ok(process.and_then(|process| process.terminal) == Some(true))
}

/// What the flags and surroundings mean for the library.
pub(super) fn create_options<'a>(
    parsed: &Parsed<'_>,
    surroundings: &'a Surroundings,
) -> CreateOptions<'a> {
    CreateOptions {
        plan: PlanOptions {
            no_pivot: parsed.is_on(&NO_PIVOT),
            no_new_keyring: parsed.is_on(&NO_NEW_KEYRING),
            ..surroundings.plan_options()
        },
        console_socket: surroundings.console_socket(),
        pidfd_socket: surroundings.pidfd_socket(),
        stdio: None,
        notifies: notify::is_wanted(),
    }
}

/// What was made, with `--debug`, and what of config.json could not be.
pub(super) fn log_creation(globals: &Globals, container: &Container) {
    for warning in container.warnings() {
        globals.log.warning(warning);
    }
    if let Some(process) = container.init() {
        let (id, pid) = (container.id(), process.pid());
        globals
            .log
            .debug(&format!("container {id} has init process {pid}"));
    }
}
