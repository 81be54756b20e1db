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

/// A process's memory that is no file's, in KiB: what it has allocated. The pages of its program
/// are another matter: they are shared with others of its kind, and given back.
pub(crate) fn anonymous_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss_Anon:"));
    kib(line.unwrap())
}

/// How much of a program's own code is in the memory of a process, in KiB, whoever shares it.
pub(crate) fn program_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let code = text.lines().skip_while(|line| !line.contains(" r-xp "));
    let size = code.skip(1).find_map(|line| line.strip_prefix("Rss:"));
    kib(size.unwrap())
}

fn kib(text: &str) -> u64 {
    text.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Where most of a process's memory is: KiB, and what proc_pid_smaps(5) calls it.
fn largest_mappings(pid: u32) -> Vec<(u64, String)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut mappings = Vec::new();
    let mut header = "";
    for line in text.lines() {
        match line.strip_prefix("Pss:") {
            Some(size) => {
                mappings.push((kib(size), header.to_owned()));
            }
            // Of all lines only the first of a mapping begins with a digit or a small letter.
            None if line.starts_with(|first: char| !first.is_ascii_uppercase()) => header = line,
            None => {}
        }
    }
    mappings.sort_by(|a, b| b.cmp(a));
    mappings.truncate(6);
    mappings
}

/// What a shim has at one moment.
#[derive(Debug)]
pub(crate) struct Vitals {
    pid: u32,
    anonymous_kib: u64,
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
            anonymous_kib: anonymous_kib(pid),
            descriptors: count("fd"),
            threads: count("task"),
        }
    }

    /// Of a shim that has given back what it has needed for its last call.
    pub(crate) fn at_rest(pid: u32) -> Self {
        std::thread::sleep(std::time::Duration::from_millis(1500));
        Self::of(pid)
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    pub(crate) fn has_fewer_descriptors_than(&self, other: &Self) -> bool {
        self.descriptors < other.descriptors
    }

    /// Waits until the shim has no more than this again, up to the growth that is allowed.
    pub(crate) fn assert_back(&self) {
        let started = Instant::now();
        loop {
            let now = Self::of(self.pid);
            let is_back = now.descriptors <= self.descriptors
                && now.threads <= self.threads
                && now.anonymous_kib <= self.anonymous_kib + GROWTH_KIB;
            if is_back {
                return;
            }
            assert!(
                started.elapsed() < LIMIT,
                "{now:?}, before: {self:?}; its memory: {:#?}",
                largest_mappings(self.pid)
            );
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}
