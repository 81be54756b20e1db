//! What a container's first process does between clone3(2) and execve(2).
//!
//! The process is a copy of one thread of a program that may have many, so nothing here may
//! allocate, take a lock, or touch thread-local state of a C library. This crate has neither
//! `std` nor `alloc`, and makes its system calls itself: the compiler holds the rule. Nothing
//! here panics on purpose either, for that would be the embedding program's panic handler.
//!
//! The parent makes a [`Program`], calls [`clone3`], and in the child [`run`].
#![no_std]
#![deny(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

mod confine;
mod console;
mod copy;
mod descriptors;
mod devices;
mod directory;
mod exec;
mod failure;
mod hooks;
mod host_mounts;
mod identity;
mod interpreter;
mod masks;
mod mount_flags;
mod mounts;
mod namespaces;
mod paths;
mod program;
mod rootfs;
mod sync;
#[allow(
    unsafe_code,
    reason = "system calls; each block says what makes it sound"
)]
mod sys;
mod text;

pub use interpreter::run;
pub use program::*;
pub use sys::{CloneArgs, Cloned, clone3};

/// Sets every signal of this process to its default, SIGPIPE and those that a C library keeps for
/// itself included: for a process that is about to execute another program, between fork(2) and
/// execve(2).
///
/// # Errors
///
/// errno of rt_sigaction(2), under a seccomp filter that hides it.
pub fn default_signals() -> Result<(), i32> {
    sys::default_signals(None).map_err(|errno| errno.0)
}
