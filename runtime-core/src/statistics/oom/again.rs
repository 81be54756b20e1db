//! Looking again a little later, for what the kernel has announced and not done yet.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timer::TimerSetTimeFlags;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags};

/// The first pause; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// The pause after which nothing is expected any more: some four seconds have passed then.
const LAST_PAUSE: Duration = Duration::from_millis(2048);

/// A timer that makes its descriptor readable after pauses that grow, and then no more.
#[derive(Debug)]
pub(super) struct Again {
    timer: TimerFd,
    next: Option<Duration>,
}

impl Again {
    pub(super) fn new() -> Result<Self, Errno> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        Ok(Self { timer, next: None })
    }

    /// Expects something from now on.
    pub(super) fn begin(&mut self) {
        self.next = Some(FIRST_PAUSE);
    }

    /// Whether something is expected still.
    pub(super) fn is_waiting(&self) -> bool {
        self.next.is_some()
    }

    /// It was not there: looks again after a pause, or gives up and says false.
    pub(super) fn pause(&mut self) -> Result<bool, Errno> {
        let Some(pause) = self.next.filter(|pause| *pause <= LAST_PAUSE) else {
            self.stop()?;
            return Ok(false);
        };
        let expiration = Expiration::OneShot(TimeSpec::from_duration(pause));
        self.timer.set(expiration, TimerSetTimeFlags::empty())?;
        self.next = Some(pause * 2);
        Ok(true)
    }

    /// It is there, or is not expected any more.
    pub(super) fn stop(&mut self) -> Result<(), Errno> {
        self.next = None;
        self.timer.unset()
    }

    /// Takes the readiness away.
    pub(super) fn drain(&self) -> Result<(), Errno> {
        super::v1::drain(self.timer.as_fd()).map(drop)
    }
}

impl AsFd for Again {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}
