//! What a thread has for itself alone.
#![allow(
    unsafe_code,
    reason = "unshare(2), which rustix calls unsafe for one flag's sake"
)]

use rustix::fs::Mode;
use rustix::process::umask;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives the calling thread a working directory and a umask of its own, and clears the umask:
/// files get the mode with which they are made. Whether that worked; some sandboxes forbid it.
///
/// For a thread that ends soon: nothing puts the umask back.
pub(super) fn own_umask_and_directory() -> bool {
    // SAFETY: the call is unsafe for the sake of UnshareFlags::FILES, which is not used: this
    // thread shares its descriptors with all others as before.
    let unshared = unsafe { unshare_unsafe(UnshareFlags::FS) };
    if unshared.is_err() {
        return false;
    }
    umask(Mode::empty());
    true
}
