//! Who has to be reaped after a restore that failed.

use nix::errno::Errno;

use super::criu;
use crate::error::Error;
use crate::process::Process;
use crate::procfs::Procfs;

/// The children of this thread: criu, and init, whose parent criu makes this thread too. What
/// is new among them after a failure is of this restore, and nobody else reaps it.
#[derive(Debug)]
pub(super) struct Children {
    path: String,
    before: Vec<i32>,
}

impl Children {
    pub(super) fn of_this_thread(procfs: &Procfs) -> Result<Self, Error> {
        let own = (nix::unistd::getpid(), nix::unistd::gettid());
        let path = format!("{}/task/{}/children", own.0, own.1);
        let before = list(procfs, &path)
            .map_err(|errno| Error::call(format!("read /proc/{path}"), errno))?;
        Ok(Self { path, before })
    }

    pub(super) fn reap_new(&self, procfs: &Procfs) {
        for pid in list(procfs, &self.path).unwrap_or_default() {
            if !self.before.contains(&pid)
                && let Ok(process) = Process::open(pid)
            {
                criu::end(&process);
            }
        }
    }
}

fn list(procfs: &Procfs, path: &str) -> Result<Vec<i32>, Errno> {
    let text = procfs.read(path)?;
    Ok(text
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect())
}
