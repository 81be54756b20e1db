//! `tare plan`.

use runtime_core::violation::Violations;
use runtime_core::{ContainerId, PlanOptions};
use serde::Serialize;

use super::Format;
use super::create::open_bundle;
use crate::command_line::{Command, Count, Parsed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::flags::{BUNDLE, NO_NEW_KEYRING, NO_PIVOT, TEXT_OR_JSON};
use crate::globals::Globals;
use crate::output;

pub(super) const COMMAND: Command = Command {
    name: "plan",
    summary: "show what create would do, without doing it",
    operands: "[container-id]",
    count: Count::Between(0, 1),
    stops_at_first_operand: false,
    description: "Needs no privilege. For a bundle that breaks the specification it lists every broken rule\n\
                  with its place in config.json.",
    enters_containers: false,
    flags: &[&BUNDLE, &TEXT_OR_JSON, &NO_PIVOT, &NO_NEW_KEYRING],
    run,
};

/// The container's name in a plan that was asked for without one.
const EXAMPLE: &str = "example";

fn run(globals: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    let format = Format::parse(parsed.text(&TEXT_OR_JSON), "text")?;
    let id = parsed.operands.first().copied().unwrap_or(EXAMPLE);
    let id: ContainerId = id.parse().map_err(Failure::new)?;
    let bundle = open_bundle(parsed)?;
    let options = PlanOptions {
        no_pivot: parsed.is_on(&NO_PIVOT),
        no_new_keyring: parsed.is_on(&NO_NEW_KEYRING),
        ..PlanOptions::default()
    };
    let planned = globals.runtime()?.plan(&id, &bundle, &options);
    let plan = planned.map_err(|error| with_violations(error, format))?;
    let text = match format {
        Format::Text => plan.to_text(),
        Format::Json => output::pretty(&plan.to_json(), "  ") + "\n",
    };
    output::print(&text)?;
    Ok(Exit::Success)
}

/// The failure, with every violation on stdout: a line each, or as one JSON value.
fn with_violations(error: runtime_core::Error, format: Format) -> Failure {
    let Some(violations) = error.violations() else {
        return error.into();
    };
    let listed = match format {
        Format::Text => violations
            .0
            .iter()
            .map(|violation| format!("{violation}\n"))
            .collect(),
        Format::Json => output::pretty(&Listed { violations }, "  ") + "\n",
    };
    Failure {
        output: Some(listed),
        ..error.into()
    }
}

/// What a bad bundle's plan is in JSON.
#[derive(Serialize)]
struct Listed<'a> {
    violations: &'a Violations,
}
