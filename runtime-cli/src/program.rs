//! From arguments to an exit status: global flags, then one command.

use runtime_core::features::SPECIFICATION;
use runtime_core::protect;

use crate::command_line::{Command, HELP, ParseError, Parsed, parse};
use crate::commands;
use crate::environment;
use crate::exit::Exit;
use crate::extension;
use crate::failure::{Failure, While};
use crate::flags;
use crate::globals::Globals;
use crate::help;
use crate::log::Log;
use crate::output;

/// Runs the command that the arguments name, and logs why it failed if it did.
pub(crate) fn run(arguments: &[String]) -> Exit {
    let mut log = Log::default();
    run_logging(arguments, &mut log).unwrap_or_else(|failure| {
        if let Some(text) = &failure.output {
            // The failure itself is what counts; its help text may find no reader.
            output::print(text).ok();
        }
        log.error(&failure);
        failure.exit
    })
}

/// The same, with a log that is replaced as soon as the flags say where it goes.
fn run_logging(arguments: &[String], log: &mut Log) -> Result<Exit, Failure> {
    let parsed = parse(flags::GLOBAL, true, arguments).map_err(wrong_global_usage)?;
    if parsed.is_on(&HELP) {
        return show(&help::of_program());
    }
    if parsed.is_on(&flags::VERSION) {
        return show(&version());
    }
    crate::sys::hear_of_children().doing("reset SIGCHLD")?;
    // Before anything is opened: this may execute the program anew.
    let protected = protect(&parsed);
    *log = Globals::open_log(&parsed)?;
    protected?;
    let mut globals = Globals::new(&parsed)?;
    std::mem::swap(&mut globals.log, log);
    let outcome = dispatch(&globals, &parsed);
    std::mem::swap(&mut globals.log, log);
    outcome
}

/// Puts this program's file out of the reach of containers, for a command that enters one.
fn protect(parsed: &Parsed<'_>) -> Result<(), Failure> {
    let name = parsed.operands.first().copied().unwrap_or_default();
    let command = commands::COMMANDS
        .iter()
        .find(|command| command.name == name);
    if command.is_some_and(|command| command.enters_containers) {
        let done = protect::ensure(&environment::arguments(), &environment::all());
        done.map_err(|error| Failure::from(error).ending(failed(name)))?;
    }
    Ok(())
}

/// How a command ends that has failed before it began.
fn failed(name: &str) -> Exit {
    match name {
        "exec" => Exit::ExecFailed,
        _ => Exit::Failed,
    }
}

fn dispatch(globals: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    let Some((&name, _)) = parsed.operands.split_first() else {
        return show(&help::of_program());
    };
    let arguments: Vec<String> = parsed.operands[1..]
        .iter()
        .map(|&word| word.into())
        .collect();
    match name {
        "help" | "h" => show_help(arguments.first().map(String::as_str)),
        _ => {
            let command = find(name);
            if command.is_err() {
                extension::become_extension(name, parsed)?;
            }
            run_command(globals, command?, &arguments)
        }
    }
}

fn run_command(
    globals: &Globals,
    command: &Command,
    arguments: &[String],
) -> Result<Exit, Failure> {
    let parsed = parse(command.flags, command.stops_at_first_operand, arguments)
        .map_err(|error| wrong_usage(command, &error))?;
    if parsed.is_on(&HELP) {
        return show(&help::of_command(command));
    }
    let count = command.count.check(command.name, parsed.operands.len());
    count.map_err(|message| {
        let help = help::of_command(command);
        Failure::usage(message, format!("Incorrect Usage.\n\n{help}"))
    })?;
    (command.run)(globals, &parsed)
}

fn find(name: &str) -> Result<&'static Command, Failure> {
    commands::COMMANDS
        .iter()
        .find(|command| command.name == name)
        .copied()
        .ok_or_else(|| {
            Failure::new(format_args!("No help topic for '{name}'")).ending(Exit::UnknownCommand)
        })
}

fn show_help(name: Option<&str>) -> Result<Exit, Failure> {
    match name {
        None | Some("help" | "h") => show(&help::of_program()),
        Some(name) => show(&help::of_command(find(name)?)),
    }
}

fn show(text: &str) -> Result<Exit, Failure> {
    output::print(text)?;
    Ok(Exit::Success)
}

fn wrong_global_usage(error: ParseError<'_>) -> Failure {
    let help = help::of_program();
    Failure::usage(&error, format!("Incorrect Usage. {error}\n\n{help}"))
}

fn wrong_usage(command: &Command, error: &ParseError<'_>) -> Failure {
    let help = help::of_command(command);
    Failure::usage(error, format!("Incorrect Usage: {error}\n\n{help}"))
}

/// What `--version` prints. Docker takes what follows the last "version" of any line, so only
/// the first line has that word.
fn version() -> String {
    format!(
        "tare version {}\ncommit: {}\nspec: {}\n",
        env!("CARGO_PKG_VERSION"),
        COMMIT,
        SPECIFICATION,
    )
}

/// The commit this program was built from, if the build knew it.
pub(crate) const COMMIT: &str = match option_env!("TARE_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
