//! Layers: tar archives that become directories, and directories that become tar archives.
//!
//! ```text
//! blob ─decompress─┬─ hash ──▶ DiffID, compared with the image's
//!                  └─ tar ──▶ apply ──▶ directory ──settle──▶ a layer of an overlay
//! directory (or its difference to another one) ──pack──▶ tar ─┬─ compress ──▶ blob
//!                                                             └─ hash ──▶ DiffID
//! ```
//!
//! image-spec, layer.md. What an archive says of paths is never handed to the kernel as it is:
//! parents are resolved below the directory's descriptor, without following links that the same
//! layer has made, and files are made in them by their last name.

mod apply;
mod decompress;
mod ids;
mod limits;
mod pack;
pub(crate) mod pipeline;
mod settle;
mod sys;
pub mod tar;
mod tree;

pub use apply::{Applied, ApplyOptions, Devices, PendingLink, Whiteouts, apply};
pub use decompress::detect;
pub use ids::{IdMaps, IdRange, OtherIds};
pub use limits::Limits;
pub use pack::{PackOptions, PackedLayer, diff, diff_overlay, pack};
pub(crate) use settle::adopt;
pub use settle::settle;
pub use tree::clear;
