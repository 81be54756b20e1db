//! What a shim has of the host's: memory, descriptors, threads.

use std::time::Instant;

use containerd_shim_protos::api as task;

use crate::kit::Client;
use crate::room::LIMIT;

/// How much more memory a shim may have after hard work than before, in KiB.
pub(crate) const GROWTH_KIB: u64 = 2048;

/// The process that serves a connection.
pub(crate) fn server_of(client: &mut Client) -> u32 {
    let request = task::ConnectRequest::default();
    let connected: task::ConnectResponse = client.call("Connect", &request).unwrap();
    connected.shim_pid
}

/// A process's share of memory that is no file's, in KiB: what it has allocated.
pub(crate) fn anonymous_kib(pid: u32) -> u64 {
    rollup(pid, "Pss_Anon:")
}

fn rollup(pid: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse().unwrap()
}

/// What a shim has at one moment.
#[derive(Debug)]
pub(crate) struct Vitals {
    pid: u32,
    pss_kib: u64,
    descriptors: usize,
    threads: usize,
}

impl Vitals {
    pub(crate) fn of(pid: u32) -> Self {
        let count = |name: &str| {
            let entries = std::fs::read_dir(format!("/proc/{pid}/{name}"));
            entries.unwrap().count()
        };
        Self {
            pid,
            pss_kib: rollup(pid, "Pss:"),
            descriptors: count("fd"),
            threads: count("task"),
        }
    }

    /// Of a shim that has given back what it has needed for its last call.
    pub(crate) fn at_rest(pid: u32) -> Self {
        std::thread::sleep(std::time::Duration::from_millis(1500));
        Self::of(pid)
    }

    /// Waits until the shim has no more than this again, up to the growth that is allowed.
    pub(crate) fn assert_back(&self) {
        let started = Instant::now();
        loop {
            let now = Self::of(self.pid);
            let is_back = now.descriptors <= self.descriptors
                && now.threads <= self.threads
                && now.pss_kib <= self.pss_kib + GROWTH_KIB;
            if is_back {
                return;
            }
            assert!(started.elapsed() < LIMIT, "{now:?}, before: {self:?}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}
