//! Blobs that are read and not kept: small ones as a whole, others as a stream.

use std::io::{Read, Write};
use std::sync::atomic::AtomicBool;

use super::blobs::Sink;
use super::problem;
use super::range::{Part, Range, skip, wrong_size};
use super::repository::Repository;
use super::settings::hosts::Capability;
use crate::document::{Descriptor, MAX_DOCUMENT};
use crate::error::{Error, ErrorKind, Result};

impl Repository<'_> {
    /// A small blob, such as a configuration, verified.
    ///
    /// # Errors
    /// As [`Self::download`]; [`ErrorKind::Corrupt`] when it is not what the descriptor says, or
    /// is larger than a document may be.
    pub fn document(&self, blob: &Descriptor) -> Result<Vec<u8>> {
        if let Some(embedded) = blob.embedded()? {
            return Ok(embedded);
        }
        if blob.size > MAX_DOCUMENT {
            let message = format!("document {}: more than {MAX_DOCUMENT} bytes", blob.digest);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let mut sink = Memory(Vec::new());
        self.download(blob, &mut sink, &AtomicBool::new(false))?;
        let mut verifier = crate::digest::Verifier::new(&blob.digest, blob.size);
        verifier.update(&sink.0)?;
        verifier.finish()?;
        Ok(sink.0)
    }

    /// Opens a blob for reading from `offset` on, for who verifies it himself.
    pub(crate) fn read_blob(
        &self,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<Box<dyn Read + 'static>> {
        let digest = &blob.digest;
        self.first(Capability::Pull, |line| {
            let url = line.endpoint.url(self.name(), &format!("blobs/{digest}"));
            let range = Range::From(offset);
            let answer = line.send(&range.request(&url))?;
            match range.part(&answer, blob) {
                Part::Asked => Ok(Box::new(answer.stream()) as Box<dyn Read>),
                Part::Whole => match skip(answer.stream(), offset) {
                    Ok(stream) => Ok(Box::new(stream)),
                    Err(broken) => Err(broken.error),
                },
                Part::Unsatisfiable | Part::Other => {
                    Err(problem::error(&format!("read blob {digest}"), answer))
                }
                Part::Wrong(why) => Err(wrong_size(blob, &why)),
            }
        })
    }
}

struct Memory(Vec<u8>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink for Memory {
    fn offset(&self) -> u64 {
        self.0.len() as u64
    }

    fn restart(&mut self) -> Result<()> {
        self.0.clear();
        Ok(())
    }
}
