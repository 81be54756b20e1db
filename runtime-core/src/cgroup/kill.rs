//! Killing everything in the container's cgroups.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
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
        loop {
            let left = self.kill_once();
            if left.is_empty() {
                return Ok(());
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

    /// Kills what is there now; tells what was there.
    fn kill_once(&self) -> BTreeSet<i32> {
        let mut seen = self.processes_anywhere();
        if seen.is_empty() {
            return seen;
        }
        if !seen.contains(&own_pid()) && self.kill_unified() {
            // Who is not in the cgroup2 directory, or got away into another v1 one.
            seen = self.processes_anywhere();
        }
        let frozen = !seen.is_empty() && self.begin_freeze();
        if frozen {
            seen.extend(self.processes_anywhere());
        }
        for pid in seen.iter().filter(|pid| **pid != own_pid()) {
            self.kill_process(*pid);
        }
        // Always: a frozen v1 process dies only when it thaws.
        self.begin_thaw();
        seen
    }

    /// Whether the kernel has killed everything in the cgroup2 directory.
    fn kill_unified(&self) -> bool {
        self.unified()
            .is_some_and(|member| member.directory.try_write("cgroup.kill", "1").is_ok())
    }

    /// Kills the process if it is still the one in the cgroup.
    fn kill_process(&self, pid: i32) {
        let Ok(process) = pidfd::open(pid) else {
            return;
        };
        // Looked up again with the descriptor in hand: should the id have been given to
        // another process, that one is not listed here.
        if self.processes_anywhere().contains(&pid)
            && pidfd::send_signal(process.as_fd(), SIGKILL).is_err()
        {
            // Gone meanwhile, or not ours to kill: then it is among the survivors.
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
