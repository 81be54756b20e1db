//! Processes whose parent has ended.
//!
//! A runtime ends, and what it has started stays. While a call that leaves a process runs, this
//! program is a child subreaper (prctl(2)): it becomes the process's parent, and can wait for
//! it. It also becomes the parent of whoever else the runtime has left, such as a stage of an
//! exec that has failed. Nobody waits for those, and while one of them is in a container's pid
//! namespace the container's init can't end: they are reaped here.
//!
//! A runtime has a session of its own. So what it has left behind is told from children that
//! other parts of this program have started by its session, and from those that somebody waits
//! for by their pidfds, which are open.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use runtime_core::Process;
use runtime_core::errno::of_io;

use crate::failure::Failure;

/// How many calls run that leave a process. Being a subreaper belongs to the whole program, and
/// so does this count. Held for moments only.
static CALLS: Mutex<u32> = Mutex::new(0);

fn calls() -> MutexGuard<'static, u32> {
    CALLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While there is one, orphaned descendants become children of this program.
#[derive(Debug)]
pub(super) struct Adoption(());

impl Adoption {
    pub(super) fn begin() -> Result<Self, Failure> {
        let mut calls = calls();
        if *calls == 0 {
            set_child_subreaper(true)
                .map_err(|errno| Failure::call("become a child subreaper: prctl(2)", errno))?;
        }
        *calls += 1;
        Ok(Self(()))
    }
}

impl Drop for Adoption {
    fn drop(&mut self) {
        let mut calls = calls();
        *calls = calls.saturating_sub(1);
        if *calls == 0 {
            reap();
            // prctl(2) knows no failure of this.
            set_child_subreaper(false).ok();
        }
    }
}

/// Starts a runtime, held by its pidfd before anybody could take it for left behind.
pub(super) fn spawn(command: &mut Command) -> Result<Process, nix::errno::Errno> {
    let _calls = calls();
    let child = command.spawn().map_err(|error| of_io(&error))?;
    // A child that nobody else reaps: the number is its own.
    Process::open(i32::try_from(child.id()).unwrap_or(0))
}

/// Reaps who has been left behind and has ended, unless a call runs whose process might be
/// taken for one of them.
pub(super) fn reap_if_quiet() {
    let calls = calls();
    if *calls == 0 {
        reap();
    }
}

/// What can't be read is left: this is for who has been left behind, and no call fails by it.
fn reap() {
    let session = nix::unistd::getsid(None).map_or(0, nix::unistd::Pid::as_raw);
    let left: Vec<i32> = ended_children()
        .into_iter()
        .filter(|child| child.session != session)
        .map(|child| child.pid)
        .collect();
    if left.is_empty() {
        return;
    }
    let held = held_by_descriptors();
    for pid in left.into_iter().filter(|pid| !held.contains(pid)) {
        if let Ok(process) = Process::open(pid)
            && has_ended(&process)
        {
            process.wait().ok();
        }
    }
}

fn has_ended(process: &Process) -> bool {
    let mut polled = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO) == Ok(1)
}

#[derive(Debug, PartialEq, Eq)]
struct Child {
    pid: i32,
    session: i32,
}

/// The zombies among this program's children. A child is listed with the thread that has
/// started it, an adopted one with any.
fn ended_children() -> Vec<Child> {
    let threads = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let mut children = Vec::new();
    for list in lists {
        children.extend(list.split_whitespace().filter_map(|pid| {
            let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
            zombie(&stat)
        }));
    }
    children
}

/// Who a line of /proc/PID/stat is about, if it is a zombie: proc_pid_stat(5).
fn zombie(stat: &[u8]) -> Option<Child> {
    let text = String::from_utf8_lossy(stat);
    let (pid, _) = text.split_once(' ')?;
    // The name before it may contain anything.
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let is_zombie = fields.next()? == "Z";
    let session = fields.nth(2)?.parse().ok()?;
    is_zombie.then_some(Child {
        pid: pid.parse().ok()?,
        session,
    })
}

/// The processes of which this program has a pidfd.
fn held_by_descriptors() -> BTreeSet<i32> {
    let descriptors = fs::read_dir("/proc/self/fdinfo")
        .into_iter()
        .flatten()
        .flatten();
    descriptors
        .filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok())
        .filter_map(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("Pid:"))?;
            line.trim().parse().ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_is_told_whatever_its_name_is() {
        let line = b"77 (a) R (b) Z 1 2 33 0 -1";
        let child = Child {
            pid: 77,
            session: 33,
        };
        assert_eq!(zombie(line), Some(child));
        assert_eq!(zombie(b"77 (x) S 1 2 33 0 -1"), None);
        assert_eq!(zombie(b"77 (x) Z 1 2"), None);
        assert_eq!(zombie(b""), None);
    }

    #[test]
    fn a_pidfd_says_whom_it_holds() {
        let own = i32::try_from(std::process::id()).unwrap();
        let process = Process::open(own).unwrap();
        assert!(held_by_descriptors().contains(&own));
        drop(process);
    }
}
