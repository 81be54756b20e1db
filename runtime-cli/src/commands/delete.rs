//! `tare delete`.

use super::container_id;
use crate::command_line::{Command, Count, Parsed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::flags::FORCE;
use crate::globals::Globals;

pub(super) const COMMAND: Command = Command {
    name: "delete",
    summary: "remove a container that has stopped or was never started",
    operands: "<container-id>",
    count: Count::Exactly(1),
    stops_at_first_operand: false,
    description: "Removes its processes, its cgroup and its state. With --force that works whatever was\n\
                  interrupted before.",
    enters_containers: false,
    flags: &[&FORCE],
    run,
};

fn run(globals: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    let id = container_id(parsed)?;
    let failures = globals
        .runtime_with_environment()?
        .delete(&id, parsed.is_on(&FORCE))?;
    for failure in &failures {
        globals.log.warning(failure);
    }
    Ok(Exit::Success)
}
