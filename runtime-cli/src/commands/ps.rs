//! `tare ps`.

use std::collections::BTreeSet;
use std::process::{Command as Program, Stdio};

use super::{Format, container_id};
use crate::command_line::{Command, Count, Parsed};
use crate::exit::Exit;
use crate::failure::{Failure, While};
use crate::flags::TABLE_OR_JSON;
use crate::globals::Globals;
use crate::output;

pub(super) const COMMAND: Command = Command {
    name: "ps",
    summary: "list the processes of a container",
    operands: "<container-id> [ps options...]",
    count: Count::AtLeast(1),
    stops_at_first_operand: true,
    description: "The table is that of the host's ps(1) with these options (default: -ef), without the other\n\
                  processes. Pids are the host's.",
    enters_containers: false,
    flags: &[&TABLE_OR_JSON],
    run,
};

fn run(globals: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    let id = container_id(parsed)?;
    let format = Format::parse(parsed.text(&TABLE_OR_JSON), "table")?;
    let pids = globals.runtime()?.open(&id)?.processes()?;
    let text = match format {
        Format::Json => serde_json::to_string(&pids).expect("numbers are JSON") + "\n",
        Format::Text => only_of(
            &pids.into_iter().collect(),
            &hosts_table(&parsed.operands[1..])?,
        )?,
    };
    output::print(&text)?;
    Ok(Exit::Success)
}

/// What the host's ps(1) says about all processes.
fn hosts_table(options: &[&str]) -> Result<String, Failure> {
    let options = if options.is_empty() {
        &["-ef"]
    } else {
        options
    };
    let shown = options.join(" ");
    let output = Program::new("ps")
        .args(options)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .doing(format_args!("run ps {shown}"))?;
    if !output.status.success() {
        return Err(Failure::new(format_args!("ps {shown}: {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The heading, and the lines whose PID column has one of these pids.
fn only_of(pids: &BTreeSet<i32>, table: &str) -> Result<String, Failure> {
    let mut lines = table.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading.split_whitespace().position(|title| title == "PID");
    let column = column.ok_or_else(|| Failure::new("couldn't find PID field in ps output"))?;
    let is_of = |line: &&str| {
        let pid = line.split_whitespace().nth(column);
        pid.and_then(|pid| pid.parse().ok())
            .is_some_and(|pid| pids.contains(&pid))
    };
    Ok([heading]
        .into_iter()
        .chain(lines.filter(is_of))
        .map(|line| format!("{line}\n"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "UID     PID  PPID CMD\nroot      1     0 init 12\nroot     12     1 sh\n";

    #[test]
    fn other_processes_are_left_out_by_the_pid_column() {
        let found = only_of(&BTreeSet::from([12, 99]), TABLE).unwrap();
        assert_eq!(found, "UID     PID  PPID CMD\nroot     12     1 sh\n");
    }

    #[test]
    fn a_table_without_pids_is_an_error() {
        assert!(only_of(&BTreeSet::new(), "USER CMD\n").is_err());
        assert!(only_of(&BTreeSet::new(), "").is_err());
    }
}
