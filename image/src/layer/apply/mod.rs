//! From an archive to a directory. image-spec, layer.md, "Applying Changesets".

mod attributes;
mod directories;
mod files;
mod names;
mod seen;
mod unpack;
mod whiteouts;
mod xattrs;

use std::io::Read;
use std::os::fd::BorrowedFd;

use super::ids::IdMaps;
use super::limits::Limits;
use super::{pipeline, sys, tree};
use crate::digest::{Algorithm, Digest};
use crate::document::Compression;
use crate::error::{Error, ErrorKind, Result};
pub(super) use names::{WHITEOUT, join, split};
pub(super) use xattrs::{is_an_images, names as attribute_names, split_names, untranslated};

/// How a layer is applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApplyOptions {
    /// What becomes of files that the layer removes.
    pub whiteouts: Whiteouts,
    /// Whose files are whose.
    pub ids: IdMaps,
    /// What becomes of device nodes.
    pub devices: Devices,
    /// How much the layer may ask for.
    pub limits: Limits,
    /// The DiffID that the image's configuration promises.
    pub diff_id: Option<Digest>,
}

/// What becomes of files that a layer removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// The directory is this layer alone, empty before, and one of an overlay later: removed
    /// files become devices 0:0, emptied directories get an attribute. See
    /// [overlayfs](https://docs.kernel.org/filesystems/overlayfs.html), "whiteouts and opaque
    /// directories". [`settle`](super::settle()) completes what needs the lower layers.
    Overlay {
        /// `user.overlay.…` instead of `trusted.overlay.…`: for mounts with `userxattr`, by a
        /// user namespace's root.
        user_xattr: bool,
    },
    /// The directory holds all lower layers, applied in order: removed files are removed.
    Remove,
}

impl Default for Whiteouts {
    fn default() -> Self {
        Self::Overlay { user_xattr: false }
    }
}

/// What becomes of device nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Devices {
    /// They are made; where the kernel forbids it, that is an error.
    #[default]
    Make,
    /// Where the kernel forbids it, as in every user namespace, they are left out, and that is
    /// told: a container gets its devices from its configuration.
    SkipForbidden,
}

/// What has become of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
    /// In bytes.
    pub compressed_size: u64,
    /// In bytes.
    pub uncompressed_size: u64,
    /// Files that the archive names.
    pub entries: u64,
    /// Directories that the archive has files in and doesn't name, sorted; empty for the root.
    /// They have mode 0755, belong to root and are as old as 1970, until
    /// [`settle`](super::settle()) gives them what the lower layers say of them.
    pub implied_parents: Vec<Vec<u8>>,
    /// Links to files that the layer doesn't have.
    pub pending_links: Vec<PendingLink>,
    /// Directories that have whiteouts, sorted. [`settle`](super::settle()) removes those that
    /// hide nothing: an overlay shows their names in lists.
    pub whiteout_parents: Vec<Vec<u8>>,
    /// Whether nothing of lower layers is seen, because the layer's root is opaque.
    pub is_root_opaque: bool,
    /// What could not be had here, and was left out: attributes, devices. A sentence each.
    pub warnings: Vec<String>,
}

/// A hard link to a file of a lower layer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PendingLink {
    /// The name that it is to have.
    pub path: Vec<u8>,
    /// A name that the file has in lower layers.
    pub target: Vec<u8>,
}

/// Unpacks a layer into `directory`, and computes its DiffID on the way.
///
/// Afterwards the directory has what the archive says, by the rules of image-spec's layer.md:
/// with [`Whiteouts::Overlay`] as one layer, with [`Whiteouts::Remove`] over what was there.
/// Nothing outside of the directory is touched, whatever the archive says. Nothing is synced to
/// disk; the caller syncs the file system before it relies on the directory.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when the archive or its compression is malformed, asks for more than
/// the limits, or is not what [`ApplyOptions::diff_id`] promises; [`ErrorKind::Unsupported`]
/// when an id can't be had; [`ErrorKind::InvalidInput`] when the directory is not empty though
/// it has to be; else what the kernel refuses. With [`Whiteouts::Overlay`] the directory is
/// empty again then; with [`Whiteouts::Remove`] it is in between, and of no use.
pub fn apply(
    source: impl Read,
    compression: Compression,
    directory: BorrowedFd<'_>,
    options: &ApplyOptions,
) -> Result<Applied> {
    let is_alone = matches!(options.whiteouts, Whiteouts::Overlay { .. });
    if is_alone {
        check_empty(directory)?;
    }
    let applied = unpack(source, compression, directory, options);
    if is_alone && applied.is_err() {
        // The first error tells more than one of cleaning up.
        drop(tree::clear(directory));
    }
    applied
}

fn unpack(
    source: impl Read,
    compression: Compression,
    directory: BorrowedFd<'_>,
    options: &ApplyOptions,
) -> Result<Applied> {
    let expected = options.diff_id.as_ref();
    let algorithm = expected.map_or(Algorithm::Sha256, Digest::algorithm);
    let (unpacked, passed) =
        pipeline::run(source, compression, algorithm, &options.limits, |archive| {
            let has_own_umask = sys::own_umask_and_directory();
            unpack::Unpacker::new(directory, options, has_own_umask)?.unpack(archive)
        })?;
    if let Some(expected) = expected.filter(|expected| **expected != passed.digest) {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "the layer's uncompressed content is not what the image's configuration \
                 promises: {} instead of {expected}",
                passed.digest
            ),
        ));
    }
    Ok(Applied {
        diff_id: passed.digest,
        compressed_size: passed.compressed_size,
        uncompressed_size: passed.uncompressed_size,
        ..unpacked
    })
}

/// What another layer has left there would become part of this one.
fn check_empty(directory: BorrowedFd<'_>) -> Result<()> {
    let mut is_empty = true;
    let listed = tree::for_each(directory, |_, _| -> Result<(), rustix::io::Errno> {
        is_empty = false;
        Ok(())
    });
    listed.map_err(|errno| Error::system("read a layer's directory", errno))?;
    if is_empty {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidInput,
        "the directory of a layer must be empty before it is unpacked",
    ))
}

#[cfg(test)]
mod tests;
