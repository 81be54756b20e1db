//! What the tests need of Debian's packages.

use std::process::{Command, Stdio};

use testkit::{Fact, find_program};

/// Packages, and a program (or file) that tells whether each is there.
const PACKAGES: [(&str, &str); 42] = [
    ("busybox-static", "/bin/busybox"),
    ("runc", "runc"),
    ("crun", "crun"),
    ("containerd", "containerd"),
    ("docker.io", "dockerd"),
    // A part of docker.io in older releases.
    ("docker-cli", "docker"),
    ("podman", "podman"),
    ("conmon", "conmon"),
    ("catatonit", "catatonit"),
    ("fuse3", "mount.fuse3"),
    ("fuse-overlayfs", "fuse-overlayfs"),
    ("umoci", "umoci"),
    ("skopeo", "skopeo"),
    ("docker-registry", "docker-registry"),
    ("mmdebstrap", "mmdebstrap"),
    ("libarchive-tools", "bsdtar"),
    ("python3", "python3"),
    ("criu", "criu"),
    ("dpkg", "dpkg-deb"),
    ("lintian", "lintian"),
    ("uidmap", "newuidmap"),
    ("bsdutils", "script"),
    ("util-linux", "setpriv"),
    ("procps", "ps"),
    ("jq", "jq"),
    ("iproute2", "ip"),
    ("e2fsprogs", "mkfs.ext4"),
    ("strace", "strace"),
    ("gcc", "gcc"),
    ("libc6-dev", "/usr/include/stdio.h"),
    ("musl-tools", "musl-gcc"),
    ("libseccomp-dev", "/usr/include/seccomp.h"),
    ("golang-go", "go"),
    (
        "golang-github-opencontainers-runtime-tools-dev",
        "/usr/share/gocode/src/github.com/opencontainers/runtime-tools",
    ),
    ("qemu-system-x86", "qemu-system-x86_64"),
    ("cpio", "cpio"),
    ("kmod", "depmod"),
    ("xz-utils", "xz"),
    ("binutils", "strip"),
    ("qemu-user-static", "qemu-aarch64-static"),
    ("gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc"),
    ("libc6-dev-arm64-cross", "/usr/aarch64-linux-gnu/lib/crt1.o"),
];

/// Installs what is missing, and says so; without root, says what is missing and goes on.
pub(crate) fn install_missing() {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(_, proof)| !is_there(proof))
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return;
    }
    let list = missing.join(" ");
    if !Fact::Root.holds() || find_program("apt-get").is_none() {
        println!("MISSING packages (install them as root, else tests are skipped): {list}");
        return;
    }
    println!("installing packages that the tests need: {list}");
    // A daemon that a package starts would be in the way of the tests' own.
    let policy = PolicyFile::refuse_to_start_daemons();
    let is_done = apt_get(&["update"]) && {
        let known: Vec<&str> = missing
            .into_iter()
            .filter(|package| is_known(package))
            .collect();
        apt_get(&[&["install", "-y"], &known[..]].concat())
    };
    drop(policy);
    if !is_done {
        println!("apt-get failed; tests that need these packages will say so");
    }
}

fn is_there(proof: &str) -> bool {
    if proof.starts_with('/') {
        return std::path::Path::new(proof).exists();
    }
    find_program(proof).is_some()
}

/// Whether this release of the distribution has such a package.
fn is_known(package: &str) -> bool {
    let mut command = Command::new("apt-cache");
    command
        .args(["show", package])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn apt_get(arguments: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    command
        .args(["-qq", "-o", "Dpkg::Use-Pty=0", "--no-install-recommends"])
        .args(arguments);
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// While it lives, packages that are installed start no daemons.
struct PolicyFile(Option<&'static str>);

impl PolicyFile {
    fn refuse_to_start_daemons() -> Self {
        use std::os::unix::fs::OpenOptionsExt;
        const PATH: &str = "/usr/sbin/policy-rc.d";
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(PATH);
        let written = file
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"#!/bin/sh\nexit 101\n"));
        Self(written.is_ok().then_some(PATH))
    }
}

impl Drop for PolicyFile {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            // What is left if this fails only keeps daemons from starting at installation.
            std::fs::remove_file(path).ok();
        }
    }
}
