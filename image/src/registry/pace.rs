//! Whether a blob is worth several connections: when much of it is missing, the registry has
//! pieces of blobs, and one connection brings little in a second.
//!
//! The first piece of a large blob is small and tells both. Where one connection is fast, as to
//! a registry near by, the rest comes over it in one answer, as it does from a registry without
//! ranges.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::client::Client;
use super::grants::lock;
use super::settings::Ranges;

/// The first piece, in bytes: enough to see how fast it comes.
const FIRST: u64 = 1 << 20;
/// While others use the connections, so many pieces are asked for at once, over one.
const PIECES_ALONE: u64 = 4;

/// What is to be asked for next.
pub(super) enum Way<'c> {
    /// All that is missing.
    Rest,
    /// What comes before this byte.
    Piece(u64),
    /// Pieces, over several connections.
    Several(Lent<'c>),
}

/// What is known of the way to a blob.
pub(super) struct Pace<'c> {
    client: &'c Client,
    ranges: Ranges,
    /// One connection is not enough; none while that is not known.
    is_slow: Option<bool>,
}

impl<'c> Pace<'c> {
    pub(super) fn new(client: &'c Client) -> Self {
        let ranges = client.settings().ranges;
        Self {
            client,
            ranges,
            is_slow: (ranges.connections < 2).then_some(false),
        }
    }

    /// The next request for a blob of which everything before `offset` is there.
    pub(super) fn next(&self, offset: u64, size: u64) -> Way<'c> {
        let missing = size.saturating_sub(offset);
        if missing <= self.ranges.larger_than {
            return Way::Rest;
        }
        let piece = self.ranges.piece();
        let up_to = |length: u64| Way::Piece(offset.saturating_add(length).min(size));
        match self.is_slow {
            Some(false) => Way::Rest,
            None => up_to(piece.min(FIRST)),
            Some(true) => match self.client.connections.lend(self.ranges.connections) {
                Some(lent) => Way::Several(lent),
                None => up_to(piece.saturating_mul(PIECES_ALONE)),
            },
        }
    }

    /// So many bytes have come since then.
    pub(super) fn learn(&mut self, bytes: u64, since: Instant) {
        let elapsed = since.elapsed().max(Duration::from_micros(1));
        let a_second = u128::from(bytes) * 1_000_000 / elapsed.as_micros();
        self.is_slow = Some(a_second < u128::from(self.ranges.fast));
    }

    /// All that is missing comes in one answer from now on.
    pub(super) fn one_answer(&mut self) {
        self.is_slow = Some(false);
    }
}

/// The connections that a client uses for pieces of blobs, whosever they are: a registry should
/// not see more of them because an image has many layers.
#[derive(Debug, Default)]
pub(super) struct Connections {
    lent: Mutex<usize>,
}

/// Some of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Lent<'c> {
    of: &'c Connections,
    pub(super) count: usize,
}

impl Connections {
    /// What is left of `all`, if those are at least two.
    fn lend(&self, all: usize) -> Option<Lent<'_>> {
        let mut lent = lock(&self.lent);
        let count = all.saturating_sub(*lent);
        if count < 2 {
            return None;
        }
        *lent += count;
        Some(Lent { of: self, count })
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        *lock(&self.of.lent) -= self.count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Settings;

    const SIZE: u64 = 100 << 20;

    fn client() -> Client {
        Client::new(Settings::default())
    }

    #[test]
    fn what_is_small_is_asked_for_at_once_and_what_is_large_is_tried_first() {
        let client = client();
        let pace = Pace::new(&client);
        assert!(matches!(pace.next(0, 16 << 20), Way::Rest));
        assert!(matches!(pace.next(0, SIZE), Way::Piece(FIRST)));
        assert!(matches!(pace.next(5, SIZE), Way::Piece(end) if end == FIRST + 5));
        assert!(matches!(pace.next(SIZE - 5, SIZE), Way::Rest));
    }

    #[test]
    fn the_slow_get_what_is_left_of_the_connections_and_give_it_back() {
        let client = client();
        let mut pace = Pace::new(&client);
        let long_ago = Instant::now().checked_sub(Duration::from_secs(10));
        pace.learn(FIRST, long_ago.expect("this machine runs for longer"));
        let all = client.settings().ranges.connections;
        let Way::Several(lent) = pace.next(FIRST, SIZE) else {
            panic!("100 kB in a second are not much");
        };
        assert_eq!(lent.count, all);
        assert!(matches!(pace.next(FIRST, SIZE), Way::Piece(_)));
        drop(lent);
        assert!(matches!(pace.next(FIRST, SIZE), Way::Several(_)));
        pace.one_answer();
        assert!(matches!(pace.next(FIRST, SIZE), Way::Rest));
    }

    #[test]
    fn the_fast_and_those_who_may_use_one_connection_alone_stay_with_one() {
        let mut client = client();
        let mut pace = Pace::new(&client);
        pace.learn(1 << 40, Instant::now());
        assert!(matches!(pace.next(FIRST, SIZE), Way::Rest));

        let mut settings = Settings::default();
        settings.ranges.connections = 1;
        client = Client::new(settings);
        assert!(matches!(Pace::new(&client).next(0, SIZE), Way::Rest));
    }
}
