//! Id mappings: of a container's user namespace, and of single mounts.

use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};

use nix::errno::Errno;

use super::LaunchError;
use crate::errno::{Words, of_io};
use crate::plan::IdMapping;
use crate::procfs::Procfs;
use crate::sys;

/// Writes the mappings of a process's user namespace: user_namespaces(7).
///
/// A runtime with privilege writes them itself; user 0 of a user namespace has it for the ids
/// that are mapped there (rootless podman's containers with `--userns`). One without may map its
/// own id alone, after giving up setgroups(2); for more it asks newuidmap(1) and newgidmap(1),
/// which know what /etc/subuid and /etc/subgid allow.
pub(super) fn write_mappings(
    procfs: &Procfs,
    pid: i32,
    rootless: bool,
    uids: &[IdMapping],
    gids: &[IdMapping],
) -> Result<(), LaunchError> {
    let euid = nix::unistd::geteuid().as_raw();
    let egid = nix::unistd::getegid().as_raw();
    if rootless && is_own_id(gids, egid) {
        let denied = procfs.write(format!("{pid}/setgroups"), b"deny");
        denied.map_err(|errno| LaunchError::call("write deny to /proc/PID/setgroups", errno))?;
    }
    let is_root = euid == 0;
    let (by_user, by_group) = (is_own_id(uids, euid), is_own_id(gids, egid));
    write_one(procfs, pid, "uid_map", uids, is_root || by_user)?;
    write_one(procfs, pid, "gid_map", gids, is_root || by_group)
}

/// Whether a user without privilege may write this mapping: its own id and no other.
pub(super) fn is_own_id(mappings: &[IdMapping], id: u32) -> bool {
    matches!(mappings, [one] if one.size == 1 && one.host_id == id)
}

fn write_one(
    procfs: &Procfs,
    pid: i32,
    file: &'static str,
    mappings: &[IdMapping],
    directly: bool,
) -> Result<(), LaunchError> {
    if directly {
        let written = procfs.write(format!("{pid}/{file}"), map_text(mappings).as_bytes());
        return written.map_err(|errno| LaunchError::Mapping {
            file,
            mappings: map_text(mappings).trim_end().replace('\n', ", "),
            reason: refusal(errno),
        });
    }
    let program = if file == "uid_map" {
        "newuidmap"
    } else {
        "newgidmap"
    };
    ask_helper(program, pid, mappings).map_err(|reason| LaunchError::Mapping {
        file,
        mappings: map_text(mappings).trim_end().replace('\n', ", "),
        reason: format!("{program}: {reason}"),
    })
}

/// Why the kernel refuses mappings: user_namespaces(7), "Defining user and group ID mappings".
fn refusal(errno: Errno) -> String {
    let words = Words(errno);
    match errno {
        Errno::EPERM => format!(
            "{words}: the ids have to be mapped in the runtime's own user namespace, and the runtime needs CAP_SETUID and CAP_SETGID there"
        ),
        _ => words.to_string(),
    }
}

