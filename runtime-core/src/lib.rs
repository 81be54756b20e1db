//! tare's library: creates, starts, kills and deletes OCI containers.
//!
//! ```text
//! config.json ──parse──▶ Spec ──compile──▶ Plan ──launch──▶ init (child) ──exec──▶ workload
//!               bundle           plan            launch       steps in order
//! ```
//!
//! [`Runtime`] is the handle: its methods are the operations of runtime-spec's lifecycle. It
//! may be used from any thread of a program with many: between clone3(2) and execve(2) the
//! child allocates nothing and takes no lock (the crate `runtime_init` has neither std nor
//! alloc).
//!
//! The library never prints, never exits, reads neither the environment nor the working
//! directory, and installs no signal handler. What it needs comes in as a value.
//!
//! It waits for its children, so the program must not ignore SIGCHLD, which makes the kernel forget
//! them. A program of root's is undumpable (prctl(2)) while it clones into a new user namespace.
#![cfg_attr(not(test), deny(unsafe_code))]

pub mod bundle;
pub mod cgroup;
pub mod checkpoint;
pub mod container;
mod container_hooks;
mod delete;
pub mod errno;
pub mod error;
pub mod exec;
pub mod features;
pub mod hooks;
pub mod host;
pub mod id;
mod launch;
pub mod mount;
mod network;
pub mod plan;
pub mod process;
pub mod procfs;
pub mod protect;
mod readiness;
pub mod runtime;
pub mod spec;
pub mod state;
pub mod statistics;
mod sys;
pub mod time;
mod unit;
mod update;
pub mod violation;

pub use bundle::Bundle;
pub use cgroup::systemd::UserBus;
pub use checkpoint::{CgroupsMode, CheckpointOptions, NetworkLock, RestoreOptions};
pub use container::{Container, State};
pub use error::{Error, ErrorKind};
pub use exec::ExecOptions;
pub use features::Features;
pub use id::ContainerId;
pub use plan::{CgroupDriver, Plan, PlanOptions};
pub use process::{Exit, Process};
pub use runtime::{CreateOptions, Rootless, Runtime};
pub use state::Status;
pub use statistics::{OomWatch, ProcessCgroups, Statistics};
