//! Where a container's directories will be, before they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::UNIFIED_KEY;
use crate::host::{CgroupLayout, CgroupMount};
use crate::plan::CgroupPlan;
use crate::plan::cgroup::CgroupPath;

/// What [`Cgroup::paths`](super::Cgroup::paths) will say once the directories are made: what
/// an interrupted create may have left.
#[must_use]
pub fn planned_paths(layout: &CgroupLayout, plan: &CgroupPlan) -> BTreeMap<String, String> {
    let (hierarchies, unified) = match layout {
        CgroupLayout::None => (&[][..], None),
        CgroupLayout::V2(mount) => (&[][..], Some(mount)),
        CgroupLayout::V1 {
            hierarchies,
            unified,
        } => (hierarchies.as_slice(), unified.as_ref()),
    };
    let mut paths = BTreeMap::new();
    for mount in hierarchies {
        let path = directory(mount, &plan.path, 0);
        paths.extend(
            mount
                .controllers
                .iter()
                .map(|name| (name.clone(), path.clone())),
        );
    }
    if let Some(mount) = unified {
        // A cgroup2 directory with processes has no children with controllers, so a relative
        // path starts at the parent of the runtime's own.
        paths.insert(UNIFIED_KEY.to_owned(), directory(mount, &plan.path, 1));
    }
    paths
}

/// The container's directory in one hierarchy; a relative path starts so many levels above the
/// runtime's own cgroup.
fn directory(mount: &CgroupMount, path: &CgroupPath, above_own: usize) -> String {
    let mount_point = Path::new(&mount.mount_point);
    let mut directory = PathBuf::from(mount_point);
    if matches!(path, CgroupPath::BelowOwn(_)) {
        let own: Vec<_> = mount
            .own_path
            .split('/')
            .filter(|name| !name.is_empty())
            .collect();
        let kept = own.len().saturating_sub(above_own);
        directory.extend(&own[..kept]);
        // Inside of a container the mount may show only a part of the hierarchy.
        if own.contains(&"..") || !directory.exists() {
            directory = mount_point.to_owned();
        }
    }
    directory.extend(path.components());
    directory.to_string_lossy().into_owned()
}
