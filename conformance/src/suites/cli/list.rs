//! runc-list(8) and runc-ps(8).

use serde_json::{Value, json};

use super::{Area, equal_output, is, is_rfc3339, running, text};
use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, equal, failed, holds};
use crate::scene::Scene;

const AREA: Area = Area("list");
const LIST: &str = "runc-list(8)";
const PS: &str = "runc-ps(8)";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = of_list();
    cases.extend(of_ps());
    cases
}

fn of_list() -> Vec<Case> {
    vec![
        AREA.case(
            "list-json",
            LIST,
            "--format json prints one array on one line.",
            &["list --format"],
            |scene| {
                let (_, _, printed) = listed(scene, "--format")?;
                equal("lines", &printed.trim_end().lines().count(), &1)
            },
        ),
        AREA.case(
            "list-json-short",
            LIST,
            "-f is --format.",
            &["list -f"],
            |scene| listed(scene, "-f").map(drop),
        ),
        member("ociVersion", |entry, _| {
            holds(
                entry["ociVersion"]
                    .as_str()
                    .is_some_and(|text| text.starts_with("1.")),
                "a version",
                &entry["ociVersion"],
            )
        }),
        member("id", |entry, bundle| is("id", &entry["id"], bundle.id())),
        member("pid", |entry, bundle| {
            holds(
                super::pids(bundle).iter().any(|pid| entry["pid"] == *pid),
                "a pid",
                &entry["pid"],
            )
        }),
        member("status", |entry, _| {
            is("status", &entry["status"], "running")
        }),
        member("bundle", |entry, bundle| {
            is("bundle", &entry["bundle"], text(bundle.path()))
        }),
        member("rootfs", |entry, bundle| {
            is("rootfs", &entry["rootfs"], text(&bundle.rootfs()))
        }),
        member("created", |entry, _| {
            holds(
                entry["created"].as_str().is_some_and(is_rfc3339),
                "a time of RFC 3339",
                &entry["created"],
            )
        }),
        member("annotations", |entry, _| {
            is(
                "annotations",
                &entry["annotations"],
                json!({ "org.example.key": "value" }),
            )
        }),
        member("owner", |entry, _| is("owner", &entry["owner"], "root")),
        AREA.case(
            "list-empty",
            "runc prints Go's nil slice",
            "--format json prints null without containers.",
            &["list empty"],
            |scene| {
                std::fs::create_dir_all(scene.runtime().root()).expect("a directory can be made");
                let finished = scene.succeeds(&["list", "--format", "json"])?;
                equal("output", &finished.stdout.trim(), &"null")
            },
        ),
        AREA.case(
            "list-table",
            LIST,
            "The table has the columns ID, PID, STATUS, BUNDLE, CREATED, OWNER.",
            &["list", "list table"],
            table,
        ),
        AREA.case(
            "list-quiet",
            LIST,
            "--quiet prints ids, a line each.",
            &["list --quiet"],
            |scene| quiet(scene, "--quiet"),
        ),
        AREA.case(
            "list-quiet-short",
            LIST,
            "-q is --quiet.",
            &["list -q"],
            |scene| quiet(scene, "-q"),
        ),
        AREA.case(
            "list-format-unknown",
            LIST,
            "Another format is an error.",
            &["list --format"],
            |scene| {
                let finished = scene.runtime().call(&["list", "--format", "xml"]);
                holds(finished.code == 1, "exit 1", finished.brief())
            },
        ),
        AREA.case(
            "list-of-an-unloadable-one",
            LIST,
            "What can't be loaded is named on standard error and skipped, and there is no failure.",
            &["list unloadable"],
            |scene| {
                let bundle = running(scene)?;
                let broken = scene.runtime().root().join("broken");
                std::fs::create_dir(&broken).expect("a directory can be made");
                // One of these is where the runtime has its record.
                for name in ["state.json", "status"] {
                    std::fs::write(broken.join(name), "nonsense").expect("a file can be written");
                }
                let finished = scene.succeeds(&["list", "-q"])?;
                holds(
                    finished.stdout.lines().any(|line| line == bundle.id()),
                    "the other one",
                    finished.brief(),
                )?;
                holds(
                    finished.stderr.contains("broken"),
                    "its name on standard error",
                    finished.brief(),
                )
            },
        ),
    ]
}

