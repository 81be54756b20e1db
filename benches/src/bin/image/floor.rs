//! What nobody who verifies an image can leave out: every layer hashed as it is sent, decompressed,
//! and hashed as it is unpacked.
//!
//! Each of these is done alone, from the page cache: nothing is downloaded, written or made. They
//! are shared out among all cores, largest first, and none waits for another: so this is their
//! sum, divided by the cores, but for the one gzip stream that can't be divided. They are done
//! twice: by the distribution's gzip(1) and sha256sum(1), and by the same crates as tare's.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sha2_fast::{Digest, Sha256};

use crate::Error;
use crate::content::Image;

/// As much as tare-image reads at once.
const BUFFER: usize = 128 << 10;

/// How long it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floor {
    /// By gzip(1) and sha256sum(1), on all cores.
    pub(crate) by_tools: Duration,
    /// By tare's crates, on all cores.
    pub(crate) on_all: Duration,
    /// By tare's crates, one after the other.
    pub(crate) on_one: Duration,
}

#[derive(Clone, Copy)]
enum Act {
    Hash,
    Decompress,
}

/// Does it, in each of these ways once.
pub(crate) fn measure(image: &Image) -> Result<Floor, Error> {
    let mut tasks = Vec::new();
    for layer in &image.layers {
        let length = fs::metadata(&layer.archive)?.len();
        // Decompressing takes some four times as long as hashing what comes out.
        tasks.push((4 * length, Act::Decompress, layer.compressed.as_path()));
        tasks.push((length, Act::Hash, &layer.archive));
        let length = fs::metadata(&layer.compressed)?.len();
        tasks.push((length, Act::Hash, &layer.compressed));
    }
    tasks.sort_unstable_by_key(|(weight, ..)| std::cmp::Reverse(*weight));
    let cores = std::thread::available_parallelism()?.get();
    Ok(Floor {
        by_tools: share_out(&tasks, cores, by_tool)?,
        on_all: share_out(&tasks, cores, by_crate)?,
        on_one: share_out(&tasks, 1, by_crate)?,
    })
}

fn share_out(
    tasks: &[(u64, Act, &Path)],
    threads: usize,
    perform: fn(Act, &Path) -> std::io::Result<()>,
) -> Result<Duration, Error> {
    let begin = Instant::now();
    let next = AtomicUsize::new(0);
    let work = || -> std::io::Result<()> {
        while let Some((_, act, path)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            perform(*act, path)?;
        }
        Ok(())
    };
    let results: Vec<std::io::Result<()>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let broken = |_| Err(std::io::ErrorKind::Other.into());
        let join =
            |worker: std::thread::ScopedJoinHandle<'_, _>| worker.join().unwrap_or_else(broken);
        workers.into_iter().map(join).collect()
    });
    results.into_iter().collect::<std::io::Result<()>>()?;
    Ok(begin.elapsed())
}

fn by_tool(act: Act, path: &Path) -> std::io::Result<()> {
    let mut tool = match act {
        Act::Hash => Command::new("sha256sum"),
        Act::Decompress => {
            let mut gzip = Command::new("gzip");
            gzip.args(["--decompress", "--stdout"]);
            gzip
        }
    };
    tool.arg(path).stdout(Stdio::null());
    match tool.status()?.success() {
        true => Ok(()),
        false => Err(std::io::Error::other(format!("{tool:?} has failed"))),
    }
}

fn by_crate(act: Act, path: &Path) -> std::io::Result<()> {
    match act {
        Act::Hash => hash(path),
        Act::Decompress => decompress(path),
    }
}

fn hash(path: &Path) -> std::io::Result<()> {
    let mut hash = Sha256::new();
    each_piece(File::open(path)?, |piece| hash.update(piece))?;
    // Nothing of it may be optimized away.
    std::hint::black_box(hash.finalize());
    Ok(())
}

fn decompress(path: &Path) -> std::io::Result<()> {
    let source = std::io::BufReader::with_capacity(BUFFER, File::open(path)?);
    each_piece(flate2::bufread::MultiGzDecoder::new(source), |piece| {
        std::hint::black_box(piece);
    })
}

fn each_piece(mut source: impl Read, mut take: impl FnMut(&[u8])) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(()),
            count => take(&buffer[..count]),
        }
    }
}
