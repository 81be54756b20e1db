//! A Debian for guests: made by mmdebstrap, on a file system of its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use super::cache::{Cache, Made};
use super::packages::sources;
use super::tool::{run, text, tool};
use super::{GuestError, failed};

const LIMIT: Duration = Duration::from_secs(900);

/// What tests call, beyond what is essential.
const PACKAGES: &[&str] = &[
    // The system manager and its sessions.
    "systemd",
    "systemd-sysv",
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    // Kernel modules, users, networks, processes.
    "kmod",
    "uidmap",
    "iproute2",
    "iptables",
    "procps",
    "strace",
    "util-linux-extra",
    // Profiles, and checkpoints.
    "apparmor",
    "criu",
    "tar",
    // The peers.
    "runc",
    "crun",
];

/// Starts the job when the system is up.
const JOB_UNIT: &str = "\
[Unit]
Description=The command of this guest
After=multi-user.target

[Service]
Type=oneshot
Environment=HOME=/root
ExecStart=/usr/sbin/guest-job
TimeoutStartSec=infinity
LimitNOFILE=1048576
LimitMEMLOCK=infinity
TasksMax=infinity
Delegate=yes
";

/// The default target: everything, and then the job.
const TARGET_UNIT: &str = "\
[Unit]
Description=The system, and the command of this guest
Requires=multi-user.target
Wants=guest-job.service
After=multi-user.target
AllowIsolate=yes
";

/// Units that would take time and do nothing for a test.
const MASKED: &[&str] = &[
    "apparmor.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "systemd-firstboot.service",
    "systemd-timesyncd.service",
    "systemd-tmpfiles-clean.timer",
];

/// The user whose systemd runs from the start.
const ADD_USER: &str = "chroot \"$1\" useradd --create-home --uid 1000 --shell /bin/bash guest \
    && mkdir -p \"$1/var/lib/systemd/linger\" && touch \"$1/var/lib/systemd/linger/guest\"";

/// The file `image`: an ext4 file system.
pub(super) fn made(cache: &Cache) -> Result<Made, GuestError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(GuestError(
            "Debian's image is made as root: the files are root's".into(),
        ));
    }
    let sources = sources(&["bookworm", "bookworm-security"])?;
    let inputs = format!("1 {PACKAGES:?} {MASKED:?}\n{ADD_USER}\n{JOB_UNIT}{TARGET_UNIT}{sources}");
    cache.made("debian", &inputs, |directory| {
        let root = directory.join("root");
        bootstrap(&root, directory, &sources)?;
        configure(&root)?;
        let image = directory.join("image");
        let mut mkfs = tool("mkfs.ext4", &["-q", "-L", "guest", "-m", "0"]);
        // Its journal would only be thrown away.
        mkfs.args([
            "-O",
            "^has_journal",
            "-E",
            "lazy_itable_init=1",
            "-d",
            text(&root)?,
        ]);
        run(mkfs.args([text(&image)?, "2G"]), LIMIT)?;
        fs::remove_dir_all(&root).map_err(failed("remove", &root))
    })
}

fn bootstrap(root: &Path, directory: &Path, sources: &str) -> Result<(), GuestError> {
    let list = directory.join("sources.list");
    fs::write(&list, sources).map_err(failed("write", &list))?;
    let mut mmdebstrap = tool(
        "mmdebstrap",
        &["--quiet", "--variant=minbase", "--format=directory"],
    );
    mmdebstrap.arg(format!("--include={}", PACKAGES.join(",")));
    for kind in ["doc", "man", "locale", "info"] {
        mmdebstrap.arg(format!("--dpkgopt=path-exclude=/usr/share/{kind}/*"));
    }
    mmdebstrap.arg(format!("--customize-hook={ADD_USER}"));
    mmdebstrap.args(["bookworm", text(root)?, text(&list)?]);
    run(&mut mmdebstrap, LIMIT).map(drop)
}

fn configure(root: &Path) -> Result<(), GuestError> {
    let write = |name: &str, content: &str| {
        let path = root.join(name);
        fs::write(&path, content).map_err(failed("write", &path))
    };
    let link = |target: &str, name: String| {
        let path = root.join(name);
        drop(fs::remove_file(&path));
        symlink(target, &path).map_err(failed("link", &path))
    };
    write("etc/hostname", "guest\n")?;
    write("etc/hosts", "127.0.0.1 localhost guest\n")?;
    write("etc/fstab", "")?;
    // An id of its own each time would make systemd think that this is the first boot.
    write("etc/machine-id", "74617265746172657461726574617265\n")?;
    write("etc/systemd/system/guest-job.service", JOB_UNIT)?;
    write("etc/systemd/system/guest.target", TARGET_UNIT)?;
    link(
        "/etc/systemd/system/guest.target",
        "etc/systemd/system/default.target".into(),
    )?;
    link(
        "/usr/share/systemd/tmp.mount",
        "etc/systemd/system/tmp.mount".into(),
    )?;
    for unit in MASKED {
        link("/dev/null", format!("etc/systemd/system/{unit}"))?;
    }
    let wants = root.join("etc/systemd/system/local-fs.target.wants");
    fs::create_dir_all(&wants).map_err(failed("make", &wants))?;
    link(
        "../tmp.mount",
        "etc/systemd/system/local-fs.target.wants/tmp.mount".into(),
    )
}
