//! A blob, fetched piece by piece over several connections.
//!
//! ```text
//! threads    ask for one piece each, go on where one broke off ──▶ spool: a slot a piece
//! the caller takes the pieces' bytes in their order            ◀──   (a file without a name)
//!            and gives them to the sink, which verifies them
//! ```
//!
//! So the sink sees one stream that only ever grows, whoever reads it meanwhile; memory is a
//! buffer a thread; and what is ahead of its turn is bounded by the slots. A process that is
//! killed loses what was ahead, and no more.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::answer::{Answer, Stream};
use super::blobs::{BUFFER, PROGRESS, Send, Sink, given_up};
use super::exchange::{Broken, from_io};
use super::grants::lock;
use super::problem;
use super::range::{Part, Range, ended_early, sends_more, wrong_size};
use super::retry::Attempts;
use super::settings::{Retry, Settings};
use super::url::Url;
use crate::document::Descriptor;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Event, Progress, Work};

/// Slots for each connection: it need not wait for a slower one to begin its next piece.
const SLOTS: u64 = 2;
/// How soon a waiting thread sees that all is to stop.
const LOOK: Duration = Duration::from_millis(200);

/// A blob's pieces from `start` on.
pub(super) struct Pieces<'d> {
    blob: &'d Descriptor,
    start: u64,
    piece: u64,
    slots: u64,
    spool: File,
    connections: usize,
    retry: Retry,
    state: Mutex<State>,
    changed: Condvar,
}

/// What all threads know.
struct State {
    /// The piece whose bytes the sink gets now.
    head: u64,
    /// How many bytes of each piece have arrived: of `head`, and of all begun ones after it.
    arrived: VecDeque<u64>,
    /// How many threads are at work.
    at_work: usize,
    /// The first piece that can't be had, and why.
    failure: Option<(u64, Error)>,
    /// Nobody wants the rest.
    is_over: bool,
}

/// How pieces are asked for, and whom it is told.
pub(super) struct Talk<'t> {
    pub(super) send: &'t Send<'t>,
    pub(super) url: &'t Url,
    pub(super) stop: &'t AtomicBool,
    pub(super) progress: &'t dyn Progress,
}

/// Why not all pieces came to the sink.
pub(super) enum Failed {
    /// They could not be had, or not be kept until their turn.
    Connections(Error),
    /// The sink did not take them.
    Sink(Error),
}

