//! Calling cargo and rustup, and finding what they built.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use testkit::find_program;

use crate::Error;

/// This machine's target for static binaries, which releases are built for.
pub(crate) const STATIC_TARGET: &str = if cfg!(target_arch = "aarch64") {
    AARCH64_TARGET
} else {
    "x86_64-unknown-linux-musl"
};

/// The target for the other architecture that tare supports.
pub(crate) const AARCH64_TARGET: &str = "aarch64-unknown-linux-musl";

/// The workspace's directory.
pub(crate) fn workspace() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> PathBuf {
    let directory = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    workspace().join(directory)
}

/// Whether the standard library for a target is there; tries to add it with rustup if not.
pub(crate) fn has_target(target: &str) -> bool {
    is_installed(target) || {
        let mut rustup = Command::new("rustup");
        rustup
            .args(["target", "add", target])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        rustup.status().is_ok_and(|status| status.success()) && is_installed(target)
    }
}

fn is_installed(target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    rustc
        .current_dir(workspace())
        .args(["--print", "target-libdir", "--target", target]);
    let Ok(output) = rustc.output() else {
        return false;
    };
    let directory = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success() && Path::new(&directory).is_dir()
}

/// Builds packages as a release does: static, with musl where that target can be had, else
/// with the host's C library linked in. Returns the directory of the binaries.
pub(crate) fn build_static(packages: &[&str]) -> Result<PathBuf, Error> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--release"]);
    for package in packages {
        command.args(["--package", package]);
    }
    let target = if has_target(STATIC_TARGET) {
        STATIC_TARGET
    } else {
        command.env("RUSTFLAGS", "-C target-feature=+crt-static");
        if cfg!(target_arch = "aarch64") {
            "aarch64-unknown-linux-gnu"
        } else {
            "x86_64-unknown-linux-gnu"
        }
    };
    let status = command.args(["--target", target]).status()?;
    if !status.success() {
        return Err("the build failed".into());
    }
    Ok(target_directory().join(target).join("release"))
}

/// Builds packages with a profile for a target. Returns the directory of the binaries.
pub(crate) fn build_with_profile(
    profile: &str,
    target: &str,
    packages: &[&str],
) -> Result<PathBuf, Error> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--profile", profile, "--target", target]);
    for package in packages {
        command.args(["--package", package]);
    }
    if !command.status()?.success() {
        return Err("the build failed".into());
    }
    Ok(target_directory().join(target).join(profile))
}

/// Builds packages as a release does for a static target. Returns the directory of the binaries.
pub(crate) fn build_for(target: &str, packages: &[&str]) -> Result<PathBuf, Error> {
    if !has_target(target) {
        return Err(format!("rustup target add {target} is needed").into());
    }
    let mut command = cargo();
    command.args(["build", "--quiet", "--release", "--target", target]);
    for package in packages {
        command.args(["--package", package]);
    }
    if target == AARCH64_TARGET && target != STATIC_TARGET {
        command.env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER",
            aarch64_linker(),
        );
    }
    // What `--version` says; somebody who builds without git may say it by the environment.
    if let (None, Some(commit)) = (std::env::var_os("TARE_COMMIT"), commit()) {
        command.env("TARE_COMMIT", commit);
    }
    if !command.status()?.success() {
        return Err("the build failed".into());
    }
    Ok(target_directory().join(target).join("release"))
}

/// Debian's cross compiler if it is there, else the linker that comes with Rust.
pub(crate) fn aarch64_linker() -> &'static str {
    let linker = ["aarch64-linux-gnu-gcc", "rust-lld"];
    linker
        .into_iter()
        .find(|name| find_program(name).is_some())
        .unwrap_or(linker[1])
}

/// The commit of the working tree, with a mark if that has changes.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    git.current_dir(workspace()).args([
        "describe",
        "--always",
        "--abbrev=12",
        "--exclude=*",
        "--dirty",
    ]);
    let output = git.stderr(Stdio::null()).output().ok()?;
    let commit = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}
