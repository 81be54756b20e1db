//! The oracle: what is on the host after a test that was not there before.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::marker::Marker;
use crate::runtime::Runtime;

/// How long the kernel may take to let go: it ends processes, keyrings and network namespaces
/// in its own time.
const PATIENCE: Duration = Duration::from_secs(3);

/// Parameters of the kernel.
const PARAMETERS: [&str; 8] = [
    "kernel/core_pattern",
    "kernel/domainname",
    "kernel/hostname",
    "kernel/modprobe",
    "kernel/msgmax",
    "kernel/shmmax",
    "kernel/sysrq",
    "net/ipv4/ip_default_ttl",
];

/// A snapshot of the host, to compare with later.
#[derive(Debug)]
pub struct Residue {
    scope: Scope,
    before: Vec<Kind>,
}

#[derive(Debug)]
enum Scope {
    /// Only what carries this word, and descriptors of this process that lead to it.
    Marked(String),
    /// What does not come and go by itself: mounts, cgroups and network devices; what a hostile
    /// container would change.
    Host,
}

/// One kind of thing that can be left behind, and those that are there.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    name: &'static str,
    things: BTreeSet<String>,
}

impl Residue {
    /// Watches for what carries the marker: mounts, cgroups, processes, sockets, keyrings,
    /// network devices, descriptors of this process. Other tests don't disturb it.
    #[must_use]
    pub fn watch(marker: &Marker) -> Self {
        Self::start(Scope::Marked(marker.as_str().to_owned()))
    }

    /// Watches the whole host's mounts, cgroups and network devices, its names, the parameters that
    /// escapes write to, the null device's owner and what is in `/`. For a machine where nothing
    /// else runs.
    #[must_use]
    pub fn watch_host() -> Self {
        Self::start(Scope::Host)
    }

    fn start(scope: Scope) -> Self {
        let before = scope.snapshot();
        Self { scope, before }
    }

    /// What is there now and was not there before, by kind; empty if nothing is.
    #[must_use]
    pub fn difference(&self) -> String {
        let mut text = String::new();
        for (before, after) in self.before.iter().zip(&self.scope.snapshot()) {
            for thing in after.things.difference(&before.things) {
                writeln!(text, "left {}: {thing}", after.name).expect("a String takes any text");
            }
        }
        text
    }

