//! Runs the built binary, and runc beside it where that is installed.
#![allow(dead_code, reason = "each test program uses a part of this")]

use std::process::{Command, Output, Stdio};

/// What a call did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Exit status.
    pub(crate) status: i32,
    /// As text.
    pub(crate) stdout: String,
    /// As text.
    pub(crate) stderr: String,
}

impl Outcome {
    /// What the caller sees of a finished process.
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            status: output.status.code().expect("no signal ended it"),
            stdout: String::from_utf8(output.stdout.clone()).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr.clone()).expect("stderr is UTF-8"),
        }
    }
}

/// `tare` with these arguments, with pipes for stdio.
pub(crate) fn tare_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tare"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs `tare` to its end.
pub(crate) fn tare(arguments: &[&str]) -> Outcome {
    Outcome::of(&tare_command(arguments).output().expect("tare can be run"))
}

#[expect(clippy::print_stderr, reason = "a skipped comparison is said aloud")]
/// Runs `runc` to its end; None, said aloud, where there is none.
pub(crate) fn runc(arguments: &[&str]) -> Option<Outcome> {
    match Command::new("runc")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
    {
        Ok(output) => Some(Outcome::of(&output)),
        Err(error) => {
            assert!(
                std::env::var_os("REQUIRE_KERNEL").is_none(),
                "runc can't be run: {error}"
            );
            eprintln!("not compared with runc, which can't be run: {error}");
            None
        }
    }
}
