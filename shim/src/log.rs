//! The shim's log: lines as logrus writes them, into the FIFO `log` of the bundle, whose other
//! end is in containerd's own log.
//!
//! Nobody ever waits for it. The FIFO is open for reading too: so it opens without a reader,
//! lines stay in it while containerd restarts, and writing is never EPIPE. What it can't take is
//! dropped, and the next line that it takes says how many were.

use std::fmt::{self, Display, Write as _};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Until this length a line is written whole or not at all (PIPE_BUF of pipe(7)).
const LONGEST_LINE: usize = 4096;

/// Where the shim speaks. Clones speak into the same log.
#[derive(Clone, Debug)]
pub struct Log {
    target: Option<Arc<Target>>,
    debug: bool,
}

#[derive(Debug)]
struct Target {
    file: File,
    /// ` id=… namespace=…`, after every message: containerd mixes the logs of all shims.
    fields: String,
    dropped: AtomicU64,
}

impl Log {
    /// Opens the log; what can't be opened is silence. With `debug` it has what is done too,
    /// and else only what goes wrong.
    #[must_use]
    pub fn open(path: &Path, debug: bool) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY)
            .open(path);
        let target = |file| Target {
            file,
            fields: String::new(),
            dropped: AtomicU64::new(0),
        };
        Self {
            target: file.ok().map(target).map(Arc::new),
            debug,
        }
    }

    /// A log that nobody reads.
    #[must_use]
    pub const fn nowhere() -> Self {
        Self {
            target: None,
            debug: false,
        }
    }

    /// The same log, whose lines also say whose shim this is.
    #[must_use]
    pub fn about(mut self, namespace: &str, id: &str) -> Self {
        if let Some(target) = self.target.as_mut().and_then(Arc::get_mut) {
            target.fields = format!(" id={} namespace={}", Quoted(id), Quoted(namespace));
        }
        self
    }

    /// What has failed.
    pub fn error(&self, message: impl Display) {
        self.write("error", &message);
    }

    /// What is not as it should be.
    pub fn warn(&self, message: impl Display) {
        self.write("warning", &message);
    }

    /// What an operator wants to know.
    pub fn info(&self, message: impl Display) {
        self.write("info", &message);
    }

    /// What helps to find a fault; only with `debug`.
    pub fn debug(&self, message: impl Display) {
        if self.debug {
            self.write("debug", &message);
        }
    }

    fn write(&self, level: &str, message: &dyn Display) {
        let Some(target) = &self.target else { return };
        let dropped = target.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let text =
                format!("{dropped} lines of this log were dropped: nobody read them in time");
            if !target.write(&line("warning", &text, &target.fields)) {
                target.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
                return;
            }
        }
        if !target.write(&line(level, &message.to_string(), &target.fields)) {
            target.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Target {
    fn write(&self, line: &str) -> bool {
        let written = (&self.file).write(line.as_bytes());
        written.is_ok_and(|count| count == line.len())
    }
}

fn line(level: &str, message: &str, fields: &str) -> String {
    let time = runtime_core::time::now();
    let start = format!("time=\"{time}\" level={level} msg=");
    let room = LONGEST_LINE - 1 - start.len() - fields.len().min(LONGEST_LINE / 2);
    let mut line = start;
    let message = Quoted(message).to_string();
    match message.len() <= room {
        true => line.push_str(&message),
        false => {
            let end = boundary(&message, room - 4);
            // A String takes any text.
            write!(line, "{}...\"", message.get(..end).unwrap_or_default()).ok();
        }
    }
    line.push_str(fields);
    line.push('\n');
    line
}

/// The last boundary between characters up to there.
fn boundary(text: &str, index: usize) -> usize {
    let mut upwards = 0..=index.min(text.len());
    upwards
        .rfind(|index| text.is_char_boundary(*index))
        .unwrap_or_default()
}

/// A value of a line: in quotes unless it is one plain word.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/@^+".contains(&byte);
        if !self.0.is_empty() && self.0.bytes().all(plain) {
            f.write_str(self.0)
        } else {
            write!(f, "{:?}", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use nix::sys::stat::Mode;

    use super::*;

    fn without_time(text: &str) -> Vec<String> {
        let rest = |line: &str| line.split_once(" level=").unwrap().1.to_owned();
        text.lines().map(rest).collect()
    }

    #[test]
    fn lines_are_logrus_lines_and_say_whose_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "").unwrap();
        let log = Log::open(&path, false).about("k8s.io", "a b");
        log.error("mount \"/x\": no\nway");
        log.clone().info("done");
        log.debug("not said");
        Log::open(&path, true).debug("said");
        let text = std::fs::read_to_string(&path).unwrap();
        let fields = "id=\"a b\" namespace=k8s.io";
        assert_eq!(
            without_time(&text),
            [
                format!(r#"error msg="mount \"/x\": no\nway" {fields}"#),
                format!("info msg=done {fields}"),
                "debug msg=said".to_owned(),
            ]
        );
        assert!(text.starts_with("time=\"20"), "{text}");
    }

    #[test]
    fn a_long_line_is_cut_and_stays_one_line() {
        for message in ["é".repeat(5000), "\"".repeat(5000), "x".repeat(3990)] {
            let line = line("error", &message, " id=x");
            assert!(line.len() <= LONGEST_LINE, "{}", line.len());
            assert!(line.ends_with(" id=x\n"), "{line}");
        }
    }

    #[test]
    fn a_log_that_is_not_there_is_silence_and_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        Log::open(&path, true).error("x");
        Log::nowhere().error("x");
        assert!(!path.exists());
    }

    #[test]
    fn a_fifo_that_nobody_reads_takes_what_it_can_and_counts_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        let log = Log::open(&path, false);
        let count = 2000;
        for number in 0..count {
            log.info(format_args!("line {number:0100}"));
        }
        let mut reader = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .unwrap();
        let mut text = String::new();
        assert!(reader.read_to_string(&mut text).is_err(), "it has no end");
        let taken = text.lines().count();
        assert!(taken > 100 && taken < count, "{taken}");
        log.info("after");
        text.clear();
        assert!(reader.read_to_string(&mut text).is_err());
        let dropped = count - taken;
        let expected = format!(
            "warning msg=\"{dropped} lines of this log were dropped: nobody read them in time\""
        );
        assert_eq!(without_time(&text), [expected, "info msg=after".into()]);
    }
}
