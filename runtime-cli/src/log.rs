//! The log: records in logrus's shape, which is what the callers of runc read.
//!
//! At the default level a call that fails writes one record, its error: podman takes the whole
//! file as one JSON object. One that succeeds writes its warnings. Everything else is for
//! `--debug`.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;

use runtime_core::ErrorKind;

use crate::failure::{Failure, While};

/// Where records go, and how they look.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// `--log`; None: stderr.
    file: Option<File>,
    /// `--log-format`.
    format: Format,
    /// `--debug`.
    debug: bool,
}

/// How a record looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// `time="…" level=error msg="…"`.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// One record; as JSON, in logrus's order and with our own words after logrus's.
#[derive(serde::Serialize)]
struct Record<'a> {
    level: &'a str,
    msg: &'a str,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<ErrorKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
}

impl Log {
    /// Opens the log file for appending; it is made with mode 0644 if it is missing. A FIFO that
    /// nobody reads is an error, not a wait; one that is full later loses records.
    pub(crate) fn open(path: Option<&str>, format: Format, debug: bool) -> Result<Self, Failure> {
        let open = |path: &str| {
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o644)
                .custom_flags(libc::O_SYNC | libc::O_NONBLOCK)
                .open(path)
                .doing(format_args!("--log: open {path}"))
        };
        Ok(Self {
            file: path.map(open).transpose()?,
            format,
            debug,
        })
    }

    /// What would help to find a fault; only with `--debug`.
    pub(crate) fn debug(&self, message: &str) {
        if self.debug {
            self.write(&Record::new("debug", message));
        }
    }

    /// What was asked for and could not be given.
    pub(crate) fn warning(&self, message: &str) {
        self.write(&Record::new("warning", message));
    }

    /// The failure that ends the program: in the log file and, for people and conmon, on
    /// stderr.
    pub(crate) fn error(&self, failure: &Failure) {
        self.write(&Record {
            kind: failure.kind,
            errno: failure.errno,
            ..Record::new("error", &failure.message)
        });
        if self.file.is_some() {
            say(&format!("{}\n", Printable(&failure.message)));
        }
    }

    fn write(&self, record: &Record<'_>) {
        if let Some(mut file) = self.file.as_ref() {
            // One write, so that records of several programs don't mix. There is nowhere to
            // complain about a log that can't be written.
            file.write_all(record.line(self.format).as_bytes()).ok();
        } else if self.format == Format::Text && io::stderr().is_terminal() {
            say(&format!(
                "tare: {}: {}\n",
                record.level,
                Printable(record.msg)
            ));
        } else {
            say(&record.line(self.format));
        }
    }
}

/// Writes to stderr, which may be closed: then there is nobody to tell.
fn say(text: &str) {
    io::stderr().write_all(text.as_bytes()).ok();
}

impl<'a> Record<'a> {
    /// A record of now.
    fn new(level: &'a str, msg: &'a str) -> Self {
        Self {
            level,
            msg,
            time: runtime_core::time::now(),
            kind: None,
            errno: None,
        }
    }

    /// The record as it is written, with its newline.
    fn line(&self, format: Format) -> String {
        let mut line = match format {
            Format::Text => format!(
                "time=\"{}\" level={} msg={}",
                self.time,
                self.level,
                Quoted(self.msg)
            ),
            Format::Json => {
                serde_json::to_string(self).expect("strings and numbers are always JSON")
            }
        };
        line.push('\n');
        line
    }
}

/// Text for a terminal: a name or a line from a container may have control characters, which
/// a terminal obeys.
struct Printable<'a>(&'a str);

impl std::fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '\n' | '\t' => write!(f, "{letter}"),
            letter if letter.is_control() => write!(f, "{}", letter.escape_default()),
            letter => write!(f, "{letter}"),
        })
    }
}

/// A value of a text record: in quotes unless it is one plain word.
struct Quoted<'a>(&'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
    use super::*;

    fn record<'a>(level: &'a str, msg: &'a str) -> Record<'a> {
        Record {
            time: "2026-11-25T01:28:18.000000001Z".to_owned(),
            ..Record::new(level, msg)
        }
    }

    #[test]
    fn a_text_record_is_a_logrus_line() {
        insta::assert_snapshot!(
            record("error", "mount \"/x\": no\nway").line(Format::Text),
            @r#"time="2026-11-25T01:28:18.000000001Z" level=error msg="mount \"/x\": no\nway""#
        );
        insta::assert_snapshot!(
            record("debug", "state/root").line(Format::Text),
            @r#"time="2026-11-25T01:28:18.000000001Z" level=debug msg=state/root"#
        );
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        let text = "x\u{1b}[2J\u{9b}1m\ty\n".to_owned();
        insta::assert_debug_snapshot!(
            Printable(&text).to_string(),
            @r#""x\\u{1b}[2J\\u{9b}1m\ty\n""#
        );
    }

    #[test]
    fn a_json_record_has_logrus_keys_and_ours_after_them() {
        let plain = record("error", "x");
        insta::assert_snapshot!(
            plain.line(Format::Json),
            @r#"{"level":"error","msg":"x","time":"2026-11-25T01:28:18.000000001Z"}"#
        );
        let from_library = Record {
            kind: Some(ErrorKind::NotFound),
            errno: Some(2),
            ..record("error", "no \"x\"\n")
        };
        insta::assert_snapshot!(
            from_library.line(Format::Json),
            @r#"{"level":"error","msg":"no \"x\"\n","time":"2026-11-25T01:28:18.000000001Z","kind":"not_found","errno":2}"#
        );
    }

    #[test]
    fn without_debug_only_the_error_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.json");
        for debug in [false, true] {
            let log = Log::open(path.to_str(), Format::Json, debug).unwrap();
            log.debug("d");
            log.error(&Failure::new("e"));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let levels: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|record| record["level"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(levels, ["error", "debug", "error"]);
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_an_error() {
        let failure = Log::open(Some("/nonexistent/log"), Format::Text, false).unwrap_err();
        assert_eq!(
            failure.message,
            "--log: open /nonexistent/log: no such file or directory (ENOENT)"
        );
    }
}
