//! Images in files: what `docker save`, skopeo, podman and others write, and what they read.
//!
//! | format | load | save |
//! |---|---|---|
//! | `docker save`, since 25: an OCI layout in a tar archive, with manifest.json | yes | yes |
//! | `docker save`, before; skopeo's and podman's docker-archive | yes | |
//! | OCI archive: an OCI layout in a tar archive | yes | yes |
//! | OCI layout: a directory | yes | the store is one |
//! | a file system in a tar archive | [`import`](import()) | [`export`](export()) |
//!
//! An archive is read once, from its beginning to its end, so a pipe will do. Nothing of it is
//! unpacked: content goes from the stream into the store, where it gets its name after it was
//! verified, and names within the archive never become paths.

mod blob;
mod contents;
mod docker;
mod export;
mod import;
mod layout;
mod load;
mod save;
mod writer;

pub use export::export;
pub use import::{ImportOptions, import};
pub use load::{LoadOptions, load, load_layout};
pub use save::{Format, SaveOptions, save};

/// The annotation in which containerd and Docker have an image's whole name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

#[cfg(test)]
mod tests;
