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

/// Whether a hierarchy is one of cgroup v2.
#[must_use]
pub fn is_cgroup2(hierarchy: &Path) -> bool {
    hierarchy.join("cgroup.controllers").is_file()
}

/// Where a controller's hierarchy is mounted: none when this host has no such controller there
/// where runtimes look. On a hybrid host some are in the one of v2 beside those of v1. An empty
/// name is the core of v2.
#[must_use]
pub fn hierarchy(controller: &str) -> Option<PathBuf> {
    let of_v2 = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
    let has_it = |top: &PathBuf| {
        let controllers = std::fs::read_to_string(top.join("cgroup.controllers"));
        controllers.is_ok_and(|text| {
            controller.is_empty() || text.split_whitespace().any(|name| name == controller)
        })
    };
    of_v2.into_iter().find(has_it).or_else(|| of_v1(controller))
}

fn of_v1(controller: &str) -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = filesystem.split(' ');
        let is_cgroup = fields.next()? == "cgroup";
        let is_it = fields.nth(1)?.split(',').any(|option| option == controller);
        let target = mount.split(' ').nth(4).map(PathBuf::from);
        // Another mount may hide it.
        target.filter(|target| is_cgroup && is_it && target.join("tasks").exists())
    })
}

/// The cgroup of a process in a controller's hierarchy.
#[must_use]
pub fn cgroup(pid: i32, controller: &str) -> Option<PathBuf> {
    let hierarchy = hierarchy(controller)?;
    let is_v2 = is_cgroup2(&hierarchy);
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        let is_it = if is_v2 {
            controllers.is_empty()
        } else {
            controllers.split(',').any(|name| name == controller)
        };
        fields.next().filter(|_| is_it)
    })?;
    Some(hierarchy.join(path.trim_start_matches('/')))
}

/// Whether a new cgroup of this controller has such a file, which depends on the kernel.
#[must_use]
pub fn has_cgroup_file(controller: &str, file: &str, marker: &str) -> bool {
    let Some(hierarchy) = hierarchy(controller) else {
        return false;
    };
    if is_cgroup2(&hierarchy) {
        // A runtime enables the controller for its cgroup; before, it has no file there.
        std::fs::write(
            hierarchy.join("cgroup.subtree_control"),
            format!("+{controller}"),
        )
        .ok();
    }
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

/// Whether an I/O scheduler that knows weights serves a disk: major and minor.
#[must_use]
pub fn has_weights((major, minor): (u32, u32)) -> bool {
    let file = format!("/sys/dev/block/{major}:{minor}/queue/scheduler");
    std::fs::read_to_string(file).is_ok_and(|text| text.contains("[bfq]"))
}
