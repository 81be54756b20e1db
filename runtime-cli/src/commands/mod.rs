//! The commands: one file each, with the row of the table and what the command does.

use runtime_core::ContainerId;

use crate::command_line::{Command, Parsed};
use crate::failure::Failure;

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod plan;
mod ps;
mod restore;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod update;

/// Every command, in the order of the help text.
pub(crate) const COMMANDS: &[&Command] = &[
    &create::COMMAND,
    &start::COMMAND,
    &run::COMMAND,
    &exec::COMMAND,
    &state::COMMAND,
    &list::COMMAND,
    &kill::COMMAND,
    &delete::COMMAND,
    &ps::COMMAND,
    &events::COMMAND,
    &pause::COMMAND,
    &resume::COMMAND,
    &update::COMMAND,
    &checkpoint::COMMAND,
    &restore::COMMAND,
    &spec::COMMAND,
    &plan::COMMAND,
    &features::COMMAND,
];

/// The container id, which is the first operand wherever there is one.
fn container_id(parsed: &Parsed<'_>) -> Result<ContainerId, Failure> {
    let text = parsed.operands.first().copied().unwrap_or_default();
    text.parse().map_err(Failure::invalid)
}

/// Text or structure: what `--format` chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// For people; the default.
    Text,
    /// For programs.
    Json,
}

impl Format {
    /// Reads the flag; `text` is the word for [`Format::Text`].
    fn parse(given: Option<&str>, text: &str) -> Result<Self, Failure> {
        match given {
            None => Ok(Self::Text),
            Some("json") => Ok(Self::Json),
            Some(word) if word == text => Ok(Self::Text),
            Some(other) => Err(Failure::new(format_args!(
                "invalid format option {other:?}: {text} or json"
            ))),
        }
    }
}
