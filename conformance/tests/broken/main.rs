//! Cases can fail: the program on runtimes that are broken on purpose, in one place each.
//!
//! A broken runtime is runc behind a script that changes one property of config.json, one command
//! or one answer. Of the cases that a row names, those fail that are about it, and the others pass;
//! without the script all of them pass.

mod answers;
mod command_line;
mod commands;
mod differential;
mod hooks;
mod inert;
mod kit;
mod limits;
mod linux;
mod mounts;
mod old_kernel;
mod process;
#[path = "../program/mod.rs"]
mod program;
mod runtime_tools;
mod security;
