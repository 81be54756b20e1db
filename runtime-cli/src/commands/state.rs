//! `tare state`.

use runtime_core::State;
use serde::Serialize;

use super::container_id;
use crate::command_line::{Command, Count, Parsed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output;

pub(super) const COMMAND: Command = Command {
    name: "state",
    summary: "show the state of a container as JSON",
    operands: "<container-id>",
    count: Count::Exactly(1),
    stops_at_first_operand: false,
    description: "The status is creating, created, running, paused or stopped; a stopped container has pid 0.",
    enters_containers: false,
    flags: &[],
    run,
};

/// A state as runc prints it, with its owner last.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    /// What the library knows.
    #[serde(flatten)]
    pub(super) state: &'a State,
    /// A name; `state` leaves it empty, `list` looks it up.
    pub(super) owner: String,
}

fn run(globals: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    let id = container_id(parsed)?;
    let state = globals.runtime()?.open(&id)?.state()?;
    let shown = Shown {
        state: &state,
        owner: String::new(),
    };
    output::print(&(output::pretty(&shown, "  ") + "\n"))?;
    Ok(Exit::Success)
}
