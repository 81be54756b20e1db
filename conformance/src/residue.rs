//! What a case may have left behind, and its removal.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The cgroups of this name, in every hierarchy, at the top.
#[must_use]
pub fn cgroups(name: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten();
    hierarchies
        .map(|entry| entry.path())
        .chain([root.to_owned()])
        // What hides a hierarchy is none.
        .filter(|hierarchy| hierarchy.join("cgroup.procs").exists())
        .map(|hierarchy| hierarchy.join(name))
        .filter(|cgroup| cgroup.is_dir())
        .collect()
}

/// Whether a container runs this file: somewhere a process executes it under the name that it
/// has inside.
#[must_use]
pub fn runs(file: &Path, name: &str) -> bool {
    let Ok(file) = std::fs::metadata(file) else {
        return false;
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.map(|entry| entry.path()).any(|process| {
        let exe = std::fs::metadata(process.join("exe"));
        let is_it = exe.is_ok_and(|exe| (exe.dev(), exe.ino()) == (file.dev(), file.ino()));
        let words = std::fs::read(process.join("cmdline")).unwrap_or_default();
        is_it && words.split(|byte| *byte == 0).next() == Some(name.as_bytes())
    })
}

/// Kills what is in the cgroups of a case, whatever it has called them behind its marker, and
/// removes them.
pub fn remove_cgroups_of(marker: &str) {
    let start = format!("{marker}-");
    let tops = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
    let hierarchies = tops.flatten().map(|entry| entry.path());
    let hierarchies = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]);
    let all = hierarchies.flat_map(|hierarchy| std::fs::read_dir(hierarchy).into_iter().flatten());
    let names = all
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let names: std::collections::BTreeSet<String> =
        names.filter(|name| name.starts_with(&start)).collect();
    for name in names {
        remove_cgroups(&name);
    }
}

/// Kills what is in the cgroups of this name, and removes them.
pub fn remove_cgroups(name: &str) {
    for cgroup in cgroups(name) {
        for _ in 0..50 {
            kill_all(&cgroup);
            remove_tree(&cgroup);
            if !cgroup.exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

fn kill_all(cgroup: &Path) {
    // A frozen one would not die.
    std::fs::write(cgroup.join("freezer.state"), "THAWED").ok();
    std::fs::write(cgroup.join("cgroup.freeze"), "0").ok();
    let pids = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    for pid in pids
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid > 1)
    {
        let pid = nix::unistd::Pid::from_raw(pid);
        // It may have ended in this moment.
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).ok();
    }
}

fn remove_tree(cgroup: &Path) {
    for entry in std::fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            kill_all(&entry.path());
            remove_tree(&entry.path());
        }
    }
    // Processes that are just ending keep it for a moment.
    std::fs::remove_dir(cgroup).ok();
}

/// Removes what begins so in the host's root: cgroups that a runtime took for directories there.
pub fn remove_from_the_root(marker: &str) {
    let start = format!("{marker}-");
    for entry in std::fs::read_dir("/").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&start) {
            remove_directory(&entry.path());
        }
    }
}

/// Removes a directory with all below it, once nothing is mounted there any more. What can't be
/// unmounted is left, since what is behind a mount is not ours to remove.
pub fn remove_directory(directory: &Path) {
    // A mount may hide others, which are seen when it is gone.
    for _ in 0..20 {
        let mounts = mounts_below(directory);
        if mounts.is_empty() {
            std::fs::remove_dir_all(directory).ok();
            return;
        }
        for target in mounts {
            // What is busy is detached.
            nix::mount::umount2(&target, nix::mount::MntFlags::MNT_DETACH).ok();
        }
    }
}

/// The targets of the mounts below a directory, the deepest first.
fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let targets = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4).map(unescape));
    let mut mounts: Vec<PathBuf> = targets
        .filter(|target| target.starts_with(directory))
        .collect();
    mounts.sort_unstable_by_key(|target| std::cmp::Reverse(target.as_os_str().len()));
    mounts
}

/// A path of mountinfo, where white space is written as octal numbers.
fn unescape(text: &str) -> PathBuf {
    let text = text.replace("\\040", " ").replace("\\011", "\t");
    PathBuf::from(text.replace("\\134", "\\"))
}
