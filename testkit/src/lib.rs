//! What tests of a container runtime need, whichever runtime it is.
//!
//! - [`TestBundle`]: a bundle with a busybox rootfs, and a config.json that starts as `spec`'s.
//! - [`Runtime`]: any binary with runc's command line, under a state root of its own, with a
//!   deadline on every command.
//! - [`Engine`]: Debian's containerd and dockerd, private to one test.
//! - [`Podman`]: Debian's podman, private to one test.
//! - [`Residue`]: the oracle that compares the host before and after.
//! - [`guest`]: a virtual machine with what this machine lacks.
//! - [`needs!`]: a skip that is loud, and a failure where the fact must be there.
//!
//! A test takes a [`Marker`] first. Everything it makes carries the marker in its name, so the
//! oracle tells what is left of this test from what other tests are doing meanwhile.

pub use bundle::{TestBundle, default_config};
pub use command::{Finished, finish, finish_with_input, quote, under_terminal};

pub use engine::Engine;
pub use fact::{Fact, find_program, missing};
pub use image::busybox_image;
pub use marker::Marker;
pub use podman::Podman;
pub use residue::Residue;
pub use runtime::Runtime;

mod bundle;
mod command;

mod engine;
mod fact;
pub mod guest;
mod image;
mod marker;
mod podman;
mod residue;
mod runtime;
