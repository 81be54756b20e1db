//! Two names that are exchanged as fast as it goes: whoever looks twice sees two things.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::case::{Verdict, failed};
use crate::scene::Scene;

/// A thread that exchanges two paths until it is dropped.
#[derive(Debug)]
pub(super) struct Swapper {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Swapper {
    /// Begins.
    pub(super) fn start(one: PathBuf, other: PathBuf) -> Self {
        let (stop, swaps) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (flag, count) = (Arc::clone(&stop), Arc::clone(&swaps));
        let name = |path: PathBuf| {
            let bytes = path.into_os_string().into_encoded_bytes();
            CString::new(bytes).expect("a path has no zero")
        };
        let (one, other) = (name(one), name(other));
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                // One of them is in use at times: then the next try counts.
                if crate::sys::exchange(&one, &other).is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self {
            stop,
            swaps,
            thread: Some(thread),
        }
    }

    /// A directory in which `d`, a directory, and `link`, which leads to `target`, are exchanged.
    pub(super) fn in_a_volume(volume: &Path, target: &str) -> Self {
        let [one, other] = ["d", "link"].map(|name| volume.join(name));
        std::fs::create_dir_all(&one).expect("a directory can be made");
        std::os::unix::fs::symlink(target, &other).expect("a link can be made");
        Self::start(one, other)
    }

    /// Whether anything was exchanged: a race without a runner shows nothing.
    pub(super) fn has_run(&self) -> Verdict {
        if self.swaps.load(Ordering::Relaxed) > 0 {
            return Ok(());
        }
        failed("an exchange of two names", "none")
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does not panic.
            thread.join().ok();
        }
    }
}

/// Does something again and again, for a second and a half or for a minute.
pub(super) fn for_a_while(scene: &Scene<'_>, mut act: impl FnMut() -> Verdict) -> Verdict {
    let limit = if scene.stage().is_long { 60_000 } else { 1500 };
    let end = Instant::now() + Duration::from_millis(limit);
    while Instant::now() < end {
        act()?;
    }
    Ok(())
}
