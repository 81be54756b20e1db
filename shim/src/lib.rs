//! containerd's shim for tare: everything but `main`.
#![deny(unsafe_code)]

use std::os::fd::OwnedFd;
use std::path::PathBuf;

pub mod arguments;
pub mod bootstrap;
mod bundle_files;
pub mod delete;
pub mod detach;
pub mod engine;
pub mod exit_record;
pub mod failure;
pub mod io;
pub mod poller;
pub mod publisher;
mod sandbox;
pub mod server;
pub mod socket;
pub mod start;
mod sys;
pub mod task;

/// The socket that whoever has executed this program has left in the descriptor of this number,
/// and its path; none if no socket listens there. To be called once, before anything that stays
/// open is opened.
#[must_use]
pub fn inherited_listener(number: i32) -> Option<(OwnedFd, PathBuf)> {
    let socket = sys::inherited(number)?;
    match socket::listens_at(&socket) {
        Some(path) => Some((socket, path)),
        None => {
            // Somebody else's, and no business of ours.
            std::mem::forget(socket);
            None
        }
    }
}
