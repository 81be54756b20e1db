//! `tare list`.

use std::io::{self, Write};

use nix::unistd::{Uid, User};
use runtime_core::State;

use super::Format;
use super::state::Shown;
use crate::command_line::{Command, Count, Parsed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::flags::{QUIET, TABLE_OR_JSON};
use crate::globals::Globals;
use crate::output;

pub(super) const COMMAND: Command = Command {
    name: "list",
    summary: "list the containers of the state root",
    operands: "",
    count: Count::Exactly(0),
    stops_at_first_operand: false,
    description: "A container whose state can't be read is named on stderr and left out.",
    enters_containers: false,
    flags: &[&TABLE_OR_JSON, &QUIET],
    run,
};

fn run(globals: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    let format = Format::parse(parsed.text(&TABLE_OR_JSON), "table")?;
    let root = globals.state_root()?;
    if root.given && !root.path.exists() {
        let path = root.path.display();
        return Err(Failure::new(format_args!(
            "--root: open {path}: no such file or directory"
        )));
    }
    let states = readable_states(globals)?;
    let text = if parsed.is_on(&QUIET) {
        states
            .iter()
            .map(|state| format!("{}\n", state.id))
            .collect()
    } else if format == Format::Json {
        json(&states)
    } else {
        table(&states)
    };
    output::print(&text)?;
    Ok(Exit::Success)
}

fn readable_states(globals: &Globals) -> Result<Vec<State>, Failure> {
    let mut states = Vec::new();
    for (id, state) in globals.runtime()?.list()? {
        match state {
            Ok(state) => states.push(state),
            // Not the failure of this command, so no record of the log. Without a reader
            // there is nobody to tell.
            Err(error) => {
                writeln!(io::stderr(), "load container {id}: {error}").unwrap_or_default()
            }
        }
    }
    Ok(states)
}

/// One line; runc has `null` for an empty list, and callers know it.
fn json(states: &[State]) -> String {
    if states.is_empty() {
        return "null\n".to_owned();
    }
    let shown: Vec<Shown<'_>> = states.iter().map(shown).collect();
    serde_json::to_string(&shown).expect("a state has string keys") + "\n"
}

fn shown(state: &State) -> Shown<'_> {
    Shown {
        state,
        owner: owner(state),
    }
}

/// The name of the user who made the container, or the number of one that has no name here.
fn owner(state: &State) -> String {
    let user = User::from_uid(Uid::from_raw(state.owner)).ok().flatten();
    user.map_or_else(|| state.owner.to_string(), |user| user.name)
}

fn table(states: &[State]) -> String {
    let heading = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |state: &State| {
        [
            state.id.clone(),
            state.pid.to_string(),
            state.status.to_string(),
            state.bundle.display().to_string(),
            state.created.clone(),
            owner(state),
        ]
    };
    let rows: Vec<[String; 6]> = [heading]
        .into_iter()
        .chain(states.iter().map(row))
        .collect();
    output::table(&rows)
}
