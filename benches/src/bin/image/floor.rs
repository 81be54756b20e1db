//! What nobody who verifies an image can leave out: every layer hashed, decompressed and hashed
//! again. By the same crates as tare's, on all cores, a layer a thread.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sha2_fast::{Digest, Sha256};

use crate::Error;

/// How long it takes.
pub(crate) fn measure(blobs: &[PathBuf]) -> Result<Duration, Error> {
    let begin = Instant::now();
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism()?.get();
    let results: Vec<std::io::Result<()>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        one(blob)?;
                    }
                    Ok(())
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))
            })
            .collect()
    });
    results.into_iter().collect::<std::io::Result<()>>()?;
    Ok(begin.elapsed())
}

fn one(blob: &PathBuf) -> std::io::Result<()> {
    let mut hash = Sha256::new();
    let source = Hashing {
        inner: File::open(blob)?,
        hash: Sha256::new(),
    };
    let source = std::io::BufReader::with_capacity(256 << 10, source);
    let mut decoder = flate2::bufread::MultiGzDecoder::new(source);
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = decoder.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
    }
    let compressed = decoder.into_inner().into_inner().hash.finalize();
    // Nothing of it may be optimized away.
    std::hint::black_box((compressed, hash.finalize()));
    Ok(())
}

struct Hashing {
    inner: File,
    hash: Sha256,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}
