//! The same system call by every convention that the kernel may have, for filters.

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use serde_json::{Value, json};

use crate::sys;

/// A way to call socket(2) for an IPv4 datagram socket: 0 or more, or the errno below 0.
type Call = fn() -> i64;

/// What came of each: `ok`, an errno's name, or the signal that ended it.
pub(super) fn calls() -> Value {
    let mut told = serde_json::Map::new();
    for (name, call) in ways() {
        told.insert(name.to_owned(), json!(in_a_child(call)));
    }
    Value::Object(told)
}

#[cfg(target_arch = "x86_64")]
fn ways() -> Vec<(&'static str, Call)> {
    vec![
        ("native", sys::native_socket),
        ("x32", sys::x32_socket),
        ("i386", sys::i386_socket),
        ("i386-socketcall", sys::i386_socketcall),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn ways() -> Vec<(&'static str, Call)> {
    vec![("native", sys::native_socket)]
}

fn in_a_child(call: Call) -> String {
    match sys::fork() {
        Ok(ForkResult::Child) => {
            let result = call();
            let code = if result >= 0 {
                0
            } else {
                i32::try_from(-result).unwrap_or(255).min(255)
            };
            sys::exit_at_once(code)
        }
        Ok(ForkResult::Parent { child }) => end_of(child),
        Err(errno) => format!("{errno:?}"),
    }
}

fn end_of(child: Pid) -> String {
    match waitpid(child, None) {
        Ok(WaitStatus::Exited(_, 0)) => "ok".to_owned(),
        Ok(WaitStatus::Exited(_, code)) => format!("{:?}", nix::errno::Errno::from_raw(code)),
        Ok(WaitStatus::Signaled(_, signal, _)) => format!("{signal:?}"),
        other => format!("{other:?}"),
    }
}
