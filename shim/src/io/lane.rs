//! One or two outputs of a process on their way to one destination.
//!
//! ```text
//!            room                    no room                     grace is over
//!   Open ───────────▶ Open   Open ───────────▶ Waiting  Waiting ───────────────▶ Dropping
//!   read, write              keep the rest,             keep the rest, read and count
//!                            read no more
//!   Waiting, Dropping ── all of the rest is taken ──▶ Open
//!   Dropping ── some of the rest is taken ──▶ Waiting
//!   Open ── the outputs are at their end, and there is no reader ──▶ Lingering
//! ```
//!
//! A container is so held up for a bounded time by a reader that is gone or does not read, and
//! then never again until that reader, or another one, reads. What is dropped is always newer
//! than what is kept, so a reader that comes back reads on where it stopped, up to one gap.
//!
//! A FIFO forgets its bytes with its last open end. So when a process has ended before its client
//! has opened the FIFO, the shim lets go of it only after the client has, or after the grace.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use runtime_core::errno::Words;

use super::pending::{End, ONE_READ, Pending, count, read_some};
use super::sink::Sink;
use super::source::Source;
use super::watch::{Desk, Watch, earlier};

/// The longest time between two looks for a reader while bytes wait for one.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// The time between two looks for a reader when nothing but the end of file waits for it.
const LINGERING_LOOK: Duration = Duration::from_millis(100);

/// Outputs with their destination, and what is on its way between them.
#[derive(Debug)]
pub(super) struct Lane {
    /// What the destination is called in notices.
    name: String,
    sources: [Option<Source>; 2],
    sink: Sink,
    pending: Pending,
    flow: Flow,
    dropped: u64,
    /// Whether bytes were dropped, or could have been, since everything was written last.
    has_dropped: bool,
    /// The last error of the destination, so that it is told once.
    failure: Option<Errno>,
    notice: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum Flow {
    Open,
    Waiting(Wait),
    Dropping,
    /// Everything is written, to a FIFO that nobody has open for reading yet.
    Lingering {
        until: Instant,
        look: Instant,
    },
}

/// How long the reader has taken nothing.
#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Instant,
    /// When it was first seen that there is no reader at all.
    gone_since: Option<Instant>,
    /// When to look again whether there is one.
    look: Instant,
}

impl Lane {
    pub(super) fn new(name: String, sink: Sink) -> Self {
        Self {
            name,
            sources: [None, None],
            sink,
            pending: Pending::default(),
            flow: Flow::Open,
            dropped: 0,
            has_dropped: false,
            failure: None,
            notice: None,
        }
    }

    /// Adds an output as the first (0) or second (1).
    pub(super) fn set_source(&mut self, index: usize, source: Source) {
        if let Some(place) = self.sources.get_mut(index) {
            *place = Some(source);
        }
    }

    pub(super) fn source(&self, index: usize) -> Option<&Source> {
        self.sources.get(index)?.as_ref()
    }

    /// Begins to read.
    pub(super) fn start(&mut self, desk: &Desk<'_>) {
        for source in self.sources.iter_mut().flatten() {
            source.start(desk);
        }
    }

    /// One of the outputs can be read: one bounded read of it.
    pub(super) fn source_ready(&mut self, index: usize, desk: &Desk<'_>) {
        let Some(Some(source)) = self.sources.get_mut(index) else {
            return;
        };
        if !source.is_wanted() {
            return;
        }
        let mut buffer = [0; ONE_READ];
        match read_some(&*source, &mut buffer) {
            Ok(None) => {}
            Ok(Some(length @ 1..)) => {
                self.hand_on(buffer.get(..length).unwrap_or_default(), desk);
            }
            Err(Errno::EIO) if source.is_terminal() => source.hang_up(desk),
            Ok(Some(0)) | Err(_) => self.end_source(index, desk),
        }
    }

