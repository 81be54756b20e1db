//! What is set in a container's cgroups, as the kernel has it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

/// Words of the names of files that count, tell or do something and set nothing.
const NOT_SETTINGS: [&str; 13] = [
    "procs",
    "tasks",
    "usage",
    "failcnt",
    "events",
    "peak",
    "reset",
    "force_empty",
    "stat",
    "serviced",
    "service_bytes",
    "threads",
    "pressure",
];

/// Each file that sets something in the cgroups of this name, by hierarchy.
pub(super) fn settings(name: &str) -> Value {
    let mut hierarchies = BTreeMap::new();
    for cgroup in crate::residue::cgroups(name) {
        let hierarchy = cgroup.parent().map(Path::to_owned).unwrap_or_default();
        hierarchies.insert(hierarchy.display().to_string(), files(&cgroup));
    }
    json!(hierarchies)
}

fn files(cgroup: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(cgroup).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let mode = entry.metadata().ok()?.permissions().mode();
            // A file that can be read and written; and the device rules, which are two files.
            let sets = mode & 0o600 == 0o600 || name == "devices.list";
            let is_setting = sets && !NOT_SETTINGS.iter().any(|word| name.contains(word));
            let text = std::fs::read_to_string(entry.path()).ok()?;
            (entry.path().is_file() && is_setting).then(|| (name, sorted(&text)))
        })
        .collect()
}

/// The lines of a file, in an order that is no matter of who wrote first.
fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}
