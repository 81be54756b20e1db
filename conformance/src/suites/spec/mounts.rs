//! config.md#mounts, but for the words among options.

use serde_json::json;

use super::{Area, has, is, mount_at};
use crate::case::{Case, Verdict, holds};
use crate::scene::Scene;

const AREA: Area = Area("mounts");
const PLACE: &str = "config.md#mounts";
const LINUX: &str = "config-linux.md#default-filesystems";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        AREA.case(
            "mount-order",
            PLACE,
            "The runtime must mount entries in the listed order.",
            order,
        )
        .of("mounts")
        .of("mounts[]"),
        AREA.case(
            "mount-destination",
            PLACE,
            "destination is the path inside the container.",
            destination,
        )
        .of("mounts[].destination"),
        AREA.case(
            "mount-destination-relative",
            PLACE,
            "A relative destination is deprecated, and is taken as below /.",
            relative_destination,
        )
        .of("mounts[].destination"),
        AREA.case(
            "mount-destination-is-required",
            PLACE,
            "destination is required.",
            |scene| {
                let mount = json!({ "type": "tmpfs", "source": "tmpfs" });
                scene
                    .is_refused(&scene.bundle().set("/mounts/-", mount))
                    .map(drop)
            },
        ),
        AREA.case(
            "mount-type",
            "config.md#posix-platform-mounts",
            "type is the type of the filesystem to be mounted.",
            kind,
        )
        .of("mounts[].type"),
        AREA.case(
            "mount-type-unknown",
            "config.md#posix-platform-mounts",
            "On Linux, types are those that the kernel lists.",
            |scene| {
                scene
                    .is_refused(&scene.bundle().mount("/tmp", "nosuchfs", "none", &[]))
                    .map(drop)
            },
        ),
        AREA.case(
            "mount-type-of-a-bind-is-a-dummy",
            "config.md#posix-platform-mounts",
            "For bind mounts the type is a dummy.",
            dummy_type,
        ),
        AREA.case(
            "mount-source-absolute",
            PLACE,
            "Path values for bind mounts are either absolute or relative to the bundle.",
            |scene| {
                let directory = scene.directory().join("source");
                source(scene, &directory, &directory.display().to_string())
            },
        )
        .of("mounts[].source"),
        AREA.case(
            "mount-source-relative",
            PLACE,
            "Path values for bind mounts are either absolute or relative to the bundle.",
            |scene| {
                let bundle = scene.directory().join("bundle0/source");
                source(scene, &bundle, "source")
            },
        )
        .of("mounts[].source"),
        AREA.case(
            "mount-source-of-a-bind-missing",
            PLACE,
            "source of a bind mount is a file or directory name.",
            |scene| {
                scene
                    .is_refused(
                        &scene
                            .bundle()
                            .mount("/tmp", "bind", "/nowhere/at/all", &["bind"]),
                    )
                    .map(drop)
            },
        ),
        AREA.case(
            "mount-source-is-a-dummy",
            PLACE,
            "source is a device name, or a dummy.",
            dummy_source,
        )
        .of("mounts[].source"),
        AREA.case(
            "mount-of-a-file",
            PLACE,
            "source may be a file name for bind mounts.",
            file,
        ),
        AREA.case(
            "mount-options-of-the-filesystem",
            "config.md#linux-mount-options",
            "Options that the runtime does not know are passed to mount(2).",
            filesystem_options,
        )
        .of("mounts[].options")
        .of("mounts[].options[]"),
        AREA.case(
            "mount-option-unknown",
            "config.md#linux-mount-options",
            "Options that the runtime does not know are passed to mount(2), which refuses them.",
            |scene| {
                scene
                    .is_refused(
                        &scene
                            .bundle()
                            .mount("/tmp", "tmpfs", "tmpfs", &["nosuchoption"]),
                    )
                    .map(drop)
            },
        ),
        AREA.case(
            "mounts-of-the-container-are-not-the-hosts",
            "config-linux.md#namespaces",
            "With a mount namespace the container has an isolated mount table.",
            isolated,
        ),
    ];
    let filesystems = [
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
    ];
    cases.extend(filesystems.map(|(path, kind)| default_filesystem(path, kind)));
    cases
}

/// A file system that applications expect: it is there once the configuration asks for it.
fn default_filesystem(path: &'static str, kind: &'static str) -> Case {
    let name = format!("default-filesystem{}", path.replace('/', "-"));
    AREA.case(
        name,
        LINUX,
        "proc, sysfs, devpts and a tmpfs at /dev/shm should be made available.",
        move |scene| {
            let bundle = scene.bundle().mount(
                "/dev/shm",
                "tmpfs",
                "shm",
                &["nosuid", "noexec", "nodev", "mode=1777"],
            );
            let report = scene.report(&bundle)?;
            is("type", &mount_at(&report, path)?["type"], kind)
        },
    )
}

