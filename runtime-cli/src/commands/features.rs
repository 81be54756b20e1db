//! `tare features`: what this program can do, known when it was built. The host is not asked.

use runtime_core::Features;

use crate::command_line::{Command, Count, Parsed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output;

pub(super) const COMMAND: Command = Command {
    name: "features",
    summary: "show what this program supports as JSON",
    operands: "",
    count: Count::Exactly(0),
    stops_at_first_operand: false,
    description: "The structure is that of the runtime specification's features.md.",
    enters_containers: false,
    flags: &[],
    run,
};

fn run(_: &Globals, _: &Parsed<'_>) -> Result<Exit, Failure> {
    output::print(&(output::pretty(&Features::of_this_library(), "    ") + "\n"))?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_answer_is_known_in_advance() {
        insta::assert_snapshot!(
            "features",
            output::pretty(&Features::of_this_library(), "    ")
        );
    }
}
