//! Exit statuses, and the number of arguments of each command.

use super::{Area, nobody, raw, rows, running, text};
use crate::bundle::PROBE;
use crate::case::{Case, Verdict, equal, holds};
use crate::run::Finished;

const AREA: Area = Area("exits");
const PLACE: &str = "runc's exit statuses";

/// Commands with exactly one id.
const OF_ONE_ID: [&str; 11] = [
    "checkpoint",
    "create",
    "delete",
    "events",
    "pause",
    "restore",
    "resume",
    "run",
    "start",
    "state",
    "update",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = OF_ONE_ID
        .into_iter()
        .flat_map(|command| {
            [("none", &[][..]), ("two", &["one", "two"])].map(|(name, words)| {
                AREA.case(
                    format!("{command}-with-{name}"),
                    &format!("runc-{command}(8)"),
                    &format!(
                        "{command} takes exactly one id: the usage on standard output, exit 1."
                    ),
                    &[command, "exit wrong number of arguments"],
                    move |scene| is_usage(&scene.runtime().call(&[&[command], words].concat())),
                )
            })
        })
        .collect();
    cases.extend(["exec", "kill", "ps"].map(|command| {
        AREA.case(
            format!("{command}-with-none"),
            &format!("runc-{command}(8)"),
            &format!(
                "{command} takes at least one argument: the usage on standard output, exit 1."
            ),
            &[command, "exit wrong number of arguments"],
            move |scene| is_usage(&scene.runtime().call(&[command])),
        )
    }));
    cases.extend(["features", "list", "spec"].map(|command| {
        AREA.case(
            format!("{command}-with-one"),
            &format!("runc-{command}(8)"),
            &format!("{command} takes no argument: the usage on standard output, exit 1."),
            &[command, "exit wrong number of arguments"],
            move |scene| is_usage(&scene.runtime().call(&[command, "one"])),
        )
    }));
    cases.extend(rows::COMMANDS.map(|(command, _)| {
        AREA.case(
            format!("{command}-help"),
            "podman probes `checkpoint --help`",
            &format!("{command} --help prints its usage, exit 0."),
            &[command, "exit help"],
            move |scene| {
                let finished = raw(scene, &[command, "--help"]);
                holds(
                    finished.code == 0 && finished.stdout.contains(command),
                    "exit 0 and the usage",
                    finished.brief(),
                )
            },
        )
    }));
    cases.extend(of_processes());
    cases
}

fn is_usage(finished: &Finished) -> Verdict {
    let is_it = finished.code == 1 && finished.stdout.contains("Incorrect Usage.");
    holds(
        is_it,
        "exit 1 and \"Incorrect Usage.\" on standard output",
        finished.brief(),
    )
}

fn of_processes() -> Vec<Case> {
    vec![
        AREA.case(
            "exit-success",
            PLACE,
            "A command that succeeds exits with 0.",
            &["exit success"],
            |scene| {
                let bundle = scene.bundle().does(&["exit", "0"]);
                equal("exit status", &scene.run(&bundle).code, &0)
            },
        ),
        AREA.case(
            "exit-of-the-process",
            PLACE,
            "run exits with the status of the process.",
            &["exit status of the process"],
            |scene| {
                let bundle = scene.bundle().does(&["exit", "42"]);
                equal("exit status", &scene.run(&bundle).code, &42)
            },
        ),
        AREA.case(
            "exit-of-a-further-process",
            PLACE,
            "exec exits with the status of the process.",
            &["exit status of the process"],
            |scene| {
                let bundle = running(scene)?;
                let finished =
                    scene
                        .runtime()
                        .call(&["exec", bundle.id(), PROBE, "inside", "exit", "42"]);
                equal("exit status", &finished.code, &42)
            },
        ),
        AREA.case(
            "exit-of-a-killed-process",
            PLACE,
            "exec of a process that a signal ends exits with 128 and its number.",
            &["exit killed by a signal"],
            |scene| {
                let bundle = running(scene)?;
                let finished =
                    scene
                        .runtime()
                        .call(&["exec", bundle.id(), PROBE, "inside", "die", "9"]);
                equal("exit status", &finished.code, &137)
            },
        ),
        AREA.case(
            "exit-of-a-killed-init",
            PLACE,
            "run of a process that a signal ends exits with 128 and its number.",
            &["exit killed by a signal"],
            |scene| {
                // In a pid namespace of its own it could not kill itself.
                let bundle = super::in_the_hosts_pid_namespace(scene).does(&["die", "9"]);
                equal("exit status", &scene.run(&bundle).code, &137)
            },
        ),
        AREA.case(
            "exit-detached",
            PLACE,
            "A detached process's status is not run's.",
            &["exit detached"],
            |scene| {
                let bundle = scene.bundle().does(&["exit", "42"]);
                bundle.save();
                let path = text(bundle.path());
                equal(
                    "exit status",
                    &scene
                        .detached(&["run", "-d", "--bundle", &path, bundle.id()])
                        .code,
                    &0,
                )
            },
        ),
        AREA.case(
            "exit-of-a-failure",
            PLACE,
            "A command other than exec that fails exits with 1.",
            &["exit failure"],
            |scene| {
                let bundle = scene.bundle().mount("/tmp", "nosuchfs", "none", &[]);
                equal("exit status of run", &scene.run(&bundle).code, &1)?;
                let state = scene.runtime().call(&["state", &nobody(scene)]);
                equal("exit status of state", &state.code, &1)
            },
        ),
        AREA.case(
            "exit-of-a-program-that-is-missing",
            "docker's 126 and 127 come from texts",
            "run of a program that is missing exits with 1, never with 127.",
            &["exit failure"],
            |scene| {
                let bundle = scene
                    .bundle()
                    .set("/process/args", serde_json::json!(["/nowhere"]));
                equal("exit status", &scene.run(&bundle).code, &1)
            },
        ),
        AREA.case(
            "exit-of-a-failed-exec",
            PLACE,
            "exec itself, when it fails, exits with 255.",
            &["exit failure of exec"],
            |scene| {
                let bundle = running(scene)?;
                equal(
                    "exit status",
                    &scene
                        .runtime()
                        .call(&["exec", bundle.id(), "/nowhere"])
                        .code,
                    &255,
                )?;
                equal(
                    "exit status for nobody",
                    &scene
                        .runtime()
                        .call(&["exec", &nobody(scene), "/probe"])
                        .code,
                    &255,
                )
            },
        ),
        AREA.case(
            "exit-of-an-unknown-command",
            "urfave/cli",
            "An unknown command exits with 3.",
            &["exit unknown command"],
            |scene| equal("exit status", &raw(scene, &["nosuch"]).code, &3),
        ),
    ]
}
