//! What the environment says: everything for hooks, and the descriptors of socket activation.

use std::env;
use std::ffi::CString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process;

use crate::command_line::parse_number;
use crate::failure::Failure;
use crate::sys;

/// The whole environment, as execve(2) takes it.
pub(crate) fn all() -> Vec<CString> {
    let entry = |(mut name, value): (std::ffi::OsString, std::ffi::OsString)| {
        name.push("=");
        name.push(value);
        // An entry of the kernel's own environment block has no NUL inside.
        CString::new(name.into_vec()).ok()
    };
    env::vars_os().filter_map(entry).collect()
}

/// All arguments, the program's name first, as execve(2) takes them.
pub(crate) fn arguments() -> Vec<CString> {
    // An argument of this process has no NUL inside.
    let argument = |text: std::ffi::OsString| CString::new(text.into_vec()).ok();
    env::args_os().filter_map(argument).collect()
}

/// How many descriptors from 3 on the service manager has passed to this process
/// (sd_listen_fds(3)): `LISTEN_FDS`, if `LISTEN_PID` is this process.
pub(crate) fn listen_fds() -> u32 {
    let number = |name| {
        let value = env::var_os(name)?;
        parse_number(std::str::from_utf8(value.as_bytes()).ok()?)
    };
    match (number("LISTEN_PID"), number("LISTEN_FDS")) {
        (Some(pid), Some(count)) if pid == process::id() => count,
        _ => 0,
    }
}

/// What the container's process gets of socket activation: it is process 1 there, and the
/// descriptors have the names that they have here (sd_listen_fds_with_names(3)).
pub(crate) fn listen_variables(count: u32) -> Vec<String> {
    variables_of(count, env::var("LISTEN_FDNAMES").ok().as_deref())
}

fn variables_of(count: u32, names: Option<&str>) -> Vec<String> {
    if count == 0 {
        return Vec::new();
    }
    let mut variables = vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()];
    variables.extend(names.map(|names| format!("LISTEN_FDNAMES={names}")));
    variables
}

/// Checks that the `listening` descriptors and `extra` ones after them are there to be passed
/// on, and returns how many that makes in all.
///
/// A descriptor that this program has opened itself is close-on-exec; one that its caller
/// left open for it can't be.
pub(crate) fn preserved_fds(listening: u32, extra: u32) -> Result<u32, Failure> {
    let first = listening.saturating_add(3);
    let end = first.saturating_add(extra);
    let is_inherited = |fd: &u32| i32::try_from(*fd).is_ok_and(sys::is_open_across_exec);
    if let Some(fd) = (3..first).find(|fd| !is_inherited(fd)) {
        return Err(Failure::new(format_args!(
            "LISTEN_FDS={listening}: descriptor {fd} is not open"
        )));
    }
    for (number, fd) in (1_u64..).zip(first..end) {
        if !is_inherited(&fd) {
            return Err(Failure::new(format_args!(
                "unable to stat preserved-fd {number} (of {extra}): descriptor {fd} is not open"
            )));
        }
    }
    Ok(end - 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_listens_to_nothing_gets_no_variables() {
        assert!(variables_of(0, Some("a:b")).is_empty());
        assert_eq!(variables_of(2, None), ["LISTEN_FDS=2", "LISTEN_PID=1"]);
    }

    #[test]
    fn names_of_descriptors_are_passed_on() {
        let named = ["LISTEN_FDS=2", "LISTEN_PID=1", "LISTEN_FDNAMES=a:b"];
        assert_eq!(variables_of(2, Some("a:b")), named);
    }

    #[test]
    fn a_descriptor_that_is_not_there_is_named() {
        let failure = preserved_fds(0, u32::MAX).unwrap_err();
        assert!(
            failure.message.starts_with("unable to stat preserved-fd "),
            "{}",
            failure.message
        );
    }

    #[test]
    fn nothing_to_preserve_is_always_there() {
        assert_eq!(preserved_fds(0, 0).unwrap(), 0);
    }

    #[test]
    fn descriptors_that_nobody_listens_on_are_no_reason_to_ask_for_their_memory() {
        let failure = preserved_fds(u32::MAX, 0).unwrap_err();
        assert!(
            failure.message.starts_with("LISTEN_FDS=4294967295: "),
            "{}",
            failure.message
        );
    }
}
