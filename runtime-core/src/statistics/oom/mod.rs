//! Word of processes of a container that the kernel has killed for want of memory.
//!
//! ```text
//!  cgroup v2: memory.events, cgroup.events ─┐
//!             init's pidfd ─────────────────┤
//!  cgroup v1: eventfd of memory.oom_control ├──▶ epoll ──▶ one descriptor for the caller
//!  both: a timer, to look again ────────────┘
//! ```
//!
//! The counters are what counts; whatever arrives only says that it is time to look at them. A
//! file of cgroup v2 is polled itself and not watched by inotify(7), of whose instances a user
//! has 128: a host has more containers.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use self::again::Again;
use crate::cgroup::{CgroupError, Place};
use crate::process::Process;

mod again;
mod v1;
mod v2;

/// Watches one container's memory controller, until nothing can come any more.
///
/// Its descriptor is readable (POLLIN) when there may be something to tell; then
/// [`kills`](Self::kills) takes it. It may be polled level-triggered or edge-triggered, by
/// poll(2) or within another epoll.
#[derive(Debug)]
pub struct OomWatch {
    epoll: Epoll,
    source: Option<Source>,
    again: Again,
}

#[derive(Debug)]
enum Source {
    V1(v1::Notifier),
    V2(v2::Events),
}

/// What a look at the counters has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    /// Killed since the last look.
    kills: u64,
    /// Whether this was the last: there is no process any more, or no cgroup.
    is_last: bool,
}

impl OomWatch {
    /// None when none of the directories has a memory controller.
    pub(super) fn new(
        places: Vec<Place>,
        init: Option<Process>,
    ) -> Result<Option<Self>, CgroupError> {
        let has_v1 = places.iter().any(|place| place.is_v1_of("memory"));
        let is_memory = |place: &Place| match has_v1 {
            true => place.is_v1_of("memory"),
            false => !place.is_v1(),
        };
        let Some(place) = places.into_iter().find(is_memory) else {
            return Ok(None);
        };
        let source = match has_v1 {
            true => Some(Source::V1(v1::Notifier::new(place)?)),
            false => v2::Events::new(place, init)?.map(Source::V2),
        };
        source.map(Self::of).transpose()
    }

    fn of(source: Source) -> Result<Self, CgroupError> {
        let failed = |errno| source.place().failed_itself("watch", errno);
        let watch = (|| {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            let again = Again::new()?;
            epoll.add(again.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
            source.add_to(&epoll)?;
            Ok((epoll, again))
        })();
        let (epoll, again) = watch.map_err(failed)?;
        Ok(Self {
            epoll,
            source: Some(source),
            again,
        })
    }

    /// How many processes of the container the kernel has killed for want of memory since the
    /// last call, or since the watch began; afterwards the descriptor is not readable until
    /// there may be more. Never blocks.
    ///
    /// cgroup v2: `oom_kill` of `memory.events`, which counts every process of a group that is
    /// killed as one (`memory.oom.group`), and the cgroups below. cgroup v1: `oom_kill` of
    /// `memory.oom_control`, of the cgroups below as well; if the container has asked for no
    /// OOM killer, how often its processes were stopped instead.
    ///
    /// # Errors
    ///
    /// What the kernel says to a read of the counters, but for their being gone.
    pub fn kills(&mut self) -> Result<u64, Errno> {
        let Some(source) = &mut self.source else {
            return Ok(0);
        };
        self.again.drain()?;
        let looked = match source {
            Source::V1(notifier) => notifier.look(&mut self.again),
            Source::V2(events) => events.look(&self.epoll, &mut self.again),
        };
        let look = match looked {
            Err(Errno::ENODEV | Errno::ENOENT) => Look {
                kills: 0,
                is_last: true,
            },
            looked => looked?,
        };
        if look.is_last {
            self.end()?;
        }
        Ok(look.kills)
    }

    /// Whether nothing will come any more: the cgroup has been removed, or (cgroup v2) has no
    /// processes. Known after [`kills`](Self::kills) has found it so; from then on the
    /// descriptor is never readable.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.source.is_none()
    }

    fn end(&mut self) -> Result<(), Errno> {
        self.again.stop()?;
        if let Some(source) = self.source.take() {
            source.remove_from(&self.epoll)?;
        }
        Ok(())
    }
}

impl Source {
    fn place(&self) -> &Place {
        match self {
            Self::V1(notifier) => notifier.place(),
            Self::V2(events) => events.place(),
        }
    }

    fn add_to(&self, epoll: &Epoll) -> Result<(), Errno> {
        match self {
            Self::V1(notifier) => notifier.add_to(epoll),
            Self::V2(events) => events.add_to(epoll),
        }
    }

    fn remove_from(&self, epoll: &Epoll) -> Result<(), Errno> {
        match self {
            Self::V1(notifier) => notifier.remove_from(epoll),
            Self::V2(events) => events.remove_from(epoll),
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}