/// Runs newuidmap(1) or newgidmap(1) of the host.
fn ask_helper(program: &str, pid: i32, mappings: &[IdMapping]) -> Result<(), String> {
    let numbers = mappings
        .iter()
        .flat_map(|map| [map.container_id, map.host_id, map.size]);
    let output = Command::new(program)
        .arg(pid.to_string())
        .args(numbers.map(|number| number.to_string()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match of_io(&error) {
            Errno::ENOENT => "not found: install the package uidmap".to_owned(),
            errno => Words(errno).to_string(),
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = said.strip_prefix(&format!("{program}: ")).unwrap_or(&said);
    Err(format!("{said} (see /etc/subuid and /etc/subgid)"))
}

fn map_text(mappings: &[IdMapping]) -> String {
    let mut text = String::new();
    for IdMapping {
        container_id,
        host_id,
        size,
    } in mappings
    {
        // Writing to a String can't fail.
        let _infallible = writeln!(text, "{container_id} {host_id} {size}");
    }
    text
}

/// Gives a detached tree these id mappings: mount_setattr(2), MOUNT_ATTR_IDMAP.
///
/// The kernel takes mappings from a user namespace, so one is made for the purpose by a
/// process that does nothing else and has ended when this returns.
pub(super) fn map_tree(
    tree: BorrowedFd<'_>,
    recursive: bool,
    uids: &[IdMapping],
    gids: &[IdMapping],
) -> Result<(), (&'static str, Errno)> {
    let namespace = user_namespace(uids, gids).map_err(|errno| match errno {
        Errno::ENOSYS => ("user namespace for idmap: clone3(2)", errno),
        _ => ("user namespace for idmap", errno),
    })?;
    map_tree_as(tree, recursive, namespace.as_fd())
}

/// Gives a detached tree the id mappings of this user namespace.
pub(crate) fn map_tree_as(
    tree: BorrowedFd<'_>,
    recursive: bool,
    namespace: BorrowedFd<'_>,
) -> Result<(), (&'static str, Errno)> {
    const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
    const AT_RECURSIVE: i32 = 0x8000;
    let attributes = sys::MountAttributes {
        set: MOUNT_ATTR_IDMAP,
        user_namespace: u64::try_from(namespace.as_raw_fd()).unwrap_or(u64::MAX),
        ..Default::default()
    };
    let flags = if recursive { AT_RECURSIVE } else { 0 };
    sys::mount_setattr(tree, flags, &attributes)
        .map_err(|errno| ("mount_setattr(2) MOUNT_ATTR_IDMAP", errno))
}

/// A user namespace with these mappings, open.
///
/// It comes from the helper, which a runtime without CAP_SYS_PTRACE (as root of a container) may
/// not look into: see [`sys::clone_init`].
pub(crate) fn user_namespace(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd, Errno> {
    let procfs = Procfs::open()?;
    let (ours, theirs) = super::socket_pair()?;
    // Without a copy of this end in the helper, which would keep it from reading end of file.
    let mut keep = [theirs.as_raw_fd(), procfs.raw()];
    keep.sort_unstable();
    let steps = [
        runtime_init::Step::KeepOnly(&keep),
        runtime_init::Step::TellUserNamespace,
        runtime_init::Step::Await(runtime_init::Gate::Committed),
    ];
    let program = runtime_init::Program {
        steps: &steps,
        sync: theirs.as_raw_fd(),
        proc: procfs.raw(),
    };
    let (pid, pidfd) = sys::clone_init(libc::CLONE_NEWUSER as u64, None, &program)?;
    drop(theirs);
    let helper = crate::process::Process::new(pid, pidfd);
    let namespace = (|| {
        procfs.write(format!("{pid}/uid_map"), map_text(uids).as_bytes())?;
        procfs.write(format!("{pid}/gid_map"), map_text(gids).as_bytes())?;
        super::talk::user_namespace(ours.as_fd())
    })();
    // End of file is what ends the helper.
    drop(ours);
    helper.wait()?;
    namespace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_own_id_needs_no_helper() {
        let one = |host_id, size| {
            [IdMapping {
                container_id: 0,
                host_id,
                size,
            }]
        };
        assert!(is_own_id(&one(1000, 1), 1000));
        assert!(!is_own_id(&one(1000, 2), 1000));
        assert!(!is_own_id(&one(1001, 1), 1000));
        assert!(!is_own_id(&[], 1000));
    }

    #[test]
    fn a_namespace_for_mappings_needs_no_right_to_trace() {
        use caps::{CapSet, Capability};
        if testkit::missing(&[testkit::Fact::Root]) {
            return;
        }
        // Of this test's own thread: root of a container often has not got it.
        caps::drop(None, CapSet::Effective, Capability::CAP_SYS_PTRACE).unwrap();
        let one = [IdMapping {
            container_id: 0,
            host_id: 4242,
            size: 7,
        }];
        let namespace = user_namespace(&one, &one).unwrap();
        caps::raise(None, CapSet::Effective, Capability::CAP_SYS_PTRACE).unwrap();

        let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
        let mut inside = Command::new("nsenter");
        inside.args([&format!("--user={path}"), "cat", "/proc/self/uid_map"]);
        let maps = inside.output().unwrap();
        let maps = String::from_utf8_lossy(&maps.stdout).into_owned();
        let maps: Vec<&str> = maps.split_whitespace().collect();
        assert_eq!(maps, ["0", "4242", "7"]);
    }
}