    /// Checks that nothing is left, and that the runtimes' state roots are empty.
    ///
    /// # Panics
    ///
    /// With a list of what is left, if it is still there after three seconds.
    pub fn assert_none(&self, runtimes: &[&Runtime]) {
        let started = Instant::now();
        loop {
            let mut left = self.difference();
            for runtime in runtimes {
                for path in entries(runtime.root()) {
                    writeln!(left, "left state: {}", path.display()).expect("a String takes it");
                }
            }
            if left.is_empty() {
                return;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "the host is not as it was:\n{left}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Scope {
    fn snapshot(&self) -> Vec<Kind> {
        let keep = |line: &String| match self {
            Self::Marked(word) => line.contains(word.as_str()),
            Self::Host => true,
        };
        let kind = |name, things: Vec<String>| Kind {
            name,
            things: things.into_iter().filter(keep).collect(),
        };
        let mut kinds = vec![
            kind("mount", mounts()),
            kind("cgroup", cgroups()),
            kind("network device", names("/sys/class/net")),
        ];
        if let Self::Marked(word) = self {
            kinds.push(kind("socket", sockets()));
            kinds.push(kind("key", keys()));
            kinds.push(kind("process", processes(word)));
            kinds.push(kind("descriptor", descriptors()));
        } else {
            kinds.push(kind("change", facts()));
        }
        kinds
    }
}

fn lines(path: &str) -> Vec<String> {
    fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Mounts of this mount namespace, without their ids: `root mount-point options - type source`.
fn mounts() -> Vec<String> {
    let without_ids = |line: String| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned();
    lines("/proc/self/mountinfo")
        .into_iter()
        .map(without_ids)
        .collect()
}

/// Directories of all cgroup hierarchies.
fn cgroups() -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = open.pop() {
        // Not ours and never touched: it belongs to what runs this machine.
        if directory.ends_with("process_api") {
            continue;
        }
        found.push(directory.display().to_string());
        let is_real = |path: &PathBuf| path.is_dir() && !path.is_symlink();
        open.extend(entries(&directory).into_iter().filter(is_real));
    }
    found
}

/// What a container that got out would change of the host, or make there.
fn facts() -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let value = |name: &&str| {
        let text = fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
        format!("{name} is {}", text.trim())
    };
    let mut facts: Vec<String> = PARAMETERS.iter().map(value).collect();
    facts.extend(names("/").into_iter().map(|name| format!("/{name}")));
    if let Ok(null) = fs::metadata("/dev/null") {
        let (owner, mode) = ((null.uid(), null.gid()), null.mode());
        facts.push(format!("/dev/null is of {owner:?} with mode {mode:o}"));
    }
    facts
}

/// Bound unix sockets, by path or abstract name.
fn sockets() -> Vec<String> {
    let path = |line: String| line.split_whitespace().nth(7).map(str::to_owned);
    lines("/proc/net/unix")
        .into_iter()
        .skip(1)
        .filter_map(path)
        .collect()
}

/// Keys and keyrings, by type and description: a container's session keyring is `_ses.ID`.
fn keys() -> Vec<String> {
    let description = |line: String| {
        let words: Vec<&str> = line.split_whitespace().skip(7).collect();
        words
            .join(" ")
            .split(": ")
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    lines("/proc/keys").into_iter().map(description).collect()
}

fn names(directory: &str) -> Vec<String> {
    let name = |path: PathBuf| Some(path.file_name()?.to_str()?.to_owned());
    entries(Path::new(directory))
        .into_iter()
        .filter_map(name)
        .collect()
}

/// Living processes with the word in their arguments, environment or cgroups. The test itself
/// and its ancestors may have the word in their arguments, as a filter: they don't count.
fn processes(word: &str) -> Vec<String> {
    let is_pid = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
    };
    let own = format!("/proc/{}", std::process::id());
    entries(Path::new("/proc"))
        .into_iter()
        .filter(is_pid)
        .filter(|process| process != Path::new(&own))
        .filter_map(|process| marked_process(&process, word))
        .collect()
}

fn marked_process(process: &Path, word: &str) -> Option<String> {
    let read = |name: &str| {
        let bytes = fs::read(process.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    let (arguments, cgroup) = (read("cmdline"), read("cgroup"));
    let is_marked = [&arguments, &cgroup, &read("environ")]
        .iter()
        .any(|text| text.contains(word));
    // A zombie runs no more; the init process of this machine may collect it lazily.
    let is_zombie = read("stat").rsplit(") ").next()?.starts_with('Z');
    (is_marked && !is_zombie).then(|| {
        format!(
            "{} {} {arguments} ({word})",
            process.display(),
            read("comm").trim()
        )
    })
}

/// What the descriptors of this process lead to.
fn descriptors() -> Vec<String> {
    let target = |path: PathBuf| Some(fs::read_link(path).ok()?.display().to_string());
    entries(Path::new("/proc/self/fd"))
        .into_iter()
        .filter_map(target)
        .collect()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    #[test]
    fn nothing_marked_is_nothing_left() {
        Residue::watch(&Marker::new("nothing")).assert_none(&[]);
    }

    #[test]
    fn a_process_that_runs_on_is_found_and_gone_after_its_end() {
        let marker = Marker::new("process");
        let residue = Residue::watch(&marker);
        let mut sleep = Command::new("sleep")
            .arg("60")
            .env("MARK", marker.as_str())
            .spawn();
        let sleep = sleep.as_mut().expect("sleep is there");
        std::thread::sleep(Duration::from_millis(100));
        assert!(residue.difference().starts_with("left process: /proc/"));
        sleep.kill().expect("it is ours");
        sleep.wait().expect("it is ours");
        residue.assert_none(&[]);
    }

    #[test]
    fn a_socket_that_is_still_bound_is_found() {
        let marker = Marker::new("socket");
        let residue = Residue::watch(&marker);
        let directory = marker.directory();
        let socket = UnixListener::bind(directory.path().join("s")).expect("a socket can be bound");
        assert!(residue.difference().starts_with("left socket: /"));
        drop(socket);
        residue.assert_none(&[]);
    }

    #[test]
    fn an_open_descriptor_is_found() {
        let marker = Marker::new("descriptor");
        let residue = Residue::watch(&marker);
        let directory = marker.directory();
        let file = fs::File::create(directory.path().join("f")).expect("a file can be made");
        assert!(residue.difference().starts_with("left descriptor: /"));
        drop(file);
        residue.assert_none(&[]);
    }

    #[test]
    fn a_cgroup_that_is_left_is_found() {
        crate::needs!(Root, CgroupV1("pids"));
        let marker = Marker::new("cgroup");
        let residue = Residue::watch(&marker);
        let cgroup = Path::new("/sys/fs/cgroup/pids").join(marker.as_str());
        fs::create_dir(&cgroup).expect("root can make a cgroup");
        let found = residue.difference();
        fs::remove_dir(&cgroup).expect("an empty cgroup can be removed");
        assert_eq!(found, format!("left cgroup: {}\n", cgroup.display()));
        residue.assert_none(&[]);
    }

    #[test]
    fn a_directory_in_the_root_is_found() {
        crate::needs!(Root);
        let residue = Residue::watch_host();
        let directory = PathBuf::from(format!("/{}", Marker::new("root").as_str()));
        fs::create_dir(&directory).expect("root can make a directory");
        let found = residue.difference();
        fs::remove_dir(&directory).expect("an empty directory can be removed");
        let line = format!("left change: {}\n", directory.display());
        assert!(found.contains(&line), "{found}");
        assert!(!residue.difference().contains(&line));
    }

    #[test]
    #[should_panic(expected = "the host is not as it was:\nleft descriptor: /")]
    fn what_stays_fails_the_test() {
        let marker = Marker::new("stays");
        let residue = Residue::watch(&marker);
        let directory = marker.directory();
        let _file = fs::File::create(directory.path().join("f")).expect("a file can be made");
        residue.assert_none(&[]);
    }
}
