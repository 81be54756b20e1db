//! Help texts, generated from the table of commands.

use std::fmt::Write;

use crate::command_line::{Command, Flag, HELP};
use crate::commands::COMMANDS;
use crate::flags::GLOBAL;

/// The help text of the program.
pub(crate) fn of_program() -> String {
    let mut text = String::from(
        "NAME:\n   tare - run containers from OCI bundles\n\n\
         USAGE:\n   tare [global options] <command> [options] [arguments...]\n\n\
         DESCRIPTION:\n   A bundle is a directory with a config.json and a root filesystem. To run the one in\n   \
         the current directory under a name of your choice:\n\n       \
         # tare run <container-id>\n\n   \
         `tare spec` writes a config.json to start from, `tare plan` says what it would do.\n   \
         A program named tare-NAME beside this one, or on PATH, is the command `tare NAME`.\n\n\
         COMMANDS:\n",
    );
    let names = COMMANDS
        .iter()
        .map(|command| (command.name, command.summary));
    let help = ("help, h", "show the commands, or the help of one");
    rows(&mut text, names.chain([help]));
    text.push_str("\nGLOBAL OPTIONS:\n");
    options(&mut text, GLOBAL);
    text
}

/// The help text of one command.
pub(crate) fn of_command(command: &Command) -> String {
    let mut text = format!(
        "NAME:\n   tare {name} - {summary}\n\nUSAGE:\n   tare {name} [options]{space}{operands}\n",
        name = command.name,
        summary = command.summary,
        space = if command.operands.is_empty() { "" } else { " " },
        operands = command.operands,
    );
    if !command.description.is_empty() {
        text.push_str("\nDESCRIPTION:\n");
        for line in command.description.lines() {
            let indent = if line.is_empty() { "" } else { "   " };
            writeln!(text, "{indent}{line}").expect("a String takes all text");
        }
    }
    text.push_str("\nOPTIONS:\n");
    options(&mut text, command.flags);
    text
}

fn options(text: &mut String, flags: &[&Flag]) {
    let described: Vec<(String, &str)> = flags
        .iter()
        .chain([&&HELP])
        .filter(|flag| !flag.help.is_empty())
        .map(|flag| (spelling(flag), flag.help))
        .collect();
    rows(
        text,
        described
            .iter()
            .map(|(left, right)| (left.as_str(), *right)),
    );
}

/// `--name VALUE, -n VALUE`, and dots when it may be repeated.
fn spelling(flag: &Flag) -> String {
    let value = match flag.takes.placeholder() {
        Some(word) if flag.takes.repeats() => format!(" {word}..."),
        Some(word) => format!(" {word}"),
        None => String::new(),
    };
    match flag.short {
        Some(short) => format!("--{}, -{short}{value}", flag.name),
        None => format!("--{}{value}", flag.name),
    }
}

/// Two columns, the right one aligned.
fn rows<'a>(text: &mut String, rows: impl Iterator<Item = (&'a str, &'a str)> + Clone) {
    let lengths = rows.clone().map(|(left, _)| left.chars().count());
    let width = lengths.max().unwrap_or(0);
    for (left, right) in rows {
        writeln!(text, "   {left:width$}  {right}").expect("a String takes all text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_says_what_it_can_do() {
        insta::assert_snapshot!("tare", of_program());
    }

    #[test]
    fn every_command_explains_itself() {
        for command in COMMANDS {
            insta::assert_snapshot!(format!("tare-{}", command.name), of_command(command));
        }
    }

    #[test]
    fn no_two_flags_of_a_command_are_spelled_alike() {
        for command in COMMANDS {
            let mut spelled: Vec<&str> = command
                .flags
                .iter()
                .chain([&&HELP])
                .flat_map(|flag| [Some(flag.name), flag.short])
                .flatten()
                .collect();
            spelled.sort_unstable();
            let count = spelled.len();
            spelled.dedup();
            assert_eq!(spelled.len(), count, "tare {}", command.name);
        }
    }

    #[test]
    fn a_summary_is_a_clause_without_a_period() {
        for command in COMMANDS {
            assert!(!command.summary.ends_with('.'), "tare {}", command.name);
            assert!(
                command
                    .summary
                    .starts_with(|letter: char| letter.is_ascii_lowercase()),
                "tare {}",
                command.name
            );
        }
    }
}
