//! The program inside: it says what a process of the container sees, or does what a case asks.
//!
//! It is this very binary, static, so that it needs nothing of the root filesystem.

use std::io::Write;
use std::process::ExitCode;

mod acts;
mod attack;
mod calls;
mod hook;
mod report;

/// Does what the words say. Each word list is one case's business; see the functions.
pub fn inside(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["report"] => print(&report::report().to_string()),
        ["report", path] => write(path, &report::report().to_string()),
        ["exit", code] => ExitCode::from(code.parse().unwrap_or(99)),
        ["print", text] => print(text),
        ["wait"] => acts::wait(),
        ["wait", "deaf"] => acts::wait_deaf(),
        ["signalled", path] => acts::note_signals(path),
        ["hook", log, name, rest @ ..] => hook::hook(log, name, rest),
        ["note", log, name] => hook::note(log, name),
        ["hold", kinds @ ..] => hook::hold(kinds),
        ["orphan"] => acts::leave_an_orphan(),
        ["adopt"] => acts::leave_a_grandchild(),
        ["die", number] => acts::die(number),
        ["notify", words @ ..] => acts::notify(words),
        ["attack", rest @ ..] => attack::attack(rest),
        ["count", rest @ ..] => print(&rest.len().to_string()),
        ["calls"] => print(&calls::calls().to_string()),
        ["try", rest @ ..] => print(&acts::try_all(rest).to_string()),
        _ => {
            print(&format!("inside: unknown words {words:?}"));
            ExitCode::from(98)
        }
    }
}

fn print(text: &str) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    let done = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    ExitCode::from(if done.is_ok() { 0 } else { 97 })
}

fn write(path: &str, text: &str) -> ExitCode {
    ExitCode::from(if std::fs::write(path, text).is_ok() {
        0
    } else {
        97
    })
}
