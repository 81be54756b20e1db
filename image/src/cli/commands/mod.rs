//! The commands, one a file: arguments in, library calls, results out.

mod change;
mod changes;
pub(crate) mod copy;
pub(crate) mod diff;
pub(crate) mod export;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod mount;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
mod referrers;
pub(crate) mod registry;
mod remote;
pub(crate) mod remove;
pub(crate) mod run;
pub(crate) mod save;
pub(crate) mod tag;
pub(crate) mod time;
pub(crate) mod unmount;
pub(crate) mod unpack;

use image::error::{Error, ErrorKind, Result};

/// Works in a thread with mounts of its own, which go when it has ended.
fn with_private_mounts<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            image::private_mounts::enter()?;
            work()
        });
        thread.join().unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::System,
                "a thread of this program has panicked",
            ))
        })
    })
}
