//! The host as it was: what no case may change.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::case::{Trouble, Verdict, failed};
use crate::scene::Scene;

/// Sysctls that an attacker of the host would change, or that namespaces have of their own.
const SYSCTLS: [&str; 10] = [
    "kernel/core_pattern",
    "kernel/sysrq",
    "kernel/modprobe",
    "kernel/hostname",
    "kernel/domainname",
    "kernel/shmmax",
    "kernel/msgmax",
    "fs/file-max",
    "vm/swappiness",
    "net/ipv4/ip_default_ttl",
];

/// Files of the canary tree: names that a hostile image would like its links to lead to.
const CANARIES: [&str; 8] = [
    "null",
    "ptmx",
    "console",
    "fd",
    "stdin",
    "tty",
    "secret",
    "directory/inner",
];

/// What is expected of the host after a case.
pub(super) const AS_BEFORE: &str = "a host that is as it was before";

/// A canary tree, and what was noted before the case.
#[derive(Debug)]
pub(super) struct Ground {
    canary: PathBuf,
    runtime: PathBuf,
    marker: String,
    before: BTreeMap<String, String>,
}

impl Ground {
    /// Makes the canary tree and notes how everything is.
    pub(super) fn new(scene: &Scene<'_>) -> Result<Self, Trouble> {
        let canary = scene.directory().join("canary");
        std::fs::create_dir_all(canary.join("directory")).expect("a directory can be made");
        for name in CANARIES {
            let path = canary.join(name);
            std::fs::write(&path, format!("canary {name}")).expect("a file can be written");
            let mode = std::fs::Permissions::from_mode(0o640);
            std::fs::set_permissions(&path, mode).expect("a mode can be set");
        }
        // What is in a container looks for a program there, too.
        std::fs::hard_link(&scene.stage().probe, canary.join("program"))
            .expect("a file can be linked");
        let mut ground = Self {
            canary,
            runtime: scene.runtime().path().to_owned(),
            marker: scene.marker().to_owned(),
            before: BTreeMap::new(),
        };
        ground.before = ground.now();
        Ok(ground)
    }

    /// The root of the canary tree.
    pub(super) fn canary(&self) -> &Path {
        &self.canary
    }

    /// A path of the canary tree.
    pub(super) fn file(&self, name: &str) -> String {
        self.canary.join(name).display().to_string()
    }

    /// Everything is as it was.
    ///
    /// # Errors
    ///
    /// The failure that says what has changed.
    pub(super) fn check(&self) -> Verdict {
        let now = self.now();
        let names = self.before.keys().chain(now.keys());
        let mut changed: Vec<String> = names
            .filter(|name| self.before.get(*name) != now.get(*name))
            .filter(|name| !is_of_the_host(name))
            .map(|name| {
                format!(
                    "{name}: {:?}, was {:?}",
                    now.get(name),
                    self.before.get(name)
                )
            })
            .collect();
        changed.sort();
        changed.dedup();
        if changed.is_empty() {
            return Ok(());
        }
        self.put_back(&now);
        failed(AS_BEFORE, changed.join("; "))
    }

    /// What a bad runtime has changed of the host's parameters is put back: who runs the cases
    /// means to keep the machine.
    fn put_back(&self, now: &BTreeMap<String, String>) {
        crate::residue::remove_from_the_root(&self.marker);
        for name in SYSCTLS {
            let fact = format!("sysctl {name}");
            let before = self.before.get(&fact);
            if let Some(before) = before.filter(|before| now.get(&fact) != Some(before)) {
                // The failure tells of it anyway.
                std::fs::write(Path::new("/proc/sys").join(name), before).ok();
            }
        }
    }

    fn now(&self) -> BTreeMap<String, String> {
        let mut facts = BTreeMap::new();
        for name in SYSCTLS {
            let value = std::fs::read_to_string(Path::new("/proc/sys").join(name));
            facts.insert(format!("sysctl {name}"), value.unwrap_or_default());
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        facts.extend(
            mounts
                .lines()
                .map(|line| (format!("{MOUNT}{line}"), String::new())),
        );
        facts.insert("the runtime's binary".to_owned(), describe(&self.runtime));
        walk(&self.canary, &mut facts);
        // A path that was meant to be in a container, and was not.
        let entries = std::fs::read_dir("/").into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        facts.extend(
            names
                .filter(|name| name.contains(&self.marker))
                .map(|name| (format!("/{name}"), String::new())),
        );
        facts
    }
}

/// What the names of facts about mounts begin with.
const MOUNT: &str = "mount ";

/// A mount that somebody else has made on the host meanwhile, and that came in: the host has it too.
fn is_of_the_host(name: &str) -> bool {
    let Some(line) = name.strip_prefix(MOUNT) else {
        return false;
    };
    let is_slave = line.contains(" master:");
    let target = |line: &str| line.split(' ').nth(4).map(str::to_owned);
    let host = std::fs::read_to_string("/proc/1/mountinfo").unwrap_or_default();
    let is_there = host.lines().any(|other| target(other) == target(line));
    let own = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let is_still_here = own.lines().any(|other| other == line);
    // One that came has a twin there; one that went is nowhere any more.
    is_slave && (is_there == is_still_here)
}

fn walk(path: &Path, facts: &mut BTreeMap<String, String>) {
    facts.insert(path.display().to_string(), describe(path));
    let is_directory = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let entries = is_directory.then(|| std::fs::read_dir(path).into_iter().flatten().flatten());
    for entry in entries.into_iter().flatten() {
        walk(&entry.path(), facts);
    }
}

/// Inode, mode, owner, size and both times: whatever is done to a file, one of them changes.
fn describe(path: &Path) -> String {
    let Ok(status) = std::fs::symlink_metadata(path) else {
        return "not there".to_owned();
    };
    if path.ends_with("program") {
        // Its link count changes with every bundle.
        return format!(
            "{} {:o} {} {}",
            status.ino(),
            status.mode(),
            status.size(),
            status.mtime_nsec()
        );
    }
    format!(
        "inode {} mode {:o} owner {}:{} size {} changed {}.{} {}.{}",
        status.ino(),
        status.mode(),
        status.uid(),
        status.gid(),
        status.size(),
        status.mtime(),
        status.mtime_nsec(),
        status.ctime(),
        status.ctime_nsec(),
    )
}
