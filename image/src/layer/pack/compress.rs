//! Where an archive goes: hashed, compressed, and hashed again.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use crate::digest::{Algorithm, Digest, Hasher};
use crate::document::Compression;

/// A zstd frame for each so many bytes: what is kept in memory.
const FRAME: usize = 4 << 20;

/// Compresses what is written to it.
pub(super) struct Compressor<W: Write> {
    hasher: Hasher,
    size: u64,
    stream: Stream<Hashed<W>>,
}

enum Stream<W: Write> {
    Plain(W),
    Gzip(Box<GzEncoder<W>>),
    Zstd(W, Vec<u8>),
}

/// What went through a [`Compressor`].
pub(super) struct Written<W> {
    pub(super) out: W,
    pub(super) diff_id: Digest,
    pub(super) uncompressed_size: u64,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl<W: Write> Compressor<W> {
    pub(super) fn new(out: W, compression: Compression) -> Self {
        let out = Hashed {
            out,
            hasher: Hasher::new(Algorithm::Sha256),
            size: 0,
        };
        Self {
            hasher: Hasher::new(Algorithm::Sha256),
            size: 0,
            stream: match compression {
                Compression::None => Stream::Plain(out),
                // Without a time: the same archive gives the same bytes.
                Compression::Gzip => Stream::Gzip(Box::new(GzEncoder::new(
                    out,
                    flate2::Compression::default(),
                ))),
                Compression::Zstd => Stream::Zstd(out, Vec::new()),
            },
        }
    }

    pub(super) fn finish(self) -> io::Result<Written<W>> {
        let hashed = match self.stream {
            Stream::Plain(out) => out,
            Stream::Gzip(encoder) => encoder.finish()?,
            Stream::Zstd(mut out, rest) => {
                if !rest.is_empty() || self.size == 0 {
                    out.write_all(&frame(&rest))?;
                }
                out
            }
        };
        Ok(Written {
            diff_id: self.hasher.finish(),
            uncompressed_size: self.size,
            digest: hashed.hasher.finish(),
            size: hashed.size,
            out: hashed.out,
        })
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(out) => out.write_all(bytes)?,
            Stream::Gzip(encoder) => encoder.write_all(bytes)?,
            Stream::Zstd(out, kept) => {
                kept.extend_from_slice(bytes);
                while kept.len() >= FRAME {
                    let rest = kept.split_off(FRAME);
                    out.write_all(&frame(kept))?;
                    *kept = rest;
                }
            }
        }
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The level that the crate has; its frames go to memory, where writing can't fail.
fn frame(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

/// Hashes what passes.
struct Hashed<W> {
    out: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.out.write(bytes)?;
        self.hasher.update(&bytes[..length]);
        self.size += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
