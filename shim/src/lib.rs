//! containerd's shim for tare: everything but `main`.
#![deny(unsafe_code)]

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

pub mod arguments;
pub mod bootstrap;
mod bundle_files;
pub mod delete;
pub mod detach;
pub mod engine;
pub mod exit_record;
pub mod failure;
pub mod foreign;
pub mod frame;
pub mod info;
pub mod io;
pub mod log;
mod metrics;
pub mod mounts;
pub mod options;
pub mod poller;
pub mod publisher;
mod sandbox;
pub mod server;
pub mod socket;
pub mod start;
mod sys;
pub mod task;

/// The socket that whoever has executed this program has left in the descriptor of this number,
/// and its path; none if no socket listens there. What this program executes from now on (hooks,
/// other runtimes) does not inherit it: a socket that somebody has open looks as if it were
/// served, also when this program is no more. To be called once, before anything that stays
/// open is opened.
#[must_use]
pub fn inherited_listener(number: i32) -> Option<(OwnedFd, PathBuf)> {
    let socket = sys::inherited(number)?;
    match socket::listens_at(&socket) {
        Some(path) => {
            let flags = FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC);
            fcntl(&socket, flags).ok()?;
            Some((socket, path))
        }
        None => {
            // Somebody else's, and no business of ours.
            std::mem::forget(socket);
            None
        }
    }
}
