//! `tare kill`.

use super::container_id;
use crate::command_line::{Command, Count, Parsed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::flags::ALL;
use crate::globals::Globals;
use crate::signals;

pub(super) const COMMAND: Command = Command {
    name: "kill",
    summary: "send a signal to the container's init process",
    operands: "<container-id> [signal]",
    count: Count::Between(1, 2),
    stops_at_first_operand: true,
    description: "The signal is a number or a name, with or without SIG, in any case; SIGTERM by default.",
    enters_containers: false,
    flags: &[&ALL],
    run,
};

fn run(globals: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    let id = container_id(parsed)?;
    let signal = match parsed.operands.get(1) {
        Some(text) => signals::parse(text)?,
        None => libc::SIGTERM,
    };
    let container = globals.runtime()?.open(&id)?;
    container.kill(signal, parsed.is_on(&ALL))?;
    Ok(Exit::Success)
}
