//! Which cgroup hierarchies this host has, found with a few system calls.

use std::path::Path;

use nix::errno::Errno;
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FsType, statfs};

use super::error::CgroupError;
use crate::host::{CgroupLayout, CgroupMount};

/// Where hierarchies are mounted by convention.
const ROOT: &str = "/sys/fs/cgroup";

/// Where a hybrid host has its cgroup2 hierarchy.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// Finds the hierarchies.
///
/// The host's mounts are read only when a v1 hierarchy is not at its usual place, so this
/// costs the same on a host with ten thousand mounts.
///
/// # Errors
///
/// [`CgroupError::Call`] when procfs or sysfs can't be read.
pub fn probe() -> Result<CgroupLayout, CgroupError> {
    let own = read("/proc/self/cgroup")?;
    let own = OwnCgroups::parse(&own);
    if has_type(ROOT, CGROUP2_SUPER_MAGIC)? {
        return Ok(CgroupLayout::V2(unified(ROOT, &own)?));
    }
    let mut hierarchies = Vec::new();
    let mut mounts = None;
    for (name, path) in &own.legacy {
        let mut mount_point = format!("{ROOT}/{}", name.strip_prefix("name=").unwrap_or(name));
        if !has_type(&mount_point, CGROUP_SUPER_MAGIC)? {
            if mounts.is_none() {
                mounts = Some(read("/proc/self/mountinfo")?);
            }
            let found = mounts
                .as_deref()
                .and_then(|mounts| find_mount(mounts, name));
            match found {
                Some(found) => mount_point = found,
                None => continue,
            }
        }
        hierarchies.push(CgroupMount {
            controllers: name.split(',').map(str::to_owned).collect(),
            mount_point,
            own_path: (*path).to_owned(),
        });
    }
    let unified = if has_type(UNIFIED, CGROUP2_SUPER_MAGIC)? {
        Some(unified(UNIFIED, &own)?)
    } else {
        None
    };
    if hierarchies.is_empty() {
        return Ok(unified.map_or(CgroupLayout::None, CgroupLayout::V2));
    }
    Ok(CgroupLayout::V1 {
        hierarchies,
        unified,
    })
}

/// The cgroup2 hierarchy mounted there.
fn unified(mount_point: &str, own: &OwnCgroups<'_>) -> Result<CgroupMount, CgroupError> {
    let controllers = read(&format!("{mount_point}/cgroup.controllers"))?;
    Ok(CgroupMount {
        controllers: controllers.split_whitespace().map(str::to_owned).collect(),
        mount_point: mount_point.to_owned(),
        own_path: own.unified.unwrap_or("/").to_owned(),
    })
}

fn read(path: &str) -> Result<String, CgroupError> {
    std::fs::read_to_string(path).map_err(|error| CgroupError::Call {
        call: "read",
        path: path.into(),
        source: error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
    })
}

/// Whether a filesystem of this kind is there. What can't be told is an error: a hierarchy that
/// is overlooked is a container without its limits.
fn has_type(path: &str, kind: FsType) -> Result<bool, CgroupError> {
    match statfs(Path::new(path)) {
        Ok(found) => Ok(found.filesystem_type() == kind),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => Ok(false),
        Err(source) => Err(CgroupError::Call {
            call: "statfs(2) of",
            path: path.into(),
            source,
        }),
    }
}

/// `/proc/self/cgroup`, parsed.
struct OwnCgroups<'a> {
    /// Name (`cpu,cpuacct`, `name=systemd`) and path, in the kernel's order.
    legacy: Vec<(&'a str, &'a str)>,
    unified: Option<&'a str>,
}

impl<'a> OwnCgroups<'a> {
    fn parse(text: &'a str) -> Self {
        let mut own = Self {
            legacy: Vec::new(),
            unified: None,
        };
        for line in text.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(number), Some(name), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if number == "0" && name.is_empty() {
                own.unified = Some(path);
            } else {
                own.legacy.push((name, path));
            }
        }
        own
    }
}

/// The mount point of the v1 hierarchy with these controllers, in the text of mountinfo.
fn find_mount(mountinfo: &str, name: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        let (kind, _source, options) = (filesystem.next()?, filesystem.next()?, filesystem.next()?);
        let has_all = name
            .split(',')
            .all(|part| options.split(',').any(|o| o == part));
        (kind == "cgroup" && has_all).then(|| mount.split(' ').nth(4).map(unescape))?
    })
}

/// mountinfo writes blanks and backslashes as three octal digits.
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut plain = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part
            .get(..3)
            .and_then(|code| u8::from_str_radix(code, 8).ok());
        match code {
            Some(code) => {
                plain.push(code);
                plain.extend_from_slice(&part.as_bytes()[3..]);
            }
            None => {
                plain.push(b'\\');
                plain.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cgroups_are_told_by_hierarchy() {
        let own = OwnCgroups::parse("12:cpu,cpuacct:/a:b\n1:name=systemd:/s\n0::/u\n");
        assert_eq!(
            own.legacy,
            [("cpu,cpuacct", "/a:b"), ("name=systemd", "/s")]
        );
        assert_eq!(own.unified, Some("/u"));
    }

    #[test]
    fn a_hierarchy_at_an_unusual_place_is_found_by_its_options() {
        let mountinfo = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             32 31 0:29 / /odd\\040place/cpu rw,relatime shared:1 - cgroup cgroup rw,cpuacct,cpu\n\
             33 31 0:30 / /sd rw - cgroup cgroup rw,xattr,name=systemd\n";
        assert_eq!(
            find_mount(mountinfo, "cpu,cpuacct").as_deref(),
            Some("/odd place/cpu")
        );
        assert_eq!(
            find_mount(mountinfo, "name=systemd").as_deref(),
            Some("/sd")
        );
        assert_eq!(find_mount(mountinfo, "memory"), None);
    }
}
