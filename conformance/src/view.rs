//! Which cgroups a runtime sees: a mount namespace of this program's own.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::arguments::View;

/// Shows this program, and all that it starts from now on, these cgroups.
///
/// # Errors
///
/// When the mounts can't be made: without root, or where there is no cgroup2.
pub(crate) fn show(view: View) -> Result<(), String> {
    if view == View::Host {
        return Ok(());
    }
    let shown = unshare(CloneFlags::CLONE_NEWNS).and_then(|()| {
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
        match view {
            View::V1 => mount(
                Some("tmpfs"),
                "/sys/fs/cgroup/unified",
                Some("tmpfs"),
                MsFlags::empty(),
                None::<&str>,
            ),
            _ => mount(
                Some("/sys/fs/cgroup/unified"),
                "/sys/fs/cgroup",
                None::<&str>,
                MsFlags::MS_BIND,
                None::<&str>,
            ),
        }
    });
    shown.map_err(|errno| format!("show cgroups as {view:?}: {errno:?}"))
}