    /// The destination takes bytes again, or its reader is gone.
    pub(super) fn sink_ready(&mut self, desk: &Desk<'_>) {
        if self.sink.is_awaited() {
            self.flush(desk);
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, desk: &Desk<'_>) {
        for source in self.sources.iter_mut().flatten() {
            source.tick(desk);
        }
        if let Some(watch) = self.sink.watch_mut() {
            watch.tick(desk);
        }
        match self.flow {
            Flow::Waiting(wait) if wait.look <= desk.now => self.look_for_reader(wait, desk),
            Flow::Lingering { until, look } if look <= desk.now => self.linger(until, desk),
            _ => {}
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let sources = self.sources.iter().flatten();
        let look = match self.flow {
            Flow::Waiting(Wait { look, .. }) | Flow::Lingering { look, .. } => Some(look),
            Flow::Open | Flow::Dropping => None,
        };
        sources
            .map(Source::next_deadline)
            .chain([self.sink.watch().and_then(Watch::next_deadline), look])
            .fold(None, earlier)
    }

    /// Whether every output has reached its end, and everything was handed on or given up.
    pub(super) fn is_drained(&self) -> bool {
        let ended = self.sources.iter().flatten().all(Source::has_hung_up);
        ended && (self.pending.is_empty() || matches!(self.flow, Flow::Dropping))
    }

    /// Ends an output and what it leads to, if that was the last one.
    pub(super) fn end_source(&mut self, index: usize, desk: &Desk<'_>) {
        let source = self.sources.get_mut(index).and_then(Option::take);
        if let Some(source) = source {
            source.retire(desk);
        }
        self.finish(desk);
    }

    /// Closes everything; what is still pending is tried once more.
    pub(super) fn close(&mut self, desk: &Desk<'_>) {
        for source in self.sources.iter_mut().filter_map(Option::take) {
            source.retire(desk);
        }
        self.flush(desk);
        self.dropped += self.pending.clear();
        self.leave(desk);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What the operator should know, once.
    pub(super) fn take_notice(&mut self) -> Option<String> {
        self.notice.take()
    }

    fn hand_on(&mut self, bytes: &[u8], desk: &Desk<'_>) {
        self.flush(desk);
        if !self.pending.is_empty() {
            self.dropped += count(bytes);
            return;
        }
        let wrote = self.sink.write(bytes);
        let rest = bytes.get(wrote.count..).unwrap_or_default();
        match wrote.end {
            End::All => self.failure = None,
            End::Full => {
                self.pending = Pending::of(rest);
                self.wait(desk);
            }
            End::Failed(errno) => {
                self.dropped += count(rest);
                self.tell_failure(errno);
            }
        }
    }

    /// Writes what is pending, as far as it goes.
    fn flush(&mut self, desk: &Desk<'_>) {
        if self.pending.is_empty() {
            return;
        }
        let wrote = self.sink.write(self.pending.rest());
        self.pending.advance(wrote.count);
        match wrote.end {
            End::All => self.open(desk),
            End::Full if wrote.count > 0 => self.wait(desk),
            End::Full => self.sink.await_room(desk),
            End::Failed(errno) => {
                self.dropped += self.pending.clear();
                self.tell_failure(errno);
                self.open(desk);
            }
        }
    }

    /// Everything is written: reads on.
    fn open(&mut self, desk: &Desk<'_>) {
        if std::mem::take(&mut self.has_dropped) {
            self.notice = Some(format!(
                "{} takes output again; {} bytes of it were dropped so far",
                self.name, self.dropped
            ));
        }
        self.flow = Flow::Open;
        self.sink.rest(desk);
        self.start(desk);
        self.finish(desk);
    }

    /// There is no room: reads no more, and has the loop say when there is.
    fn wait(&mut self, desk: &Desk<'_>) {
        for source in self.sources.iter_mut().flatten() {
            source.pause(desk);
        }
        self.flow = Flow::Waiting(Wait {
            since: desk.now,
            gone_since: None,
            look: desk.now + look_interval(desk),
        });
        self.sink.await_room(desk);
    }

    fn look_for_reader(&mut self, mut wait: Wait, desk: &Desk<'_>) {
        let is_gone = self.sink.reader_is_gone();
        wait.gone_since = is_gone.then(|| wait.gone_since.unwrap_or(desk.now));
        wait.look = desk.now + look_interval(desk);
        let has_passed = |since: Instant, limit| desk.now.saturating_duration_since(since) >= limit;
        let gone_too_long = wait
            .gone_since
            .is_some_and(|since| has_passed(since, desk.limits.no_reader));
        if gone_too_long || has_passed(wait.since, desk.limits.slow_reader) {
            self.drop_from_now_on(gone_too_long, desk);
        } else {
            self.flow = Flow::Waiting(wait);
        }
        self.sink.await_room(desk);
    }

    fn drop_from_now_on(&mut self, is_gone: bool, desk: &Desk<'_>) {
        let (what, limit) = if is_gone {
            ("has had no reader", desk.limits.no_reader)
        } else {
            ("has not been read from", desk.limits.slow_reader)
        };
        self.notice = Some(format!(
            "{} {what} for {} s: output is dropped until somebody reads",
            self.name,
            limit.as_secs_f32()
        ));
        self.flow = Flow::Dropping;
        self.has_dropped = true;
        self.start(desk);
    }

    fn tell_failure(&mut self, errno: Errno) {
        if self.failure.replace(errno) != Some(errno) {
            self.notice = Some(format!(
                "{}: {}: output is dropped until it can be written again",
                self.name,
                Words(errno)
            ));
        }
    }

    /// With the last output at its end and nothing pending, the destination is closed: its
    /// reader meets the end of file.
    fn finish(&mut self, desk: &Desk<'_>) {
        if self.sources.iter().all(Option::is_none) && self.pending.is_empty() {
            self.linger(desk.now + desk.limits.no_reader, desk);
        }
    }

    /// Closes the destination if it has a reader, or has had none for long enough.
    fn linger(&mut self, until: Instant, desk: &Desk<'_>) {
        if desk.now < until && self.sink.reader_is_gone() {
            let look = desk.now + LINGERING_LOOK;
            self.flow = Flow::Lingering { until, look };
        } else {
            self.leave(desk);
        }
    }

    fn leave(&mut self, desk: &Desk<'_>) {
        self.flow = Flow::Open;
        self.sink.retire(desk);
    }
}

/// Often enough that the grace is not much longer than its limit says.
fn look_interval(desk: &Desk<'_>) -> Duration {
    let shorter = desk.limits.no_reader.min(desk.limits.slow_reader) / 8;
    shorter.min(LONGEST_LOOK)
}
