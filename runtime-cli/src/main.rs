//! The `tare` program: runc's command line on the library `runtime_core`.
//!
//! `command_line` is the parser, `commands` the table it reads and what each command does;
//! everything that touches a container is one call of the library.

#![deny(unsafe_code)]

use std::env;
use std::process::ExitCode;

use crate::exit::Exit;
use crate::failure::Failure;

mod command_line;
mod commands;
mod console;
mod criu;
mod duration;
mod environment;
mod exit;
mod extension;
mod failure;
mod flags;
mod foreground;
mod globals;
mod help;
mod launch;
mod log;
mod notify;
mod output;
mod pid_file;
mod program;
mod quantity;
mod signals;
mod sys;
mod terminal;
mod user;

#[global_allocator]
static MEMORY: arena::Arena = arena::Arena::new();

fn main() -> ExitCode {
    let exit = match arguments() {
        Ok(arguments) => program::run(&arguments),
        Err(failure) => {
            log::Log::default().error(&failure);
            failure.exit
        }
    };
    ExitCode::from(exit.code())
}

/// The arguments without the program's name. A container's process gets its arguments by
/// JSON, which has only UTF-8.
fn arguments() -> Result<Vec<String>, Failure> {
    env::args_os()
        .skip(1)
        .map(|argument| {
            argument.into_string().map_err(|argument| {
                Failure::new(format_args!("argument {argument:?} is not valid UTF-8"))
                    .ending(Exit::Failed)
            })
        })
        .collect()
}
