//! What is read from: a pipe whose other end a process has, or the master of its terminal.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::watch::{Desk, Watch, earlier};
use crate::poller::Interest;

/// How soon, and at the latest how late, a terminal that nobody has open is looked at again.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const LAST_LOOK: Duration = Duration::from_secs(1);

/// One output of a process.
#[derive(Debug)]
pub(super) struct Source {
    watch: Watch,
    terminal: bool,
    /// Whether the lane wants more.
    running: bool,
    hung_up: Option<HungUp>,
}

/// No process has the terminal open. Another may open it yet (a container's systemd closes its
/// console and opens it again), and epoll would report this state for ever.
#[derive(Clone, Copy, Debug)]
struct HungUp {
    look: Instant,
    pause: Duration,
}

impl Source {
    /// The reading end of a pipe.
    pub(super) fn pipe(fd: OwnedFd, part: u8) -> Self {
        Self {
            watch: Watch::new(fd, part),
            terminal: false,
            running: false,
            hung_up: None,
        }
    }

    /// The master of a terminal.
    pub(super) fn terminal(fd: OwnedFd, part: u8) -> Self {
        Self {
            terminal: true,
            ..Self::pipe(fd, part)
        }
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.watch.is_wanted()
    }

    /// Whether no process has the terminal open, and everything that was written is read.
    pub(super) fn has_hung_up(&self) -> bool {
        self.hung_up.is_some() && self.is_deserted()
    }

    pub(super) fn start(&mut self, desk: &Desk<'_>) {
        self.running = true;
        match self.hung_up {
            Some(hung_up) if hung_up.look > desk.now => {}
            Some(_) if self.is_deserted() => self.hang_up(desk),
            _ => {
                self.hung_up = None;
                self.watch.set(desk, Some(Interest::READ));
            }
        }
    }

    pub(super) fn pause(&mut self, desk: &Desk<'_>) {
        self.running = false;
        self.watch.set(desk, None);
    }

    /// Nobody has the terminal open now (EIO): it is let alone for a while.
    pub(super) fn hang_up(&mut self, desk: &Desk<'_>) {
        let pause = match self.hung_up {
            None => FIRST_LOOK,
            Some(before) => (before.pause * 2).min(LAST_LOOK),
        };
        let look = desk.now + pause;
        self.hung_up = Some(HungUp { look, pause });
        self.watch.set(desk, None);
    }

    pub(super) fn tick(&mut self, desk: &Desk<'_>) {
        self.watch.tick(desk);
        if self.running && !self.watch.is_wanted() {
            self.start(desk);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let look = match self.hung_up {
            Some(hung_up) if self.running && !self.watch.is_wanted() => Some(hung_up.look),
            _ => None,
        };
        earlier(look, self.watch.next_deadline())
    }

    fn is_deserted(&self) -> bool {
        let mut fds = [PollFd::new(self.watch.as_fd(), PollFlags::POLLIN)];
        let asked = poll(&mut fds, PollTimeout::ZERO);
        let only_hangup = |fd: &PollFd<'_>| fd.revents() == Some(PollFlags::POLLHUP);
        asked.is_ok() && fds.iter().all(only_hangup)
    }

    pub(super) fn retire(self, desk: &Desk<'_>) {
        self.watch.retire(desk);
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}
