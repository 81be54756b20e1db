//! R05, R21, R22: links and odd files in an image lead nowhere but into the image.

use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::stat::Mode;
use serde_json::json;

use super::{Area, Ground, PATIENCE, is_refused, run_and_look, text, tried, without_mount};
use crate::bundle::{Bundle, PROBE};
use crate::case::{Case, Verdict, equal, holds};
use crate::scene::Scene;

const AREA: Area = Area("links");
const ORIGIN: &str =
    "CVE-2019-18837, CVE-2025-54867, CVE-2026-41579, CVE-2026-47766, CVE-2026-88264";

/// The places of an image that a runtime touches.
const PLACES: [&str; 14] = [
    "proc",
    "sys",
    "dev",
    "dev/pts",
    "dev/shm",
    "dev/mqueue",
    "dev/console",
    "dev/ptmx",
    "dev/fd",
    "dev/null",
    "etc/hosts",
    "run/x",
    "sys/fs/cgroup",
    "work",
];

/// Where a hostile link may lead; `{}` is the canary tree.
const TARGETS: [&str; 6] = [
    "{}/directory",
    "{}/null",
    "../../../../../../../../..{}/directory",
    "/nowhere/at/all",
    "loop",
    "/proc/1/root{}/directory",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = PLACES
        .into_iter()
        .map(|place| {
            let name = format!("link-at-{}", place.replace('/', "-"));
            AREA.case(
                name,
                "R05",
                &format!("A link at /{place} of the image leads nowhere on the host."),
                ORIGIN,
                move |scene, ground| {
                    for target in TARGETS {
                        let bundle = hostile(scene, ground, place, target);
                        let finished = run_and_look(scene, ground, &bundle)?;
                        if matches!(place, "proc" | "sys") {
                            is_refused(&finished, &format!("/{place} as a link to {target}"))?;
                        }
                    }
                    Ok(())
                },
            )
        })
        .collect();
    cases.extend([
        AREA.case("links-in-the-images-own-dev", "R05", "Nor in an image's own /dev, where nothing is mounted.", ORIGIN, |scene, ground| {
            for place in PLACES.iter().filter(|place| place.starts_with("dev")) {
                for target in &TARGETS[..3] {
                    let bundle = without_mount(hostile(scene, ground, place, target), "/dev");
                    run_and_look(scene, ground, &bundle)?;
                }
            }
            Ok(())
        }),
        AREA.case("mount-below-a-link", "R05", "A mount whose target is below a link of the image lands in the image.", "CVE-2019-18837", |scene, ground| {
            let source = scene.directory().join("source");
            std::fs::write(&source, "mounted").expect("a file can be written");
            let bundle = scene.bundle().mount("/a/b/file", "bind", &text(&source), &["bind"]);
            symlink("../../../../../inside", bundle.rootfs().join("a")).expect("a link can be made");
            let finished = run_and_look(scene, ground, &bundle.clone().does(&["try", "read:/inside/b/file"]))?;
            let seen = tried(&finished).unwrap_or_default()["read:/inside/b/file"].clone();
            holds(finished.code != 0 || seen == "mounted", "the mount in the image, or an error", finished.brief())?;
            holds(!Path::new("/inside").exists(), "no /inside on the host", "there is one")
        }),
        AREA.case("directory-that-is-a-link", "R22", "A working directory that is a link is made and entered inside, or refused.", "CVE-2026-55686", |scene, ground| {
            for target in ["{}/directory", "{}", "../../../../../../../../..{}", "/work", "/made/new", "/proc/1/root{}"] {
                let bundle = scene.bundle().set("/process/cwd", "/work");
                symlink(target.replace("{}", &text(ground.canary())), bundle.rootfs().join("work")).expect("a link can be made");
                let finished = run_and_look(scene, ground, &bundle.does(&["try", "read:secret", "read:inner", "cwd"]))?;
                holds(!finished.stdout.contains("canary "), "nothing of the host's files", finished.brief())?;
                holds(!finished.stdout.contains("(unreachable)"), "a directory in the root", finished.brief())?;
                if target == "/work" {
                    is_refused(&finished, "a link to itself")?;
                }
            }
            Ok(())
        }),
        AREA.case("directory-of-somebody-else", "R22", "A working directory that the user may not enter is no way to another one.", "moby, WORKDIR", |scene, ground| {
            use std::os::unix::fs::PermissionsExt;
            let bundle = scene.bundle().set("/process/user", json!({ "uid": 7, "gid": 7 })).set("/process/cwd", "/private");
            let private = bundle.rootfs().join("private");
            std::fs::create_dir(&private).expect("a directory can be made");
            std::fs::write(private.join("file"), "private").expect("a file can be written");
            std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o700)).expect("a mode can be set");
            let finished = run_and_look(scene, ground, &bundle.does(&["try", "read:file", "list:."]))?;
            holds(!finished.stdout.contains("private\""), "nothing of what is in it", finished.brief())
        }),
        AREA.case("files-that-hold-up", "R21", "No file of an image holds the runtime up: fifos where it may look.", "CVE-2024-5154, and fifos", fifos),
        AREA.case("pid-file-and-log-on-links", "R21", "What the runtime writes on the host replaces a link or is refused; it writes through none that leads to another's file.", "CVE-2024-5154", links_for_the_host),
        AREA.case("files-in-an-image", "R21", "A container leaves no file in its image that was not asked for.", "krun, CVE-2025-24965", |scene, ground| {
            let bundle = scene.bundle().does(&["exit", "0"]);
            let before = tree(&bundle.rootfs());
            let finished = run_and_look(scene, ground, &bundle)?;
            equal("exit status", &finished.code, &0)?;
            let new: Vec<_> = tree(&bundle.rootfs()).into_iter().filter(|path| !before.contains(path) && !path.is_dir()).collect();
            equal("new files", &new, &Vec::new())
        }),
    ]);
    cases
}

