//! The two shims.

use std::path::Path;

/// A shim: what containerd calls it, and its binary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rival {
    pub(crate) runtime: &'static str,
    pub(crate) binary: &'static str,
}

/// tare's.
pub(crate) const TARE: Rival = Rival {
    runtime: "io.containerd.tare.v1",
    binary: "containerd-shim-tare-v1",
};

/// containerd's own, which runs runc.
pub(crate) const STOCK: Rival = Rival {
    runtime: "io.containerd.runc.v2",
    binary: "containerd-shim-runc-v2",
};

/// Both, in the order in which they are measured.
pub(crate) const BOTH: [Rival; 2] = [TARE, STOCK];

/// Has the engines that this program starts find tare's binaries first.
#[expect(
    clippy::disallowed_methods,
    reason = "called first thing, while there is one thread"
)]
#[expect(unsafe_code, reason = "the environment has no other door")]
pub(crate) fn put_on_path(directory: &Path) {
    if directory.as_os_str().is_empty() {
        return;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(directory.to_owned()).chain(std::env::split_paths(&path));
    if let Ok(joined) = std::env::join_paths(all) {
        // SAFETY: no other thread exists yet that could read the environment meanwhile.
        unsafe { std::env::set_var("PATH", joined) };
    }
}
