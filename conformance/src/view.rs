//! Which cgroups a runtime sees: a mount namespace of this program's own.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::arguments::View;

/// Gives this program, and all that it starts from now on, mounts of their own, and shows them
/// these cgroups. What a runtime does to the mounts around it ends with this program; what is
/// mounted on the host still comes in.
///
/// # Errors
///
/// When the mounts can't be made: without root, or where there is no cgroup2.
pub(crate) fn show(view: View) -> Result<(), String> {
    let shown = own_mounts().and_then(|()| match view {
        View::Host => Ok(()),
        View::V1 => mount(
            Some("tmpfs"),
            "/sys/fs/cgroup/unified",
            Some("tmpfs"),
            MsFlags::empty(),
            None::<&str>,
        ),
        View::V2 => mount(
            Some("/sys/fs/cgroup/unified"),
            "/sys/fs/cgroup",
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        ),
    });
    shown.map_err(|errno| format!("show cgroups as {view:?}: {errno:?}"))
}

/// Mounts that are shared among themselves if the host's were: runtimes meet what they would.
fn own_mounts() -> nix::Result<()> {
    let was_shared = is_root_shared();
    unshare(CloneFlags::CLONE_NEWNS)?;
    let change = |flags| mount(None::<&str>, "/", None::<&str>, flags, None::<&str>);
    change(MsFlags::MS_REC | MsFlags::MS_SLAVE)?;
    if was_shared {
        change(MsFlags::MS_REC | MsFlags::MS_SHARED)?;
    }
    Ok(())
}

/// Whether what is mounted in the root is seen in other mount namespaces, too.
pub(crate) fn is_root_shared() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some("/") && line.contains(" shared:"))
}
