//! cgroup v2: `memory.events` and `cgroup.events`, which wake who polls them when they change.
//!
//! The kernel tells of changes of one file at most every 10 ms, later ones by a timer, and a
//! removal ends that timer. So the end of init is waited for as well: after it, the directory is
//! looked at for a few seconds.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::uio::pread;

use super::Look;
use super::again::Again;
use crate::cgroup::{CgroupError, Place};
use crate::process::Process;
use crate::statistics::Counters;

/// Both files are some hundred bytes.
const LONGEST: usize = 4096;

/// The directory's two files, open.
#[derive(Debug)]
pub(super) struct Events {
    place: Place,
    memory: OwnedFd,
    cgroup: OwnedFd,
    /// Until it has ended.
    init: Option<Process>,
    /// The counter at the last look.
    kills: u64,
}

impl Events {
    /// None when the directory does not count memory.
    pub(super) fn new(place: Place, init: Option<Process>) -> Result<Option<Self>, CgroupError> {
        let open = |file| match place.open(file) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::ENOENT) if place.is_there() => Ok(None),
            Err(errno) => Err(place.failed("open", file, errno)),
        };
        let (Some(memory), Some(cgroup)) = (open("memory.events")?, open("cgroup.events")?) else {
            return Ok(None);
        };
        let counted =
            read(&memory).map_err(|errno| place.failed("read", "memory.events", errno))?;
        Ok(Some(Self {
            kills: counted.get("oom_kill").unwrap_or(0),
            place,
            memory,
            cgroup,
            init,
        }))
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn add_to(&self, epoll: &Epoll) -> Result<(), Errno> {
        // Always readable as files, and with a priority event when they have changed.
        epoll.add(&self.memory, EpollEvent::new(EpollFlags::EPOLLPRI, 0))?;
        epoll.add(&self.cgroup, EpollEvent::new(EpollFlags::EPOLLPRI, 0))?;
        match &self.init {
            Some(init) => epoll.add(init, EpollEvent::new(EpollFlags::EPOLLIN, 0)),
            None => Ok(()),
        }
    }

    pub(super) fn remove_from(&self, epoll: &Epoll) -> Result<(), Errno> {
        epoll.delete(&self.memory)?;
        epoll.delete(&self.cgroup)?;
        match &self.init {
            Some(init) => epoll.delete(init),
            None => Ok(()),
        }
    }

    pub(super) fn look(&mut self, epoll: &Epoll, again: &mut Again) -> Result<Look, Errno> {
        self.look_at_init(epoll, again)?;
        // The state first: who is killed before the last one is gone is counted by then.
        let is_last = read(&self.cgroup)?.get("populated") == Some(0);
        let now = read(&self.memory)?.get("oom_kill").unwrap_or(0);
        let kills = now.saturating_sub(self.kills);
        self.kills = now;
        if again.is_waiting() {
            // After a while without an end, others live on in it.
            again.pause()?;
        }
        Ok(Look { kills, is_last })
    }

    /// Its pidfd would be readable for ever, so it is let go of.
    fn look_at_init(&mut self, epoll: &Epoll, again: &mut Again) -> Result<(), Errno> {
        if let Some(init) = &self.init
            && init.ended_within(Duration::ZERO)?
        {
            epoll.delete(init)?;
            self.init = None;
            again.begin();
        }
        Ok(())
    }
}

/// Reads from the start, which is what arms the next event.
fn read(file: &OwnedFd) -> Result<Counters, Errno> {
    let mut buffer = [0; LONGEST];
    let length = pread(file.as_fd(), &mut buffer, 0)?;
    Ok(Counters::new(&String::from_utf8_lossy(&buffer[..length])))
}
