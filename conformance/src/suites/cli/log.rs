//! Log records: what containerd's shim, podman and conmon read when a command has failed.

use serde_json::Value;

use super::{Area, is, is_rfc3339, nobody, raw, text};
use crate::case::{Case, Trouble, Verdict, equal, failed, holds};
use crate::run::Finished;
use crate::scene::Scene;

const AREA: Area = Area("log");
const PLACE: &str = "runc(8)";
const SHIM: &str = "containerd's shim decodes the file";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case("log-json", SHIM, "With --log-format json a failure is an object with level \"error\", msg, and time in RFC 3339.", &["--log-format", "log json"], |scene| {
            let (finished, log) = failing(scene, "json")?;
            let record = last(&log)?;
            is("level", &record["level"], "error")?;
            let message = record["msg"].as_str().unwrap_or_default();
            holds(message.contains("does not exist"), "the cause in msg", &log)?;
            holds(is_rfc3339(record["time"].as_str().unwrap_or_default()), "time in RFC 3339", &log)?;
            holds(finished.stderr.contains(message), "the cause on standard error, too", finished.brief())
        }),
        AREA.case("log-one-record", "podman reads the file as one object", "A failed create leaves exactly one record.", &["log one record"], |scene| {
            let log = text(&scene.directory().join("log"));
            let bundle = scene.bundle().mount("/tmp", "nosuchfs", "none", &[]);
            bundle.save();
            let path = text(bundle.path());
            let finished = scene.detached(&["--log", &log, "--log-format", "json", "create", "--bundle", &path, bundle.id()]);
            holds(finished.code != 0, "an error", finished.brief())?;
            let written = read(&log);
            let record = serde_json::from_str::<Value>(&written);
            holds(record.is_ok(), "one object", written)
        }),
        AREA.case("log-of-success", "containerd's shim takes the last error", "A command that succeeds writes no error.", &["--log"], |scene| {
            let log = text(&scene.directory().join("log"));
            let bundle = scene.bundle().does(&["exit", "0"]);
            bundle.save();
            let path = text(bundle.path());
            scene.succeeds(&["--log", &log, "--log-format", "json", "run", "--bundle", &path, bundle.id()])?;
            let written = read(&log);
            holds(!written.contains("\"error\""), "no error", written)
        }),
        AREA.case("log-text", PLACE, "With --log-format text a record is time=\"…\" level=error msg=\"…\".", &["--log-format", "log text"], |scene| {
            let (_, log) = failing(scene, "text")?;
            let shape = regex_lite::Regex::new("^time=\"[^\"]+\" level=error msg=\".*\"\n$").expect("it is one");
            holds(shape.is_match(&log), "time=\"…\" level=error msg=\"…\"", log)
        }),
        AREA.case("log-format-unknown", PLACE, "Another --log-format is an error.", &["--log-format", "text invalid log-format"], |scene| {
            let finished = scene.runtime().call(&["--log-format", "xml", "list"]);
            super::fails(&finished, 1, "invalid log-format")
        }),
        AREA.case("log-appends", PLACE, "--log appends to the file.", &["--log"], |scene| {
            let log = scene.directory().join("log");
            std::fs::write(&log, "before\n").expect("a file can be written");
            call(scene, &log, "json");
            let written = read(&text(&log));
            holds(written.starts_with("before\n{"), "what was there, and a record", written)
        }),
        AREA.case("log-mode", PLACE, "The log is made with the mode 0644 and the caller's umask.", &["--log"], mode),
        AREA.case("log-without-a-file", "conmon forwards standard error", "Without --log the record goes to standard error.", &["--log"], |scene| {
            let finished = scene.runtime().call(&["--log-format", "json", "state", &nobody(scene)]);
            let record = last(&finished.stderr)?;
            is("level", &record["level"], "error")
        }),
        AREA.case("log-that-cant-be-written", PLACE, "A log that can't be opened is an error.", &["--log"], |scene| {
            let log = text(&scene.directory().join("missing/log"));
            let finished = scene.runtime().call(&["--log", &log, "list"]);
            holds(finished.code != 0, "an error", finished.brief())
        }),
        AREA.case("debug", PLACE, "--debug logs more: records of the level debug.", &["--debug"], |scene| {
            let bundle = scene.bundle().does(&["exit", "0"]);
            bundle.save();
            let log = text(&scene.directory().join("log"));
            let path = text(bundle.path());
            scene.succeeds(&["--debug", "--log", &log, "--log-format", "json", "run", "--bundle", &path, bundle.id()])?;
            let written = read(&log);
            let is_debug = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|record| record["level"] == "debug");
            holds(written.lines().any(is_debug), "a record of the level debug", written)
        }),
        AREA.case("debug-off", PLACE, "Without --debug there are no such records.", &["--debug"], |scene| {
            let (_, log) = failing(scene, "json")?;
            holds(!log.contains("\"debug\""), "none", log)
        }),
    ]
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn call(scene: &Scene<'_>, log: &std::path::Path, format: &str) -> Finished {
    let words = [
        "--log",
        &text(log),
        "--log-format",
        format,
        "state",
        &nobody(scene),
    ];
    scene.runtime().call(&words)
}

/// A command that fails, and what it has written to its log.
fn failing(scene: &Scene<'_>, format: &str) -> Result<(Finished, String), Trouble> {
    let log = scene.directory().join("log");
    let finished = call(scene, &log, format);
    holds(finished.code == 1, "exit 1", finished.brief())?;
    Ok((finished, read(&text(&log))))
}

/// The last record of a log.
fn last(log: &str) -> Result<Value, Trouble> {
    let record = log.lines().last().map(serde_json::from_str);
    match record {
        Some(Ok(record)) => Ok(record),
        _ => failed("a line of JSON", log),
    }
}

fn mode(scene: &Scene<'_>) -> Verdict {
    use std::os::unix::fs::PermissionsExt;
    let log = scene.directory().join("log");
    let words = ["--log", &text(&log), "state", &nobody(scene)];
    let root = text(scene.runtime().root());
    raw(scene, &[&["--root", &root][..], &words].concat());
    let mode = std::fs::metadata(&log).map(|metadata| metadata.permissions().mode() & 0o777);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let umask = umask.and_then(|text| u32::from_str_radix(text.trim(), 8).ok());
    let expected = 0o644 & !umask.unwrap_or(0o022);
    equal("mode", &mode.ok(), &Some(expected))
}
