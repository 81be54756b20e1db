//! A mount namespace of this process's own: what is mounted there, the host never sees, and it
//! is gone with the last process in it, however that ends.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::error::{Error, Result};

/// Moves the calling thread, and what it starts from then on, into a mount namespace of its own.
/// Mounts of the host still come in; none goes out. mount_namespaces(7).
///
/// # Errors
/// [`crate::ErrorKind::System`] with EPERM without privilege.
pub fn enter() -> Result<()> {
    let step = |step: &'static str| {
        move |errno: nix::Error| Error::system(step, std::io::Error::from(errno))
    };
    unshare(CloneFlags::CLONE_NEWNS).map_err(step("make a mount namespace"))?;
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .map_err(step("keep mounts from the host"))
}
