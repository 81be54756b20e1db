//! Compressed streams, read to their very end.

mod gzip;
mod windows;
mod zstd;

use std::io::{self, BufRead, BufReader, Read};

use crate::document::Compression;
use crate::error::{Error, ErrorKind, Result};

/// What is read from the source at once.
const INPUT: usize = 128 << 10;

/// A stream, decompressed.
pub(super) enum Decompressor<R: Read> {
    Plain(Counted<R>),
    Gzip(gzip::Gzip<Input<R>>),
    Zstd(Box<zstd::Zstd<Input<R>>>),
}

pub(super) type Input<R> = BufReader<Counted<R>>;

impl<R: Read> Decompressor<R> {
    /// Reads `source`, which is compressed as said; a zstd frame may need `window_bytes` of
    /// memory.
    pub(super) fn new(source: R, compression: Compression, window_bytes: u64) -> Self {
        let source = Counted { source, count: 0 };
        let buffered = |source| BufReader::with_capacity(INPUT, source);
        match compression {
            Compression::None => Self::Plain(source),
            Compression::Gzip => Self::Gzip(gzip::Gzip::new(buffered(source))),
            Compression::Zstd => {
                Self::Zstd(Box::new(zstd::Zstd::new(buffered(source), window_bytes)))
            }
        }
    }

    /// Fills `out`, but at the stream's end; returns how many bytes came.
    pub(super) fn fill(&mut self, out: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            let rest = &mut out[filled..];
            let length = match self {
                Self::Plain(source) => source.read_some(rest)?,
                Self::Gzip(gzip) => gzip.read(rest)?,
                Self::Zstd(zstd) => zstd.read(rest)?,
            };
            if length == 0 {
                break;
            }
            filled += length;
        }
        Ok(filled)
    }

    /// How many bytes came from the source.
    pub(super) fn compressed_size(&self) -> u64 {
        match self {
            Self::Plain(source) => source.count,
            Self::Gzip(gzip) => gzip.source().get_ref().count,
            Self::Zstd(zstd) => zstd.source().get_ref().count,
        }
    }
}

/// Counts what is read.
pub(super) struct Counted<R> {
    source: R,
    count: u64,
}

impl<R: Read> Counted<R> {
    fn read_some(&mut self, out: &mut [u8]) -> Result<usize> {
        loop {
            match self.read(out) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(unreadable),
            }
        }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(out)?;
        self.count += length as u64;
        Ok(length)
    }
}

/// How a stream is compressed, by its first bytes.
#[must_use]
pub fn detect(start: &[u8]) -> Compression {
    match start {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        // A skippable frame: zstd:chunked and others begin with one.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// What `source` has ready.
fn ready<R: BufRead>(source: &mut R) -> Result<&[u8]> {
    // Twice, since a borrow that is returned from a loop is one for good.
    while let Err(error) = source.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(unreadable(error));
        }
    }
    source.fill_buf().map_err(unreadable)
}

/// Behind a stream's end: only zeros may follow, with which some writers fill up.
fn skip_zeros<R: BufRead>(source: &mut R, name: &str) -> Result<()> {
    loop {
        let bytes = ready(source)?;
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(corrupt(name, "something else follows its end"));
        }
        let length = bytes.len();
        source.consume(length);
    }
}

/// What stands where a compressed stream should begin.
fn mislabelled(name: &str, start: &[u8]) -> Error {
    let seen = match detect(start) {
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
        Compression::None if start.is_empty() => "nothing",
        Compression::None => "something else, perhaps a plain archive",
    };
    corrupt(
        name,
        format_args!("its media type says {name}, it is {seen}"),
    )
}

fn corrupt(name: &str, why: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("the layer's {name} stream can't be decompressed: {why}"),
    )
}

fn unreadable(error: io::Error) -> Error {
    Error::system("read the layer", error)
}

#[cfg(test)]
mod tests;
