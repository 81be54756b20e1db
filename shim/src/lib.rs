//! containerd's shim for tare: everything but `main`.
#![deny(unsafe_code)]

pub mod arguments;
pub mod bootstrap;
pub mod exit_record;
pub mod failure;
pub mod frame;
pub mod log;
pub mod mounts;
pub mod options;
pub mod poller;
pub mod publisher;
pub mod socket;
