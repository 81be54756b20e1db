//! Commands of other programs: `tare NAME …` is `tare-NAME …`, as git has it. So the layers on
//! top of the runtime (`tare image`) have a place on its command line, and it knows none of them.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command_line::Parsed;
use crate::exit::Exit;
use crate::failure::Failure;

/// Becomes the program `tare-NAME` if there is one; returns when there is none.
///
/// # Errors
/// Global options before the name, which that program would never see; what execve(2) says.
pub(crate) fn become_extension(name: &str, parsed: &Parsed<'_>) -> Result<(), Failure> {
    let Some(program) = find(name) else {
        return Ok(());
    };
    if parsed.has_flags() {
        let message = format!(
            "global options before {name:?} are for containers: those of `tare {name}` go behind it"
        );
        return Err(Failure::new(message).ending(Exit::Failed));
    }
    let arguments = parsed.operands.iter().skip(1);
    let error = Command::new(&program).args(arguments).exec();
    let message = format!("execute {}: {error}", program.display());
    Err(Failure::new(message).ending(Exit::Failed))
}

/// The program beside this one, or on PATH.
fn find(name: &str) -> Option<PathBuf> {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    if name.starts_with('-') || !name.bytes().all(is_word) {
        return None;
    }
    let file = format!("tare-{name}");
    let own = env::current_exe().ok();
    let beside = own.and_then(|own| own.parent().map(Path::to_owned));
    let path = env::var_os("PATH").unwrap_or_default();
    // A relative directory would be whoever's this process stands in.
    let directories = env::split_paths(&path).filter(|directory| directory.is_absolute());
    beside
        .into_iter()
        .chain(directories)
        .map(|directory| directory.join(&file))
        .find(|program| program.is_file())
}
