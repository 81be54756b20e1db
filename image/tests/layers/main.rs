//! Layers: archives become directories, and directories archives, by the rules.
//!
//! Archives are made here byte by byte, so that they can be wrong in every way; what came of
//! them is looked at in the file system.

mod archive;
mod bombs;
mod debian;
mod differential;
mod hostile;
mod ids;
mod overlay;
mod packing;
mod readers;
mod rules;
mod scene;
mod tree;
mod umoci;
mod whiteouts;
