//! The command line where no container is needed: help, wrong usage, exit statuses, records.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use self::program::{Outcome, runc, tare, tare_command};

mod program;

const COMMANDS: [&str; 15] = [
    "create", "start", "run", "exec", "state", "list", "kill", "delete", "ps", "pause", "resume",
    "update", "spec", "plan", "features",
];

/// The message of the only record, a text one, on stderr.
fn message(outcome: &Outcome) -> &str {
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    let [line] = lines[..] else {
        panic!("not one record: {:?}", outcome.stderr);
    };
    assert!(line.starts_with("time=\""), "{line}");
    let (_, message) = line
        .split_once(" level=error msg=")
        .expect("an error record");
    message
}

#[test]
fn help_is_the_same_however_it_is_asked_for() {
    let whole = tare(&["--help"]);
    assert_eq!((whole.status, whole.stderr.as_str()), (0, ""));
    for line in [
        &["help"] as &[_],
        &["h"],
        &["-h"],
        &["-help"],
        &[],
        &["--debug"],
    ] {
        assert_eq!(tare(line), whole, "{line:?}");
    }
    for command in COMMANDS {
        let help = tare(&[command, "--help"]);
        assert_eq!((help.status, help.stderr.as_str()), (0, ""), "{command}");
        assert!(
            help.stdout
                .starts_with(&format!("NAME:\n   tare {command} - "))
        );
        assert!(
            whole.stdout.contains(&format!("\n   {command} ")),
            "{command}"
        );
        for line in [
            &["help", command] as &[_],
            &[command, "-h"],
            &[command, "-help"],
        ] {
            assert_eq!(tare(line), help, "{line:?}");
        }
    }
}

#[test]
fn the_version_is_in_the_first_line_and_its_word_in_no_other() {
    let outcome = tare(&["--version"]);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(
        lines[0],
        concat!("tare version ", env!("CARGO_PKG_VERSION"))
    );
    assert!(lines[1].starts_with("commit: "));
    assert_eq!(lines[2], "spec: 1.3.0");
    assert_eq!(
        lines.iter().filter(|line| line.contains("version")).count(),
        1
    );
    assert_eq!(tare(&["-v"]), outcome);
}

#[test]
fn wrong_usage_shows_help_on_stdout_and_one_record_on_stderr() {
    for (line, heading, said) in [
        (
            &["create"] as &[_],
            "Incorrect Usage.\n\nNAME:\n   tare create",
            r#""tare: \"create\" requires exactly 1 argument(s)""#,
        ),
        (
            &["list", "x"],
            "Incorrect Usage.\n\nNAME:\n   tare list",
            r#""tare: \"list\" requires exactly 0 argument(s)""#,
        ),
        (
            &["exec"],
            "Incorrect Usage.\n\nNAME:\n   tare exec",
            r#""tare: \"exec\" requires a minimum of 1 argument(s)""#,
        ),
        (
            &["kill", "a", "9", "c"],
            "Incorrect Usage.\n\nNAME:\n   tare kill",
            r#""tare: \"kill\" requires a maximum of 2 argument(s)""#,
        ),
        (
            &["create", "--pid-file"],
            "Incorrect Usage: flag needs an argument: --pid-file\n\nNAME:\n   tare create",
            r#""flag needs an argument: --pid-file""#,
        ),
        (
            &["exec", "-p"],
            "Incorrect Usage: flag needs an argument: -p\n\nNAME:\n   tare exec",
            r#""flag needs an argument: -p""#,
        ),
        (
            &["create", "--nosuch", "x"],
            "Incorrect Usage: flag provided but not defined: --nosuch\n\nNAME:\n   tare create",
            r#""flag provided but not defined: --nosuch""#,
        ),
        (
            &["--nosuch"],
            "Incorrect Usage. flag provided but not defined: --nosuch\n\nNAME:\n   tare - ",
            r#""flag provided but not defined: --nosuch""#,
        ),
        (
            &["list", "-q=maybe"],
            "Incorrect Usage: invalid boolean value \"maybe\" for -q: parse error\n\nNAME:\n   tare list",
            r#""invalid boolean value \"maybe\" for -q: parse error""#,
        ),
    ] {
        let outcome = tare(line);
        assert_eq!(outcome.status, 1, "{line:?}");
        assert!(
            outcome.stdout.starts_with(heading),
            "{line:?}: {}",
            outcome.stdout
        );
        assert_eq!(message(&outcome), said, "{line:?}");
    }
}

