//! The real host's state that a case can't be kept away from: looked at after each case, and put
//! back when a runtime has changed it. Of several cases side by side nobody knows which it was: all
//! of them are run again, one by one.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

/// Parameters of the kernel that no namespace has, and that an attacker of the host would write to.
const PARAMETERS: [&str; 10] = [
    "fs/file-max",
    "fs/suid_dumpable",
    "kernel/core_pattern",
    "kernel/core_pipe_limit",
    "kernel/hotplug",
    "kernel/modprobe",
    "kernel/panic",
    "kernel/randomize_va_space",
    "kernel/sysrq",
    "vm/swappiness",
];

/// Names in the host's root that a bundle leads to: nobody else makes them.
const NAMES: [&str; 2] = ["nowhere", "inside"];

/// How the host was.
#[derive(Debug)]
pub(crate) struct Keeper {
    marker: String,
    /// Parameters, and their values.
    values: BTreeMap<PathBuf, String>,
    /// The null device's owner.
    owner: Option<(u32, u32)>,
    /// The names in the root.
    names: Vec<String>,
}

impl Keeper {
    /// Notes how the host is before any case. Whose names begin with the marker is the run's own.
    pub(crate) fn new(marker: &str) -> Self {
        let values = PARAMETERS
            .map(|name| Path::new("/proc/sys").join(name))
            .into_iter()
            .filter_map(|path| Some((path.clone(), read(&path)?)))
            .collect();
        Self {
            marker: marker.to_owned(),
            values,
            owner: owner(),
            names: names_in_the_root(),
        }
    }

    /// Puts back what is not as it was, and says what that is.
    pub(crate) fn put_back(&self) -> Vec<String> {
        let mut changes = Vec::new();
        for (path, before) in &self.values {
            if let Some(now) = read(path).filter(|now| now != before) {
                let done = std::fs::write(path, before);
                changes.push(said(path, &now, before, done));
            }
        }
        if let (Some(before), now) = (self.owner, owner())
            && now != self.owner
        {
            let done = chown("/dev/null", Some(before.0), Some(before.1));
            let (now, before) = (format!("{now:?}"), format!("{before:?}"));
            changes.push(said(Path::new("/dev/null"), &now, &before, done));
        }
        let is_new = |name: &String| !self.names.contains(name) && self.is_ours(name);
        for name in names_in_the_root().into_iter().filter(is_new) {
            let path = Path::new("/").join(name);
            crate::residue::remove_directory(&path);
            std::fs::remove_file(&path).ok();
            changes.push(said(&path, "there", "not there", Ok(())));
        }
        changes
    }

    fn is_ours(&self, name: &str) -> bool {
        NAMES.contains(&name) || name.starts_with(&self.marker)
    }
}

fn said(path: &Path, now: &str, before: &str, done: std::io::Result<()>) -> String {
    let (now, before) = (now.trim(), before.trim());
    let end = match done {
        Ok(()) => "put back".to_owned(),
        Err(error) => format!("can't be put back: {error}"),
    };
    format!("the host's {}: {now}, was {before} ({end})", path.display())
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn owner() -> Option<(u32, u32)> {
    let status = std::fs::metadata("/dev/null").ok()?;
    Some((status.uid(), status.gid()))
}

fn names_in_the_root() -> Vec<String> {
    let entries = std::fs::read_dir("/").into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}
