//! What `checkpoint` and `restore` have in common: their flags, and where criu is.

use std::env;
use std::path::{Path, PathBuf};

use runtime_core::{CgroupsMode, NetworkLock};

use crate::command_line::{Flag, Parsed, Takes};
use crate::failure::Failure;
use crate::globals;

const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        short: None,
        takes: Takes::Nothing,
        help,
    }
}

const fn text(name: &'static str, word: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        short: None,
        takes: Takes::Text(word),
        help,
    }
}

pub(crate) const IMAGE_PATH: Flag = text(
    "image-path",
    "DIR",
    "the directory of the images (default: checkpoint, in the current directory)",
);
pub(crate) const WORK_PATH: Flag = text(
    "work-path",
    "DIR",
    "the directory of criu's log (default: that of the images)",
);
pub(crate) const PARENT_PATH: Flag = text(
    "parent-path",
    "DIR",
    "the images of an earlier --pre-dump, relative to those of --image-path",
);
pub(crate) const LEAVE_RUNNING: Flag =
    switch("leave-running", "let the container go on afterwards");
pub(crate) const PRE_DUMP: Flag =
    switch("pre-dump", "save memory only, and let the container go on");
pub(crate) const TCP_ESTABLISHED: Flag =
    switch("tcp-established", "keep established TCP connections");
pub(crate) const TCP_SKIP_IN_FLIGHT: Flag = switch(
    "tcp-skip-in-flight",
    "leave TCP connections out that are just being made",
);
pub(crate) const TCP_CLOSE: Flag =
    switch("tcp-close", "close TCP connections that were established");
pub(crate) const EXT_UNIX_SK: Flag = switch(
    "ext-unix-sk",
    "allow unix sockets that are connected to the outside",
);
pub(crate) const SHELL_JOB: Flag = switch(
    "shell-job",
    "allow a terminal of the outside as the controlling one",
);
pub(crate) const FILE_LOCKS: Flag = switch("file-locks", "keep file locks");
pub(crate) const LINK_REMAP: Flag = switch(
    "link-remap",
    "give open files that have no name any more a name again",
);
pub(crate) const LAZY_PAGES: Flag = switch(
    "lazy-pages",
    "leave memory on the old side until it is asked for",
);
pub(crate) const STATUS_FD: Flag = Flag {
    name: "status-fd",
    short: None,
    takes: Takes::Number("FD"),
    help: "write a zero byte to FD when lazy pages can be asked for",
};
pub(crate) const PAGE_SERVER: Flag = text(
    "page-server",
    "ADDRESS:PORT",
    "send memory to the page server there",
);
pub(crate) const AUTO_DEDUP: Flag = switch(
    "auto-dedup",
    "take memory out of images as soon as it is of no further use there",
);
pub(crate) const CGROUPS_MODE: Flag = text(
    "manage-cgroups-mode",
    "MODE",
    "soft, full, strict or ignore (default: soft; a restore takes cgroups from config.json)",
);
pub(crate) const EMPTY_NS: Flag = Flag {
    name: "empty-ns",
    short: None,
    takes: Takes::Texts("TYPE"),
    help: "don't save or restore what is in this namespace; only network",
};
pub(crate) const NETWORK_LOCK: Flag = text(
    "network-lock",
    "METHOD",
    "stop the network by iptables, nftables or skip (default: criu's own)",
);
pub(crate) const LSM_PROFILE: Flag = text(
    "lsm-profile",
    "TYPE:NAME",
    "run the processes under this AppArmor profile or SELinux label (default: config.json's)",
);
pub(crate) const LSM_MOUNT_CONTEXT: Flag = text(
    "lsm-mount-context",
    "CONTEXT",
    "mount under this SELinux context what has one",
);

/// The directory of the images, absolute.
pub(crate) fn image_path(parsed: &Parsed<'_>) -> Result<PathBuf, Failure> {
    globals::absolute(parsed.path(&IMAGE_PATH).unwrap_or("checkpoint"))
}

/// The directory of the log, absolute, if one is named.
pub(crate) fn work_path(parsed: &Parsed<'_>) -> Result<Option<PathBuf>, Failure> {
    parsed.path(&WORK_PATH).map(globals::absolute).transpose()
}

/// What `--manage-cgroups-mode` says.
pub(crate) fn cgroups_mode(parsed: &Parsed<'_>) -> Result<CgroupsMode, Failure> {
    match parsed.path(&CGROUPS_MODE) {
        None | Some("soft") => Ok(CgroupsMode::Soft),
        Some("full") => Ok(CgroupsMode::Full),
        Some("strict") => Ok(CgroupsMode::Strict),
        Some("ignore") => Ok(CgroupsMode::Ignore),
        Some(other) => Err(Failure::invalid(format_args!(
            "invalid manage-cgroups-mode value {other:?}: soft, full, strict or ignore"
        ))),
    }
}

/// What `--network-lock` says.
pub(crate) fn network_lock(parsed: &Parsed<'_>) -> Result<Option<NetworkLock>, Failure> {
    match parsed.path(&NETWORK_LOCK) {
        None => Ok(None),
        Some("iptables") => Ok(Some(NetworkLock::Iptables)),
        Some("nftables") => Ok(Some(NetworkLock::Nftables)),
        Some("skip") => Ok(Some(NetworkLock::Skip)),
        Some(other) => Err(Failure::invalid(format_args!(
            "invalid network-lock value {other:?}: iptables, nftables or skip"
        ))),
    }
}

/// Whether `--empty-ns` names the network namespace, which is the only one it can.
pub(crate) fn empty_network(parsed: &Parsed<'_>) -> Result<bool, Failure> {
    let mut named = false;
    for name in parsed.texts(&EMPTY_NS) {
        if name != "network" {
            return Err(Failure::invalid(format_args!(
                "namespace {name:?} is not supported by --empty-ns: only network is"
            )));
        }
        named = true;
    }
    Ok(named)
}

/// The criu program of the PATH.
pub(crate) fn find() -> Result<PathBuf, Failure> {
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    let found = env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("criu"))
        .find(|candidate| is_program(candidate));
    found.ok_or_else(|| {
        Failure::new(
            "exec: \"criu\": executable file not found in $PATH: checkpoint and restore need it (install the package criu)",
        )
    })
}

fn is_program(path: &Path) -> bool {
    path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}