#[test]
fn exit_statuses_and_the_kind_of_output_are_runcs() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().to_str().unwrap();
    for line in [
        &["nosuch"] as &[_],
        &["nosuch", "x"],
        &["help", "nosuch"],
        &["create"],
        &["create", "a", "b"],
        &["create", "--nosuch"],
        &["create", "--pid-file"],
        &["create", "--preserve-fds", "x", "y"],
        &["create", "--bundle", "/nonexistent", "x"],
        &["run", "--bundle=/nonexistent", "x"],
        &["state"],
        &["state", "missing"],
        &["state", "--", "missing"],
        &["start", "missing"],
        &["kill", "missing"],
        &["kill", "missing", "KIIL"],
        &["kill"],
        &["kill", "a", "b", "c"],
        &["delete", "missing"],
        &["delete", "--force", "missing"],
        &["delete", "missing", "-f"],
        &["exec"],
        &["exec", "missing"],
        &["exec", "missing", "true"],
        &["exec", "-p"],
        &["exec", "--user", "root", "missing", "true"],
        &["ps"],
        &["ps", "missing"],
        &["pause", "missing"],
        &["resume", "missing"],
        &["list"],
        &["list", "-f", "json"],
        &["list", "--format", "xx"],
        &["list", "-q"],
        &["list", "extra"],
        &["features", "extra"],
        &["spec", "extra"],
        &["-h"],
        &["-v"],
    ] {
        let line: Vec<&str> = ["--root", root].iter().chain(line).copied().collect();
        let Some(theirs) = runc(&line) else { return };
        let ours = tare(&line);
        assert_eq!(ours.status, theirs.status, "{line:?}: {ours:?} {theirs:?}");
        let first_line = |text: &str| text.lines().next().map(|line| line.contains("Usage"));
        assert_eq!(
            first_line(&ours.stdout),
            first_line(&theirs.stdout),
            "{line:?}"
        );
        let records = |text: &str| text.lines().count();
        assert_eq!(records(&ours.stderr), records(&theirs.stderr), "{line:?}");
    }
}

