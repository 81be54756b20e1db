//! R11, R29, R32: cgroups that are limits, cgroups that are somebody else's, keyrings that run out.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Area, Ground, run_and_look, tried};
use crate::bundle::Bundle;
use crate::case::{Case, Verdict, equal, failed, holds, skipped};
use crate::host;
use crate::scene::Scene;

const AREA: Area = Area("cgroups");
const ORIGIN: &str = "CVE-2023-25809, CVE-2025-47291, CVE-2022-0492";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case("cgroup-of-a-container", "R11", "A container is in the cgroup that was asked for, in every hierarchy.", ORIGIN, |scene, _| is_in_its_cgroup(scene, scene.bundle())),
        AREA.case("cgroup-of-a-container-with-users", "R11", "So is one with a user namespace.", "CVE-2025-47291", |scene, _| {
            let maps = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
            let bundle = scene.bundle().set("/linux/namespaces/-", json!({ "type": "user" })).set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
            is_in_its_cgroup(scene, bundle)
        }),
        AREA.case("cgroup-that-can-not-be-left", "R11", "With its cgroups mounted read-only a container can't leave or change them.", ORIGIN, |scene, ground| {
            can_not_leave(scene, ground, &["nosuid", "noexec", "nodev", "ro"], false)
        }),
        AREA.case("cgroup-namespace-that-can-not-be-left", "R11", "Nor in a cgroup namespace of its own.", ORIGIN, |scene, ground| {
            can_not_leave(scene, ground, &["nosuid", "noexec", "nodev", "ro"], true)
        }),
        AREA.case("cgroup-of-a-user", "R11", "A user's container without a cgroup namespace has the host's cgroups read-only, even if it asks for them otherwise.", "CVE-2023-25809", of_a_user),
        AREA.case("cgroup-limits-processes", "R11", "A limit of processes holds.", ORIGIN, |scene, ground| {
            if host::hierarchy("pids").is_none() {
                return skipped("this host has no pids controller");
            }
            let bundle = scene.bundle().does(&["try", "children:30"]).set("/linux/resources/pids", json!({ "limit": 8 }));
            let finished = run_and_look(scene, ground, &bundle)?;
            let started = tried(&finished).unwrap_or_default()["children:30"].as_u64();
            holds(started.is_some_and(|count| count < 8), "fewer than 8 children", finished.brief())
        }),
        AREA.case("cgroup-limits-memory", "R11", "A limit of memory holds.", ORIGIN, |scene, ground| {
            if host::hierarchy("memory").is_none() {
                return skipped("this host has no memory controller");
            }
            let bundle = scene.bundle().does(&["try", "allocate:134217728"]).set("/linux/resources/memory", json!({ "limit": 33_554_432, "swap": 33_554_432 }));
            let finished = run_and_look(scene, ground, &bundle)?;
            equal("exit status", &finished.code, &137)
        }),
        AREA.case("cgroup-with-processes", "R29", "A cgroup in which there are processes is refused, and they are left alone.", "runc's check", |scene, ground| taken(scene, ground, "")),
        AREA.case("cgroup-with-processes-below", "R29", "So is one with processes below it.", "runc's check", |scene, ground| taken(scene, ground, "below")),
        AREA.case("cgroup-that-is-frozen", "R29", "A cgroup that is frozen is refused at once.", "runc's check", frozen),
        AREA.case("keyrings-that-run-out", "R32", "Containers of a user who has no more keys: they start, or say why not, and no keyring of the host is seen.", "keyrings(7)", keyrings),
    ]
}

