//! What this host has, for what can't be told without it.

use std::path::{Path, PathBuf};

/// Number of CAP_SYS_RESOURCE.
pub const CAP_SYS_RESOURCE: u32 = 24;

/// Whether this program has a capability, and so whether the runtime that it starts has it.
#[must_use]
pub fn has_capability(number: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    effective.unwrap_or(0) >> number & 1 == 1
}

/// Whether cgroup v2 is what is at /sys/fs/cgroup.
#[must_use]
pub fn has_cgroup2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").is_file()
}

/// Where a controller's hierarchy is mounted: none when this host has no such controller there
/// where the runtime looks.
#[must_use]
pub fn hierarchy(controller: &str) -> Option<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    if has_cgroup2() {
        let controllers = std::fs::read_to_string(top.join("cgroup.controllers")).ok()?;
        // An empty name is the core, which is always there.
        let is_there = controller.is_empty()
            || controllers
                .split_whitespace()
                .any(|name| name == controller);
        return is_there.then(|| top.to_owned());
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = filesystem.split(' ');
        let is_cgroup = fields.next()? == "cgroup";
        let is_it = fields.nth(1)?.split(',').any(|option| option == controller);
        (is_cgroup && is_it).then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// The cgroup of a process in a controller's hierarchy.
#[must_use]
pub fn cgroup(pid: i32, controller: &str) -> Option<PathBuf> {
    let hierarchy = hierarchy(controller)?;
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        let is_it = match has_cgroup2() {
            true => controllers.is_empty(),
            false => controllers.split(',').any(|name| name == controller),
        };
        if is_it { fields.next() } else { None }
    })?;
    Some(hierarchy.join(path.trim_start_matches('/')))
}

/// Whether a new cgroup of this controller has such a file, which depends on the kernel.
#[must_use]
pub fn has_cgroup_file(controller: &str, file: &str, marker: &str) -> bool {
    let Some(hierarchy) = hierarchy(controller) else {
        return false;
    };
    let cgroup = hierarchy.join(format!("{marker}-look"));
    let is_there = std::fs::create_dir(&cgroup).is_ok() && cgroup.join(file).exists();
    std::fs::remove_dir(&cgroup).ok();
    is_there
}

/// A whole disk of this host: major and minor.
#[must_use]
pub fn disk() -> Option<(u32, u32)> {
    let blocks = std::fs::read_dir("/sys/block").ok()?;
    blocks.flatten().find_map(|entry| {
        // Others, such as loop devices, have no device behind them.
        entry.path().join("device").exists().then_some(())?;
        let text = std::fs::read_to_string(entry.path().join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    })
}