#[test]
fn an_unknown_command_ends_with_3() {
    let unknown = tare(&["nosuch"]);
    assert_eq!((unknown.status, unknown.stdout.as_str()), (3, ""));
    assert_eq!(message(&unknown), r#""No help topic for 'nosuch'""#);
}

#[test]
fn a_program_named_after_it_is_a_command() {
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("tare-hello");
    fs::write(&script, "#!/bin/sh\necho hello \"$@\"; exit 7\n").expect("it is ours");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let run = |arguments: &[&str], path: &str| {
        let mut command = tare_command(arguments);
        let output = command.env("PATH", path).output().expect("it is built");
        let text = |bytes| String::from_utf8(bytes).expect("it is text");
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let path = format!("{}:/bin", directory.path().display());
    let (code, stdout, stderr) = run(&["hello", "a", "--b", "--", "c"], &path);
    assert_eq!(
        (code, stdout.as_str(), stderr.as_str()),
        (Some(7), "hello a --b -- c\n", "")
    );
    let (code, stdout, stderr) = run(&["--root", "/x", "hello"], &path);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("go behind it"), "{stderr}");
    for name in ["hello", "../hello", "Hello"] {
        let (code, ..) = run(&[name], "relative:/bin");
        assert_eq!(code, Some(3), "{name}");
    }
}

/// podman asks so whether containers, and containers of pods, can be checkpointed.
#[test]
fn podman_finds_checkpoint_and_restore() {
    let help = tare(&["checkpoint", "--help"]);
    assert_eq!((help.status, help.stderr.as_str()), (0, ""));
    let probe = tare(&["restore", "--lsm-mount-context"]);
    assert_eq!(probe.status, 1);
    let said = probe.stdout + &probe.stderr;
    assert!(said.contains("flag needs an argument"), "{said}");
}

#[test]
fn a_global_flag_with_a_bad_value_is_an_error() {
    for (line, said) in [
        (
            &["--log-format", "x", "list"] as &[_],
            r#""invalid log-format: x""#,
        ),
        (
            &["--rootless=maybe", "list"],
            r#""invalid value \"maybe\" for --rootless: true, false or auto""#,
        ),
        (
            &["--root", "/proc/..", "list"],
            r#""--root: / can't be the state root, every directory in it would be a container""#,
        ),
        (
            &["--root", "/nonexistent", "list"],
            r#""--root: open /nonexistent: no such file or directory""#,
        ),
        (
            &["kill", "x", "KIIL"],
            r#""unknown signal \"KIIL\" (a name such as TERM or SIGTERM, or a number from 1 to 64)""#,
        ),
        (
            &["list", "-f", "xx"],
            r#""invalid format option \"xx\": table or json""#,
        ),
    ] {
        let outcome = tare(line);
        assert_eq!((outcome.status, message(&outcome)), (1, said), "{line:?}");
    }
    assert_eq!(
        tare(&[
            "-rootless=true",
            "-root=/tmp",
            "--systemd-cgroup=false",
            "-v"
        ])
        .status,
        0
    );
}

#[test]
fn a_failure_is_one_json_record_in_the_log_and_its_text_on_stderr() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log.json");
    let root = directory.path().join("root");
    let flags = [
        "--root",
        root.to_str().unwrap(),
        "--log",
        log.to_str().unwrap(),
    ];
    for (line, status) in [
        (&["state", "missing"] as &[_], 1),
        (&["exec", "missing", "true"], 255),
        (&["create", "--bundle", "/nonexistent", "x"], 1),
        (&["create"], 1),
        (&["nosuch"], 3),
        (&["run", "a/b"], 1),
    ] {
        fs::remove_file(&log).ok();
        let line: Vec<&str> = flags
            .iter()
            .chain(&["--log-format=json"])
            .chain(line)
            .copied()
            .collect();
        let outcome = tare(&line);
        assert_eq!(outcome.status, status, "{line:?}");
        // The whole file must be one value: that is how podman reads it.
        let record: Value = serde_json::from_str(&fs::read_to_string(&log).unwrap()).unwrap();
        assert_eq!(record["level"], "error");
        assert_eq!(
            format!("{}\n", record["msg"].as_str().unwrap()),
            outcome.stderr
        );
        let time = record["time"].as_str().unwrap();
        assert!(
            time.len() == 30 && time.ends_with('Z') && &time[10..11] == "T",
            "{time}"
        );
    }
}

#[test]
fn success_leaves_the_log_empty() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let root = directory.path().to_str().unwrap();
    let outcome = tare(&["--root", root, "--log", log.to_str().unwrap(), "list", "-q"]);
    assert_eq!(
        outcome,
        Outcome {
            status: 0,
            stdout: String::new(),
            stderr: String::new()
        }
    );
    assert_eq!(fs::read_to_string(&log).unwrap(), "");
}

#[test]
fn a_record_is_appended_and_debug_adds_more() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let root = directory.path().to_str().unwrap();
    let flags = ["--root", root, "--log", log.to_str().unwrap()];
    for _ in 0..2 {
        tare(&[&flags[..], &["state", "x"]].concat());
    }
    assert_eq!(
        fs::read_to_string(&log)
            .unwrap()
            .matches("level=error")
            .count(),
        2
    );
    tare(&[&flags[..], &["--debug", "state", "x"]].concat());
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("level=debug msg=\"state root "), "{text}");
}

