//! `tare pause`.

use super::container_id;
use crate::command_line::{Command, Count, Parsed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;

pub(super) const COMMAND: Command = Command {
    name: "pause",
    summary: "stop all processes of a container until resume",
    operands: "<container-id>",
    count: Count::Exactly(1),
    stops_at_first_operand: false,
    description: "",
    enters_containers: false,
    flags: &[],
    run,
};

fn run(globals: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    let id = container_id(parsed)?;
    globals.runtime()?.open(&id)?.pause()?;
    Ok(Exit::Success)
}
