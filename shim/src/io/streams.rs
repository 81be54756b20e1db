//! The streams of one process in the loop.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use super::input::{Course, Input};
use super::lane::Lane;
use super::logger::Logger;
use super::source::Source;
use super::watch::{Desk, earlier};
use super::{Limits, console};
use crate::failure::Failure;
use crate::poller::{Poller, Ready};

/// How many notices are kept for a loop that takes none.
const MOST_NOTICES: usize = 16;

/// The parts of a token: two lanes of two sources and a sink, the input's two, the logger.
const LANE_PARTS: u8 = 4;
const SINK: u8 = 2;
pub(super) const INPUT_PART: u8 = 2 * LANE_PARTS;
pub(super) const LOGGER_PART: u8 = INPUT_PART + 2;

pub(super) const fn source_part(lane: u8, source: u8) -> u8 {
    lane * LANE_PARTS + source
}

pub(super) const fn sink_part(lane: u8) -> u8 {
    lane * LANE_PARTS + SINK
}

/// The standard streams of one process, from its creation to its deletion.
///
/// The loop hands every [`Ready`] of these streams to [`Streams::ready`], calls
/// [`Streams::tick`] at [`Streams::next_deadline`], and keeps them after [`Streams::close`] until
/// [`Streams::is_closed`].
#[derive(Debug)]
pub struct Streams {
    limits: Limits,
    serial: u64,
    closed: bool,
    lanes: [Option<Lane>; 2],
    input: Option<Input>,
    /// Where the terminal's master arrives.
    console: Option<OwnedFd>,
    logger: Option<Logger>,
    has_terminal: bool,
    notices: Vec<String>,
}

