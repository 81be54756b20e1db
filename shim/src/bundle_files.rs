//! The small files that the shim keeps in a container's bundle, for its callers and for its own
//! `delete`, which runs when the server is no more.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::failure::Failure;

/// Writes a pid file, whole or not at all: decimal, no newline.
pub(crate) fn write_pid(bundle: &Path, name: &str, pid: i32) -> Result<(), Failure> {
    write(bundle, name, pid.to_string().as_bytes())
}

/// The name of the pid file of a further process: that of one called `init` is not init's.
pub(crate) fn exec_pid_file(exec_id: &str) -> String {
    match exec_id {
        "init" => ".init.pid".to_owned(),
        exec_id => format!("{exec_id}.pid"),
    }
}

/// Removes the pid file of a further process that is no more: a bundle is on a tmpfs as a rule,
/// where every file costs a page.
pub(crate) fn remove_exec_pid(bundle: &Path, exec_id: &str) {
    // One that was never started has none.
    std::fs::remove_file(bundle.join(exec_pid_file(exec_id))).ok();
}

/// Puts a file into the bundle, whole or not at all. It is no use after the machine has
/// crashed, so nothing waits for the disk.
pub(crate) fn write(bundle: &Path, name: &str, content: &[u8]) -> Result<(), Failure> {
    let temporary = bundle.join(format!(".{name}"));
    let failed = |error: &std::io::Error| {
        let errno = runtime_core::errno::of_io(error);
        Failure::call(format!("write {name} into {}", bundle.display()), errno)
    };
    let mut options = std::fs::File::options();
    options.write(true).create(true).truncate(true);
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
        .open(&temporary)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| std::fs::rename(&temporary, bundle.join(name)))
        .map_err(|error| failed(&error))
}
