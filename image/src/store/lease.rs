//! Leases: who has one keeps content that no image refers to yet from being pruned.
//!
//! ```text
//! a lease     gate shared, for a moment    lease shared, while it lives
//! a pruning   gate alone, while it waits   lease alone, while it removes
//! ```
//!
//! So nobody new gets past a pruning that waits, and it has its turn when those before it are
//! done. Some are not for hours (a large download): then the gate opens for a while, again and
//! again, since others must be able to work meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Store;
use crate::error::{ErrorKind, Result};
use crate::lock::{Lock, Share};

/// The lock that leases share, and a pruning has alone.
const LEASE: &str = "lease";
/// The lock through which one gets at the other.
const GATE: &str = "gate";
/// How long a pruning that waits holds others up at a time.
const TURN: Duration = Duration::from_secs(10);

/// While it lives, nothing is pruned: content may be written before an image refers to it.
#[derive(Debug)]
pub struct Lease {
    _lock: Lock,
    held: Held,
}

/// How many leases an open store has. Whoever has one already must not wait for a pruning that
/// waits for that one.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<AtomicUsize>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.held.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Store {
    /// Keeps everything from being pruned while the lease lives. Any number may be held at once,
    /// by any number of processes; a pruning that is under way, or waits for its turn, is waited
    /// for.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] when the pruning doesn't end.
    pub fn lease(&self) -> Result<Lease> {
        let has_one = self.leases.0.load(Ordering::SeqCst) > 0;
        let gate = match has_one {
            true => None,
            false => Some(self.lock(GATE, Share::Shared, self.patience)?),
        };
        let lock = self.lock(LEASE, Share::Shared, self.patience)?;
        drop(gate);
        Ok(self.leased(lock))
    }

    /// As [`Store::lease`], but held by nobody else: for whoever removes what others would use.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] when another lease isn't given back.
    pub fn lease_alone(&self) -> Result<Lease> {
        self.lease_alone_by_turns(TURN)
    }

    /// Waits with the gate shut and with the gate open, by turns.
    pub(super) fn lease_alone_by_turns(&self, turn: Duration) -> Result<Lease> {
        let deadline = Instant::now() + self.patience;
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut is_shut = true;
        loop {
            let gate = match is_shut {
                true => Some(self.lock(GATE, Share::Exclusive, left())?),
                false => None,
            };
            let lock = self.lock(LEASE, Share::Exclusive, turn.min(left()));
            drop(gate);
            match lock {
                Err(error) if error.kind() == ErrorKind::TimedOut && !left().is_zero() => {}
                lock => return Ok(self.leased(lock?)),
            }
            is_shut = !is_shut;
        }
    }

    fn leased(&self, lock: Lock) -> Lease {
        let held = self.leases.clone();
        held.0.fetch_add(1, Ordering::SeqCst);
        Lease { _lock: lock, held }
    }

    fn lock(&self, name: &str, share: Share, patience: Duration) -> Result<Lock> {
        let locks = &self.layout().locks;
        let file = locks.file_to_write(name)?;
        Lock::of(file, &locks.path_of(name), share, patience)
    }
}
