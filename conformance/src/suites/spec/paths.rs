//! config-linux.md#masked-paths, #readonly-paths and #mount-label.

use serde_json::json;

use super::{Area, is};
use crate::bundle::Bundle;
use crate::case::{Case, Verdict, failed, holds};
use crate::scene::Scene;

const AREA: Area = Area("paths");
const MASKED: &str = "config-linux.md#masked-paths";
const READONLY: &str = "config-linux.md#readonly-paths";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case(
            "masked-file",
            MASKED,
            "maskedPaths masks files so that they cannot be read.",
            masked_file,
        )
        .of("linux.maskedPaths")
        .of("linux.maskedPaths[]"),
        AREA.case(
            "masked-directory",
            MASKED,
            "maskedPaths masks directories so that they cannot be read.",
            masked_directory,
        ),
        AREA.case(
            "masked-file-of-proc",
            MASKED,
            "maskedPaths masks paths inside the container.",
            masked_file_of_proc,
        ),
        AREA.case(
            "masked-path-that-is-missing",
            MASKED,
            "What is not there cannot be read: it is no error.",
            |scene| {
                scene
                    .report(
                        &scene
                            .bundle()
                            .set("/linux/maskedPaths", json!(["/nothing/here"])),
                    )
                    .map(drop)
            },
        ),
        AREA.refuses(
            "masked-path-relative",
            MASKED,
            "The values must be absolute paths.",
            "/linux/maskedPaths",
            json!(["etc/secret"]),
        ),
        AREA.case(
            "readonly-file",
            READONLY,
            "readonlyPaths sets paths as readonly inside the container.",
            readonly_file,
        )
        .of("linux.readonlyPaths")
        .of("linux.readonlyPaths[]"),
        AREA.case(
            "readonly-directory",
            READONLY,
            "readonlyPaths sets paths as readonly inside the container.",
            readonly_directory,
        ),
        AREA.case(
            "readonly-path-of-proc",
            READONLY,
            "readonlyPaths sets paths as readonly inside the container.",
            readonly_proc,
        ),
        AREA.refuses(
            "readonly-path-relative",
            READONLY,
            "The values must be absolute paths.",
            "/linux/readonlyPaths",
            json!(["etc/file"]),
        ),
        AREA.case(
            "mount-label",
            "config-linux.md#mount-label",
            "mountLabel sets the SELinux context for the mounts in the container.",
            label,
        )
        .of("linux.mountLabel"),
    ]
}

/// A bundle with /etc/secret and /etc/more/file.
fn bundle(scene: &Scene<'_>) -> Bundle {
    let bundle = scene.bundle();
    let etc = bundle.rootfs().join("etc");
    std::fs::create_dir(etc.join("more")).expect("a directory can be made");
    std::fs::write(etc.join("secret"), "x").expect("a file can be written");
    std::fs::write(etc.join("more/file"), "y").expect("a file can be written");
    bundle
}

fn masked_file(scene: &Scene<'_>) -> Verdict {
    let bundle = bundle(scene).set("/linux/maskedPaths", json!(["/etc/secret"]));
    let tried = scene.tries(bundle, &["read:/etc/secret", "read:/etc/more/file"])?;
    let read = &tried["read:/etc/secret"];
    holds(read == "" || read == "EACCES", "nothing to be read", read)?;
    is(
        "a file that is not masked",
        &tried["read:/etc/more/file"],
        "y",
    )
}

fn masked_directory(scene: &Scene<'_>) -> Verdict {
    let bundle = bundle(scene).set("/linux/maskedPaths", json!(["/etc/more"]));
    let host = bundle.rootfs().join("etc/more/new");
    let tried = scene.tries(bundle, &["list:/etc/more", "write:/etc/more/new"])?;
    is("the directory", &tried["list:/etc/more"], json!([]))?;
    is("writing into it", &tried["write:/etc/more/new"], "EROFS")?;
    holds(!host.exists(), "nothing on the host", host)
}

fn masked_file_of_proc(scene: &Scene<'_>) -> Verdict {
    let bundle = scene
        .bundle()
        .set("/linux/maskedPaths", json!(["/proc/version", "/proc/irq"]));
    let tried = scene.tries(bundle, &["read:/proc/version", "list:/proc/irq"])?;
    is("/proc/version", &tried["read:/proc/version"], "")?;
    is("/proc/irq", &tried["list:/proc/irq"], json!([]))
}

fn readonly_file(scene: &Scene<'_>) -> Verdict {
    let bundle = bundle(scene).set("/linux/readonlyPaths", json!(["/etc/secret"]));
    let tried = scene.tries(
        bundle,
        &[
            "overwrite:/etc/secret",
            "overwrite:/etc/more/file",
            "read:/etc/secret",
        ],
    )?;
    is("writing it", &tried["overwrite:/etc/secret"], "EROFS")?;
    is("writing another", &tried["overwrite:/etc/more/file"], "ok")?;
    is("reading it", &tried["read:/etc/secret"], "x")
}

fn readonly_directory(scene: &Scene<'_>) -> Verdict {
    let bundle = bundle(scene).set("/linux/readonlyPaths", json!(["/etc/more"]));
    let tried = scene.tries(
        bundle,
        &[
            "write:/etc/more/new",
            "overwrite:/etc/more/file",
            "write:/etc/new",
        ],
    )?;
    is("a new file in it", &tried["write:/etc/more/new"], "EROFS")?;
    is("a file in it", &tried["overwrite:/etc/more/file"], "EROFS")?;
    is("a file beside it", &tried["write:/etc/new"], "ok")
}

fn readonly_proc(scene: &Scene<'_>) -> Verdict {
    let file = "overwrite:/proc/sys/kernel/domainname";
    let bundle = scene
        .bundle()
        .set("/linux/readonlyPaths", json!(["/proc/sys"]));
    is(
        "writing a sysctl",
        &scene.tries(bundle, &[file])?[file],
        "EROFS",
    )
}

fn label(scene: &Scene<'_>) -> Verdict {
    let label = "system_u:object_r:container_file_t:s0:c1,c2";
    let bundle =
        scene
            .bundle()
            .set("/linux/mountLabel", label)
            .mount("/tmp", "tmpfs", "tmpfs", &[]);
    if !std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        // Without SELinux it can't be applied.
        return match scene.is_refused(&bundle) {
            Ok(_) => Ok(()),
            Err(_) => failed(
                "an error, since SELinux is not active here",
                "the container is created without its label",
            ),
        };
    }
    let report = scene.report(&bundle)?;
    let options = &super::mount_at(&report, "/tmp")?["super"];
    holds(
        super::has_beginning(options, "context="),
        "context= among the options",
        options,
    )
}
