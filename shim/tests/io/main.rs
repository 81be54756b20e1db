//! The standard streams of a process, on the real kernel: the relay with its loop, FIFOs, pipes,
//! terminals, files and loggers, and processes at both ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fifo;
mod file;
mod input;
mod logger;
mod rig;
mod terminal;
