//! The agent of seccomp's user notification: gets the listener's descriptor with the container
//! process state (config-linux.md#the-container-process-state).

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use serde::Serialize;
use serde_json::value::RawValue;

use super::LaunchError;
use crate::errno::Words;
use crate::plan::{ListenerPlan, ProcessPlan};

/// How long the agent may take to accept, and to read.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the agent gets, in one message with the descriptor.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'static str,
    /// Names of the descriptors, in order.
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a RawValue,
}

/// Hands the listener of process `pid` to the agent of its plan; nobody here keeps it.
pub(super) fn ask(
    process: &ProcessPlan,
    pid: i32,
    listener: OwnedFd,
    state: &dyn Fn(i32) -> Vec<u8>,
) -> Result<(), LaunchError> {
    let seccomp = process.seccomp.as_ref();
    let Some(agent) = seccomp.and_then(|seccomp| seccomp.listener.as_ref()) else {
        // A word that nothing in the plan lets the child say.
        return Err(LaunchError::call("follow container init", Errno::EPROTO));
    };
    let text = document(agent, pid, &state(pid))
        .ok_or_else(|| LaunchError::call("write the container process state", Errno::EINVAL))?;
    hand_over(&agent.path, &listener, text.as_bytes())
        .map_err(|(call, errno)| failure(&agent.path, call, errno))
}

fn document(agent: &ListenerPlan, pid: i32, state: &[u8]) -> Option<String> {
    let state = serde_json::from_slice(state).ok()?;
    let document = ProcessState {
        oci_version: crate::features::SPECIFICATION,
        fds: ["seccompFd"],
        pid,
        metadata: agent.metadata.as_deref(),
        state,
    };
    serde_json::to_string(&document).ok()
}

/// One connection, one document, its end.
fn hand_over(path: &Path, listener: &OwnedFd, text: &[u8]) -> Result<(), (&'static str, Errno)> {
    let kind = SockType::Stream;
    let socket = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|errno| ("socket(2)", errno))?;
    let patience = TimeVal::new(PATIENCE.as_secs().cast_signed(), 0);
    setsockopt(&socket, sockopt::SendTimeout, &patience)
        .map_err(|errno| ("setsockopt(2)", errno))?;
    let address = UnixAddr::new(path).map_err(|errno| ("connect(2)", errno))?;
    uninterrupted(|| connect(socket.as_raw_fd(), &address))
        .map_err(|errno| ("connect(2)", errno))?;
    let descriptors = [listener.as_fd().as_raw_fd()];
    let mut rights = Some(ControlMessage::ScmRights(&descriptors));
    let mut left = text;
    while !left.is_empty() {
        let parts = [IoSlice::new(left)];
        let with = rights.as_slice();
        let flags = MsgFlags::MSG_NOSIGNAL;
        let sent = uninterrupted(|| sendmsg::<()>(socket.as_raw_fd(), &parts, with, flags, None))
            .map_err(|errno| ("sendmsg(2)", errno))?;
        rights = None;
        left = &left[sent..];
    }
    Ok(())
}

fn uninterrupted<T>(call: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

fn failure(path: &Path, call: &'static str, errno: Errno) -> LaunchError {
    let hint = match (call, errno) {
        (_, Errno::ENOENT | Errno::ECONNREFUSED) => {
            ": no agent listens there; start it before the container"
        }
        (_, Errno::EAGAIN) => ": the agent has not accepted or read within 10 s",
        (_, Errno::ENAMETOOLONG) => ": a socket's path has at most 107 bytes",
        ("connect(2)", Errno::EPROTOTYPE) => ": it is no stream socket",
        ("sendmsg(2)", Errno::EPIPE | Errno::ECONNRESET) => ": the agent has closed the connection",
        _ => "",
    };
    LaunchError::Step {
        act: format!(
            "hand the seccomp listener to {} (listenerPath)",
            path.display()
        ),
        call,
        reason: format!("{}{hint}", Words(errno)),
        errno,
    }
}
