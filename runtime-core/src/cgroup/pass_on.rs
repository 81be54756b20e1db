//! Controllers that a container's parents begin to pass on when a limit needs one.

use std::path::Path;

use super::Cgroup;
use super::create::Wanted;
use super::directory::Directory;
use super::error::CgroupError;
use crate::host::CgroupLayout;
use crate::plan::cgroup::Resources;

impl Cgroup {
    /// Lets the parents of the cgroup2 directory pass on what `resources` need and create had no
    /// reason to ask for (hugetlb, rdma, misc).
    ///
    /// A parent goes on passing it on when the update fails afterwards: others may have begun to
    /// use it, and what is only counted limits nobody.
    ///
    /// # Errors
    ///
    /// [`CgroupError::ControllerNotEnabled`] with the parent that can't, and why.
    pub(super) fn pass_on(
        &self,
        layout: &CgroupLayout,
        resources: &Resources,
    ) -> Result<(), CgroupError> {
        let (CgroupLayout::V2(mount)
        | CgroupLayout::V1 {
            unified: Some(mount),
            ..
        }) = layout
        else {
            return Ok(());
        };
        let Some(member) = self.unified() else {
            return Ok(());
        };
        let needed = resources.controllers().into_iter();
        let mut missing: Vec<String> = needed
            .filter(|name| mount.controllers.iter().any(|c| c == name))
            .map(str::to_owned)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let there = member.directory.read("cgroup.controllers")?;
        missing.retain(|name| !there.split_whitespace().any(|c| c == name));
        let mount_point = Path::new(&mount.mount_point);
        // A directory that is not below the mount that was found now: its own error says so.
        match member.parent.path().strip_prefix(mount_point) {
            Ok(below) if !missing.is_empty() => {
                enable_down_to(mount_point, below, &Wanted::needed(missing))
            }
            _ => Ok(()),
        }
    }
}

/// From the hierarchy's root down, since a parent can't pass on what it has not got.
fn enable_down_to(root: &Path, below: &Path, wanted: &Wanted) -> Result<(), CgroupError> {
    let mut directory = Directory::open(root)?;
    wanted.enable_in(&directory)?;
    for name in below {
        directory = directory.child(&name.to_string_lossy())?;
        wanted.enable_in(&directory)?;
    }
    Ok(())
}
