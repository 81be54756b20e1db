//! `tare start`.

use super::container_id;
use crate::command_line::{Command, Count, Parsed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::notify::Readiness;

pub(super) const COMMAND: Command = Command {
    name: "start",
    summary: "run the process of a created container",
    operands: "<container-id>",
    count: Count::Exactly(1),
    stops_at_first_operand: false,
    description: "The container must be `created`, and is `running` afterwards. If NOTIFY_SOCKET is set, and was\n\
                  for `tare create`, this waits until the container has said that it is ready, or has ended.",
    enters_containers: false,
    flags: &[],
    run,
};

fn run(globals: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    let id = container_id(parsed)?;
    let mut container = globals.runtime_with_environment()?.open(&id)?;
    let Some(readiness) = Readiness::listen(&mut container)? else {
        container.start()?;
        return Ok(Exit::Success);
    };
    // Before it can end.
    let init = container.init_process()?;
    container.start()?;
    if let Some(init) = init {
        readiness.wait(&init, &globals.log)?;
    }
    Ok(Exit::Success)
}