fn is_in_its_cgroup(scene: &Scene<'_>, bundle: Bundle) -> Verdict {
    let bundle = bundle.does(&["wait"]);
    scene.start(&bundle)?;
    let pid = scene.runtime().pid(bundle.id());
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let path = format!("/{}", bundle.cgroup());
    // Hierarchies that are not mounted are nobody's.
    let is_used = |line: &&str| {
        line.split(':')
            .nth(1)
            .is_some_and(|names| names.split(',').any(|name| host::hierarchy(name).is_some()))
    };
    let elsewhere: Vec<&str> = own
        .lines()
        .filter(is_used)
        .filter(|line| !line.ends_with(&path))
        .collect();
    holds(
        !own.is_empty() && elsewhere.is_empty(),
        &format!("{path} in every hierarchy"),
        own,
    )
}

/// Words that try to write to what is in a cgroup mount.
fn tries(scene: &Scene<'_>) -> Vec<String> {
    let mut words = vec!["try".to_owned()];
    for directory in ["", "/pids", "/memory", "/devices", "/unified", "/systemd"] {
        for file in [
            "cgroup.procs",
            "tasks",
            "release_agent",
            "notify_on_release",
            "pids.max",
            "memory.limit_in_bytes",
            "devices.allow",
        ] {
            words.push(format!("overwrite:/sys/fs/cgroup{directory}/{file}"));
        }
        // With cgroup v1 the top is a tmpfs of the container's own.
        if !directory.is_empty() || host::has_cgroup2() {
            let name = scene.marker();
            words.push(format!("mkdir:/sys/fs/cgroup{directory}/{name}"));
        }
    }
    words
}

fn is_unwritten(seen: &serde_json::Value) -> Verdict {
    let written: Vec<&String> = seen
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| *value == "ok")
        .map(|(name, _)| name)
        .collect();
    equal("what could be written to", &written, &Vec::new())
}

fn can_not_leave(
    scene: &Scene<'_>,
    ground: &Ground,
    options: &[&str],
    has_namespace: bool,
) -> Verdict {
    let words = tries(scene);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut bundle =
        scene
            .bundle()
            .does(&words)
            .mount("/sys/fs/cgroup", "cgroup", "cgroup", options);
    if has_namespace {
        bundle = bundle.set("/linux/namespaces/-", json!({ "type": "cgroup" }));
    }
    let finished = run_and_look(scene, ground, &bundle)?;
    match tried(&finished) {
        Some(seen) => is_unwritten(&seen),
        None => failed("the container runs", finished.brief()),
    }
}

fn of_a_user(scene: &Scene<'_>, ground: &Ground) -> Verdict {
    const USER: u32 = 54_321;
    let words = tries(scene);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let maps = json!([{ "containerID": 0, "hostID": USER, "size": 1 }]);
    let bundle = scene
        .bundle()
        .does(&words)
        .without("/linux/cgroupsPath")
        .set("/linux/namespaces/-", json!({ "type": "user" }))
        .set("/linux/uidMappings", maps.clone())
        .set("/linux/gidMappings", maps)
        .mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "rw"],
        );
    bundle.save();
    let home = scene.directory().join("home");
    std::fs::create_dir(&home).expect("a directory can be made");
    for path in super::links::tree(bundle.path()).iter().chain([&home]) {
        // The program is the run's: it is linked into every image, and everybody may execute it.
        if !path.ends_with("probe") {
            std::os::unix::fs::chown(path, Some(USER), Some(USER)).expect("root gives files away");
        }
    }
    let mut command = Command::new(scene.runtime().path());
    {
        use std::os::unix::process::CommandExt;
        command.uid(USER).gid(USER);
    }
    command.arg("--root").arg(home.join("root")).args([
        "run",
        "--bundle",
        &super::text(bundle.path()),
        bundle.id(),
    ]);
    command.env("XDG_RUNTIME_DIR", &home);
    let finished = crate::run::finish(&mut command, b"", crate::run::LIMIT);
    ground.check()?;
    match tried(&finished) {
        Some(seen) => is_unwritten(&seen),
        None => holds(
            finished.code == 1 && !finished.is_late,
            "a container without such a mount, or an error",
            finished.brief(),
        ),
    }
}

