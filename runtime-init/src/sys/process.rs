//! Processes, identities and what confines them.

use core::ffi::{CStr, c_char};
use core::ptr::{from_mut, from_ref};

use libc::sock_filter;

use super::abi::{CapabilityData, CapabilityHeader, SignalAction};
use super::{Errno, Fd, Result, arg, int, syscall};
use crate::program::{CapabilityMasks, RawFd};

/// exit_group(2).
pub(crate) fn exit(code: i32) -> ! {
    loop {
        // SAFETY: a number.
        super::ignore(unsafe { syscall(libc::SYS_exit_group, [arg(code), 0, 0, 0, 0, 0]) });
    }
}

/// execve(2). Returns only with an error: EFAULT if an array doesn't end in NULL.
pub(crate) fn execute(path: &CStr, argv: &[*const c_char], envp: &[*const c_char]) -> Errno {
    let ends = |array: &[*const c_char]| array.last().is_some_and(|last| last.is_null());
    if !ends(argv) || !ends(envp) {
        return Errno(libc::EFAULT);
    }
    let args = [
        path.as_ptr() as usize,
        argv.as_ptr() as usize,
        envp.as_ptr() as usize,
        0,
        0,
        0,
    ];
    // SAFETY: a C string, and two arrays that end in NULL. The kernel only reads what they point
    // to, and refuses what is no memory of this process.
    match unsafe { syscall(libc::SYS_execve, args) } {
        Err(errno) => errno,
        // Not reached: a success does not return.
        Ok(_) => Errno(libc::ENOEXEC),
    }
}

/// prctl(2) with numbers only.
pub(crate) fn prctl(option: i32, second: usize, third: usize) -> Result<i32> {
    debug_assert!(matches!(
        option,
        libc::PR_SET_DUMPABLE
            | libc::PR_SET_KEEPCAPS
            | libc::PR_CAPBSET_DROP
            | libc::PR_CAPBSET_READ
            | libc::PR_CAP_AMBIENT
            | libc::PR_SET_NO_NEW_PRIVS
    ));
    // SAFETY: numbers: these options take no address.
    unsafe { syscall(libc::SYS_prctl, [arg(option), second, third, 0, 0, 0]) }.map(int)
}

/// setsid(2).
pub(crate) fn setsid() -> Result<()> {
    // SAFETY: no argument.
    unsafe { syscall(libc::SYS_setsid, [0; 6]) }.map(drop)
}

