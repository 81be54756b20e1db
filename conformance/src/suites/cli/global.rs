//! runc(8): global flags, help, version, and how flags are written.

use super::{Area, fails, is_usage_error, nobody, raw, running, text};
use crate::case::{Case, Verdict, equal, holds, skipped};
use crate::run::{LIMIT, finish};
use crate::scene::Scene;

const AREA: Area = Area("global");
const PLACE: &str = "runc(8)";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        AREA.case("root", PLACE, "--root is the directory for storage of container state.", &["--root"], root),
        AREA.case("root-relative", PLACE, "--root is made absolute.", &["--root"], relative_root),
        AREA.case("root-of-the-host", PLACE, "The state root is never /.", &["--root"], |scene| {
            let finished = raw(scene, &["--root", "/", "list"]);
            holds(finished.code != 0, "an error", finished.brief())
        }),
        AREA.case("root-that-is-missing", PLACE, "`list` with a --root that does not exist is an error.", &["--root", "list"], |scene| {
            let missing = text(&scene.directory().join("missing"));
            fails(&raw(scene, &["--root", &missing, "list"]), 1, "no such file or directory")
        }),
        AREA.case("systemd-cgroup-with-a-path", PLACE, "With --systemd-cgroup cgroupsPath is slice:prefix:name.", &["--systemd-cgroup"], |scene| {
            let bundle = scene.bundle().does(&["exit", "0"]);
            bundle.save();
            let path = text(bundle.path());
            let finished = scene.runtime().call(&["--systemd-cgroup", "run", "--bundle", &path, bundle.id()]);
            holds(finished.code == 1 && !is_usage_error(&finished), "an error about the path", finished.brief())
        }),
        AREA.case("systemd-cgroup-scope", PLACE, "With --systemd-cgroup the cgroup is the scope prefix-name.scope of the slice.", &["--systemd-cgroup"], scope),
        AREA.case("systemd-property", "runc's docs/systemd.md", "org.systemd.property.* are properties of the scope.", &["annotation org.systemd.property"], property),
        AREA.case("rootless-unknown", PLACE, "--rootless is true, false or auto.", &["--rootless"], |scene| {
            let bundle = scene.bundle().does(&["exit", "0"]);
            bundle.save();
            let path = text(bundle.path());
            let finished = scene.runtime().call(&["--rootless", "maybe", "run", "--bundle", &path, bundle.id()]);
            holds(finished.code != 0, "an error", finished.brief())
        }),
        AREA.case("version", "go-runc and moby parse it", "The first line is NAME version V, and no other line has that word.", &["--version", "version name"], |scene| {
            let finished = raw(scene, &["--version"]);
            let first = finished.stdout.lines().next().unwrap_or_default();
            let words: Vec<&str> = first.split(' ').collect();
            let is_it = words.len() == 3 && words[1] == "version" && words[2].starts_with(|first: char| first.is_ascii_digit());
            holds(finished.code == 0 && is_it, "NAME version V", finished.brief())?;
            let count = finished.stdout.lines().filter(|line| line.contains("version")).count();
            equal("lines with the word version", &count, &1)
        }),
        AREA.case("version-commit", "moby parses it", "A line says `commit: C`.", &["version commit"], |scene| has_line(scene, "commit: ")),
        AREA.case("version-spec", "moby parses it", "A line says `spec: V`, the version of the specification.", &["version spec"], |scene| has_line(scene, "spec: 1.")),
        AREA.case("version-short", PLACE, "-v prints the version.", &["-v"], |scene| {
            let (short, long) = (raw(scene, &["-v"]), raw(scene, &["--version"]));
            equal("output", &(short.code, short.stdout), &(0, long.stdout))
        }),
        AREA.case("flag-with-equals", "go-runc writes --rootless=true", "A value may follow =.", &["spelling --flag=value"], |scene| {
            let root = format!("--root={}", text(scene.runtime().root()));
            is_there(scene, &[&root])
        }),
        AREA.case("flag-with-one-dash", "go-runc writes -no-subreaper", "A long flag may have one dash.", &["spelling -flag"], |scene| {
            is_there(scene, &["-root", &text(scene.runtime().root())])
        }),
        AREA.case("flag-unknown", PLACE, "An unknown flag is an error, before anything is done.", &["spelling an unknown flag"], |scene| {
            for words in [&["--no-such-flag", "list"][..], &["list", "--no-such-flag"]] {
                let finished = raw(scene, words);
                holds(is_usage_error(&finished), "a usage error", finished.brief())?;
            }
            Ok(())
        }),
        AREA.case("flags-after-the-first-operand", "callers write exec ID sh -c …", "Parsing of flags stops at the first operand of exec.", &["spelling stops at the first operand"], |scene| {
            let bundle = running(scene)?;
            let finished = scene.runtime().call(&["exec", bundle.id(), crate::bundle::PROBE, "inside", "print", "--cwd"]);
            equal("output", &(finished.code, finished.stdout), &(0, "--cwd".to_owned()))
        }),
        AREA.case("root-of-a-user", PLACE, "Without --root a user's state is below XDG_RUNTIME_DIR, and a default root that is missing is an empty list.", &["environment XDG_RUNTIME_DIR"], root_of_a_user),
    ];
    cases.extend(["true", "false", "auto"].map(|word| {
        AREA.case(
            format!("rootless-{word}"),
            PLACE,
            "--rootless true|false|auto says whether errors of cgroups' permissions are ignored.",
            &["--rootless"],
            move |scene| {
                let bundle = scene.bundle().does(&["print", "it runs"]);
                bundle.save();
                let path = text(bundle.path());
                let finished = scene.runtime().call(&[
                    &format!("--rootless={word}"),
                    "run",
                    "--bundle",
                    &path,
                    bundle.id(),
                ]);
                equal(
                    "output",
                    &(finished.code, finished.stdout),
                    &(0, "it runs".to_owned()),
                )
            },
        )
    }));
    cases.extend(
        [
            ("flag", &["--help"][..], "--help"),
            ("short-flag", &["-h"], "-h"),
            ("command", &["help"], "help"),
        ]
        .map(|(name, words, row)| {
            AREA.case(
                format!("help-{name}"),
                PLACE,
                "Help is asked for with --help, -h and help, and names the commands.",
                &[row, "exit help"],
                move |scene| {
                    let finished = raw(scene, words);
                    let names_all = ["create", "start", "exec", "delete"]
                        .iter()
                        .all(|name| finished.stdout.contains(name));
                    holds(
                        finished.code == 0 && names_all,
                        "exit 0 and the commands",
                        finished.brief(),
                    )
                },
            )
        }),
    );
    cases
}

