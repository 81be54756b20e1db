//! gzip: one member after the other. RFC 1952.

use std::io::BufRead;

use flate2::{Decompress, FlushDecompress, Status};

use super::{corrupt, mislabelled, ready, skip_zeros};
use crate::error::Result;

pub(in super::super) struct Gzip<R> {
    source: R,
    /// The member that is read.
    member: Option<Decompress>,
    is_first: bool,
}

impl<R: BufRead> Gzip<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            member: None,
            is_first: true,
        }
    }

    pub(super) fn source(&self) -> &R {
        &self.source
    }

    /// Some of the next bytes; none at the end. Checksums and lengths of members are checked.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        loop {
            if self.member.is_none() && !self.begin_member()? {
                return Ok(0);
            }
            let length = self.decompress(out)?;
            if length > 0 {
                return Ok(length);
            }
        }
    }

    /// Whether there is a further member.
    fn begin_member(&mut self) -> Result<bool> {
        match ready(&mut self.source)? {
            [0x1f, ..] => {}
            [] | [0, ..] if !self.is_first => {
                skip_zeros(&mut self.source, "gzip")?;
                return Ok(false);
            }
            start if self.is_first => return Err(mislabelled("gzip", start)),
            _ => return Err(corrupt("gzip", "something else follows its end")),
        }
        self.is_first = false;
        // 15 bits: the largest window that the format has, 32 KiB.
        self.member = Some(Decompress::new_gzip(15));
        Ok(true)
    }

    fn decompress(&mut self, out: &mut [u8]) -> Result<usize> {
        let Some(member) = &mut self.member else {
            return Ok(0);
        };
        let input = ready(&mut self.source)?;
        let is_cut_off = input.is_empty();
        let (read, written) = (member.total_in(), member.total_out());
        let status = member
            .decompress(input, out, FlushDecompress::None)
            .map_err(|error| corrupt("gzip", error))?;
        let read = usize::try_from(member.total_in() - read).unwrap_or(usize::MAX);
        let written = usize::try_from(member.total_out() - written).unwrap_or(usize::MAX);
        if status == Status::StreamEnd {
            self.member = None;
        } else if is_cut_off && written == 0 {
            return Err(corrupt("gzip", "it is cut off"));
        }
        self.source.consume(read);
        Ok(written)
    }
}
