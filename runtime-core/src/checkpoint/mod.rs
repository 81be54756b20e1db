//! Checkpoint and restore of a running container, by criu.
//!
//! ```text
//!  Container::checkpoint        criu swrk            Runtime::restore         criu swrk
//!    dump, options       -->                           intent, cgroups
//!                        <-- notify …                  restore, options  -->  born in the cgroup,
//!    ack                 -->                                                  in mounts of its own
//!                        <-- dump, success             hooks             <-- setup-namespaces
//!    init has ended                                    master to socket  <-- orphan-pts-master
//!                                                      everything checked,
//!                                                      record written    <-- pre-resume
//!                                                      ack               -->  lets them run
//! ```
//!
//! An image may have been made by anybody, under any config.json. The container is restored
//! under the one it is given: it gets that one's cgroup with its limits and that one's mounts,
//! and before a single instruction of it runs, what criu has made of the image is compared with
//! it (`verify`): capabilities, no_new_privs, seccomp filter, label, ids, namespaces, cgroup,
//! mounts. What has more than config.json gives is killed, and the restore is refused.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::plan::PlanOptions;

mod children;
mod criu;
mod dump;
mod entry;
mod external;
mod filters;
mod images;
mod keys;
mod log;
mod materials;
mod moments;
mod mountinfo;
mod points;
mod restoration;
mod restore;
mod rpc;
mod streams;
mod unified;
mod verify;
mod verify_mounts;
mod verify_process;
mod wire;

/// Bytes that claim to be an answer of criu, read: for a fuzzer.
#[cfg(fuzzing)]
pub fn read_answer(bytes: &[u8]) -> bool {
    rpc::Response::parse(bytes).is_ok()
}

/// What criu does about cgroups (criu's `--manage-cgroups`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupsMode {
    /// Save cgroups; at a restore, set properties only of those that were made.
    #[default]
    Soft,
    /// Save cgroups, and set their properties at a restore.
    Full,
    /// Save cgroups; at a restore none of them may exist.
    Strict,
    /// Save nothing of cgroups.
    Ignore,
}

impl CgroupsMode {
    /// `criu_cg_mode`.
    const fn number(self) -> i32 {
        match self {
            Self::Ignore => 0,
            Self::Soft => 3,
            Self::Full => 4,
            Self::Strict => 5,
        }
    }
}

/// How the network stands still while connections are saved (criu's `--network-lock`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkLock {
    /// By iptables-restore(8).
    Iptables,
    /// By nftables.
    Nftables,
    /// Not at all; criu 3.18.
    Skip,
}

impl NetworkLock {
    /// `criu_network_lock_method`, and the first criu that has it.
    const fn number(self) -> (i32, i32) {
        match self {
            Self::Iptables => (1, 31700),
            Self::Nftables => (2, 31700),
            Self::Skip => (3, 31800),
        }
    }
}

/// What a checkpoint is to be. The fields are criu's options of these names.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointOptions<'a> {
    /// The criu program, absolute.
    pub criu: &'a Path,
    /// Where the images go, absolute. Made if it is missing.
    pub image_path: &'a Path,
    /// Where criu's log goes, absolute; the image directory without. Made if it is missing.
    pub work_path: Option<&'a Path>,
    /// The images of an earlier pre-dump, relative to the image directory.
    pub parent_path: Option<&'a Path>,
    /// Let the processes go on afterwards.
    pub leave_running: bool,
    /// Save memory only, and let the processes go on: for a parent of a later dump.
    pub pre_dump: bool,
    /// Save established TCP connections.
    pub tcp_established: bool,
    /// Leave TCP connections out that are just being made.
    pub tcp_skip_in_flight: bool,
    /// Allow unix sockets that are connected to the outside.
    pub ext_unix_sk: bool,
    /// Allow a terminal of the outside as the controlling one.
    pub shell_job: bool,
    /// Save file locks.
    pub file_locks: bool,
    /// Give files without a name a name again.
    pub link_remap: bool,
    /// Leave the pages on this side until they are asked for, over `page_server`.
    pub lazy_pages: bool,
    /// Take pages out of parent images that are here once more.
    pub auto_dedup: bool,
    /// Do not save what is in the network namespace: another one is made at the restore.
    pub empty_network: bool,
    /// What to do about cgroups.
    pub cgroups_mode: CgroupsMode,
    /// How the network is stopped; criu's default without.
    pub network_lock: Option<NetworkLock>,
    /// Address and port of the server that takes the pages.
    pub page_server: Option<(&'a str, u16)>,
    /// Gets a zero byte when the pages can be asked for.
    pub status_fd: Option<BorrowedFd<'a>>,
    /// How long it may take; 600 s without. A criu that takes longer is killed.
    pub deadline: Option<Duration>,
}

impl<'a> CheckpointOptions<'a> {
    /// Of a container that is stopped afterwards, with everything else off.
    #[must_use]
    pub fn new(criu: &'a Path, image_path: &'a Path) -> Self {
        Self {
            criu,
            image_path,
            work_path: None,
            parent_path: None,
            leave_running: false,
            pre_dump: false,
            tcp_established: false,
            tcp_skip_in_flight: false,
            ext_unix_sk: false,
            shell_job: false,
            file_locks: false,
            link_remap: false,
            lazy_pages: false,
            auto_dedup: false,
            empty_network: false,
            cgroups_mode: CgroupsMode::Soft,
            network_lock: None,
            page_server: None,
            status_fd: None,
            deadline: None,
        }
    }

