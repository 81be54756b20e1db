//! The Debian package as its users meet it: judged by lintian, installed by apt in a new Debian
//! below a directory of its own, run there, and removed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use testkit::{Fact, Marker, find_program};

use crate::cargo::STATIC_TARGET;
use crate::check::Outcome;
use crate::{Error, deb};

/// What mmdebstrap runs with the new root as its argument. What apt itself keeps about what it
/// has done is no part of the package.
const SCRIPT: &str = r#"#!/bin/sh
set -eu
export DEBIAN_FRONTEND=noninteractive
APT="-qq -y -o Dpkg::Use-Pty=0"
files() {
    (cd "$1" && find . \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./run -o -path ./tmp \
        -o -path ./var/log -o -path ./var/cache -o -path ./var/lib/dpkg -o -path ./var/lib/apt \) \
        -prune -o -print | sort)
}
cp "$PACKAGE" "$1/tmp/tare.deb"
files "$1" > "$LISTS/before"
chroot "$1" apt-get $APT install --no-install-recommends /tmp/tare.deb
chroot "$1" tare --version
chroot "$1" containerd-shim-tare-v1 -version
chroot "$1" tare-image --version
chroot "$1" tare image --root /tmp/images list
chroot "$1" tare spec --bundle /tmp
chroot "$1" dpkg --verify tare
chroot "$1" apt-get $APT purge tare
files "$1" > "$LISTS/after"
diff "$LISTS/before" "$LISTS/after"
"#;

/// The suite `deb`.
pub(crate) fn run() -> Outcome {
    if !Fact::Root.holds() {
        return Outcome::Skipped("it needs root, for a root directory of another Debian".into());
    }
    for program in ["dpkg-deb", "mmdebstrap"] {
        if find_program(program).is_none() {
            return Outcome::Skipped(format!("{program} is not installed"));
        }
    }
    match check() {
        Ok(()) => Outcome::Passed,
        Err(error) => {
            println!("{error}");
            Outcome::Failed
        }
    }
}

fn check() -> Result<(), Error> {
    let directory = Marker::new("deb").directory();
    let package = deb::build(STATIC_TARGET, directory.path())?;
    match find_program("lintian") {
        Some(lintian) => {
            let mut lintian = Command::new(lintian);
            lintian.args(["--fail-on", "error,warning", "--allow-root"]);
            succeed(lintian.arg(&package))?;
        }
        None => println!("(lintian is not installed: the package is not judged by it)"),
    }
    install_and_remove(&package, directory.path())
}

fn install_and_remove(package: &Path, directory: &Path) -> Result<(), Error> {
    let script = directory.join("hook.sh");
    std::fs::write(&script, SCRIPT)?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap
        .args(["--quiet", "--variant=apt", "--format=null"])
        .arg(format!("--customize-hook={}", script.display()))
        .args(["bookworm", "/dev/null"])
        .env("PACKAGE", package)
        .env("LISTS", directory);
    succeed(&mut mmdebstrap)
}

fn succeed(command: &mut Command) -> Result<(), Error> {
    let status = command.status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{}: {status}", command.get_program().display()).into()),
    }
}
