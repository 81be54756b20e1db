//! `tare exec`.

use std::os::fd::OwnedFd;
use std::path::Path;

use runtime_core::bundle;
use runtime_core::spec::{Capabilities, Process, Spec, Text, User};
use runtime_core::{Container, ExecOptions};

use super::container_id;
use crate::command_line::{Command, Count, Parsed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::flags::{
    ADDITIONAL_GIDS, APPARMOR, CAP, CGROUP, CONSOLE_SOCKET, CWD, DETACH, ENV, IGNORE_PAUSED,
    NO_NEW_PRIVS, PID_FILE, PIDFD_SOCKET, PRESERVE_FDS, PROCESS, PROCESS_LABEL, TTY, USER,
};
use crate::foreground::Signals;
use crate::globals::Globals;
use crate::launch::{self, Surroundings};
use crate::terminal;
use crate::user;

pub(super) const COMMAND: Command = Command {
    name: "exec",
    summary: "run another process in a container",
    operands: "<container-id> <command> [arguments...]",
    count: Count::AtLeast(1),
    stops_at_first_operand: true,
    description: "The process is that of the container's config.json with this command and these options,\n\
                  or the one that --process describes in full.\n\
                  \n\
                  Ends with the process's status, or with 128 and the number of the signal that ended it;\n\
                  with 255 if the process could not be started.",
    enters_containers: true,
    flags: &[
        &CONSOLE_SOCKET,
        &PIDFD_SOCKET,
        &PID_FILE,
        &DETACH,
        &PROCESS,
        &CWD,
        &ENV,
        &TTY,
        &USER,
        &ADDITIONAL_GIDS,
        &PROCESS_LABEL,
        &APPARMOR,
        &NO_NEW_PRIVS,
        &CAP,
        &CGROUP,
        &IGNORE_PAUSED,
        &PRESERVE_FDS,
    ],
    run,
};

fn run(globals: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    exec(globals, parsed).map_err(|failure| failure.ending(Exit::ExecFailed))
}

fn exec(globals: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    let container = globals.runtime()?.open(&container_id(parsed)?)?;
    match parsed.path(&PROCESS) {
        Some(path) => {
            let document = bundle::read_document(Path::new(path))?;
            let process = parse(path, &document)?;
            start(globals, parsed, &container, process)
        }
        None => {
            let spec: Spec<'_> = parse("the container's config.json", container.config())?;
            let process = described(parsed, spec.process.unwrap_or_default())?;
            start(globals, parsed, &container, process)
        }
    }
}

fn parse<'a, T: serde::Deserialize<'a>>(what: &str, document: &'a [u8]) -> Result<T, Failure> {
    bundle::parse(document).map_err(|error| Failure::new(format_args!("{what}: {error}")))
}

fn start(
    globals: &Globals,
    parsed: &Parsed<'_>,
    container: &Container,
    mut process: Process<'_>,
) -> Result<Exit, Failure> {
    let detach = parsed.is_on(&DETACH);
    let terminal = process.terminal == Some(true);
    let surroundings = Surroundings::open(parsed, terminal, detach)?;
    if surroundings.terminal_is_ours() && process.console_size.is_none() {
        let window = terminal::callers_window();
        process.console_size = window.as_ref().map(terminal::console_size);
    }
    let signals = if detach {
        None
    } else {
        Some(Signals::block()?)
    };
    let options = ExecOptions {
        plan: surroundings.plan_options(),
        console_socket: surroundings.console_socket(),
        pidfd_socket: surroundings.pidfd_socket(),
        stdio: None,
        ignore_paused: parsed.is_on(&IGNORE_PAUSED),
        cgroups: parsed.texts(&CGROUP).map(sub_cgroup).collect(),
    };
    let started = container.exec(&process, &options)?;
    for warning in started.warnings() {
        globals.log.warning(warning);
    }
    globals.log.debug(&format!(
        "process {} runs in container {}",
        started.pid(),
        container.id()
    ));
    let attended = attend(surroundings, &started, signals.as_ref());
    if attended.is_err() {
        // What could not be attended must not run on; if it has ended already, so much the
        // better.
        started.signal(libc::SIGKILL).ok();
    }
    attended
}

/// `CONTROLLER[,…]:PATH`, or `PATH` for all controllers.
fn sub_cgroup(text: &str) -> (String, String) {
    let (controllers, path) = text.split_once(':').unwrap_or(("", text));
    (controllers.to_owned(), path.to_owned())
}

fn attend(
    surroundings: Surroundings,
    started: &runtime_core::Process,
    signals: Option<&Signals>,
) -> Result<Exit, Failure> {
    let master: Option<OwnedFd> = surroundings.settle(started)?;
    match signals {
        Some(signals) => launch::attend(signals, started, master, None),
        None => Ok(Exit::Success),
    }
}

/// The container's own process, changed as the flags say.
fn described<'a>(parsed: &Parsed<'a>, base: Process<'a>) -> Result<Process<'a>, Failure> {
    let command = &parsed.operands[1..];
    if command.is_empty() {
        return Err(Failure::new(
            "process args cannot be empty: name a command after the container id, or give --process FILE",
        ));
    }
    let mut process = base;
    process.args = Some(command.iter().copied().map(Text::from).collect());
    process.terminal = Some(parsed.is_on(&TTY));
    process
        .env
        .get_or_insert_default()
        .extend(parsed.texts(&ENV).map(Text::from));
    let text = |flag| parsed.path(flag).map(Text::from);
    process.cwd = text(&CWD).or(process.cwd);
    process.apparmor_profile = text(&APPARMOR).or(process.apparmor_profile);
    process.selinux_label = text(&PROCESS_LABEL).or(process.selinux_label);
    if let Some(given) = parsed.text(&NO_NEW_PRIVS) {
        process.no_new_privileges = Some(given == "true");
    }
    apply_user(parsed, process.user.get_or_insert_default())?;
    apply_capabilities(parsed, &mut process.capabilities);
    Ok(process)
}

fn apply_user(parsed: &Parsed<'_>, process_user: &mut User<'_>) -> Result<(), Failure> {
    if let Some(text) = parsed.text(&USER) {
        let (uid, gid) = user::parse(text)?;
        process_user.uid = Some(uid);
        process_user.gid = gid.or(process_user.gid);
    }
    let groups = process_user.additional_gids.get_or_insert_default();
    groups.extend(parsed.numbers(&ADDITIONAL_GIDS));
    Ok(())
}

/// Adds to the bounding, effective and permitted sets. The ambient set takes only what is
/// inheritable as well, and an inheritable set that is empty stays so: what nobody put there
/// must not reach programs that are executed later.
fn apply_capabilities<'a>(parsed: &Parsed<'a>, sets: &mut Option<Capabilities<'a>>) {
    let added: Vec<&str> = parsed.texts(&CAP).collect();
    if added.is_empty() {
        return;
    }
    let sets = sets.get_or_insert_default();
    let add_to = |set: &mut Option<Vec<Text<'a>>>| {
        set.get_or_insert_default()
            .extend(added.iter().copied().map(Text::from));
    };
    add_to(&mut sets.bounding);
    add_to(&mut sets.effective);
    add_to(&mut sets.permitted);
    if sets.inheritable.as_ref().is_some_and(|set| !set.is_empty()) {
        add_to(&mut sets.ambient);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line;

    const CONFIG: &str = r#"{"terminal": true, "cwd": "/", "args": ["sh"], "env": ["A=1"],
        "user": {"uid": 1, "gid": 2, "additionalGids": [3]},
        "capabilities": {"bounding": ["CAP_KILL"], "ambient": ["CAP_KILL"]}}"#;

    fn described_by<T>(line: &[&str], look: impl FnOnce(&Process<'_>) -> T) -> T {
        let arguments: Vec<String> = line.iter().map(|&word| word.to_owned()).collect();
        let parsed = command_line::parse(COMMAND.flags, true, &arguments).unwrap();
        let base = serde_json::from_str(CONFIG).unwrap();
        look(&described(&parsed, base).unwrap())
    }

    #[test]
    fn without_flags_the_process_is_the_containers_with_another_command_and_no_terminal() {
        described_by(&["id", "ls", "-l"], |process| {
            let args: Vec<&str> = process
                .args
                .as_ref()
                .unwrap()
                .iter()
                .map(|arg| &**arg)
                .collect();
            assert_eq!(args, ["ls", "-l"]);
            let config = CONFIG.replace("true", "false").replace("sh", "ls\", \"-l");
            let expected: Process<'_> = serde_json::from_str(&config).unwrap();
            assert_eq!(*process, expected);
        });
    }

    #[test]
    fn flags_change_what_they_name() {
        let line = [
            "-t",
            "--cwd=/x",
            "-e",
            "B=2",
            "-u",
            "7",
            "-g",
            "8",
            "--no-new-privs",
            "--apparmor",
            "p",
            "--process-label",
            "l",
            "id",
            "ls",
        ];
        described_by(&line, |process| {
            let expected: Process<'_> = serde_json::from_str(
                r#"{"terminal": true, "cwd": "/x", "args": ["ls"], "env": ["A=1", "B=2"],
                "user": {"uid": 7, "gid": 2, "additionalGids": [3, 8]}, "noNewPrivileges": true,
                "apparmorProfile": "p", "selinuxLabel": "l",
                "capabilities": {"bounding": ["CAP_KILL"], "ambient": ["CAP_KILL"]}}"#,
            )
            .unwrap();
            assert_eq!(*process, expected);
        });
    }

    #[test]
    fn a_capability_becomes_ambient_only_beside_inheritable_ones() {
        let added = |sets: &str| {
            let arguments: Vec<String> = ["-c", "CAP_CHOWN", "id", "ls"]
                .iter()
                .map(|&word| word.to_owned())
                .collect();
            let parsed = command_line::parse(COMMAND.flags, true, &arguments).unwrap();
            let mut sets: Option<Capabilities<'_>> = serde_json::from_str(sets).unwrap();
            apply_capabilities(&parsed, &mut sets);
            let sets = sets.unwrap();
            let has = |set: &Option<Vec<Text<'_>>>| {
                set.as_ref()
                    .is_some_and(|set| set.iter().any(|name| &**name == "CAP_CHOWN"))
            };
            [
                has(&sets.bounding),
                has(&sets.effective),
                has(&sets.permitted),
                has(&sets.inheritable),
                has(&sets.ambient),
            ]
        };
        assert_eq!(added("null"), [true, true, true, false, false]);
        assert_eq!(
            added(r#"{"inheritable": []}"#),
            [true, true, true, false, false]
        );
        assert_eq!(
            added(r#"{"inheritable": ["CAP_KILL"]}"#),
            [true, true, true, false, true]
        );
    }

    #[test]
    fn a_command_is_needed() {
        let arguments = ["id".to_owned()];
        let parsed = command_line::parse(COMMAND.flags, true, &arguments).unwrap();
        let failure = described(&parsed, Process::default()).unwrap_err();
        assert!(failure.message.starts_with("process args cannot be empty"));
    }
}