fn order(scene: &Scene<'_>) -> Verdict {
    let bundle = scene
        .bundle()
        .mount("/tmp", "tmpfs", "first", &["size=1m"])
        .mount("/tmp/below", "tmpfs", "second", &["size=1m"])
        .mount("/tmp", "tmpfs", "third", &["size=1m"]);
    let report = scene.report(&bundle)?;
    is(
        "the last one at /tmp",
        &mount_at(&report, "/tmp")?["source"],
        "third",
    )?;
    let ours: Vec<_> = report["mounts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|mount| {
            mount["target"]
                .as_str()
                .is_some_and(|target| target.starts_with("/tmp"))
        })
        .map(|mount| mount["source"].clone())
        .collect();
    is(
        "the mounts, in order",
        &json!(ours),
        json!(["first", "second", "third"]),
    )
}

fn destination(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().mount("/made/for/it", "tmpfs", "tmpfs", &[]);
    let report = scene.report(&bundle)?;
    mount_at(&report, "/made/for/it").map(drop)
}

fn relative_destination(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().mount("tmp", "tmpfs", "tmpfs", &[]);
    let report = scene.report(&bundle)?;
    mount_at(&report, "/tmp").map(drop)
}

fn kind(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().mount("/tmp", "tmpfs", "tmpfs", &[]).mount(
        "/queues",
        "mqueue",
        "mqueue",
        &["nosuid", "noexec", "nodev"],
    );
    let report = scene.report(&bundle)?;
    is("type", &mount_at(&report, "/tmp")?["type"], "tmpfs")?;
    is("type", &mount_at(&report, "/queues")?["type"], "mqueue")
}

fn dummy_type(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle();
    std::fs::create_dir(bundle.path().join("source")).expect("a directory can be made");
    std::fs::write(bundle.path().join("source/file"), "seen").expect("a file can be written");
    let tried = scene.tries(
        bundle.mount("/tmp", "none", "source", &["bind"]),
        &["read:/tmp/file"],
    )?;
    is("the file", &tried["read:/tmp/file"], "seen")
}

fn source(scene: &Scene<'_>, directory: &std::path::Path, name: &str) -> Verdict {
    let bundle = scene.bundle().mount("/tmp", "bind", name, &["bind"]);
    std::fs::create_dir_all(directory).expect("a directory can be made");
    std::fs::write(directory.join("file"), "seen").expect("a file can be written");
    let tried = scene.tries(bundle, &["read:/tmp/file"])?;
    is("the file", &tried["read:/tmp/file"], "seen")
}

fn dummy_source(scene: &Scene<'_>) -> Verdict {
    let report = scene.report(&scene.bundle().mount("/tmp", "tmpfs", "a-dummy", &[]))?;
    is("source", &mount_at(&report, "/tmp")?["source"], "a-dummy")
}

fn file(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle();
    std::fs::write(bundle.path().join("one"), "of the host").expect("a file can be written");
    let tried = scene.tries(
        bundle.mount("/etc/one", "bind", "one", &["bind", "ro"]),
        &["read:/etc/one", "overwrite:/etc/one"],
    )?;
    is("the file", &tried["read:/etc/one"], "of the host")?;
    is("writing it", &tried["overwrite:/etc/one"], "EROFS")
}

fn filesystem_options(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().mount(
        "/tmp",
        "tmpfs",
        "tmpfs",
        &["mode=0711", "size=64k", "uid=7"],
    );
    let tried = scene.tries(bundle.clone(), &["stat:/tmp"])?;
    is("mode", &tried["stat:/tmp"]["mode"], "0711")?;
    is("uid", &tried["stat:/tmp"]["uid"], 7)?;
    let bundle = scene
        .bundle()
        .mount("/tmp", "tmpfs", "tmpfs", &["size=64k"]);
    let report = scene.report(&bundle)?;
    let options = &mount_at(&report, "/tmp")?["super"];
    holds(has(options, "size=64k"), "size=64k", options)
}

fn isolated(scene: &Scene<'_>) -> Verdict {
    let bundle = scene
        .bundle()
        .does(&["wait"])
        .mount("/tmp", "tmpfs", scene.marker(), &[]);
    scene.start(&bundle)?;
    let host = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let inside = std::fs::read_to_string(format!(
        "/proc/{}/mountinfo",
        scene.runtime().pid(bundle.id())
    ))
    .unwrap_or_default();
    holds(inside.contains(scene.marker()), "the mount inside", inside)?;
    let source = format!(" tmpfs {} ", scene.marker());
    let seen: Vec<&str> = host.lines().filter(|line| line.contains(&source)).collect();
    holds(seen.is_empty(), "no such mount outside", seen)
}
