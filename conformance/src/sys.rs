//! System calls that nix lacks.
//!
//! # Safety
//!
//! Numbers go in; a pointer is to a live local of the size that the kernel writes.
#![allow(unsafe_code, reason = "nix has no such calls")]

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;

use crate::missing::Filter;

/// keyctl(2) KEYCTL_DESCRIBE of the session keyring.
pub(crate) fn describe_session_keyring() -> Result<Vec<u8>, Errno> {
    const KEYCTL_DESCRIBE: libc::c_long = 6;
    const KEY_SPEC_SESSION_KEYRING: libc::c_long = -3;
    let mut buffer = [0_u8; 512];
    // SAFETY: the kernel writes at most the buffer's length into the buffer, which is live.
    let length = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_DESCRIBE,
            KEY_SPEC_SESSION_KEYRING,
            buffer.as_mut_ptr(),
            buffer.len(),
        )
    };
    let length = Errno::result(length)?;
    let length = usize::try_from(length).unwrap_or(0).min(buffer.len());
    Ok(buffer[..length].to_vec())
}

/// Lets SIGHUP, SIGINT and SIGQUIT do what they do, whoever has started this program: a shell has
/// what it starts in the background ignore some, and that is inherited by every container.
pub(crate) fn heed_all_signals() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    for heeded in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        // SAFETY: no handler of ours is installed, the default comes back.
        let _before = unsafe { signal(heeded, SigHandler::SigDfl) };
    }
}

/// Has a command ignore every signal that can be ignored but SIGCHLD, without which it could not
/// wait for its children.
pub(crate) fn ignore_all_signals(command: &mut Command) {
    let ignore = || {
        for number in (1..=64).filter(|number| *number != libc::SIGCHLD) {
            // SAFETY: no handler of ours is installed. It fails for SIGKILL, SIGSTOP and those that
            // the C library keeps.
            let _before = unsafe { libc::signal(number, libc::SIG_IGN) };
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls and nothing else.
    unsafe { command.pre_exec(ignore) };
}

/// ioprio_get(2) of this process.
pub(crate) fn io_priority() -> Result<i64, Errno> {
    // SAFETY: three numbers; no memory of ours is read or written.
    let value = unsafe { libc::syscall(libc::SYS_ioprio_get, 1, 0) };
    Errno::result(value)
}

/// A system call of three numbers, for whether a filter or a privilege is in its way.
pub(crate) fn plain_call(number: libc::c_long, arguments: [libc::c_long; 3]) -> Result<i64, Errno> {
    let [first, second, third] = arguments;
    // SAFETY: callers pass numbers and null pointers only, which the kernel checks itself.
    Errno::result(unsafe { libc::syscall(number, first, second, third) })
}

/// TIOCGWINSZ of standard input: rows and columns.
pub(crate) fn terminal_size() -> Result<(u16, u16), Errno> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel writes one winsize to a live local.
    Errno::result(unsafe { libc::ioctl(0, libc::TIOCGWINSZ, &raw mut size) })?;
    Ok((size.ws_row, size.ws_col))
}

/// `struct sched_attr` of sched_setattr(2), in its first published size.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scheduler {
    pub(crate) size: u32,
    pub(crate) policy: u32,
    pub(crate) flags: u64,
    pub(crate) nice: i32,
    pub(crate) priority: u32,
    pub(crate) runtime: u64,
    pub(crate) deadline: u64,
    pub(crate) period: u64,
}

/// sched_getattr(2) of this process.
pub(crate) fn scheduler() -> Result<Scheduler, Errno> {
    const SIZE: usize = size_of::<Scheduler>();
    let mut attributes = Scheduler::default();
    // SAFETY: the kernel writes at most SIZE bytes to a live local of that size.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, SIZE, 0) };
    Errno::result(result).map(|_| attributes)
}

/// sigwait(3): the number of the next signal of a set, realtime ones too.
pub(crate) fn wait_for_signal(set: &nix::sys::signal::SigSet) -> Result<i32, Errno> {
    let mut number = 0;
    // SAFETY: a live set is read, and one int is written to a live local.
    match unsafe { libc::sigwait(set.as_ref(), &raw mut number) } {
        0 => Ok(number),
        errno => Err(Errno::from_raw(errno)),
    }
}

/// The same command, under this filter: also what it starts. It needs CAP_SYS_ADMIN, and leaves
/// no_new_privs as it is.
pub(crate) fn under_filter(command: &mut Command, filter: Filter) {
    let install = move || load_filter(&filter).map_err(std::io::Error::from);
    // SAFETY: between fork and exec the closure makes one system call on memory that was there
    // before the fork; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(install) };
}

