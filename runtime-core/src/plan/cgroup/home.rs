//! Which kind of hierarchy a controller lives in.

use crate::host::CgroupLayout;

/// The interface by which a controller is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// A cgroup v1 hierarchy.
    V1,
    /// The cgroup2 hierarchy.
    V2,
}

/// Where the controller is, by its cgroup v2 name (`io` is v1's `blkio`); none if nowhere.
pub(crate) fn home(layout: &CgroupLayout, controller: &str) -> Option<Home> {
    let has = |controllers: &[String], name: &str| controllers.iter().any(|c| c == name);
    let legacy_name = if controller == "io" {
        "blkio"
    } else {
        controller
    };
    match layout {
        CgroupLayout::None => None,
        CgroupLayout::V2(mount) => has(&mount.controllers, controller).then_some(Home::V2),
        CgroupLayout::V1 {
            hierarchies,
            unified,
        } => {
            let in_v1 = hierarchies
                .iter()
                .any(|mount| has(&mount.controllers, legacy_name));
            let in_v2 = unified
                .as_ref()
                .is_some_and(|mount| has(&mount.controllers, controller));
            match (in_v1, in_v2) {
                (true, _) => Some(Home::V1),
                (false, true) => Some(Home::V2),
                (false, false) => None,
            }
        }
    }
}
