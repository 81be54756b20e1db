//! tare's library: creates, starts, kills and deletes OCI containers.

pub mod bundle;
pub mod host;
pub mod id;
pub mod plan;
pub mod spec;
pub mod violation;
