//! Programs of the host that build a guest.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::GuestError;
use crate::command::attempt;

/// Runs a program that must succeed within the limit; returns what it printed.
pub(super) fn run(command: &mut Command, limit: Duration) -> Result<String, GuestError> {
    let finished = attempt(command, b"", limit).map_err(GuestError)?;
    if finished.code != 0 {
        return Err(GuestError(finished.to_string()));
    }
    Ok(finished.stdout)
}

/// The program with its arguments.
pub(super) fn tool(name: &str, arguments: &[&str]) -> Command {
    // Administration's directories are not on everybody's path.
    let path = crate::find_program(name).unwrap_or_else(|| name.into());
    let mut command = Command::new(path);
    command.args(arguments);
    command
}

/// A path as an argument among others.
pub(super) fn text(path: &Path) -> Result<&str, GuestError> {
    let text = path.to_str();
    text.ok_or_else(|| GuestError(format!("{} is no text", path.display())))
}
