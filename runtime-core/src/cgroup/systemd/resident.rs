//! The first process of a scope, which does nothing.
//!
//! A scope needs a process to come into being, and tare never moves a process into a cgroup:
//! a container's are born there. So this one goes first, is moved by systemd, holds the place
//! until the container's first process is born beside it, and ends. It has no descriptor but
//! one end of a socket, and ends by itself when the other end is closed, whoever was killed.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use runtime_init::{Gate, Program, Step};

use crate::launch;
use crate::process::Process;
use crate::procfs::Procfs;
use crate::sys;

/// A process that waits for its end.
#[derive(Debug)]
pub(crate) struct Resident {
    process: Process,
    /// Its end of file ends the process too.
    _other_end: OwnedFd,
}

impl Resident {
    pub(super) fn start(procfs: &Procfs) -> Result<Self, Errno> {
        let kind = SockType::SeqPacket;
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, kind, None, flags)?;
        let keep = [theirs.as_raw_fd()];
        // Nobody ever opens the gate.
        let steps = [Step::KeepOnly(&keep), Step::Await(Gate::Committed)];
        let program = Program {
            steps: &steps,
            sync: theirs.as_raw_fd(),
            proc: procfs.raw(),
        };
        let (pid, pidfd) = sys::clone_init(0, None, &program)?;
        Ok(Self {
            process: Process::new(pid, pidfd),
            _other_end: ours,
        })
    }

    pub(in crate::cgroup) fn pid(&self) -> i32 {
        self.process.pid()
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        launch::end(&self.process);
    }
}
