//! Stopping and continuing all processes of the container at once.

use std::os::fd::{AsFd, BorrowedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::CgroupError;
use super::{Cgroup, Member, Version, value_of};

/// How long a v1 freezer is watched before its state is written again.
const V1_PAUSE: Duration = Duration::from_micros(200);

/// After so many pauses a v1 freezer that got stuck is thawed for a moment: a process can be
/// in a state in which it does not freeze until it has run on.
const V1_PAUSES_TO_THAW: u32 = 50;

/// The longest sleep in poll(2), in case the kernel forgets to tell.
const LONGEST_POLL: Duration = Duration::from_millis(50);

/// How long [`Cgroup::is_frozen`] lets a freezer come to rest.
const LONGEST_FREEZING: Duration = Duration::from_millis(20);

impl Cgroup {
    /// Stops all processes; afterwards none of them runs.
    ///
    /// # Errors
    ///
    /// [`CgroupError::Timeout`] after the deadline; then they have been let go on.
    pub fn freeze(&self, deadline: Instant) -> Result<(), CgroupError> {
        let member = self.freezer().ok_or(CgroupError::NoFreezer)?;
        let frozen = match member.version {
            Version::V1 => member.freeze_v1(deadline),
            Version::V2 => member.turn_v2("1", "frozen", deadline),
        };
        if frozen.is_err() {
            self.begin_thaw();
        }
        frozen
    }

    /// Lets all processes go on.
    ///
    /// # Errors
    ///
    /// [`CgroupError::Timeout`] after the deadline, as when a parent is frozen.
    pub fn thaw(&self, deadline: Instant) -> Result<(), CgroupError> {
        let member = self.freezer().ok_or(CgroupError::NoFreezer)?;
        match member.version {
            Version::V1 => member.thaw_v1(deadline),
            Version::V2 => member.turn_v2("0", "thawed", deadline),
        }
    }

    /// Whether the processes are stopped, by this cgroup or by one above it; false when there
    /// is nothing to freeze with.
    ///
    /// # Errors
    ///
    /// [`CgroupError::Call`] when the state can't be read.
    pub fn is_frozen(&self) -> Result<bool, CgroupError> {
        let Some(member) = self.freezer() else {
            return Ok(false);
        };
        match member.version {
            Version::V1 => member.is_frozen_v1(),
            Version::V2 => {
                let asked = member.directory.read("cgroup.freeze")?;
                let events = member.directory.read("cgroup.events")?;
                Ok(asked.trim_end() == "1" || value_of(&events, "frozen") == Some("1"))
            }
        }
    }

    /// The directory that freezes.
    pub(super) fn freezer(&self) -> Option<&Member> {
        self.of_controller("freezer")
    }

    /// Starts to freeze and waits for nothing; whether it could be asked for.
    pub(super) fn begin_freeze(&self) -> bool {
        self.turn("FROZEN", "1")
    }

    /// Starts to thaw and waits for nothing; whether it could be asked for.
    pub(super) fn begin_thaw(&self) -> bool {
        self.turn("THAWED", "0")
    }

    fn turn(&self, v1: &str, v2: &str) -> bool {
        self.freezer().is_some_and(|member| {
            let written = match member.version {
                Version::V1 => member.directory.try_write("freezer.state", v1),
                Version::V2 => member.directory.try_write("cgroup.freeze", v2),
            };
            written.is_ok()
        })
    }
}

impl Member {
    fn freeze_v1(&self, deadline: Instant) -> Result<(), CgroupError> {
        for pauses in 1.. {
            // Written again each time: it looks at processes that were forked meanwhile.
            self.directory.write("freezer.state", "FROZEN")?;
            if self.state_v1()? == "FROZEN" {
                return Ok(());
            }
            if Instant::now() >= deadline {
                break;
            }
            if pauses % V1_PAUSES_TO_THAW == 0 {
                self.directory.write("freezer.state", "THAWED")?;
                sleep(V1_PAUSE);
            }
            sleep(V1_PAUSE);
        }
        Err(self.timeout("frozen"))
    }

    fn thaw_v1(&self, deadline: Instant) -> Result<(), CgroupError> {
        self.directory.write("freezer.state", "THAWED")?;
        while self.state_v1()? != "THAWED" {
            if Instant::now() >= deadline {
                return Err(self.timeout("thawed"));
            }
            sleep(V1_PAUSE);
        }
        Ok(())
    }

    /// FREEZING is neither: it is given a moment, and then counts as frozen, since somebody
    /// has asked for that.
    fn is_frozen_v1(&self) -> Result<bool, CgroupError> {
        let end = Instant::now() + LONGEST_FREEZING;
        loop {
            match self.state_v1()?.as_str() {
                "THAWED" => return Ok(false),
                "FREEZING" if Instant::now() < end => sleep(V1_PAUSE),
                _ => return Ok(true),
            }
        }
    }

    fn state_v1(&self) -> Result<String, CgroupError> {
        let mut state = self.directory.read("freezer.state")?;
        state.truncate(state.trim_end().len());
        Ok(state)
    }

    fn turn_v2(
        &self,
        value: &str,
        state: &'static str,
        deadline: Instant,
    ) -> Result<(), CgroupError> {
        self.directory.write("cgroup.freeze", value)?;
        loop {
            // Opened anew each time: a read from the start is what arms poll(2).
            let events = Events::open(self)?;
            if events.says("frozen", value) {
                return Ok(());
            }
            if !events.wait(deadline) {
                return Err(self.timeout(state));
            }
        }
    }

    fn timeout(&self, state: &'static str) -> CgroupError {
        CgroupError::Timeout {
            path: self.directory.path().to_owned(),
            state,
        }
    }
}

/// `cgroup.events` of a cgroup2 directory, as it was when it was opened.
pub(super) struct Events {
    fd: std::os::fd::OwnedFd,
    content: String,
}

impl Events {
    pub(super) fn open(member: &Member) -> Result<Self, CgroupError> {
        let failed = |source| CgroupError::Call {
            call: "read",
            path: member.directory.path().join("cgroup.events"),
            source,
        };
        let fd = member.directory.open_file("cgroup.events", OFlag::O_RDONLY);
        let fd = fd.map_err(failed)?;
        let content = super::directory::read_all(fd.as_fd()).map_err(failed)?;
        Ok(Self { fd, content })
    }

    pub(super) fn says(&self, key: &str, value: &str) -> bool {
        value_of(&self.content, key) == Some(value)
    }

    /// Waits for a change, or a short while; false when the deadline has passed.
    pub(super) fn wait(&self, deadline: Instant) -> bool {
        wait_for_priority_event(self.fd.as_fd(), deadline)
    }
}

fn wait_for_priority_event(fd: BorrowedFd<'_>, deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return false;
    }
    let mut fds = [PollFd::new(fd, PollFlags::POLLPRI)];
    // Rounded up, so that the end of the wait is not a busy loop.
    let wait = left.min(LONGEST_POLL) + Duration::from_millis(1);
    let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
    match poll(&mut fds, wait) {
        Ok(_) | Err(Errno::EINTR) => {}
        // Nothing to wait with: the caller looks again soon.
        Err(_) => sleep(Duration::from_millis(1)),
    }
    true
}
