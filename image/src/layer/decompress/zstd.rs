//! zstd: frames one after the other, skippable ones among them. RFC 8878.

use std::io::{BufRead, Read};

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::windows::{Share, WINDOWS};
use super::{corrupt, mislabelled, ready, skip_zeros};
use crate::error::{Error, ErrorKind, Result};

pub(in super::super) struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    /// The memory that the decoder uses.
    share: Option<Share<'static>>,
    is_in_frame: bool,
    is_first: bool,
    window_bytes: u64,
}

const MAGIC: u32 = 0xfd2f_b528;
/// What comes out of one block at most.
const BLOCK: u64 = 128 << 10;
/// A decoder that has done a frame refuses a further one with a larger window; a new one doesn't.
const MOST_REUSED: u64 = 100 << 20;
const SKIPPABLE: std::ops::RangeInclusive<u32> = 0x184d_2a50..=0x184d_2a5f;

impl<R: BufRead> Zstd<R> {
    pub(super) fn new(source: R, window_bytes: u64) -> Self {
        Self {
            source,
            decoder: FrameDecoder::new(),
            share: None,
            is_in_frame: false,
            is_first: true,
            window_bytes,
        }
    }

    pub(super) fn source(&self) -> &R {
        &self.source
    }

    /// Some of the next bytes; none at the end. Checksums of frames are checked.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        loop {
            if !self.is_in_frame && !self.begin_frame()? {
                return Ok(0);
            }
            let length = self.decompress(out)?;
            if length > 0 {
                return Ok(length);
            }
            self.end_frame()?;
        }
    }

    /// Passes over skippable frames; whether there is a further one with content.
    fn begin_frame(&mut self) -> Result<bool> {
        loop {
            let start = ready(&mut self.source)?;
            if matches!(start, [] | [0, ..]) && !self.is_first {
                skip_zeros(&mut self.source, "zstd")?;
                return Ok(false);
            }
            if self.is_first && super::detect(start) != crate::document::Compression::Zstd {
                // A pipe may have given fewer than four bytes.
                if start.len() >= 4 || start.is_empty() || start[0] == 0x1f {
                    return Err(mislabelled("zstd", start));
                }
            }
            self.is_first = false;
            let magic = self.number(4)?;
            let magic = u32::try_from(magic).unwrap_or_default();
            if SKIPPABLE.contains(&magic) {
                let length = self.number(4)?;
                self.skip(length)?;
                continue;
            }
            if magic != MAGIC {
                return Err(corrupt("zstd", "something else follows a frame"));
            }
            self.begin_decoder()?;
            self.is_in_frame = true;
            return Ok(true);
        }
    }

    /// Reads a frame's header before the decoder does: that would allocate what the header says.
    fn begin_decoder(&mut self) -> Result<()> {
        let mut header = [0; 18];
        header[..4].copy_from_slice(&MAGIC.to_le_bytes());
        self.exactly(&mut header[4..5])?;
        let (window, length) = {
            let descriptor = header[4];
            let is_single_segment = descriptor & 0x20 != 0;
            let window_length = usize::from(!is_single_segment);
            let dictionary_length = [0, 1, 2, 4][usize::from(descriptor & 3)];
            let size_length = match (descriptor >> 6, is_single_segment) {
                (0, true) => 1,
                (0, false) => 0,
                (flag, _) => 1 << flag,
            };
            let length = 5 + window_length + dictionary_length + size_length;
            self.exactly(&mut header[5..length])?;
            let size = little_endian(&header[length - size_length..length]);
            let size = size + if size_length == 2 { 256 } else { 0 };
            let window = match is_single_segment {
                true => size,
                false => window_of(header[5]),
            };
            (window, length)
        };
        if window > self.window_bytes {
            return Err(self.too_much_memory(window));
        }
        self.make_room(window)?;
        let source = (&header[..length]).chain(&mut self.source);
        self.decoder
            .reset(source)
            .map_err(|error| corrupt("zstd", error))
    }

    /// Waits until there is memory for a window, unless there has been for as large a one.
    fn make_room(&mut self, window: u64) -> Result<()> {
        let bytes = memory_of(window);
        let has_room = self
            .share
            .as_ref()
            .is_some_and(|share| share.bytes() >= bytes);
        if has_room && window <= MOST_REUSED {
            return Ok(());
        }
        // The memory first, then the right to it.
        self.decoder = FrameDecoder::new();
        self.share = None;
        self.share = Some(WINDOWS.take(bytes)?);
        Ok(())
    }

    fn too_much_memory(&self, window: u64) -> Error {
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "the layer's zstd stream needs a window of {window} bytes of memory, more than \
                 the limit of {} (compress it again, without --long or with --long=27 at most)",
                self.window_bytes
            ),
        )
    }

    fn decompress(&mut self, out: &mut [u8]) -> Result<usize> {
        while self.decoder.can_collect() < out.len() && !self.decoder.is_finished() {
            let wanted = out.len() - self.decoder.can_collect();
            self.decoder
                .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBytes(wanted))
                .map_err(|error| corrupt("zstd", error))?;
        }
        self.decoder
            .read(out)
            .map_err(|error| corrupt("zstd", error))
    }

    fn end_frame(&mut self) -> Result<()> {
        self.is_in_frame = false;
        let promised = self.decoder.get_checksum_from_data();
        if promised.is_some() && promised != self.decoder.get_calculated_checksum() {
            return Err(corrupt("zstd", "a frame's checksum is wrong"));
        }
        Ok(())
    }

    fn number(&mut self, length: usize) -> Result<u64> {
        let mut bytes = [0; 8];
        self.exactly(&mut bytes[..length])?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn exactly(&mut self, out: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < out.len() {
            let bytes = ready(&mut self.source)?;
            if bytes.is_empty() {
                return Err(corrupt("zstd", "it is cut off"));
            }
            let length = bytes.len().min(out.len() - filled);
            out[filled..filled + length].copy_from_slice(&bytes[..length]);
            self.source.consume(length);
            filled += length;
        }
        Ok(())
    }

    fn skip(&mut self, mut length: u64) -> Result<()> {
        while length > 0 {
            let bytes = ready(&mut self.source)?;
            if bytes.is_empty() {
                return Err(corrupt("zstd", "it is cut off"));
            }
            let step = bytes
                .len()
                .min(usize::try_from(length).unwrap_or(usize::MAX));
            self.source.consume(step);
            length -= step as u64;
        }
        Ok(())
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// What a decoder needs for a window: a ring of the next power of two that has also room for
/// what came out and was not taken yet.
fn memory_of(window: u64) -> u64 {
    let filled = window.saturating_add(2 * BLOCK);
    filled.checked_next_power_of_two().unwrap_or(u64::MAX)
}

/// RFC 8878, 3.1.1.1.2: an exponent and eighths.
fn window_of(byte: u8) -> u64 {
    let base = 1_u64 << (10 + (byte >> 3));
    base + base / 8 * u64::from(byte & 7)
}