    fn check(&self) -> Result<(), Error> {
        absolute("criu", self.criu)?;
        absolute("image_path", self.image_path)?;
        self.work_path
            .map_or(Ok(()), |path| absolute("work_path", path))?;
        if self.parent_path.is_some_and(Path::is_absolute) {
            return Err(invalid(
                "parent_path must be relative to the image directory",
            ));
        }
        if self.lazy_pages && self.page_server.is_none() {
            return Err(invalid(
                "lazy_pages needs a page_server: the pages stay here, and somebody has to ask for them",
            ));
        }
        if self.status_fd.is_some() && !self.lazy_pages {
            return Err(invalid("status_fd is of use with lazy_pages only"));
        }
        Ok(())
    }
}

/// What a restore is to be. The fields are criu's options of these names.
#[derive(Clone, Debug)]
pub struct RestoreOptions<'a> {
    /// The criu program, absolute.
    pub criu: &'a Path,
    /// Where the images are, absolute.
    pub image_path: &'a Path,
    /// Where criu's log goes, absolute; the image directory without. Made if it is missing.
    pub work_path: Option<&'a Path>,
    /// Bring established TCP connections back.
    pub tcp_established: bool,
    /// Close TCP connections that were established.
    pub tcp_close: bool,
    /// Allow unix sockets that are connected to the outside.
    pub ext_unix_sk: bool,
    /// Make the standard input the controlling terminal of a container that had one of the
    /// outside.
    pub shell_job: bool,
    /// Bring file locks back.
    pub file_locks: bool,
    /// Load memory when it is asked for: needs a `criu lazy-pages` in the work directory.
    pub lazy_pages: bool,
    /// Take pages out of the images as they are loaded.
    pub auto_dedup: bool,
    /// Leave the network namespace empty.
    pub empty_network: bool,
    /// What to do about cgroups: the processes get the cgroup of config.json and its limits, so
    /// only `Soft` and `Ignore` are possible, and mean the same.
    pub cgroups_mode: CgroupsMode,
    /// How the network is stopped; criu's default without.
    pub network_lock: Option<NetworkLock>,
    /// The label of all processes, `apparmor:NAME` or `selinux:LABEL`; config.json's without.
    pub lsm_profile: Option<&'a str>,
    /// The SELinux context of mounts that have one.
    pub lsm_mount_context: Option<&'a str>,
    /// What changes the plan.
    pub plan: PlanOptions,
    /// A connected AF_UNIX socket that gets the terminal's master (SCM_RIGHTS).
    pub console_socket: Option<BorrowedFd<'a>>,
    /// A connected AF_UNIX socket that gets a pidfd of init (SCM_RIGHTS).
    pub pidfd_socket: Option<BorrowedFd<'a>>,
    /// Standard input, output and error of init; the caller's own without.
    pub stdio: Option<[BorrowedFd<'a>; 3]>,
    /// How long it may take; 600 s without. A criu that takes longer is killed.
    pub deadline: Option<Duration>,
}

impl<'a> RestoreOptions<'a> {
    /// With everything off that can be.
    #[must_use]
    pub fn new(criu: &'a Path, image_path: &'a Path) -> Self {
        Self {
            criu,
            image_path,
            work_path: None,
            tcp_established: false,
            tcp_close: false,
            ext_unix_sk: false,
            shell_job: false,
            file_locks: false,
            lazy_pages: false,
            auto_dedup: false,
            empty_network: false,
            cgroups_mode: CgroupsMode::Soft,
            network_lock: None,
            lsm_profile: None,
            lsm_mount_context: None,
            plan: PlanOptions::default(),
            console_socket: None,
            pidfd_socket: None,
            stdio: None,
            deadline: None,
        }
    }

    fn check(&self) -> Result<(), Error> {
        absolute("criu", self.criu)?;
        absolute("image_path", self.image_path)?;
        self.work_path
            .map_or(Ok(()), |path| absolute("work_path", path))?;
        match self.cgroups_mode {
            CgroupsMode::Soft | CgroupsMode::Ignore => {}
            CgroupsMode::Full | CgroupsMode::Strict => {
                return Err(Error::text(
                    ErrorKind::Unsupported,
                    "restore: the cgroups mode can be soft or ignore: cgroup and limits are those of config.json, never of the image",
                ));
            }
        }
        if self.tcp_close && self.tcp_established {
            return Err(invalid("tcp_close and tcp_established exclude each other"));
        }
        if self.plan.no_pivot {
            return Err(Error::text(
                ErrorKind::Unsupported,
                "restore: criu enters the rootfs by pivot_root(2) alone, so there is no --no-pivot",
            ));
        }
        if self.plan.preserve_fds > 0 {
            return Err(Error::text(
                ErrorKind::Unsupported,
                "restore: the processes have the descriptors that the image says, further ones can't be passed on",
            ));
        }
        Ok(())
    }
}

/// A number of criu's, for what one that is too old can't do.
fn version_text(version: i32) -> String {
    let (major, minor, sublevel) = (version / 10_000, version / 100 % 100, version % 100);
    match sublevel {
        0 => format!("{major}.{minor}"),
        _ => format!("{major}.{minor}.{sublevel}"),
    }
}

fn absolute(name: &str, path: &Path) -> Result<(), Error> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(invalid(format!(
        "{name} {} is not absolute",
        path.display()
    )))
}

fn invalid(text: impl Into<String>) -> Error {
    Error::text(ErrorKind::InvalidConfig, text)
}
