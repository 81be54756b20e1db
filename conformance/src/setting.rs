//! In which setting cases run: words that lists of known failures name.

use crate::arguments::Arguments;
use crate::host;

/// The words of this run: which cgroups there are (`hybrid`, `v1`, `v2`), who makes them
/// (`systemd`), the kernel (`linux-6.1`), and whether system calls are missing (`old-kernel`).
/// Said after the view is shown.
#[must_use]
pub fn words(arguments: &Arguments) -> Vec<String> {
    let mut words = vec![cgroups().to_owned()];
    words.extend(kernel());
    if arguments.is_systemd {
        words.push("systemd".to_owned());
    }
    if arguments.missing.is_some() {
        words.push("old-kernel".to_owned());
    }
    words
}

fn cgroups() -> &'static str {
    let has_unified = std::path::Path::new("/sys/fs/cgroup/unified/cgroup.controllers").exists();
    match (host::has_cgroup2(), has_unified) {
        (true, _) => "v2",
        (false, true) => "hybrid",
        (false, false) => "v1",
    }
}

/// `linux-6.1` of a release `6.1.0-28-cloud-amd64`.
fn kernel() -> Option<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let mut numbers = release.split(['.', '-']);
    Some(format!("linux-{}.{}", numbers.next()?, numbers.next()?))
}
