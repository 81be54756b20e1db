//! Killing everything in the container's cgroups.

use std::os::fd::{AsFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::libc::SIGKILL;

use super::Cgroup;
use super::error::CgroupError;
use super::freezer::Events;
use crate::sys::pidfd;

/// The first wait for killed processes to go, doubled each time.
const FIRST_WAIT: Duration = Duration::from_micros(200);

/// The longest of these waits.
const LONGEST_WAIT: Duration = Duration::from_millis(10);

/// How many processes are held by a descriptor at a time.
const PIDFDS_AT_ONCE: usize = 128;

impl Cgroup {
    /// Kills every process in the directories and below; afterwards none is there.
    ///
    /// `cgroup.kill` does it in one step where the kernel has it (Linux 5.14). Otherwise the
    /// processes are frozen, so that none can fork, and killed by their descriptors. A frozen
    /// container dies too. The caller's own process is never killed.
    ///
    /// # Errors
    ///
    /// [`CgroupError::Survivors`] after the deadline: processes in uninterruptible sleep, or
    /// below a frozen parent.
    pub fn kill_all(&self, deadline: Instant) -> Result<(), CgroupError> {
        let mut wait = FIRST_WAIT;
        let mut one_step = true;
        loop {
            let left = self.processes_anywhere();
            if left.is_empty() {
                return Ok(());
            }
            if !left.contains(&own_pid()) && self.kill_unified() && one_step {
                // Most likely that was all of them. A frozen v1 process dies when it thaws.
                self.begin_thaw();
                one_step = false;
            } else {
                self.kill_frozen();
            }
            if Instant::now() >= deadline {
                return Err(CgroupError::Survivors {
                    pids: left.into_iter().collect(),
                });
            }
            self.wait_for_exits(wait.min(deadline.saturating_duration_since(Instant::now())));
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Kills what is there now while it can't fork, as far as there is a freezer.
    fn kill_frozen(&self) {
        self.begin_freeze();
        let pids: Vec<i32> = self.processes_anywhere().into_iter().collect();
        for pids in pids.chunks(PIDFDS_AT_ONCE) {
            self.kill_processes(pids);
        }
        self.begin_thaw();
    }

    /// Whether the kernel has killed everything in the cgroup2 directory.
    fn kill_unified(&self) -> bool {
        self.unified()
            .is_some_and(|member| member.directory.try_write("cgroup.kill", "1").is_ok())
    }

    /// Kills those of the processes that are still the ones in the cgroup.
    fn kill_processes(&self, pids: &[i32]) {
        let others = pids.iter().filter(|pid| **pid != own_pid());
        let opened: Vec<(i32, OwnedFd)> = others
            .filter_map(|pid| Some((*pid, pidfd::open(*pid).ok()?)))
            .collect();
        // Looked up again with the descriptors in hand: should an id have been given to
        // another process, that one is not listed here.
        let listed = self.processes_anywhere();
        for (pid, process) in opened {
            if listed.contains(&pid) && pidfd::send_signal(process.as_fd(), SIGKILL).is_err() {
                // Gone meanwhile, or not ours to kill: then it is among the survivors.
            }
        }
    }

    fn wait_for_exits(&self, wait: Duration) {
        let events = self.unified().map(Events::open).and_then(Result::ok);
        match events {
            Some(events) if events.says("populated", "1") => {
                events.wait(Instant::now() + wait);
            }
            _ => sleep(wait),
        }
    }
}

fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}