fn root(scene: &Scene<'_>) -> Verdict {
    let bundle = running(scene)?;
    let state = scene.runtime().root().join(bundle.id());
    holds(state.exists(), "state below --root", &state)?;
    let other = scene.directory().join("other");
    std::fs::create_dir(&other).expect("a directory can be made");
    let elsewhere = raw(scene, &["--root", &text(&other), "state", bundle.id()]);
    holds(
        elsewhere.code != 0,
        "no such container below another root",
        elsewhere.brief(),
    )
}

fn relative_root(scene: &Scene<'_>) -> Verdict {
    let bundle = running(scene)?;
    let mut command = std::process::Command::new(scene.runtime().path());
    command
        .args(["--root", "root", "state", bundle.id()])
        .current_dir(scene.directory());
    let finished = finish(&mut command, b"", LIMIT);
    holds(
        finished.code == 0,
        "the container's state",
        finished.brief(),
    )
}

/// The container of this case is seen with these words before the command.
fn is_there(scene: &Scene<'_>, words: &[&str]) -> Verdict {
    let bundle = running(scene)?;
    let finished = raw(scene, &[words, &["state", bundle.id()]].concat());
    holds(
        finished.code == 0,
        "the container's state",
        finished.brief(),
    )
}

fn has_line(scene: &Scene<'_>, start: &str) -> Verdict {
    let finished = raw(scene, &["--version"]);
    let has_it = finished.stdout.lines().any(|line| line.starts_with(start));
    holds(has_it, &format!("a line {start}…"), finished.brief())
}

fn needs_systemd() -> Verdict {
    if std::path::Path::new("/run/systemd/system").is_dir() {
        return Ok(());
    }
    skipped("systemd does not run here")
}

/// A container in a scope of systemd's, running.
fn in_a_scope(
    scene: &Scene<'_>,
    annotation: Option<(&str, &str)>,
) -> Result<String, crate::case::Trouble> {
    needs_systemd()?;
    let mut bundle = scene.bundle().does(&["wait"]);
    let name = bundle.id().to_owned();
    bundle = bundle.set("/linux/cgroupsPath", format!("system.slice:case:{name}"));
    if let Some((key, value)) = annotation {
        bundle = bundle.set(&format!("/annotations/{key}"), value);
    }
    bundle.save();
    let path = text(bundle.path());
    let created = scene.detached(&["--systemd-cgroup", "create", "--bundle", &path, bundle.id()]);
    holds(created.code == 0, "`create` succeeds", created.brief())?;
    Ok(name)
}

fn scope(scene: &Scene<'_>) -> Verdict {
    let name = in_a_scope(scene, None)?;
    let pid = scene.runtime().pid(&name);
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let scope = format!("/system.slice/case-{name}.scope");
    holds(cgroups.contains(&scope), &scope, cgroups)
}

fn property(scene: &Scene<'_>) -> Verdict {
    let name = in_a_scope(
        scene,
        Some(("org.systemd.property.Description", "'of a case'")),
    )?;
    let unit = format!("case-{name}.scope");
    let mut command = std::process::Command::new("systemctl");
    let shown = finish(
        command.args(["show", "-p", "Description", &unit]),
        b"",
        LIMIT,
    );
    equal(
        "the property",
        &shown.stdout.trim(),
        &"Description=of a case",
    )
}

fn root_of_a_user(scene: &Scene<'_>) -> Verdict {
    use std::os::unix::process::CommandExt;
    const USER: u32 = 54_321;
    let home = scene.directory().join("home");
    std::fs::create_dir(&home).expect("a directory can be made");
    std::os::unix::fs::chown(&home, Some(USER), Some(USER)).expect("root gives directories away");
    let run = |words: &[&str]| {
        let mut command = std::process::Command::new(scene.runtime().path());
        command.args(words).uid(USER).gid(USER).env_clear();
        command
            .env("XDG_RUNTIME_DIR", &home)
            .env("PATH", "/bin")
            .env("USER", "somebody");
        finish(&mut command, b"", LIMIT)
    };
    let listed = run(&["list", "-q"]);
    equal("the list", &(listed.code, listed.stdout.trim()), &(0, ""))?;
    let state = run(&["state", &nobody(scene)]);
    holds(state.code == 1, "an error", state.brief())
}
