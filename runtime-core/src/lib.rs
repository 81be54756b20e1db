//! tare's library: creates, starts, kills and deletes OCI containers.

pub mod bundle;
pub mod cgroup;
pub mod host;
pub mod id;
pub mod plan;
pub mod spec;
mod sys;
pub mod violation;
