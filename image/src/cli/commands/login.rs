//! `tare image login`.

use std::io::{BufRead, IsTerminal, Read, Write};

use image::error::{Error, ErrorKind, Result};
use image::reference::DEFAULT_REGISTRY;
use image::registry::login::{self, Place};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::registry;
use crate::cli::arguments::Login;
use crate::cli::context::Context;
use crate::cli::output;

pub(crate) fn run(_: &Context, arguments: &Login) -> Result<()> {
    let name = arguments.registry.as_deref().unwrap_or(DEFAULT_REGISTRY);
    let file = registry::credential_file(arguments.options.authfile.as_ref())?;
    let username = match &arguments.username {
        Some(username) => username.clone(),
        None => ask("Username: ")?,
    };
    let password = match arguments.password_stdin {
        true => from_stdin()?,
        false => ask_secretly("Password: ")?,
    };
    let client = registry::client(&arguments.options, &[])?;
    let helpers = registry::helpers();
    let place = Place {
        file: &file,
        helpers: &helpers,
    };
    match login::login(&client, name, &username, &password, place)? {
        login::Login::Accepted => output::line("Login Succeeded"),
        login::Login::NotNeeded => {
            output::warning(&format!(
                "{name} lets everybody in, so the password was not tried"
            ));
            output::line("Login Succeeded")
        }
    }
}

fn from_stdin() -> Result<String> {
    const LONGEST: u64 = 64 << 10;
    let mut text = String::new();
    std::io::stdin()
        .take(LONGEST)
        .read_to_string(&mut text)
        .map_err(|error| Error::system("read the password", error))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn ask(question: &str) -> Result<String> {
    if !std::io::stdin().is_terminal() {
        let message = "there is no terminal to ask on: give --username NAME and --password-stdin";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let step = |error| Error::system("ask on the terminal", error);
    write!(std::io::stderr(), "{question}").map_err(step)?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(step)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// What is typed is not shown.
fn ask_secretly(question: &str) -> Result<String> {
    let stdin = std::io::stdin();
    let Ok(before) = tcgetattr(&stdin) else {
        return ask(question);
    };
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    let step = |errno| Error::system("silence the terminal", errno);
    tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(step)?;
    let answer = ask(question);
    tcsetattr(&stdin, OptionalActions::Flush, &before).map_err(step)?;
    // The line's end was not shown either.
    writeln!(std::io::stderr()).ok();
    answer
}
