//! The command line on the library.

mod arguments;
mod child;
mod commands;
mod context;
mod output;
mod parser;
mod progress;
mod rootless;
mod sys;

use std::process::ExitCode;

use image::error::{Error, Result};

use arguments::{Arguments, Command};
use context::Context;

/// Runs the command line.
pub(crate) fn run() -> ExitCode {
    let begun = sys::hear_of_children()
        .map_err(|error| Error::system("reset SIGCHLD", error))
        .and_then(|()| rootless::enter_if_asked());
    if let Err(error) = begun {
        return fail(&error);
    }
    let arguments = match parser::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to the standard output and is no error.
            error.print().ok();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

fn fail(error: &Error) -> ExitCode {
    output::error(error);
    ExitCode::FAILURE
}

fn dispatch(arguments: &Arguments) -> Result<ExitCode> {
    if handles_owners(&arguments.command) && rootless::is_needed() {
        return rootless::start_again();
    }
    let context = Context::open(&arguments.globals)?;
    let done = |result: Result<()>| result.map(|()| ExitCode::SUCCESS);
    match &arguments.command {
        Command::Pull(pull) => done(commands::pull::run(&context, pull)),
        Command::Push(push) => done(commands::push::run(&context, push)),
        Command::List(list) => done(commands::list::run(&context, list)),
        Command::Inspect(inspect) => done(commands::inspect::run(&context, inspect)),
        Command::History(history) => done(commands::history::run(&context, history)),
        Command::Tag(tag) => done(commands::tag::run(&context, tag)),
        Command::Remove(remove) => done(commands::remove::run(&context, remove)),
        Command::Save(save) => done(commands::save::run(&context, save)),
        Command::Load(load) => done(commands::load::run(&context, load)),
        Command::Import(import) => done(commands::import::run(&context, import)),
        Command::Export(export) => done(commands::export::run(&context, export)),
        Command::Unpack(unpack) => done(commands::unpack::run(&context, unpack)),
        Command::Mount(mount) => done(commands::mount::run(&context, mount)),
        Command::Unmount(unmount) => done(commands::unmount::run(&context, unmount)),
        Command::Run(run) => commands::run::run(&context, run),
        Command::Prune(prune) => done(commands::prune::run(&context, prune)),
        Command::Login(login) => done(commands::login::run(&context, login)),
        Command::Logout(logout) => done(commands::logout::run(&context, logout)),
        Command::Copy(copy) => done(commands::copy::run(&context, copy)),
        Command::Diff(diff) => done(commands::diff::run(&context, diff)),
    }
}

/// Whether a command deals with files of several owners, or with mounts.
fn handles_owners(command: &Command) -> bool {
    match command {
        Command::Unpack(_)
        | Command::Mount(_)
        | Command::Unmount(_)
        | Command::Run(_)
        | Command::Prune(_)
        | Command::Export(_)
        | Command::Diff(_) => true,
        Command::Pull(pull) => pull.unpack,
        Command::Remove(remove) => !remove.remote,
        _ => false,
    }
}
