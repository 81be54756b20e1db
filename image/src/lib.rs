//! Container images without a daemon: pulls, verifies, unpacks, mounts, packs and pushes them,
//! and makes bundles of them.
//!
//! ```text
//! registry ──pull──▶ store ──unpack──▶ snapshots ──mount──▶ rootfs ┐
//! archive ──load──▶  (an OCI image     (a directory                ├─▶ bundle ──▶ runtime_core
//!         ◀──save──   layout)           a layer)    image's config ┘
//! ```
//!
//! Every byte that comes from outside is verified against its digest and its size before
//! anything uses it. Nothing half-done is ever seen: content gets its name by rename(2), when it
//! is whole. Any number of processes may use one store at once.
//!
//! The library never prints, never exits, and reads neither the environment nor the working
//! directory: what it needs comes in as a value.
#![cfg_attr(not(test), deny(unsafe_code))]

pub mod archive;
mod arrival;
pub mod convert;
pub mod copy;
pub mod digest;
pub mod document;
pub mod error;
pub mod layer;
mod lock;
mod parallel;
pub mod platform;
pub mod private_mounts;
pub mod progress;
pub mod pull;
pub mod push;
pub mod reference;
pub mod registry;
pub mod run;
pub mod snapshot;
pub mod store;
mod volume;
pub mod whole;

pub use digest::Digest;
pub use error::{Error, ErrorKind};
pub use platform::Platform;
pub use reference::Reference;
pub use store::Store;
