//! What a runtime has logged: logrus's JSON records, one a line.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How much of the log's end is read, in bytes.
const TAIL: u64 = 64 << 10;

#[derive(serde::Deserialize)]
struct Record {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

/// How long the log is; 0 when there is none.
pub(super) fn length(path: &Path) -> u64 {
    open(path).map_or(0, |(_, length)| length)
}

/// The message of the last record of level `error` after so many bytes of the log.
pub(super) fn last_error(path: &Path, start: u64) -> Option<String> {
    let (mut file, length) = open(path)?;
    let start = start.max(length.saturating_sub(TAIL));
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail).ok()?;
    last_error_in(&tail)
}

fn last_error_in(tail: &[u8]) -> Option<String> {
    tail.split(|byte| *byte == b'\n')
        .rev()
        .filter_map(|line| serde_json::from_slice::<Record>(line).ok())
        .find(|record| record.level == "error")
        // On one line, since failures are.
        .map(|record| record.msg.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn open(path: &Path) -> Option<(File, u64)> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    let metadata = file.metadata().ok()?;
    metadata.is_file().then_some((file, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_counts_and_nothing_from_before_the_call() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log.json");
        assert_eq!((length(&log), last_error(&log, 0)), (0, None));
        let before = "{\"level\":\"error\",\"msg\":\"old\",\"time\":\"x\"}\n";
        std::fs::write(&log, before).unwrap();
        let start = length(&log);
        assert_eq!(start, before.len() as u64);
        assert_eq!(last_error(&log, start), None);
        let after = "{\"level\":\"error\",\"msg\":\"one\"}\n\
            {\"msg\":\"two:\\n more\",\"level\":\"error\"}\n\
            {\"level\":\"warning\",\"msg\":\"three\"}\n\
            no record\n";
        std::fs::write(&log, format!("{before}{after}")).unwrap();
        assert_eq!(last_error(&log, start).as_deref(), Some("two: more"));
    }

    #[test]
    fn of_a_long_log_the_end_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log.json");
        let filler = "x".repeat(usize::try_from(TAIL).unwrap() * 2);
        let last = "{\"level\":\"error\",\"msg\":\"last\"}";
        std::fs::write(&log, format!("{filler}\n{last}\n")).unwrap();
        assert_eq!(last_error(&log, 0).as_deref(), Some("last"));
    }
}
