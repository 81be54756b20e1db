//! How a container's init has ended, for who asks when its server is gone.
//!
//! Only the server can wait for init, and only once. If it is killed between init's end and
//! containerd's `Delete`, nobody could say any more how the container has ended. So the server
//! leaves it in the bundle, in `exit.json`, as soon as it knows it, and before it tells anybody:
//!
//! ```json
//! {"pid":4711,"status":0,"seconds":1764045698,"nanoseconds":5}
//! ```

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runtime_core::errno::of_io;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The file's name in the bundle.
pub const FILE: &str = "exit.json";

/// How and when init has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Its number in the shim's pid namespace.
    pub pid: u32,
    /// As shells say it: 128 and the number for a signal.
    pub status: u32,
    /// Since 1970, UTC.
    seconds: u64,
    nanoseconds: u32,
}

impl ExitRecord {
    /// A record of an end at this time.
    #[must_use]
    pub fn new(pid: u32, status: u32, exited_at: SystemTime) -> Self {
        let since = exited_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            pid,
            status,
            seconds: since.as_secs(),
            nanoseconds: since.subsec_nanos(),
        }
    }

    /// When it ended.
    #[must_use]
    pub fn exited_at(&self) -> SystemTime {
        let since = Duration::new(self.seconds, self.nanoseconds.min(999_999_999));
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    }

    /// Leaves the record in the bundle, whole or not at all. It is of no use after the machine
    /// has crashed, so nothing waits for the disk.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn write(&self, bundle: &Path) -> Result<(), Failure> {
        let unfinished = bundle.join(".exit.json");
        let text = format!(
            r#"{{"pid":{},"status":{},"seconds":{},"nanoseconds":{}}}"#,
            self.pid, self.status, self.seconds, self.nanoseconds
        );
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&unfinished)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| std::fs::rename(&unfinished, bundle.join(FILE)));
        written.map_err(|error| {
            // The first failure is the one to report.
            std::fs::remove_file(&unfinished).ok();
            let act = format_args!("write {FILE} into {}", bundle.display()).to_string();
            Failure::call(act, of_io(&error))
        })
    }

    /// The record in a bundle; none when there is none that can be read.
    #[must_use]
    pub fn read(bundle: &Path) -> Option<Self> {
        let document = runtime_core::bundle::read_document(&bundle.join(FILE)).ok()?;
        serde_json::from_slice(&document).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_second_end_replaces_the_first() {
        let bundle = tempfile::tempdir().unwrap();
        assert_eq!(ExitRecord::read(bundle.path()), None);
        let time = UNIX_EPOCH + Duration::new(1_764_045_698, 5);
        for status in [0, 137] {
            let record = ExitRecord::new(4711, status, time);
            record.write(bundle.path()).unwrap();
            assert_eq!(ExitRecord::read(bundle.path()), Some(record));
            assert_eq!(record.exited_at(), time);
        }
        assert_eq!(bundle.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_record_is_none_and_times_out_of_range_are_no_panic() {
        let bundle = tempfile::tempdir().unwrap();
        std::fs::write(bundle.path().join(FILE), "{\"pid\":1").unwrap();
        assert_eq!(ExitRecord::read(bundle.path()), None);
        let text =
            r#"{"pid":1,"status":0,"seconds":18446744073709551615,"nanoseconds":4294967295}"#;
        std::fs::write(bundle.path().join(FILE), text).unwrap();
        let record = ExitRecord::read(bundle.path()).unwrap();
        assert!(record.exited_at() >= UNIX_EPOCH);
    }

    #[test]
    fn a_bundle_that_is_gone_is_named() {
        let failure = ExitRecord::new(1, 0, UNIX_EPOCH)
            .write(Path::new("/nonexistent"))
            .unwrap_err();
        let expected = "write exit.json into /nonexistent: no such file or directory (ENOENT)";
        assert_eq!(failure.message, expected);
    }
}
