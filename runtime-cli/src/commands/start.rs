//! `tare start`.

use super::container_id;
use crate::command_line::{Command, Count, Parsed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;

pub(super) const COMMAND: Command = Command {
    name: "start",
    summary: "run the process of a created container",
    operands: "<container-id>",
    count: Count::Exactly(1),
    stops_at_first_operand: false,
    description: "The container must be `created`, and is `running` afterwards.",
    enters_containers: false,
    flags: &[],
    run,
};

fn run(globals: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    let id = container_id(parsed)?;
    globals.runtime_with_environment()?.open(&id)?.start()?;
    Ok(Exit::Success)
}
