//! The users of a pod that are mapped (`hostUsers: false`), and the user namespace that its
//! network namespace belongs to.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use runtime_core::errno::of_io;
use serde::Serialize;

use crate::failure::Failure;
use crate::sys;

/// One range of ids, as config.json has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Range {
    #[serde(rename = "containerID")]
    pub(super) container: u64,
    #[serde(rename = "hostID")]
    pub(super) host: u64,
    pub(super) size: u64,
}

/// Both maps of a user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Users {
    pub(super) uids: Vec<Range>,
    pub(super) gids: Vec<Range>,
}

impl Users {
    /// The user and the group of the host that the pod's root is.
    pub(super) fn root(&self) -> Option<(u32, u32)> {
        let root = |ranges: &[Range]| {
            let range = ranges.iter().find(|range| range.container == 0)?;
            u32::try_from(range.host).ok()
        };
        Some((root(&self.uids)?, root(&self.gids)?))
    }

    /// Whether this is a user and a group of the pod.
    pub(super) fn contain(&self, id: u64) -> bool {
        let has = |ranges: &[Range]| {
            ranges.iter().any(|range| {
                id.checked_sub(range.container)
                    .is_some_and(|at| at < range.size)
            })
        };
        has(&self.uids) && has(&self.gids)
    }
}

/// The user namespace that owns the pod's network namespace, unless it is this program's own:
/// containerd has made both, and only from there its interfaces and sysctls can be set. Without
/// a network namespace there is none, and the sandbox makes one of its own.
pub(super) fn owner_of(network: &str) -> Result<Option<OwnedFd>, Failure> {
    if network.is_empty() {
        return Ok(None);
    }
    let failed = |errno| {
        Failure::call(
            format!("find the user namespace of the network namespace {network}"),
            errno,
        )
    };
    let file = File::open(network).map_err(|error| failed(of_io(&error)))?;
    let owner = match sys::owning_user_namespace(&file) {
        // It belongs to one above this program's own, who could not be joined.
        Err(Errno::EPERM) => return Ok(None),
        owner => File::from(owner.map_err(failed)?),
    };
    let identity = |file: std::io::Result<std::fs::Metadata>| {
        let metadata = file.map_err(|error| failed(of_io(&error)))?;
        Ok::<_, Failure>((metadata.dev(), metadata.ino()))
    };
    let own = identity(std::fs::metadata("/proc/self/ns/user"))?;
    Ok((identity(owner.metadata())? != own).then(|| owner.into()))
}

/// The name of a namespace that this program has open.
pub(super) fn name(namespace: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", namespace.as_raw_fd())
}