impl Streams {
    /// Streams that lead nowhere yet.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            serial: 0,
            closed: false,
            lanes: [None, None],
            input: None,
            console: None,
            logger: None,
            has_terminal: false,
            notices: Vec::new(),
        }
    }

    pub(super) fn set_input(&mut self, input: Input) {
        self.input = Some(input);
    }

    pub(super) fn set_lanes(&mut self, lanes: [Option<Lane>; 2]) {
        self.lanes = lanes;
    }

    pub(super) fn set_logger(&mut self, logger: Logger) {
        self.logger = Some(logger);
    }

    pub(super) fn set_console(&mut self, socket: OwnedFd) {
        self.console = Some(socket);
        self.has_terminal = true;
    }

    /// Takes the terminal's master, which the runtime has sent by now; nothing to do without a
    /// terminal. May block until the deadline, so it is called in the job that has created the
    /// process, after [`super::ChildStdio`] was dropped and before [`Streams::register`].
    ///
    /// # Errors
    ///
    /// It did not come in time, or what came is no terminal's master.
    pub fn receive_console(&mut self, deadline: Instant) -> Result<(), Failure> {
        let Some(socket) = self.console.take() else {
            return Ok(());
        };
        let master = console::receive(&socket, deadline)?;
        if let Some(input) = &mut self.input {
            // epoll knows a descriptor by its number, and input and output want different things.
            let own = master.try_clone().map_err(|error| {
                let errno = runtime_core::errno::of_io(&error);
                Failure::call("duplicate the terminal's master", errno)
            })?;
            input.set_terminal(own);
        }
        if let Some(Some(lane)) = self.lanes.first_mut() {
            lane.set_source(0, Source::terminal(master, source_part(0, 0)));
        }
        Ok(())
    }

    /// Begins the relay; the loop knows these streams by `serial`.
    pub fn register(&mut self, poller: &Poller, serial: u64) {
        self.serial = serial;
        let desk = self.desk(poller, Instant::now());
        for lane in self.lanes.iter_mut().flatten() {
            lane.start(&desk);
        }
        if let Some(input) = &mut self.input {
            input.start(&desk);
        }
        if let Some(logger) = &mut self.logger {
            logger.register(&desk);
        }
    }

    /// One of the descriptors is ready: moves a bounded number of bytes.
    pub fn ready(&mut self, poller: &Poller, ready: Ready) {
        let desk = self.desk(poller, Instant::now());
        match ready.token.part {
            part @ ..INPUT_PART => {
                let (lane, place) = (part / LANE_PARTS, part % LANE_PARTS);
                if let Some(Some(lane)) = self.lanes.get_mut(usize::from(lane)) {
                    match place {
                        SINK => lane.sink_ready(&desk),
                        source => lane.source_ready(usize::from(source), &desk),
                    }
                }
            }
            LOGGER_PART => self.logger_ready(&desk),
            _ => {
                let course = self.input.as_mut().map(|input| input.ready(&desk, ready));
                self.follow(course, &desk);
            }
        }
        self.collect_notices();
    }

    /// When [`Streams::tick`] has something to do; never while everything flows or is idle.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let lanes = self.lanes.iter().flatten().map(Lane::next_deadline);
        let input = self.input.as_ref().and_then(Input::next_deadline);
        let logger = self.logger.as_ref().and_then(Logger::next_deadline);
        lanes.chain([input, logger]).fold(None, earlier)
    }

    /// Does what is due at `now`.
    pub fn tick(&mut self, poller: &Poller, now: Instant) {
        let desk = self.desk(poller, now);
        for lane in self.lanes.iter_mut().flatten() {
            lane.tick(&desk);
        }
        let course = self.input.as_mut().map(|input| input.tick(&desk));
        self.follow(course, &desk);
        if let Some(logger) = &mut self.logger {
            logger.tick(&desk);
        }
        self.collect_notices();
    }

    /// Lets the end of file pass to the process, once the client has closed its end too.
    pub fn close_stdin(&mut self, _poller: &Poller) {
        if let Some(input) = &mut self.input {
            input.release();
        }
    }

    /// Sets the size of the terminal, in characters; nothing to do without one.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` beyond 65535; ioctl_tty(2)'s.
    pub fn resize(&self, width: u32, height: u32) -> Result<(), Failure> {
        let lane = self.lanes.first().and_then(Option::as_ref);
        match lane.and_then(|lane| lane.source(0)) {
            Some(source) if source.is_terminal() => console::resize(source.as_fd(), width, height),
            _ => Ok(()),
        }
    }

    /// Whether every output has reached its end, and everything was handed on to its reader, or
    /// was given up since nobody reads. Asked after the process has ended; descendants of it
    /// that hold an output open keep this false.
    ///
    /// After a `false` that only waits for a logger to read on, [`Streams::next_deadline`] says
    /// when to ask again.
    pub fn is_drained(&mut self) -> bool {
        let lanes = self.lanes.iter().flatten().all(Lane::is_drained);
        let to_the_end = !self.has_terminal;
        let mut logger = self.logger.iter_mut();
        lanes && logger.all(|logger| logger.is_ending() || logger.has_read_all(to_the_end))
    }

    /// Closes everything that is open here: a reader of the outputs meets the end of file, a
    /// terminal is hung up. A logger is asked to end (SIGTERM) and killed later if it does not;
    /// until then [`Streams::is_closed`] is false.
    pub fn close(&mut self, poller: &Poller) {
        let desk = self.desk(poller, Instant::now());
        self.closed = true;
        self.console = None;
        if let Some(input) = self.input.take() {
            input.retire(&desk);
        }
        for lane in self.lanes.iter_mut().flatten() {
            lane.close(&desk);
        }
        if let Some(logger) = &mut self.logger {
            logger.end(&desk);
        }
        self.collect_notices();
    }

    /// Whether nothing is left: closed, and the logger has ended and is reaped.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed && self.logger.is_none()
    }

    /// How many bytes of output were read and not handed on.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let lanes = self.lanes.iter().flatten();
        lanes.map(Lane::dropped).fold(0, u64::saturating_add)
    }

    /// What has happened that an operator should know, for the log.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    fn desk<'a>(&self, poller: &'a Poller, now: Instant) -> Desk<'a> {
        Desk {
            poller,
            serial: self.serial,
            now,
            limits: self.limits,
        }
    }

    fn logger_ready(&mut self, desk: &Desk<'_>) {
        let Some(logger) = &mut self.logger else {
            return;
        };
        if let Some(news) = logger.reap(desk) {
            // After a close its end is what was asked for; after the process's, what is usual.
            if !logger.is_ending() {
                self.notices.push(news);
            }
            self.logger = None;
        }
    }

    /// Input that is over is closed. The end of a terminal's input is the end of the terminal:
    /// it is hung up, as containerd's own shim does, and its processes get SIGHUP.
    fn follow(&mut self, course: Option<Course>, desk: &Desk<'_>) {
        if course != Some(Course::IsOver) {
            return;
        }
        let Some(input) = self.input.take() else {
            return;
        };
        if input.is_terminal()
            && let Some(Some(lane)) = self.lanes.first_mut()
        {
            lane.end_source(0, desk);
        }
        input.retire(desk);
    }

    fn collect_notices(&mut self) {
        let lanes = self.lanes.iter_mut().flatten();
        self.notices.extend(lanes.filter_map(Lane::take_notice));
        self.notices.truncate(MOST_NOTICES);
    }
}