fn of_ps() -> Vec<Case> {
    vec![
        AREA.case(
            "ps-json",
            "containerd decodes it",
            "--format json prints an array of the host's pids.",
            &["ps --format", "ps json"],
            |scene| pids(scene, "--format"),
        ),
        AREA.case(
            "ps-json-short",
            PS,
            "-f is --format.",
            &["ps -f"],
            |scene| pids(scene, "-f"),
        ),
        AREA.case(
            "ps-table",
            PS,
            "The table is ps -ef's, with its heading and the container's processes.",
            &["ps", "ps table"],
            |scene| {
                let bundle = running(scene)?;
                let finished = scene.succeeds(&["ps", bundle.id()])?;
                let pid = scene.runtime().pid(bundle.id()).to_string();
                let lines: Vec<&str> = finished.stdout.lines().collect();
                let is_it = lines.len() == 2
                    && lines[0].contains("PID")
                    && lines[0].contains("PPID")
                    && lines[1].split_whitespace().nth(1) == Some(&pid);
                holds(is_it, "a heading and the process", finished.brief())
            },
        ),
        AREA.case(
            "ps-options",
            PS,
            "What follows the id are options of ps(1).",
            &["ps table"],
            |scene| {
                let bundle = running(scene)?;
                let finished = scene.succeeds(&["ps", bundle.id(), "-o", "pid,comm"])?;
                let words: Vec<&str> = finished.stdout.split_whitespace().collect();
                let pid = scene.runtime().pid(bundle.id()).to_string();
                equal("words", &words, &vec!["PID", "COMMAND", &pid, "probe"])
            },
        ),
        AREA.case(
            "ps-format-unknown",
            PS,
            "Another format is an error.",
            &["ps --format"],
            |scene| {
                let bundle = running(scene)?;
                let finished = scene
                    .runtime()
                    .call(&["ps", "--format", "xml", bundle.id()]);
                holds(finished.code == 1, "exit 1", finished.brief())
            },
        ),
    ]
}

/// A case about one member of an entry of the list.
fn member(name: &'static str, check: fn(&Value, &Bundle) -> Verdict) -> Case {
    let row = format!("list.{name}");
    let sentence = format!("An entry's {name} is that of `state`.");
    AREA.case(
        format!("list-{}", name.to_lowercase()),
        LIST,
        &sentence,
        &[&row],
        move |scene| {
            let (entry, bundle, _) = listed(scene, "--format")?;
            check(&entry, &bundle)
        },
    )
}

/// The only entry, its bundle, and all that was printed.
fn listed(scene: &Scene<'_>, flag: &str) -> Result<(Value, Bundle, String), Trouble> {
    let bundle = scene
        .bundle()
        .does(&["wait"])
        .set("/annotations/org.example.key", "value");
    scene.start(&bundle)?;
    let finished = scene.succeeds(&["list", flag, "json"])?;
    let list: Value = serde_json::from_str(&finished.stdout).unwrap_or_default();
    match list.as_array().map(Vec::as_slice) {
        Some([entry]) => Ok((entry.clone(), bundle, finished.stdout)),
        _ => failed("an array of one entry", finished.brief()),
    }
}

fn table(scene: &Scene<'_>) -> Verdict {
    let bundle = running(scene)?;
    let finished = scene.succeeds(&["list"])?;
    let mut lines = finished
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    equal(
        "the heading",
        &lines.next().unwrap_or_default(),
        &vec!["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"],
    )?;
    let row = lines.next().unwrap_or_default();
    let pid = scene.runtime().pid(bundle.id()).to_string();
    let path = text(bundle.path());
    equal(
        "the first words of the row",
        &row.get(..4),
        &Some(&[bundle.id(), &pid, "running", &path][..]),
    )?;
    equal("the owner", &row.get(5), &Some(&"root"))
}

fn quiet(scene: &Scene<'_>, flag: &str) -> Verdict {
    let bundle = running(scene)?;
    equal_output(
        &scene.runtime().call(&["list", flag]),
        &format!("{}\n", bundle.id()),
    )
}

fn pids(scene: &Scene<'_>, flag: &str) -> Verdict {
    let bundle = running(scene)?;
    let finished = scene.succeeds(&["ps", flag, "json", bundle.id()])?;
    let seen: Value = serde_json::from_str(&finished.stdout).unwrap_or_default();
    is(
        "the array",
        &seen,
        json!([scene.runtime().pid(bundle.id())]),
    )
}
