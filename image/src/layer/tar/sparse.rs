//! Maps of files with holes.

use std::io::BufRead;

use super::header::{Header, Refusal};
use super::pax::Sparse;
use super::reader::{Reader, truncated};
use super::{BLOCK, Entry, Segment, number};
use crate::error::Result;

/// Parts of one sparse file: 16 bytes of memory each.
const MOST_SEGMENTS: usize = 1 << 18;
const TOO_MANY: Refusal = "it has too many holes";

impl<R: BufRead> Reader<R> {
    /// GNU's old format: parts in the header, then in blocks of their own.
    pub(super) fn old_map(
        &mut self,
        header: &Header<'_>,
        entry: &mut Entry,
    ) -> Result<Vec<Segment>> {
        let refuse = |reader: &Self, why| reader.refuse(&entry.path, why);
        let (pairs, size, mut more) = header.old_sparse().map_err(|why| refuse(self, why))?;
        let mut segments = Vec::new();
        old_pairs(pairs, &mut segments).map_err(|why| refuse(self, why))?;
        while more {
            let block = self.block()?.ok_or_else(|| truncated(self.offset))?;
            more = old_extension(&block, &mut segments).map_err(|why| refuse(self, why))?;
        }
        entry.size = size;
        Ok(segments)
    }

    /// GNU's formats in pax: 0.0 and 0.1 in the records, 1.0 before the content.
    pub(super) fn pax_map(&mut self, holes: &Sparse, entry: &mut Entry) -> Result<Vec<Segment>> {
        let size = holes
            .size
            .ok_or_else(|| self.refuse(&entry.path, "its size with holes is missing"))?;
        entry.size = size;
        let is_listed = holes.map.is_some() || !holes.pieces.is_empty() || holes.count.is_some();
        match (holes.major, holes.minor) {
            (Some(1), Some(0)) if !is_listed => self.map_in_content(&entry.path),
            (None, None) => holes.listed().map_err(|why| self.refuse(&entry.path, why)),
            _ => Err(self.refuse(&entry.path, "its holes are in a format that is not known")),
        }
    }

    /// Version 1.0: decimal numbers on lines of their own, in blocks before the content.
    fn map_in_content(&mut self, path: &[u8]) -> Result<Vec<Segment>> {
        let mut lines = Lines::default();
        let count = self.number_on_line(&mut lines, path)?;
        let count = usize::try_from(count)
            .ok()
            .filter(|count| *count <= MOST_SEGMENTS)
            .ok_or_else(|| self.refuse(path, TOO_MANY))?;
        let mut segments = Vec::new();
        for _ in 0..count {
            segments.push(Segment {
                offset: self.number_on_line(&mut lines, path)?,
                length: self.number_on_line(&mut lines, path)?,
            });
        }
        Ok(segments)
    }

    fn number_on_line(&mut self, lines: &mut Lines, path: &[u8]) -> Result<u64> {
        const MALFORMED: Refusal = "the list of its holes is malformed";
        loop {
            match lines.next() {
                Line::Number(number) => return Ok(number),
                Line::Incomplete if self.content >= BLOCK as u64 => {
                    let block = self.block()?.ok_or_else(|| truncated(self.offset))?;
                    self.content -= BLOCK as u64;
                    lines.push(&block);
                }
                _ => return Err(self.refuse(path, MALFORMED)),
            }
        }
    }
}

impl Sparse {
    /// The list of versions 0.0 and 0.1.
    fn listed(&self) -> Result<Vec<Segment>, Refusal> {
        let segments = match &self.map {
            Some(_) if !self.pieces.is_empty() => {
                return Err("its holes are described in two ways");
            }
            Some(map) => map,
            None => &self.pieces,
        };
        if self.count != Some(segments.len() as u64) {
            return Err("it has another number of holes than it says");
        }
        Ok(segments.clone())
    }
}

/// Decimal numbers on lines, in blocks that come one by one.
#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    start: usize,
}

enum Line {
    Number(u64),
    Incomplete,
    Malformed,
}

impl Lines {
    fn push(&mut self, block: &[u8]) {
        self.text.drain(..self.start);
        self.start = 0;
        self.text.extend_from_slice(block);
    }

    fn next(&mut self) -> Line {
        let rest = &self.text[self.start..];
        let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
            return match rest.len() > 20 {
                true => Line::Malformed,
                false => Line::Incomplete,
            };
        };
        let number = number::decimal(&rest[..length]);
        self.start += length + 1;
        number.map_or(Line::Malformed, Line::Number)
    }
}

/// Offset and length pairs of an old GNU header (4 of them) or of a block that follows it (21).
/// The first empty pair ends the list, for good.
fn old_pairs(bytes: &[u8], segments: &mut Vec<Segment>) -> Result<(), Refusal> {
    for (at, pair) in bytes.chunks_exact(24).enumerate() {
        if pair[12] == 0 {
            let is_end = bytes[at * 24..].iter().all(|byte| *byte == 0);
            return is_end.then_some(()).ok_or("a hole of it has no end");
        }
        let part = |field| number::field(field).and_then(|value| u64::try_from(value).ok());
        let (offset, length) = part(&pair[..12])
            .zip(part(&pair[12..]))
            .ok_or("a hole of it has no place")?;
        if segments.len() == MOST_SEGMENTS {
            return Err(TOO_MANY);
        }
        segments.push(Segment { offset, length });
    }
    Ok(())
}

/// A block of further pairs, and whether another one follows.
fn old_extension(block: &[u8; BLOCK], segments: &mut Vec<Segment>) -> Result<bool, Refusal> {
    old_pairs(&block[..504], segments)?;
    Ok(block[504] != 0)
}

/// Checks a map: ascending, not overlapping, inside of the file, and as long as what is stored.
/// Parts without length are left out; GNU tar ends maps with one.
pub(super) fn check(
    segments: Vec<Segment>,
    size: u64,
    stored: u64,
) -> Result<Vec<Segment>, Refusal> {
    const WRONG: Refusal = "its holes overlap, or are not inside of it";
    let mut end = 0;
    let mut sum = 0_u64;
    for segment in &segments {
        if segment.offset < end {
            return Err(WRONG);
        }
        end = segment.offset.checked_add(segment.length).ok_or(WRONG)?;
        sum += segment.length;
    }
    if end > size || i64::try_from(size).is_err() {
        return Err(WRONG);
    }
    if sum != stored {
        return Err("its content is not as long as its parts are together");
    }
    let is_part = |segment: &Segment| segment.length > 0;
    Ok(segments.into_iter().filter(is_part).collect())
}
