//! `tare resume`.

use super::container_id;
use crate::command_line::{Command, Count, Parsed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;

pub(super) const COMMAND: Command = Command {
    name: "resume",
    summary: "let the processes of a paused container go on",
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
    globals.runtime()?.open(&id)?.resume()?;
    Ok(Exit::Success)
}
