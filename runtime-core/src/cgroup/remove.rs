//! Removing the container's directories, and the undo of create.

use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::error::{CgroupError, Leftover};
use super::freezer::Events;
use super::{Cgroup, Member, Version};

/// The first wait for a directory to become free, doubled each time.
const FIRST_WAIT: Duration = Duration::from_micros(200);

/// The longest of these waits.
const LONGEST_WAIT: Duration = Duration::from_millis(10);

/// How long a drop waits for processes to go, and for their directories.
const UNDO_WAIT: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Removes the directories, children first; afterwards none is there. Parents stay.
    ///
    /// Waits for processes that are about to exit, and kills none.
    ///
    /// # Errors
    ///
    /// [`CgroupError::LeftBehind`] after the deadline, or at once when the kernel refuses for
    /// another reason than processes.
    pub fn remove(&self, deadline: Instant) -> Result<(), CgroupError> {
        let members: Vec<&Member> = self.members.iter().collect();
        remove_all(members, deadline)
    }
}

fn remove_all(mut left: Vec<&Member>, deadline: Instant) -> Result<(), CgroupError> {
    let mut wait = FIRST_WAIT;
    loop {
        let mut busy = Vec::new();
        let mut first = None;
        let mut hopeless = false;
        for member in left {
            match member.remove() {
                Ok(()) => {}
                Err(errno) => {
                    hopeless |= !matches!(errno, Errno::EBUSY | Errno::ENOTEMPTY);
                    first.get_or_insert(errno);
                    busy.push(member);
                }
            }
        }
        let Some(source) = first else {
            return Ok(());
        };
        if hopeless || Instant::now() >= deadline {
            let paths = busy.iter().map(|member| member.leftover()).collect();
            return Err(CgroupError::LeftBehind { paths, source });
        }
        wait_for_exits(
            &busy,
            wait.min(deadline.saturating_duration_since(Instant::now())),
        );
        wait = (wait * 2).min(LONGEST_WAIT);
        left = busy;
    }
}

/// Waits until a cgroup2 directory says that it is empty, or a short while.
fn wait_for_exits(busy: &[&Member], wait: Duration) {
    let unified = busy.iter().find(|member| member.version == Version::V2);
    match unified.map(|member| Events::open(member)) {
        Some(Ok(events)) if events.says("populated", "1") => {
            events.wait(Instant::now() + wait);
        }
        _ => sleep(wait),
    }
}

impl Member {
    /// Removes the directory; one rmdir(2) when it has no children.
    fn remove(&self) -> Result<(), Errno> {
        match self.parent.unlink(&self.name) {
            Err(Errno::EBUSY | Errno::ENOTEMPTY) => {
                self.directory.clear()?;
                self.parent.unlink(&self.name)
            }
            other => other,
        }
    }

    fn leftover(&self) -> Leftover {
        Leftover {
            path: self.directory.path().to_owned(),
            processes: super::processes::below(&self.directory)
                .into_iter()
                .collect(),
        }
    }
}

/// An operation that failed before [`keep`](Cgroup::keep): what create made goes.
impl Drop for Cgroup {
    fn drop(&mut self) {
        if !self.undo {
            return;
        }
        if let Some(unit) = &mut self.unit {
            unit.let_resident_go();
        }
        let made: Vec<_> = self.members.iter().filter(|member| member.made).collect();
        let deadline = Instant::now() + UNDO_WAIT;
        // A hook that outlives the container's first process, say. A refused create has started
        // nothing, and what runs in a directory that it has found is not its own to kill.
        let killed = !self.is_ours || self.kill_all(deadline).is_ok();
        if !killed || remove_all(made, deadline).is_err() {
            // The operation's own error is the one to report; `delete --force` finds the rest.
        }
        for (parent, name) in self.made_parents.iter().rev() {
            if parent.unlink(name).is_err() {
                // Another container lives there by now.
            }
        }
    }
}