/// setgroups(2).
pub(crate) fn setgroups(groups: &[u32]) -> Result<()> {
    let args = [groups.len(), groups.as_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: an array of 32-bit ids with its length.
    unsafe { syscall(libc::SYS_setgroups, args) }.map(drop)
}

/// setresgid(2) of all three ids.
pub(crate) fn setresgid(gid: u32) -> Result<()> {
    let gid = gid as usize;
    // SAFETY: numbers.
    unsafe { syscall(libc::SYS_setresgid, [gid, gid, gid, 0, 0, 0]) }.map(drop)
}

/// setresuid(2) of all three ids.
pub(crate) fn setresuid(uid: u32) -> Result<()> {
    let uid = uid as usize;
    // SAFETY: numbers.
    unsafe { syscall(libc::SYS_setresuid, [uid, uid, uid, 0, 0, 0]) }.map(drop)
}

/// capset(2) of the effective, permitted and inheritable sets.
#[expect(
    clippy::cast_possible_truncation,
    reason = "each half of a mask goes into its own word"
)]
pub(crate) fn capset(masks: &CapabilityMasks) -> Result<()> {
    /// _LINUX_CAPABILITY_VERSION_3.
    const VERSION: u32 = 0x2008_0522;
    let header = CapabilityHeader {
        version: VERSION,
        pid: 0,
    };
    let half = |shift: u32| CapabilityData {
        effective: (masks.effective >> shift) as u32,
        permitted: (masks.permitted >> shift) as u32,
        inheritable: (masks.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    let args = [
        from_ref(&header) as usize,
        data.as_ptr() as usize,
        0,
        0,
        0,
        0,
    ];
    // SAFETY: the header says version 3, which reads two structures of data.
    unsafe { syscall(libc::SYS_capset, args) }.map(drop)
}

/// seccomp(2), SECCOMP_SET_MODE_FILTER with SECCOMP_FILTER_FLAG_NEW_LISTENER: the listener,
/// close-on-exec.
pub(crate) fn seccomp_with_listener(program: &[sock_filter], flags: u32) -> Result<Fd> {
    /// SECCOMP_FILTER_FLAG_NEW_LISTENER.
    const NEW_LISTENER: u32 = 1 << 3;
    seccomp(program, flags | NEW_LISTENER).map(Fd::from_return)
}

/// seccomp(2), SECCOMP_SET_MODE_FILTER: what the kernel answers to these flags.
pub(crate) fn seccomp(program: &[sock_filter], flags: u32) -> Result<usize> {
    /// SECCOMP_SET_MODE_FILTER.
    const SET_MODE_FILTER: usize = 1;
    let len = u16::try_from(program.len()).map_err(|_| Errno(libc::EINVAL))?;
    let program = libc::sock_fprog {
        len,
        filter: program.as_ptr().cast_mut(),
    };
    let args = [
        SET_MODE_FILTER,
        flags as usize,
        from_ref(&program) as usize,
        0,
        0,
        0,
    ];
    // SAFETY: a structure whose pointer and length are a slice's; the kernel only reads it.
    unsafe { syscall(libc::SYS_seccomp, args) }
}

/// personality(2).
pub(crate) fn personality(persona: u32) -> Result<()> {
    // SAFETY: a number.
    unsafe { syscall(libc::SYS_personality, [persona as usize, 0, 0, 0, 0, 0]) }.map(drop)
}

/// sched_setaffinity(2) of this process.
pub(crate) fn set_affinity(cpus: &[u64]) -> Result<()> {
    let args = [0, size_of_val(cpus), cpus.as_ptr() as usize, 0, 0, 0];
    // SAFETY: a buffer with its size in bytes, which the kernel only reads.
    unsafe { syscall(libc::SYS_sched_setaffinity, args) }.map(drop)
}

/// set_mempolicy(2) of this process.
pub(crate) fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<()> {
    // The kernel reads one bit less than it is told.
    let bits = nodes.len() * 64 + 1;
    let args = [mode as usize, nodes.as_ptr() as usize, bits, 0, 0, 0];
    // SAFETY: a buffer with its size in bits, which the kernel only reads, and not at all without
    // any.
    unsafe { syscall(libc::SYS_set_mempolicy, args) }.map(drop)
}

/// prlimit(2) of this process.
pub(crate) fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = [soft, hard];
    let args = [0, resource as usize, limit.as_ptr() as usize, 0, 0, 0];
    // SAFETY: rlimit64 is two 64-bit numbers, live for the call; a null old limit is allowed.
    unsafe { syscall(libc::SYS_prlimit64, args) }.map(drop)
}

/// sethostname(2).
pub(crate) fn sethostname(name: &[u8]) -> Result<()> {
    let args = [name.as_ptr() as usize, name.len(), 0, 0, 0, 0];
    // SAFETY: a buffer with its length.
    unsafe { syscall(libc::SYS_sethostname, args) }.map(drop)
}

/// setdomainname(2).
pub(crate) fn setdomainname(name: &[u8]) -> Result<()> {
    let args = [name.as_ptr() as usize, name.len(), 0, 0, 0, 0];
    // SAFETY: a buffer with its length.
    unsafe { syscall(libc::SYS_setdomainname, args) }.map(drop)
}

/// keyctl(2), KEYCTL_JOIN_SESSION_KEYRING: the keyring's serial number.
pub(crate) fn join_session_keyring(name: &CStr) -> Result<i32> {
    let args = [
        arg(libc::KEYCTL_JOIN_SESSION_KEYRING.cast_signed()),
        name.as_ptr() as usize,
    ];
    // SAFETY: a C string.
    unsafe { syscall(libc::SYS_keyctl, [args[0], args[1], 0, 0, 0, 0]) }.map(int)
}

/// keyctl(2), KEYCTL_DESCRIBE: the length of the description with its NUL, which may be more
/// than `buffer` has room for.
pub(crate) fn describe_key(serial: i32, buffer: &mut [u8]) -> Result<usize> {
    let args = [
        arg(libc::KEYCTL_DESCRIBE.cast_signed()),
        arg(serial),
        buffer.as_mut_ptr() as usize,
        buffer.len(),
        0,
        0,
    ];
    // SAFETY: a buffer with its length.
    unsafe { syscall(libc::SYS_keyctl, args) }
}

/// keyctl(2), KEYCTL_SETPERM.
pub(crate) fn set_key_permissions(serial: i32, permissions: u32) -> Result<()> {
    let args = [
        arg(libc::KEYCTL_SETPERM.cast_signed()),
        arg(serial),
        permissions as usize,
        0,
        0,
        0,
    ];
    // SAFETY: numbers.
    unsafe { syscall(libc::SYS_keyctl, args) }.map(drop)
}

/// rt_sigprocmask(2): unblocks every signal.
pub(crate) fn unblock_signals() -> Result<()> {
    let none = 0_u64;
    let args = [
        arg(libc::SIG_SETMASK),
        from_ref(&none) as usize,
        0,
        size_of::<u64>(),
        0,
        0,
    ];
    // SAFETY: a signal set of 64 bits with its size; NULL for the old one.
    unsafe { syscall(libc::SYS_rt_sigprocmask, args) }.map(drop)
}

/// rt_sigaction(2) with SIG_DFL or SIG_IGN.
pub(crate) fn set_disposition(signal: i32, disposition: usize) -> Result<()> {
    debug_assert!(matches!(disposition, libc::SIG_DFL | libc::SIG_IGN));
    let action = SignalAction {
        handler: disposition,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    let args = [
        arg(signal),
        from_ref(&action) as usize,
        0,
        size_of::<u64>(),
        0,
        0,
    ];
    // SAFETY: the kernel's structure with the size of its mask; no handler, so no code of ours
    // is called.
    unsafe { syscall(libc::SYS_rt_sigaction, args) }.map(drop)
}

/// rt_sigaction(2): every signal at its default, also those that a C library keeps for itself;
/// `except` stays as it is. SIGKILL and SIGSTOP are never anything else.
pub(crate) fn default_signals(except: Option<i32>) -> Result<()> {
    /// The kernel's _NSIG; MIPS alone has more.
    const LAST: i32 = 64;
    let fixed = |signal: &i32| matches!(*signal, libc::SIGKILL | libc::SIGSTOP);
    (1..=LAST)
        .filter(|signal| !fixed(signal) && Some(*signal) != except)
        .try_for_each(|signal| set_disposition(signal, libc::SIG_DFL))
}

/// kill(2) of a process group.
pub(crate) fn kill_group(leader: i32, signal: i32) -> Result<()> {
    // SAFETY: numbers.
    unsafe { syscall(libc::SYS_kill, [arg(-leader), arg(signal), 0, 0, 0, 0]) }.map(drop)
}

/// pidfd_send_signal(2).
pub(crate) fn pidfd_kill(pidfd: RawFd) -> Result<()> {
    let args = [arg(pidfd), arg(libc::SIGKILL), 0, 0, 0, 0];
    // SAFETY: numbers and a NULL for the signal's details.
    unsafe { syscall(libc::SYS_pidfd_send_signal, args) }.map(drop)
}

/// wait4(2): the wait status of a child that has ended.
pub(crate) fn wait(pid: i32) -> Result<i32> {
    let mut status = 0_i32;
    let args = [arg(pid), from_mut(&mut status) as usize, 0, 0, 0, 0];
    // SAFETY: room for one C int; NULL for the resources used.
    unsafe { syscall(libc::SYS_wait4, args) }.map(|_| status)
}

/// ppoll(2): whether `fd` is readable within so many milliseconds.
pub(crate) fn readable_within(fd: RawFd, milliseconds: u64) -> Result<bool> {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    let mut limit = [seconds, rest * 1_000_000];
    let args = [
        from_mut(&mut poll) as usize,
        1,
        limit.as_mut_ptr() as usize,
        0,
        0,
        0,
    ];
    // SAFETY: one pollfd, a timespec of two 64-bit numbers, and NULL for the signal mask.
    unsafe { syscall(libc::SYS_ppoll, args) }.map(|ready| ready > 0)
}

/// clock_gettime(2), CLOCK_MONOTONIC, in milliseconds.
pub(crate) fn now_ms() -> u64 {
    let mut time = [0_u64; 2];
    let args = [
        arg(libc::CLOCK_MONOTONIC),
        time.as_mut_ptr() as usize,
        0,
        0,
        0,
        0,
    ];
    // SAFETY: a timespec of two 64-bit numbers.
    let told = unsafe { syscall(libc::SYS_clock_gettime, args) };
    // The clock exists everywhere; a seccomp filter that hides it stops time for us.
    told.map_or(0, |_| time[0] * 1000 + time[1] / 1_000_000)
}
