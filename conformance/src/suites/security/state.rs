//! R19, R31: the state directory, delete, and modes of what the runtime writes.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Area, Ground, is_refused, links, text};
use crate::case::{Case, Verdict, equal, holds, skipped};
use crate::run::{LIMIT, finish};
use crate::scene::Scene;

const AREA: Area = Area("state");
const MODES: &str = "CVE-2021-41091, CVE-2021-41103, CVE-2024-25621";
const LINKS: &str = "CVE-2020-2024, Incus's of 2026";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        AREA.case("state-that-is-a-link", "R19", "A state directory that is a link to elsewhere is followed by nobody.", LINKS, |scene, ground| {
            let bundle = scene.bundle().does(&["exit", "0"]);
            bundle.save();
            std::fs::create_dir_all(scene.runtime().root()).expect("a directory can be made");
            symlink(ground.file("directory"), scene.runtime().root().join(bundle.id())).expect("a link can be made");
            for words in [&["state"][..], &["start"], &["kill"], &["delete"]] {
                is_refused(&scene.runtime().call(&[words, &[bundle.id()]].concat()), words[0])?;
                ground.check()?;
            }
            // A runtime may make it where the link leads inside its root.
            drop(scene.create_saved(&bundle));
            super::remove(scene, &bundle);
            ground.check()
        }),
        AREA.case("links-in-the-state", "R19", "delete follows no link in what it removes, nor one that the root filesystem has become.", LINKS, |scene, ground| {
            let bundle = scene.bundle().does(&["wait"]);
            scene.start(&bundle)?;
            symlink(ground.canary(), scene.runtime().root().join(bundle.id()).join("strange")).expect("a link can be made");
            let away = bundle.path().join("away");
            std::fs::rename(bundle.rootfs(), &away).expect("a directory can be renamed");
            symlink(ground.canary(), bundle.rootfs()).expect("a link can be made");
            super::remove(scene, &bundle);
            ground.check()?;
            holds(away.join("probe").is_file(), "the root filesystem's files", &away)
        }),
        AREA.case("cgroup-names-that-are-links", "R19", "A rootfs with names like cgroups is nothing to delete.", LINKS, |scene, ground| {
            let bundle = scene.bundle().does(&["wait"]);
            symlink(ground.canary(), bundle.rootfs().join(bundle.id())).expect("a link can be made");
            scene.start(&bundle)?;
            scene.succeeds(&["delete", "--force", bundle.id()]).map(drop)
        }),
        AREA.case("pid-of-another-process", "R19", "A pid that was given to another process is never signalled.", "pids are reused", reused),
    ];
    cases.extend(["000", "077", "022"].map(|umask| {
        AREA.case(format!("modes-with-umask-{umask}"), "R31", "State is open to nobody else, whatever the caller's umask: directories are 0700 or 0711, files nobody else's.", MODES, move |scene, _| modes(scene, umask))
    }));
    cases
}

fn modes(scene: &Scene<'_>, umask: &str) -> Verdict {
    let bundle = scene.bundle().does(&["exit", "0"]);
    bundle.save();
    let root = scene.directory().join("new-root");
    let said = scene.directory().join("said");
    let script = format!("umask {umask}; exec \"$@\" >/dev/null 2>{}", text(&said));
    let mut command = Command::new("sh");
    command
        .args(["-c", &script, "sh"])
        .arg(scene.runtime().path());
    command.args([
        "--root",
        &text(&root),
        "create",
        "--bundle",
        &text(bundle.path()),
        bundle.id(),
    ]);
    scene.runtime().under_filter(&mut command);
    let mut created = finish(&mut command, b"", LIMIT);
    created.stderr = std::fs::read_to_string(said).unwrap_or_default();
    scene.runtime().note(&["create"], &created);
    let all = links::tree(&root);
    let open: Vec<String> = all
        .iter()
        .filter_map(|path| {
            std::fs::symlink_metadata(path)
                .ok()
                .map(|metadata| (path, metadata))
        })
        .filter(|(path, metadata)| {
            let mode = metadata.permissions().mode() & 0o777;
            // What a container's user has to pass through can't be listed; what it opens to start is
            // behind that.
            let allowed = if metadata.is_dir() {
                0o011
            } else if path.ends_with("exec.fifo") {
                0o022
            } else {
                0
            };
            mode & 0o077 & !allowed != 0
        })
        .map(|(path, metadata)| format!("{} {:o}", path.display(), metadata.permissions().mode()))
        .collect();
    let mut delete = Command::new(scene.runtime().path());
    drop(finish(
        delete.args(["--root", &text(&root), "delete", "--force", bundle.id()]),
        b"",
        LIMIT,
    ));
    holds(created.code == 0, "`create` succeeds", created.brief())?;
    holds(all.len() > 1, "a state", &root)?;
    equal("open to others", &open, &Vec::new())
}

/// A record of a container whose init has ended, with another process's number.
fn reused(scene: &Scene<'_>, _: &Ground) -> Verdict {
    let bundle = scene.bundle().does(&["wait"]);
    scene.start(&bundle)?;
    let pid = scene.runtime().pid(bundle.id());
    // A number is given again after all others, so never in the hundredth of a second that the
    // kernel tells starts by.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let victim = Command::new("sleep").arg("1000").spawn();
    let mut victim = victim.or_else(|error| skipped(format!("sleep(1): {error}")))?;
    // In the moment of a race it may be gone.
    kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
    let stopped = scene.until_status(&bundle, "stopped");
    let mut changed = 0;
    for path in links::tree(&scene.runtime().root().join(bundle.id())) {
        changed += usize::from(renumber(&path, pid, victim.id()));
    }
    drop(scene.runtime().call(&["kill", bundle.id(), "KILL"]));
    drop(
        scene
            .runtime()
            .call(&["kill", "--all", bundle.id(), "KILL"]),
    );
    super::remove(scene, &bundle);
    let lives = matches!(victim.try_wait(), Ok(None));
    victim.kill().ok();
    victim.wait().ok();
    stopped?;
    holds(changed > 0, "a record that names the process", changed)?;
    holds(lives, "the other process lives", "it was killed")
}

fn renumber(path: &Path, from: i32, to: u32) -> bool {
    let Ok(text) = std::fs::read_to_string(path) else {
        return false;
    };
    let number = regex_lite::Regex::new(&format!(r#"("[A-Za-z_]*[pP]id"\s*:\s*){from}\b"#))
        .expect("it is one");
    let changed = number.replace_all(&text, format!("${{1}}{to}"));
    changed != text && std::fs::write(path, changed.as_bytes()).is_ok()
}
