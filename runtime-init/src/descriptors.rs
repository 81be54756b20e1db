//! The descriptors that the child has from its parent.

use crate::failure::At;
use crate::interpreter::Init;
use crate::program::{Call, Failure, RawFd};
use crate::sys;

impl Init<'_> {
    /// Closes every descriptor but these sorted ones, one gap between them at a time.
    pub(crate) fn keep_only(&mut self, kept: &[RawFd]) -> Result<(), Failure> {
        let mut next = 0;
        for &descriptor in kept {
            let descriptor = u32::try_from(descriptor).unwrap_or(next);
            if descriptor > next {
                sys::close_gap(next, descriptor - 1).at(Call::CloseRange)?;
            }
            next = descriptor.saturating_add(1);
        }
        sys::close_gap(next, u32::MAX).at(Call::CloseRange)
    }

    /// Makes these descriptors the standard streams; they may be standard streams themselves,
    /// in any order, so they are duplicated away from there first.
    pub(crate) fn set_streams(&mut self, streams: [RawFd; 3]) -> Result<(), Failure> {
        let mut copies = [-1; 3];
        for (copy, stream) in copies.iter_mut().zip(streams) {
            *copy = sys::dup_above(stream, 3).at(Call::Dup)?;
        }
        for (stream, copy) in (0..3).zip(copies) {
            sys::dup_to(copy, stream).at(Call::Dup)?;
        }
        Ok(())
    }
}