#[test]
fn an_empty_list_is_a_heading_and_null() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().to_str().unwrap();
    let list = |flags: &[&str]| tare(&[&["--root", root, "list"], flags].concat()).stdout;
    assert_eq!(
        list(&[]),
        "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    );
    assert_eq!(list(&["-f", "json"]), "null\n");
    assert_eq!(list(&["-q"]), "");
    if let Some(theirs) = runc(&["--root", root, "list"]) {
        assert_eq!(list(&[]), theirs.stdout);
    }
}

#[test]
fn spec_writes_a_config_once() {
    let bundle = tempfile::tempdir().unwrap();
    let path = bundle.path().join("config.json");
    for (line, current) in [
        (&["spec"] as &[_], bundle.path()),
        (
            &["spec", "--rootless", "-b", bundle.path().to_str().unwrap()],
            Path::new("/"),
        ),
    ] {
        fs::remove_file(&path).ok();
        let spec = || Outcome::of(&tare_command(line).current_dir(current).output().unwrap());
        assert_eq!(spec().status, 0);
        let config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(config["process"]["args"][0], "sh");
        let before = fs::read(&path).unwrap();
        let again = spec();
        assert_eq!(again.status, 1);
        assert!(
            message(&again).contains("exists. Remove it first"),
            "{again:?}"
        );
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn features_has_what_callers_look_for() {
    let outcome = tare(&["features"]);
    let features: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert!(
        outcome
            .stdout
            .starts_with("{\n    \"ociVersionMin\": \"1.0.0\",\n")
    );
    assert_eq!(features["ociVersionMax"], "1.3.0");
    let words = |pointer: &str| -> Vec<String> {
        serde_json::from_value(features.pointer(pointer).unwrap().clone()).unwrap()
    };
    let options = words("/mountOptions");
    assert!(options.is_sorted() && options.iter().any(|option| option == "rro"));
    assert!(options.len() >= 61, "{options:?}");
    assert_eq!(words("/linux/namespaces").len(), 8);
    assert_eq!(words("/linux/capabilities").len(), 41);
    assert_eq!(words("/linux/seccomp/operators").len(), 7);
    assert_eq!(
        features["annotations"]["org.opencontainers.runc.checkpoint.enabled"],
        "true"
    );
}

#[test]
fn an_argument_that_is_not_utf_8_is_named() {
    use std::os::unix::ffi::OsStrExt;
    let mut command = tare_command(&["state"]);
    let output = command
        .arg(std::ffi::OsStr::from_bytes(b"\xff"))
        .output()
        .unwrap();
    let outcome = Outcome::of(&output);
    assert_eq!(outcome.status, 1);
    assert!(message(&outcome).contains("is not valid UTF-8"));
}

#[test]
fn a_user_without_a_runtime_directory_is_told_what_to_do() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    use std::os::unix::process::CommandExt;
    let binary = tempfile::tempdir().unwrap();
    let copy = binary.path().join("tare");
    // Not by this process: a child of another test could hold the copy open for writing.
    let copied = std::process::Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_tare"))
        .arg(&copy)
        .status();
    assert!(copied.unwrap().success());
    open_to_all(binary.path());
    let mut command = std::process::Command::new(&copy);
    command
        .arg("list")
        .env_remove("XDG_RUNTIME_DIR")
        .uid(65_534)
        .gid(65_534)
        .current_dir("/");
    let outcome = Outcome::of(&command.output().unwrap());
    assert_eq!(outcome.status, 1);
    assert!(
        message(&outcome).contains("XDG_RUNTIME_DIR is not set"),
        "{outcome:?}"
    );
}

fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).expect("our own directory");
}
