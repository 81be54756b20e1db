//! System calls that nix has no safe function for, one function each.
//!
//! # Safety
//!
//! Every call here takes plain numbers; what each of them needs beyond that stands beside it.
#![allow(unsafe_code, reason = "raw system calls live here and nowhere else")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::ForkResult;

/// Takes a descriptor that the kernel has just made.
pub(crate) fn own(number: RawFd) -> OwnedFd {
    // SAFETY: every caller hands on what a system call has just returned to it alone.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Takes a descriptor that whoever executed this program has left open for it; none if it is
/// not open. To be called once for a number, before anything else opens descriptors.
pub(crate) fn inherited(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: F_GETFD takes a number and gives one; a number that is no descriptor is EBADF.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    // SAFETY: the number is open, and was so before this program could open anything; nobody
    // in it owns what it has inherited.
    (flags >= 0).then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// The user namespace that a namespace belongs to (ioctl_nsfs(2), NS_GET_USERNS).
///
/// # Errors
///
/// ENOTTY for a file that is no namespace, EPERM when it is out of sight.
pub(crate) fn owning_user_namespace(namespace: &impl AsFd) -> Result<OwnedFd, Errno> {
    const NS_GET_USERNS: libc::c_ulong = 0xb701;
    // SAFETY: this request takes no argument and gives a new descriptor, close-on-exec.
    let number = unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), NS_GET_USERNS as _) };
    Errno::result(number).map(own)
}

/// fork(2) of a process with one thread.
///
/// # Errors
///
/// EAGAIN, ENOMEM; EBUSY when there is a second thread, whose locks the child would inherit.
pub(crate) fn fork_alone() -> Result<ForkResult, Errno> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads > 1 {
        return Err(Errno::EBUSY);
    }
    // SAFETY: this is the only thread, so no lock is held by one that the child lacks.
    unsafe { nix::unistd::fork() }
}

/// Makes `fd` the descriptor of this number, whatever was there, open across execve(2) or not.
///
/// The descriptor of that number must not be owned by anybody in this program.
pub(crate) fn place(fd: BorrowedFd<'_>, number: RawFd, keep: bool) -> Result<(), Errno> {
    let flags = if keep { 0 } else { libc::O_CLOEXEC };
    // SAFETY: numbers in, a number out.
    let placed = unsafe { libc::dup3(fd.as_fd().as_raw_fd(), number, flags) };
    Errno::result(placed).map(drop)
}

/// Closes every descriptor from this number on. For a process that is about to execute a
/// program and uses none of them any more.
pub(crate) fn close_from(first: u32) -> Result<(), Errno> {
    // SAFETY: numbers only; the caller uses none of these descriptors after this.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0_u32) };
    Errno::result(closed).map(drop)
}

/// Gives this process's group a core scheduling cookie of its own (PR_SCHED_CORE).
pub(crate) fn core_cookie() -> Result<(), Errno> {
    const SCOPE_PROCESS_GROUP: libc::c_ulong = 2;
    let this: libc::c_ulong = 0;
    // SAFETY: PR_SCHED_CORE_CREATE takes numbers and writes nothing.
    let made = unsafe {
        libc::prctl(
            libc::PR_SCHED_CORE,
            libc::c_ulong::from(libc::PR_SCHED_CORE_CREATE as u32),
            this,
            SCOPE_PROCESS_GROUP,
            0 as libc::c_ulong,
        )
    };
    Errno::result(made).map(drop)
}

/// Ends a forked process at once: what its parent's memory has registered for its end, such as
/// output that waits to be written, is its parent's to do.
pub(crate) fn end(status: i32) -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(status) }
}

/// Gives the pages of this program's code and constants back: they are the file's, and whichever
/// is used again is mapped again. What a process has written, relocations too, is in segments
/// that are writable in the file, and stays.
pub(crate) fn give_program_pages_back() {
    // SAFETY: the callback has the signature that dl_iterate_phdr(3) asks for, and gets no data.
    unsafe { libc::dl_iterate_phdr(Some(give_segments_back), std::ptr::null_mut()) };
}

/// For the first object, which is the program itself.
unsafe extern "C" fn give_segments_back(
    object: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: dl_iterate_phdr(3) passes a valid object, for the duration of this call.
    let object = unsafe { &*object };
    let count = usize::from(object.dlpi_phnum);
    // SAFETY: the object has that many program headers there, for as long as it is loaded.
    let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, count) };
    let is_constant = |kind: u32, flags: u32| kind == libc::PT_LOAD && flags & libc::PF_W == 0;
    for header in headers
        .iter()
        .filter(|header| is_constant(header.p_type, header.p_flags))
    {
        let (Ok(address), Ok(size)) = (
            usize::try_from(object.dlpi_addr + header.p_vaddr),
            usize::try_from(header.p_memsz),
        ) else {
            continue;
        };
        let start = address & !(PAGE - 1);
        let length = (address + size).next_multiple_of(PAGE) - start;
        // SAFETY: a private mapping of a file that nobody has written to has the file's content
        // again after MADV_DONTNEED (madvise(2)): nothing that is used changes. It is only
        // advice, so a refusal is none.
        unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
    }
    1
}

/// The smallest page of both architectures; a larger one makes madvise(2) refuse.
const PAGE: usize = 4096;
