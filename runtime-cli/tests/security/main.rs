//! Attacks on the built binary, on the real kernel: what published vulnerabilities of container
//! runtimes had in common, and what a hostile image, volume or container may try besides.
//!
//! Each test has a canary tree, and compares it, the host's mounts and the host's sysctls before
//! and after; and the residue oracle finds nothing. Races run for a bounded time, longer with
//! `TARE_LONG=1`.

mod binary_protection;
mod console;
mod descriptors;
mod devices;
mod entering;
mod filters;
mod ground;
mod links;
mod names;
mod privileges;
mod races;
mod resources;
mod rootless;
mod state;
