//! Runtimes that are broken in one place, and the program's word on them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use testkit::needs;

use crate::program::program;

/// A runtime that is broken in one place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken {
    /// What is broken.
    name: &'static str,
    how: How,
    /// Cases that it makes fail.
    fails: &'static [&'static str],
    /// Cases that it does not.
    passes: &'static [&'static str],
}

#[derive(Clone, Copy, Debug)]
enum How {
    /// A jq filter over config.json.
    Config(&'static str),
    /// A jq filter over what a command prints.
    Answer(&'static str, &'static str),
    /// What is done for a command: a script, where R is runc and LAST the last argument.
    Command(&'static str, &'static str),
    /// What is done whatever the words are: such a script.
    Always(&'static str),
}

pub(crate) const fn config(
    name: &'static str,
    filter: &'static str,
    fails: &'static [&'static str],
    passes: &'static [&'static str],
) -> Broken {
    Broken {
        name,
        how: How::Config(filter),
        fails,
        passes,
    }
}

pub(crate) const fn answer(
    name: &'static str,
    command: &'static str,
    filter: &'static str,
    fails: &'static [&'static str],
    passes: &'static [&'static str],
) -> Broken {
    Broken {
        name,
        how: How::Answer(command, filter),
        fails,
        passes,
    }
}

pub(crate) const fn command(
    name: &'static str,
    command: &'static str,
    script: &'static str,
    fails: &'static [&'static str],
    passes: &'static [&'static str],
) -> Broken {
    Broken {
        name,
        how: How::Command(command, script),
        fails,
        passes,
    }
}

pub(crate) const fn always(
    name: &'static str,
    script: &'static str,
    fails: &'static [&'static str],
    passes: &'static [&'static str],
) -> Broken {
    Broken {
        name,
        how: How::Always(script),
        fails,
        passes,
    }
}

/// [`check_in`] the specification suite.
pub(crate) fn check(rows: &[Broken]) {
    check_in("spec", rows);
}

/// All that the rows name passes on runc, and fails on the broken ones where they say so.
pub(crate) fn check_in(suite: &str, rows: &[Broken]) {
    needs!(Root, Program("runc"), Program("jq"));
    let runc = testkit::find_program("runc").expect("it is there");
    let all: Vec<&str> = rows
        .iter()
        .flat_map(|row| row.fails.iter().chain(row.passes))
        .copied()
        .collect();
    let (unbroken, told) = failures(suite, &runc, &all);
    assert!(unbroken.is_empty(), "on runc itself fail {unbroken:?}");
    let mut problems = String::new();
    for row in rows {
        let directory = tempfile::tempdir().expect("a directory");
        let script = script(directory.path(), &runc, row.how);
        // What can't be told here can't fail here.
        let expected: BTreeSet<&str> = row
            .fails
            .iter()
            .copied()
            .filter(|name| told.contains(*name))
            .collect();
        let named: Vec<&str> = row.fails.iter().chain(row.passes).copied().collect();
        let (failed, _) = failures(suite, &script, &named);
        let failed: BTreeSet<&str> = failed.iter().map(String::as_str).collect();
        if failed != expected {
            writeln!(
                problems,
                "{}: fail {failed:?}, and not {expected:?}",
                row.name
            )
            .expect("a string grows");
        }
    }
    assert!(problems.is_empty(), "{problems}");
}

fn script(directory: &Path, runc: &Path, how: How) -> PathBuf {
    let act = match how {
        How::Config(filter) => format!(
            "was=\nfor word in \"$@\"; do\n  if [ \"$was\" = --bundle ]; then\n    \
             jq '{filter}' \"$word/config.json\" > \"$word/config.new\" && mv \"$word/config.new\" \"$word/config.json\"\n  \
             fi\n  was=$word\ndone\n"
        ),
        How::Answer(command, filter) => format!(
            "if [ \"$3\" = {command} ]; then\n  text=$(\"$R\" \"$@\") || exit 1\n  printf %s \"$text\" | jq '{filter}'\n  exit 0\nfi\n"
        ),
        How::Always(script) => format!("{script}\n"),
        How::Command(command, script) => format!("if [ \"$3\" = {command} ]; then\n{script}\nfi\n"),
    };
    let last = "for LAST in \"$@\"; do :; done";
    let text = format!(
        "#!/bin/sh\nR={}\n{last}\n{act}exec \"$R\" \"$@\"\n",
        runc.display()
    );
    let path = directory.join("broken-runtime");
    std::fs::write(&path, text).expect("a file can be written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
        .expect("its mode can be set");
    path
}

/// The cases that pass on a runc whose config.json goes through a jq filter first.
pub(crate) fn passed_without(filter: &'static str) -> BTreeSet<String> {
    let runc = testkit::find_program("runc").expect("it is there");
    let directory = tempfile::tempdir().expect("a directory");
    let script = script(directory.path(), &runc, How::Config(filter));
    let results = results("spec", &script, &[]);
    let passed = results.iter().filter(|result| result["outcome"] == "pass");
    passed
        .filter_map(|result| result["case"].as_str())
        .map(str::to_owned)
        .collect()
}

/// The program's word on a runc that does this for a command, where these options take system
/// calls away: outcome and detail of one case.
pub(crate) fn without_calls(
    command: &'static str,
    act: &'static str,
    options: &[&str],
    case: &str,
) -> (String, String) {
    let runc = testkit::find_program("runc").expect("it is there");
    let directory = tempfile::tempdir().expect("a directory");
    let script = script(directory.path(), &runc, How::Command(command, act));
    let results = results_with("spec", &script, &[case], options);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&results[0]["outcome"]), text(&results[0]["detail"]))
}

/// The program's word on a runtime: on the cases whose names begin so, on all without any.
fn results(suite: &str, runtime: &Path, names: &[&str]) -> Vec<Value> {
    results_with(suite, runtime, names, &[])
}

fn results_with(suite: &str, runtime: &Path, names: &[&str], options: &[&str]) -> Vec<Value> {
    // One of the broken ones changes the host's name.
    let mut command = Command::new("unshare");
    command
        .arg("--uts")
        .arg(program())
        .arg("--runtime")
        .arg(runtime)
        .args(["--suite", suite, "--format", "json"])
        // A runtime that changes its own file does so in the sight of all.
        .args(["--jobs", "1"])
        .args(options)
        .env("PROGRAM", program());
    for name in names {
        command.args(["--case", name]);
    }
    let output = command.output().expect("the program starts");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The cases of these names that fail, and those that can be told.
fn failures(suite: &str, runtime: &Path, names: &[&str]) -> (BTreeSet<String>, BTreeSet<String>) {
    let results = results(suite, runtime, names);
    let of = |is_it: fn(&Value) -> bool| -> BTreeSet<String> {
        let asked = results.iter().filter(|result| is_it(&result["outcome"]));
        let asked = asked.filter_map(|result| result["case"].as_str());
        asked
            .filter(|name| names.contains(name))
            .map(str::to_owned)
            .collect()
    };
    let told = of(|outcome| outcome != "skip");
    for name in names {
        let is_known = results.iter().any(|result| result["case"] == *name);
        assert!(is_known, "no case {name}");
    }
    (of(|outcome| outcome == "fail"), told)
}