/// A hierarchy, with the cgroup that a container is to have.
fn cgroup(bundle: &Bundle, controller: &str) -> Option<PathBuf> {
    host::hierarchy(controller)
        .or_else(|| host::hierarchy(""))
        .map(|top| top.join(bundle.cgroup()))
}

fn create_at_once(scene: &Scene<'_>, bundle: &Bundle) -> Verdict {
    bundle.save();
    let started = Instant::now();
    let words = [
        "create",
        "--bundle",
        &super::text(bundle.path()),
        bundle.id(),
    ];
    let finished = scene.runtime().call_within(&words, Duration::from_secs(10));
    holds(
        started.elapsed() < Duration::from_secs(10),
        "an answer at once",
        finished.brief(),
    )?;
    super::is_refused(&finished, "the cgroup")
}

fn taken(scene: &Scene<'_>, _: &Ground, below: &str) -> Verdict {
    let bundle = scene.bundle().does(&["exit", "0"]);
    let Some(path) = cgroup(&bundle, "pids") else {
        return skipped("this host has no cgroups");
    };
    let place = path.join(below);
    std::fs::create_dir_all(&place)
        .or_else(|error| skipped(format!("{}: {error}", place.display())))?;
    let sleep = Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::null())
        .spawn();
    let mut sleep = sleep.or_else(|error| skipped(format!("sleep(1): {error}")))?;
    let moved = std::fs::write(place.join("cgroup.procs"), sleep.id().to_string());
    let verdict = match moved {
        Ok(()) => create_at_once(scene, &bundle),
        Err(error) => skipped(format!("move a process: {error}")),
    };
    super::remove(scene, &bundle);
    let lives = matches!(sleep.try_wait(), Ok(None));
    sleep.kill().ok();
    sleep.wait().ok();
    holds(lives, "the process that was there lives", "it was killed")?;
    verdict
}

fn frozen(scene: &Scene<'_>, _: &Ground) -> Verdict {
    let bundle = scene.bundle().does(&["exit", "0"]);
    let v1 = host::hierarchy("freezer").map(|top| (top, "freezer.state", "FROZEN", "THAWED"));
    let Some((top, file, freeze, thaw)) =
        v1.or_else(|| host::hierarchy("").map(|top| (top, "cgroup.freeze", "1", "0")))
    else {
        return skipped("this host has no freezer");
    };
    let cgroup = top.join(bundle.cgroup());
    std::fs::create_dir(&cgroup)
        .and_then(|()| std::fs::write(cgroup.join(file), freeze))
        .or_else(|error| skipped(error.to_string()))?;
    let verdict = create_at_once(scene, &bundle);
    std::fs::write(cgroup.join(file), thaw).ok();
    super::remove(scene, &bundle);
    verdict
}

/// A user has 200 keys by default; root a million.
fn keyrings(scene: &Scene<'_>, ground: &Ground) -> Verdict {
    let maps = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    // The last field is the name; those before it are told in the namespace's ids.
    let name = |description: &str| description.rsplit(';').next().map(str::to_owned);
    let own = crate::sys::describe_session_keyring().unwrap_or_default();
    let own = name(String::from_utf8_lossy(&own).trim_end_matches('\0'));
    for _ in 0..if scene.stage().is_long { 500 } else { 10 } {
        let bundle = scene
            .bundle()
            .set("/linux/namespaces/-", json!({ "type": "user" }))
            .set("/linux/uidMappings", maps.clone())
            .set("/linux/gidMappings", maps.clone());
        let finished = run_and_look(scene, ground, &bundle)?;
        let Some(report) = tried(&finished) else {
            return holds(
                finished.stderr.contains("key"),
                "an error about keys",
                finished.brief(),
            );
        };
        let inside = report["keyring"].as_str().unwrap_or_default();
        let is_own = inside.starts_with("keyring;") && name(inside) != own;
        holds(is_own, "a keyring of the container's own", inside)?;
    }
    Ok(())
}
