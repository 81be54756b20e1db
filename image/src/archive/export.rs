//! A root filesystem becomes a plain tar archive.

use std::io::Write;
use std::os::fd::BorrowedFd;

use crate::document::Compression;
use crate::error::Result;
use crate::layer::{IdMaps, PackOptions, PackedLayer, pack};

/// Writes the tree below a directory, such as a container's mounted root filesystem, as a tar
/// archive without compression, which [`super::import`](super::import()) and `docker import` take.
///
/// `ids` are the maps with which it was unpacked. Links are stored, never followed.
///
/// # Errors
/// As [`pack`]. The archive is incomplete then: throw it away.
pub fn export(rootfs: BorrowedFd<'_>, ids: IdMaps, out: impl Write + Send) -> Result<PackedLayer> {
    let options = PackOptions {
        compression: Compression::None,
        ids,
        ..PackOptions::default()
    };
    pack(rootfs, &options, out).map_err(|error| error.within("export"))
}
