//! Trees as copies, where overlayfs can't work or where they are to stay.
//!
//! What copies is the same that unpacks: one end of a pipe packs a directory, the other applies
//! the archive.

use std::fs::File;
use std::io::PipeWriter;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use super::active::Active;
use super::open_directory;
use crate::document::Compression;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::{self, ApplyOptions, Devices, PackOptions, PackedLayer, Whiteouts};

/// Copies the layers of `active` over each other into the empty directory `target`, lowest
/// first; what one hides of those below is removed.
pub(super) fn flatten(active: &Active, target: &Path) -> Result<()> {
    let destination = open_directory(target)?;
    for lower in active.lowers().iter().rev() {
        let source = open_directory(lower)?;
        let pack = |out| layer::diff_overlay(source.as_fd(), &plain(), out);
        through_a_pipe(pack, &destination)
            .map_err(|error| error.within(format!("copy layers to {}", target.display())))?;
        layer::adopt(&source, &destination)?;
    }
    Ok(())
}

/// Copies a tree into an empty directory, with owners, modes, times and attributes.
///
/// # Errors
/// [`ErrorKind::System`] when something can't be read or written.
pub(crate) fn copy_tree(source: BorrowedFd<'_>, destination: &File) -> Result<()> {
    through_a_pipe(|out| layer::pack(source, &plain(), out), destination)
}

fn plain() -> PackOptions {
    PackOptions {
        compression: Compression::None,
        ..PackOptions::default()
    }
}

fn through_a_pipe(
    pack: impl FnOnce(PipeWriter) -> Result<PackedLayer> + Send,
    destination: &File,
) -> Result<()> {
    let (reader, writer) = std::io::pipe().map_err(|error| Error::system("make a pipe", error))?;
    let options = ApplyOptions {
        whiteouts: Whiteouts::Remove,
        devices: Devices::SkipForbidden,
        ..ApplyOptions::default()
    };
    let (packed, applied) = std::thread::scope(|scope| {
        let packing = scope.spawn(|| pack(writer));
        let applied = layer::apply(reader, Compression::None, destination.as_fd(), &options);
        let packed = packing.join().unwrap_or_else(|_| {
            let message = "the thread that packs has panicked";
            Err(Error::new(ErrorKind::System, message))
        });
        (packed, applied)
    });
    // A reader that has given up makes the writer fail, too, and knows better why.
    applied?;
    packed.map(drop)
}
