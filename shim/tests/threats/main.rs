//! Threats to the shim, and crowds: the rows S01 to S05 of the threat model, and what a hundred
//! containers at once leave behind. The shim is its own program here, run as containerd runs it.
//!
//! | row | threat | where |
//! |---|---|---|
//! | S01 | the socket is reached from a container | `socket.rs` |
//! | S02 | a label, an annotation or a link runs a program or writes a file | `logger.rs` |
//! | S03 | output, attaching and failing processes eat memory, or hold a container up | `flood.rs` |
//! | S04 | the shim is killed at any step | `killed.rs` |
//! | S05 | containerd is killed at any step | `../containerd.rs`, whose tests name the row |
//!
//! With `TARE_LONG=1` in full length.

#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

#[path = "../kit/mod.rs"]
mod kit;
#[path = "../room/mod.rs"]
mod room;

mod crowd;
mod flood;
mod killed;
mod logger;
mod socket;
mod vitals;
mod yard;
