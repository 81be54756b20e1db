//! System calls that nix has no safe function for.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::unistd::Pid;

/// The last capability that Linux has had since 5.9.
const LAST_CAPABILITY: i32 = 40;

/// CLONE_INTO_CGROUP of linux/sched.h; libc's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The version of capset(2) with two words for each set.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// The operation of keyctl(2) that joins a session keyring.
const JOIN_SESSION_KEYRING: libc::c_long = 1;

/// Forks into new pid, network, ipc, uts and mount namespaces, and into a cgroup2.
///
/// Returns nothing in the child, which is the only thread of a copy of this process.
pub(crate) fn clone_with_namespaces(cgroup: Option<BorrowedFd<'_>>) -> nix::Result<Option<Pid>> {
    let namespaces = libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWNS;
    // SAFETY: all fields of clone_args are integers, for which zero bytes are a value.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = u64::from(namespaces.cast_unsigned());
    arguments.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    let size = size_of_val(&arguments);
    // SAFETY: `arguments` is live and its size is passed along. Without CLONE_VM and with no
    // new stack, the child returns on its own copy of this stack; this process has one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size) };
    match Errno::result(pid)? {
        0 => Ok(None),
        pid => Ok(Some(Pid::from_raw(
            i32::try_from(pid).map_err(|_| Errno::EOVERFLOW)?,
        ))),
    }
}

/// Ends the child without what the parent has registered for its own end.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

/// Leaves the session keyring for a new one without a name.
pub(crate) fn join_new_session_keyring() -> nix::Result<()> {
    let no_name = std::ptr::null::<libc::c_char>();
    // SAFETY: for this operation, keyctl(2) takes a null pointer for "no name".
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, no_name) };
    Errno::result(result).map(drop)
}

/// Drops all capabilities but `mask` from the bounding set, and makes it all other sets but
/// the inheritable and the ambient one.
pub(crate) fn limit_capabilities(mask: u64) -> nix::Result<()> {
    for capability in (0..=LAST_CAPABILITY).filter(|number| mask & (1 << number) == 0) {
        // SAFETY: this prctl(2) takes an integer.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        Errno::result(result)?;
    }
    let low = u32::try_from(mask & u64::from(u32::MAX)).map_err(|_| Errno::EOVERFLOW)?;
    let header = [CAPABILITY_VERSION_3, 0];
    let sets = [low, low, 0, 0, 0, 0];
    // SAFETY: version 3 reads a header of two words and two triples of words, which these are.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    Errno::result(result).map(drop)
}
