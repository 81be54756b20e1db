//! containerd's shim for tare: everything but `main`.
#![deny(unsafe_code)]

pub mod failure;
pub mod frame;
pub mod options;
pub mod poller;
pub mod publisher;
