//! How much a layer may ask for.

use crate::error::{Error, ErrorKind, Result};

/// Bounds on what a layer may use. An honest layer never comes near the defaults; an archive
/// that was made to fill a disk or a memory meets them early.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes that come out of a layer.
    pub uncompressed_bytes: u64,
    /// How many times more may come out than goes in, once [`Self::ratio_counts_from`] bytes
    /// have come out. gzip reaches 1032 on zeros.
    pub ratio: u64,
    /// In bytes.
    pub ratio_counts_from: u64,
    /// Files in a layer.
    pub entries: u64,
    /// A file's size, in bytes, holes included.
    pub file_bytes: u64,
    /// The largest window that a zstd frame may have, in bytes. A large one is decompressed alone
    /// in its process, and takes twice its size of memory.
    pub zstd_window_bytes: u64,
    /// Memory for names that must be kept until the layer's end, in bytes: of directories that
    /// the archive doesn't name, of links to lower layers.
    pub kept_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            uncompressed_bytes: 1 << 40,
            ratio: 1100,
            ratio_counts_from: 4 << 30,
            entries: 2 << 20,
            file_bytes: 16 << 40,
            // As the program zstd has it, so `--ultra -22` and `--long` are read.
            zstd_window_bytes: 128 << 20,
            kept_bytes: 16 << 20,
        }
    }
}

impl Limits {
    pub(super) fn check_size(&self, compressed: u64, uncompressed: u64) -> Result<()> {
        if uncompressed > self.uncompressed_bytes {
            return Err(exceeded("bytes", self.uncompressed_bytes));
        }
        let most = compressed.saturating_mul(self.ratio);
        if uncompressed > self.ratio_counts_from && uncompressed > most {
            let what = format!("times more bytes than it has compressed ({compressed})");
            return Err(exceeded(&what, self.ratio));
        }
        Ok(())
    }
}

/// What a layer fails with that asks for too much.
pub(super) fn exceeded(what: &str, limit: u64) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "the layer holds more than {limit} {what}: it may have been made to use up the \
             machine (the limits can be raised)"
        ),
    )
}
