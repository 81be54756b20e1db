//! Three threads: one decompresses, one hashes, one works with what came out.
//!
//! ```text
//! source ─▶ decompress ─┬─▶ hash        the digest of what came out
//!           (the caller) └─▶ consume     entries become files
//! ```
//!
//! What came out is shared in pieces; there are never more than a few of them, and each is used
//! again when both have seen it.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::Limits;
use super::decompress::Decompressor;
use crate::digest::{Algorithm, Digest, Hasher};
use crate::document::Compression;
use crate::error::{Error, ErrorKind, Result};

const PIECE: usize = 128 << 10;
/// How far one thread may be ahead of another one, in pieces.
const AHEAD: usize = 8;

/// What went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Of what came out.
    pub(crate) digest: Digest,
    pub(crate) compressed_size: u64,
    pub(crate) uncompressed_size: u64,
}

/// Decompresses `source` and gives `consume`, on a thread of its own, what comes out. What it
/// leaves unread is hashed all the same.
///
/// # Errors
/// What decompressing fails with, or else what `consume` fails with.
pub(crate) fn run<T: Send>(
    source: impl Read,
    compression: Compression,
    algorithm: Algorithm,
    limits: &Limits,
    consume: impl FnOnce(&mut Pieces) -> Result<T> + Send,
) -> Result<(T, Passed)> {
    let mut decompressor = Decompressor::new(source, compression, limits.zstd_window_bytes);
    let (to_hash, hashed) = sync_channel(AHEAD);
    let (to_consume, consumed) = sync_channel(AHEAD);
    std::thread::scope(|scope| {
        let hashing = scope.spawn(move || hash(&hashed, algorithm));
        let consuming = scope.spawn(move || -> Result<T> {
            let mut pieces = Pieces::new(consumed);
            let value = consume(&mut pieces)?;
            pieces.drain()?;
            Ok(value)
        });
        let pool = Arc::new(Pool::default());
        let outputs = [to_hash, to_consume];
        let decompressed = decompress(&mut decompressor, limits, &pool, &outputs);
        drop(outputs);
        let digest = hashing.join().map_err(|_| panicked())?;
        let consumed = consuming.join().map_err(|_| panicked())?;
        // When this is another error than the other side's silence, it is the cause of all.
        let uncompressed_size = decompressed?;
        let value = consumed?;
        let passed = Passed {
            digest,
            compressed_size: decompressor.compressed_size(),
            uncompressed_size,
        };
        Ok((value, passed))
    })
}

fn panicked() -> Error {
    Error::new(ErrorKind::System, "a thread that unpacks has panicked")
}

/// Returns how many bytes came out; early and without an error when nobody wants more.
fn decompress<R: Read>(
    decompressor: &mut Decompressor<R>,
    limits: &Limits,
    pool: &Arc<Pool>,
    outputs: &[SyncSender<Message>],
) -> Result<u64> {
    let mut size = 0;
    loop {
        let mut bytes = pool.take();
        let length = decompressor.fill(&mut bytes)?;
        size += length as u64;
        limits.check_size(decompressor.compressed_size(), size)?;
        let piece = Arc::new(Piece {
            bytes,
            length,
            pool: Arc::clone(pool),
        });
        let message = match length {
            0 => Message::End,
            _ => Message::Piece(piece),
        };
        for output in outputs {
            if output.send(message.clone()).is_err() {
                return Ok(size);
            }
        }
        if length == 0 {
            return Ok(size);
        }
    }
}

fn hash(pieces: &Receiver<Message>, algorithm: Algorithm) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    while let Ok(Message::Piece(piece)) = pieces.recv() {
        hasher.update(piece.bytes());
    }
    hasher.finish()
}

#[derive(Clone)]
enum Message {
    Piece(Arc<Piece>),
    /// A channel that closes without it was not written to its end.
    End,
}

/// A part of what came out. Its memory is used again when nobody looks at it any more.
struct Piece {
    bytes: Vec<u8>,
    length: usize,
    pool: Arc<Pool>,
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut free = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(bytes);
    }
}

#[derive(Default)]
struct Pool(Mutex<Vec<Vec<u8>>>);

impl Pool {
    fn take(&self) -> Vec<u8> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().unwrap_or_else(|| vec![0; PIECE])
    }
}

/// What comes out, as a stream.
pub(crate) struct Pieces {
    messages: Receiver<Message>,
    current: Option<Arc<Piece>>,
    position: usize,
    is_at_end: bool,
}

impl Pieces {
    fn new(messages: Receiver<Message>) -> Self {
        Self {
            messages,
            current: None,
            position: 0,
            is_at_end: false,
        }
    }

    /// Passes over the rest.
    fn drain(&mut self) -> Result<()> {
        loop {
            let length = match self.fill_buf() {
                Ok(bytes) => bytes.len(),
                Err(error) => return Err(Error::system("read the layer", error)),
            };
            if length == 0 {
                return Ok(());
            }
            self.consume(length);
        }
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let is_used_up = |piece: &Arc<Piece>| self.position == piece.length;
        if self.current.as_ref().is_none_or(is_used_up) && !self.is_at_end {
            // Let go of first: the memory may be wanted for what comes next.
            self.current = None;
            self.position = 0;
            match self.messages.recv() {
                Ok(Message::Piece(piece)) => self.current = Some(piece),
                Ok(Message::End) => self.is_at_end = true,
                Err(_) => return Err(io::Error::other("the layer could not be read on")),
            }
        }
        Ok(match &self.current {
            Some(piece) => &piece.bytes()[self.position..],
            None => &[],
        })
    }

    fn consume(&mut self, length: usize) {
        self.position += length;
    }
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let length = bytes.len().min(out.len());
        out[..length].copy_from_slice(&bytes[..length]);
        self.consume(length);
        Ok(length)
    }
}
