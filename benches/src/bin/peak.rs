//! `peak PROGRAM ARGUMENT…`: runs a program and prints its peak resident memory in KiB.
//!
//! A new program's peak starts as that of the process which called execve(2), so the launcher
//! has to be small, and must not be the program that measures.

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        return ExitCode::from(2);
    };
    let Ok(child) = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
    else {
        return ExitCode::from(127);
    };
    let (status, peak_kib) = wait(child.id());
    let mut stdout = std::io::stdout();
    if status != 0 || writeln!(stdout, "{peak_kib}").is_err() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The wait status of a child and its peak resident memory, with that of its own children.
fn wait(pid: u32) -> (i32, i64) {
    let mut status = 0;
    // SAFETY: all of a rusage's fields are integers, for which zero bytes are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `status` and `usage` are live, exclusively borrowed and of the types wait4 writes.
    let pid = unsafe { libc::wait4(pid.cast_signed(), &raw mut status, 0, &raw mut usage) };
    if pid < 0 {
        (-1, 0)
    } else {
        (status, usage.ru_maxrss)
    }
}