/// The same command, started by fork(2): its memory is never shared with this program's.
pub(crate) fn by_fork(command: &mut Command) {
    // SAFETY: the closure does nothing; that there is one is what makes std fork.
    unsafe { command.pre_exec(|| Ok(())) };
}

/// seccomp(2) SECCOMP_SET_MODE_FILTER.
fn load_filter(filter: &Filter) -> Result<(), Errno> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.0.len()).unwrap_or(u16::MAX),
        filter: filter.0.as_ptr().cast_mut(),
    };
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the kernel reads the structure and as many instructions as it says, both live.
    Errno::result(unsafe { libc::syscall(libc::SYS_seccomp, mode, 0, &raw const program) })
        .map(drop)
}

/// fork(2) of a program that has no other thread.
pub(crate) fn fork() -> Result<nix::unistd::ForkResult, Errno> {
    // SAFETY: what runs inside has one thread, and the child calls the kernel and ends.
    unsafe { nix::unistd::fork() }
}

/// _exit(2).
pub(crate) fn exit_at_once(code: i32) -> ! {
    // SAFETY: it ends the process; nothing of it is used afterwards.
    unsafe { libc::_exit(code) }
}

/// socket(2) for IPv4 datagrams, as this architecture calls it.
pub(crate) fn native_socket() -> i64 {
    let call = plain_call(libc::SYS_socket, [2, 2, 0]);
    call.unwrap_or_else(|errno| -i64::from(errno as i32))
}

/// The same by its x32 number.
#[cfg(target_arch = "x86_64")]
pub(crate) fn x32_socket() -> i64 {
    let call = plain_call(0x4000_0000 | libc::SYS_socket, [2, 2, 0]);
    call.unwrap_or_else(|errno| -i64::from(errno as i32))
}

/// The same by the i386 call gate.
#[cfg(target_arch = "x86_64")]
pub(crate) fn i386_socket() -> i64 {
    int80(359, [2, 2, 0])
}

/// The same by i386's socketcall(2), whose arguments are in memory.
#[cfg(target_arch = "x86_64")]
pub(crate) fn i386_socketcall() -> i64 {
    // Memory that 32 bits can name.
    let flags = nix::sys::mman::MapFlags::from_bits_retain(libc::MAP_32BIT);
    let flags = flags | nix::sys::mman::MapFlags::MAP_PRIVATE;
    let protection = nix::sys::mman::ProtFlags::PROT_READ | nix::sys::mman::ProtFlags::PROT_WRITE;
    let length = std::num::NonZeroUsize::new(4096).expect("it is not zero");
    // SAFETY: a new private mapping, which nothing else uses.
    let memory = unsafe { nix::sys::mman::mmap_anonymous(None, length, protection, flags) };
    let Ok(memory) = memory else {
        return -i64::from(libc::ENOMEM);
    };
    let words = memory.cast::<[u32; 3]>();
    // SAFETY: the mapping is writable, aligned to a page and longer than three words.
    unsafe { words.write([2, 2, 0]) };
    let address = words.as_ptr() as usize;
    int80(102, [1, i32::try_from(address).unwrap_or(0), 0])
}

/// `int 0x80`: the number in eax, three arguments in ebx, ecx and edx.
#[cfg(target_arch = "x86_64")]
fn int80(number: i32, [first, second, third]: [i32; 3]) -> i64 {
    let result: i32;
    // SAFETY: the kernel preserves all registers but eax (and r8 to r11, which are given up);
    // rbx is put back, since the compiler keeps it for itself. Memory is only read.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first:r}",
            "int 0x80",
            "xchg rbx, {first:r}",
            first = inout(reg) i64::from(first) => _,
            inlateout("eax") number => result,
            in("ecx") second,
            in("edx") third,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    i64::from(result)
}

/// renameat2(2): exchanges two names.
pub(crate) fn exchange(one: &std::ffi::CStr, other: &std::ffi::CStr) -> Result<(), Errno> {
    // SAFETY: two live strings with a zero at their ends, which the kernel reads.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            one.as_ptr(),
            libc::AT_FDCWD,
            other.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    Errno::result(result).map(drop)
}

/// SIOCSIFFLAGS: brings the loopback device of this network namespace up, as a host's is.
pub(crate) fn bring_loopback_up() -> Result<(), Errno> {
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    // SAFETY: a structure of numbers, for which zeros are values.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = libc::c_char::try_from(*byte).unwrap_or_default();
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap_or_default();
    let number = libc::SIOCSIFFLAGS;
    // SAFETY: the kernel reads one ifreq, a live local.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), number as _, &raw const request) };
    Errno::result(done).map(drop)
}