impl<'d> Pieces<'d> {
    /// `connections` is at least one.
    pub(super) fn new(
        blob: &'d Descriptor,
        start: u64,
        spool: File,
        connections: usize,
        settings: &Settings,
    ) -> Self {
        let slots = SLOTS * connections as u64;
        Self {
            blob,
            start,
            piece: settings.ranges.piece(),
            slots,
            spool,
            connections,
            retry: settings.retry,
            state: Mutex::new(State {
                head: 0,
                arrived: VecDeque::new(),
                at_work: connections,
                failure: None,
                is_over: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Fetches them. Afterwards the sink has the whole blob; after an error what came in order.
    ///
    /// # Errors
    /// The sink's; else the first that a connection ended with, after its own attempts.
    pub(super) fn fetch(&self, talk: &Talk<'_>, sink: &mut dyn Sink) -> Result<(), Failed> {
        std::thread::scope(|scope| {
            for _ in 0..self.connections {
                scope.spawn(|| self.work(talk));
            }
            let outcome = self.take_all(talk, sink);
            lock(&self.state).is_over = true;
            self.changed.notify_all();
            outcome
        })
    }

    /// Gives the sink everything in its order.
    fn take_all(&self, talk: &Talk<'_>, sink: &mut dyn Sink) -> Result<(), Failed> {
        let mut buffer = vec![0; BUFFER];
        while sink.offset() < self.blob.size {
            let at = sink.offset();
            let bytes = self
                .take(at, &mut buffer, talk.stop)
                .map_err(Failed::Connections)?;
            sink.write_all(bytes)
                .map_err(|error| Failed::Sink(from_io(error)))?;
            let bytes = bytes.len() as u64;
            talk.progress.report(Event::Advanced {
                digest: &self.blob.digest,
                work: Work::Download,
                bytes,
            });
            self.took(at + bytes);
        }
        Ok(())
    }

    /// The next bytes from `at` on, as soon as there are some.
    fn take<'b>(&self, at: u64, buffer: &'b mut [u8], stop: &AtomicBool) -> Result<&'b [u8]> {
        let count = usize::try_from(self.wait_for(at, stop)?).unwrap_or(BUFFER);
        let bytes = &mut buffer[..count.min(BUFFER)];
        let read = self.spool.read_exact_at(bytes, self.place(at));
        read.map_err(|error| self.failed("read back", error))?;
        Ok(bytes)
    }

    /// Waits until there are bytes from `at` on; says how many.
    fn wait_for(&self, at: u64, stop: &AtomicBool) -> Result<u64> {
        let taken = (at - self.start) % self.piece;
        let mut state = lock(&self.state);
        loop {
            let arrived = state.arrived.front().copied().unwrap_or(0);
            if arrived > taken {
                return Ok(arrived - taken);
            }
            // What others are at work on before it is still worth waiting for.
            let (head, has_ended) = (state.head, state.at_work == 0);
            let is_due = |failed: &mut (u64, Error)| has_ended || failed.0 == head;
            if let Some((_, error)) = state.failure.take_if(is_due) {
                return Err(error);
            }
            if stop.load(Ordering::Relaxed) {
                return Err(given_up());
            }
            if has_ended {
                let message = format!("a thread that fetched {} has died", self.blob.digest);
                return Err(Error::new(ErrorKind::Unreachable, message));
            }
            state = self.wait(state);
        }
    }

    /// Everything before `at` has been taken.
    fn took(&self, at: u64) {
        let mut state = lock(&self.state);
        if self.range(state.head).1 <= at {
            state.head += 1;
            state.arrived.pop_front();
            self.changed.notify_all();
        }
    }

    /// What each thread does: one piece after the other, until there are none.
    fn work(&self, talk: &Talk<'_>) {
        let _leaving = Leaving(self);
        while let Some(index) = self.begin_next(talk.stop) {
            if let Err(error) = self.fetch_piece(index, talk) {
                self.fails(index, error);
                return;
            }
        }
    }

    fn fails(&self, index: u64, error: Error) {
        let mut state = lock(&self.state);
        if state
            .failure
            .as_ref()
            .is_none_or(|(first, _)| index < *first)
        {
            state.failure = Some((index, error));
        }
    }

    /// The next piece that nobody has begun, as soon as there is a slot for it.
    fn begin_next(&self, stop: &AtomicBool) -> Option<u64> {
        let mut state = lock(&self.state);
        loop {
            let is_over = state.is_over || state.failure.is_some() || stop.load(Ordering::Relaxed);
            let next = state.head + state.arrived.len() as u64;
            if is_over || self.range(next).0 >= self.blob.size {
                return None;
            }
            if next < state.head + self.slots {
                state.arrived.push_back(0);
                return Some(next);
            }
            state = self.wait(state);
        }
    }

    /// Fetches one piece; after a broken connection what is missing of it.
    fn fetch_piece(&self, index: u64, talk: &Talk<'_>) -> Result<()> {
        let mut attempts = Attempts::new(self.retry);
        let (mut at, end) = self.range(index);
        while at < end {
            let before = at;
            let range = Range::Between(at, end);
            let outcome = (talk.send)(&range.request(talk.url))
                .and_then(|answer| self.receive(answer, range, index, &mut at, talk));
            if at >= before.saturating_add(PROGRESS) {
                attempts.got_further();
            }
            if let Err(broken) = outcome {
                attempts.pause(broken, talk.progress)?;
            }
        }
        Ok(())
    }

    fn receive(
        &self,
        answer: Answer,
        range: Range,
        index: u64,
        at: &mut u64,
        talk: &Talk<'_>,
    ) -> std::result::Result<(), Broken> {
        let authority = answer.url.origin().authority();
        match range.part(&answer, self.blob) {
            Part::Asked => self.copy(answer.stream(), range, index, at, talk),
            Part::Whole => {
                let message = format!("{authority} sends all of it where a piece was asked for");
                Err(Error::new(ErrorKind::Registry, message).into())
            }
            Part::Wrong(why) => Err(wrong_size(self.blob, &why).into()),
            Part::Unsatisfiable | Part::Other => {
                Err(problem::error("read a piece of it", answer).into())
            }
        }
    }

    fn copy(
        &self,
        mut stream: Stream,
        range: Range,
        index: u64,
        at: &mut u64,
        talk: &Talk<'_>,
    ) -> std::result::Result<(), Broken> {
        let end = range.end(self.blob);
        let mut buffer = vec![0; BUFFER];
        loop {
            if talk.stop.load(Ordering::Relaxed) || lock(&self.state).is_over {
                return Err(given_up().into());
            }
            let left = end - *at;
            let count = match stream.read(&mut buffer) {
                Ok(0) if left == 0 => return Ok(()),
                Ok(0) => return Err(ended_early(stream.authority(), left)),
                Ok(count) => count,
                Err(_) if left == 0 => return Ok(()),
                Err(error) => return Err(stream.explain(error)),
            };
            if count as u64 > left {
                let promised = end - range.start();
                return Err(sends_more(self.blob, stream.authority(), promised).into());
            }
            let written = self.spool.write_all_at(&buffer[..count], self.place(*at));
            written.map_err(|error| self.failed("keep a piece of", error))?;
            *at += count as u64;
            self.arrived(index, count as u64);
        }
    }

    fn arrived(&self, index: u64, count: u64) {
        let mut state = lock(&self.state);
        let position = usize::try_from(index - state.head).unwrap_or(usize::MAX);
        if let Some(arrived) = state.arrived.get_mut(position) {
            *arrived += count;
        }
        if position == 0 {
            self.changed.notify_all();
        }
    }

    /// The bytes of a piece: its first one, and the first one after it.
    fn range(&self, index: u64) -> (u64, u64) {
        let at = |index: u64| {
            let offset = index.saturating_mul(self.piece);
            self.start.saturating_add(offset).min(self.blob.size)
        };
        (at(index), at(index + 1))
    }

    /// Where in the spool the blob's byte `at` lies.
    fn place(&self, at: u64) -> u64 {
        let offset = at - self.start;
        let slot = (offset / self.piece) % self.slots;
        slot * self.piece + offset % self.piece
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        match self.changed.wait_timeout(state, LOOK) {
            Ok((state, _)) => state,
            // A thread that panicked leaves nothing half-done here.
            Err(poisoned) => poisoned.into_inner().0,
        }
    }

    fn failed(&self, act: &str, error: std::io::Error) -> Error {
        Error::system(format!("{act} blob {}", self.blob.digest), error)
    }
}

/// A thread that ends says so, whatever its end.
struct Leaving<'p, 'd>(&'p Pieces<'d>);

impl Drop for Leaving<'_, '_> {
    fn drop(&mut self) {
        lock(&self.0.state).at_work -= 1;
        self.0.changed.notify_all();
    }
}