/// A link at a place of the image, whatever was there.
pub(super) fn plant(bundle: &Bundle, place: &str, target: &str) {
    let path = bundle.rootfs().join(place);
    let parent = path.parent().expect("a place has a parent");
    std::fs::create_dir_all(parent).expect("a directory can be made");
    if path.is_dir() {
        std::fs::remove_dir_all(&path).expect("it can be removed");
    } else if path.exists() {
        std::fs::remove_file(&path).expect("it can be removed");
    }
    let target = if target == "loop" {
        format!("/{place}")
    } else {
        target.to_owned()
    };
    symlink(target, path).expect("a link can be made");
}

fn hostile(scene: &Scene<'_>, ground: &Ground, place: &str, target: &str) -> Bundle {
    let hosts = scene.directory().join("hosts");
    std::fs::write(&hosts, "hosts").expect("a file can be written");
    let bundle = scene
        .bundle()
        .does(&["exit", "0"])
        .mount("/etc/hosts", "bind", &text(&hosts), &["bind", "ro"])
        .mount("/run/x", "tmpfs", "tmpfs", &["nosuid"])
        .mount("/dev/shm", "tmpfs", "shm", &["nosuid"])
        .mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid"])
        .set("/process/cwd", "/work");
    plant(
        &bundle,
        place,
        &target.replace("{}", &text(ground.canary())),
    );
    bundle
}

fn fifos(scene: &Scene<'_>, ground: &Ground) -> Verdict {
    let fifo = |bundle: &Bundle, place: &str| {
        let path = bundle.rootfs().join(place);
        std::fs::create_dir_all(path.parent().expect("it has one"))
            .expect("a directory can be made");
        let all = Mode::from_bits_truncate(0o666);
        nix::unistd::mkfifo(&path, all).expect("a fifo can be made");
    };
    let source = scene.directory().join("source");
    std::fs::write(&source, "hosts").expect("a file can be written");
    for place in [
        "etc/passwd",
        "etc/group",
        "etc/hosts",
        "dev/console",
        "run/x",
    ] {
        let bundle = scene.bundle().does(&["exit", "0"]);
        let bundle = bundle.mount("/etc/hosts", "bind", &text(&source), &["bind"]);
        fifo(&bundle, place);
        run_and_look(scene, ground, &bundle)?;
    }
    let bundle = scene.bundle().does(&["wait"]);
    scene.start(&bundle)?;
    for place in ["etc/passwd", "etc/group"] {
        fifo(&bundle, place);
        let words = [
            "exec",
            "--user",
            "7:7",
            bundle.id(),
            PROBE,
            "inside",
            "exit",
            "0",
        ];
        let entered = scene.runtime().call_within(&words, PATIENCE);
        holds(!entered.is_late, "an end of exec", entered.brief())?;
    }
    Ok(())
}

fn links_for_the_host(scene: &Scene<'_>, ground: &Ground) -> Verdict {
    for (kind, target) in [("link", "secret"), ("dangling", "new")] {
        let directory = scene.directory().join(kind);
        std::fs::create_dir(&directory).expect("a directory can be made");
        for name in ["pid", ".pid"] {
            symlink(ground.file(target), directory.join(name)).expect("a link can be made");
        }
        let bundle = scene.bundle().does(&["exit", "0"]);
        bundle.save();
        let pid = text(&directory.join("pid"));
        let finished = scene.detached(&[
            "create",
            "--bundle",
            &text(bundle.path()),
            "--pid-file",
            &pid,
            bundle.id(),
        ]);
        holds(!finished.is_late, "an end", finished.brief())?;
        super::remove(scene, &bundle);
        ground.check()?;
    }
    Ok(())
}

/// All paths below a directory, links not followed.
pub(super) fn tree(path: &Path) -> Vec<std::path::PathBuf> {
    let mut all = vec![path.to_owned()];
    let is_directory = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    if is_directory {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            all.extend(tree(&entry.path()));
        }
    }
    all
}
