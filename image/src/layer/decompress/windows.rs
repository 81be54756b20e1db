//! Memory for windows, shared by all that decompress at the same time.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// What this process uses for windows at once, but for a single window that needs more. The rest
/// of the 64 MB that an operation may use is for everything else.
pub(super) static WINDOWS: Windows = Windows::new(32 << 20, Duration::from_secs(3600));

/// An amount of memory, given out to whoever asks, in their order.
pub(super) struct Windows {
    most: u64,
    patience: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    used: u64,
    holders: usize,
    /// Who waits, the first one first: a large window isn't passed over for ever.
    queue: VecDeque<u64>,
    next: u64,
}

/// A part of the memory; given back when this is dropped.
pub(super) struct Share<'a> {
    windows: &'a Windows,
    bytes: u64,
}

impl Windows {
    pub(super) const fn new(most: u64, patience: Duration) -> Self {
        let state = State {
            used: 0,
            holders: 0,
            queue: VecDeque::new(),
            next: 0,
        };
        Self {
            most,
            patience,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Waits until `bytes` of memory are free; until all is, when it is more than there is. A
    /// caller that has a share must give it back before: nobody may wait with a share in hand, so
    /// that those who have one always come to their end.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`].
    pub(super) fn take(&self, bytes: u64) -> Result<Share<'_>> {
        let mut state = self.lock();
        let ticket = state.next;
        state.next += 1;
        state.queue.push_back(ticket);
        let must_wait = |state: &mut State| {
            let is_first = state.queue.front() == Some(&ticket);
            !is_first || state.holders > 0 && state.used.saturating_add(bytes) > self.most
        };
        let (mut state, waited) = self
            .changed
            .wait_timeout_while(state, self.patience, must_wait)
            .unwrap_or_else(PoisonError::into_inner);
        state.queue.retain(|waiting| *waiting != ticket);
        // The next one may have been waiting for nothing but this one.
        self.changed.notify_all();
        if waited.timed_out() {
            return Err(self.not_in_time(bytes, &state));
        }
        state.used += bytes;
        state.holders += 1;
        Ok(Share {
            windows: self,
            bytes,
        })
    }

    fn not_in_time(&self, bytes: u64, state: &State) -> Error {
        Error::new(
            ErrorKind::TimedOut,
            format!(
                "a zstd stream has waited {} s for {bytes} bytes of memory: {} other streams of \
                 this process have not ended (all together may use {})",
                self.patience.as_secs(),
                state.holders,
                self.most,
            ),
        )
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share<'_> {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut state = self.windows.lock();
        state.used -= self.bytes;
        state.holders -= 1;
        self.windows.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn never_is_more_given_than_there_is_but_to_one_alone() {
        let windows = Windows::new(10, Duration::from_secs(60));
        let used = AtomicU64::new(0);
        let most_at_once = |bytes| {
            let share = windows.take(bytes).expect("in time");
            let now = used.fetch_add(bytes, Ordering::SeqCst) + bytes;
            assert!(now <= 10 || now == bytes, "{now} at once, {bytes} of them");
            std::thread::yield_now();
            used.fetch_sub(bytes, Ordering::SeqCst);
            drop(share);
        };
        std::thread::scope(|scope| {
            for thread in 0..8 {
                scope.spawn(move || {
                    (0..500).for_each(|n| most_at_once([1, 4, 5, 10, 25][(n + thread) % 5]))
                });
            }
        });
        assert_eq!(windows.lock().used, 0);
        assert!(windows.lock().queue.is_empty());
    }

    #[test]
    fn who_waits_too_long_is_told_for_whom_and_the_next_one_is_served() {
        let windows = Windows::new(10, Duration::from_millis(20));
        let share = windows.take(8).expect("there");
        let error = windows.take(3).err().expect("it is not there");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let text = error.to_string();
        assert!(text.contains("1 other stream"), "{text}");
        drop(windows.take(2).expect("what is left"));
        drop(share);
        drop(windows.take(1000).expect("alone"));
    }
}
