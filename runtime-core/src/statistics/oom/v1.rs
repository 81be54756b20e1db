//! cgroup v1: an eventfd that the kernel signals (Documentation/admin-guide/cgroup-v1/memory.rst,
//! section 10).
//!
//! The signal comes *before* the kill, also when the want is that of a cgroup above and somebody
//! else's process is killed, and when the cgroup is removed. So after a signal the counter is
//! looked at until it has grown, for a few seconds.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::Look;
use super::again::Again;
use crate::cgroup::{CgroupError, Hint, Place};
use crate::statistics::Counters;
use crate::statistics::files::Buffer;

const CONTROL: &str = "memory.oom_control";

/// More than that file ever has.
const LONGEST: usize = 4096;

/// The directory, and what the kernel signals.
#[derive(Debug)]
pub(super) struct Notifier {
    place: Place,
    signals: EventFd,
    /// The counter at the last look.
    kills: u64,
    /// Signals whose kill has not been seen.
    expected: u64,
}

impl Notifier {
    pub(super) fn new(place: Place) -> Result<Self, CgroupError> {
        let failed = |file, errno| place.failed("watch", file, errno);
        // Before the kernel is asked to signal: a kill in between is counted, not lost.
        let kills = place
            .v1_oom_kills()
            .map_err(|errno| failed(CONTROL, errno))?;
        let control = place
            .open(CONTROL)
            .map_err(|errno| failed(CONTROL, errno))?;
        let signals =
            EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map_err(|errno| failed(CONTROL, errno))?;
        let line = format!("{} {}", signals.as_raw_fd(), control.as_raw_fd());
        place.write("cgroup.event_control", &line, Hint::None)?;
        Ok(Self {
            place,
            signals,
            kills,
            expected: 0,
        })
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn add_to(&self, epoll: &Epoll) -> Result<(), Errno> {
        epoll.add(&self.signals, EpollEvent::new(EpollFlags::EPOLLIN, 0))
    }

    pub(super) fn remove_from(&self, epoll: &Epoll) -> Result<(), Errno> {
        epoll.delete(&self.signals)
    }

    pub(super) fn look(&mut self, again: &mut Again) -> Result<Look, Errno> {
        let signals = drain(self.signals.as_fd())?;
        if signals > 0 {
            self.expected = self.expected.saturating_add(signals);
            again.begin();
        }
        let mut kills = self.new_kills()?;
        self.expected = self.expected.saturating_sub(kills);
        if self.expected > 0 && self.are_stopped_instead()? {
            kills = kills.saturating_add(std::mem::take(&mut self.expected));
        }
        if self.expected == 0 {
            again.stop()?;
        } else if again.is_waiting() && !again.pause()? {
            // Nobody of this container was killed.
            self.expected = 0;
        }
        Ok(Look {
            kills,
            is_last: false,
        })
    }

    fn new_kills(&mut self) -> Result<u64, Errno> {
        let now = self.place.v1_oom_kills()?;
        // Fewer than before: a cgroup below has been removed, with its counter.
        let new = now.saturating_sub(self.kills);
        self.kills = now;
        Ok(new)
    }

    /// Whether processes wait for memory because the OOM killer is turned off.
    fn are_stopped_instead(&self) -> Result<bool, Errno> {
        let file = self.place.open(CONTROL)?;
        let mut buffer = Buffer::default();
        buffer.read(file.as_fd(), LONGEST)?;
        let control = Counters::new(&String::from_utf8_lossy(buffer.bytes()));
        Ok(control.get("oom_kill_disable") == Some(1))
    }
}

/// Takes the number out of an eventfd or a timerfd; 0 when there is none.
pub(super) fn drain(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut count = [0; 8];
    match nix::unistd::read(fd, &mut count) {
        Ok(_) => Ok(u64::from_ne_bytes(count)),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
        Err(errno) => Err(errno),
    }
}
