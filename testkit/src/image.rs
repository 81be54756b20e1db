//! An OCI image without a registry.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::bundle::TestBundle;
use crate::command::finish;
use crate::marker::Marker;

/// Makes an OCI image of busybox with umoci at `layout`, and an archive of it with skopeo
/// beside it; returns the archive's path. The image's command is a shell that prints `image`
/// and what its terminal is.
///
/// # Panics
///
/// If umoci or skopeo fail.
#[must_use]
pub fn busybox_image(marker: &Marker, layout: &Path) -> PathBuf {
    let bundle = TestBundle::busybox(marker);
    let image = format!("{}:test", layout.display());
    let archive = layout.with_extension("archive");
    let rootfs = bundle.rootfs().display().to_string();
    umoci(&["init", "--layout", &layout.display().to_string()]);
    umoci(&["new", "--image", &image]);
    for name in ["bin", "etc", "root", "tmp"] {
        umoci(&[
            "insert",
            "--image",
            &image,
            &format!("{rootfs}/{name}"),
            &format!("/{name}"),
        ]);
    }
    let script = "echo image $FROM $(id -u) $(tty); exit 5";
    umoci(&[
        "config",
        "--image",
        &image,
        "--config.cmd",
        "sh",
        "--config.cmd",
        "-c",
        "--config.cmd",
        script,
        "--config.env",
        "FROM=umoci",
        "--config.env",
        "PATH=/bin",
        "--config.workingdir",
        "/root",
    ]);
    let mut skopeo = Command::new("skopeo");
    skopeo.args([
        "--insecure-policy",
        "copy",
        "--quiet",
        &format!("oci:{image}"),
    ]);
    skopeo.arg(format!("oci-archive:{}:busybox:test", archive.display()));
    finish(&mut skopeo, Duration::from_secs(60)).succeeded();
    archive
}

fn umoci(arguments: &[&str]) {
    finish(
        Command::new("umoci").args(arguments),
        Duration::from_secs(60),
    )
    .succeeded();
}
