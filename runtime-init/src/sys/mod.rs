//! The kernel's door: one thin function for each system call, made by an instruction of our
//! own. No function of a C library is called, and this is the only unsafe code of the crate.
//!
//! # Safety
//!
//! Arguments are of four kinds, and each block names which of them its call uses:
//! plain numbers and descriptors, which the kernel checks and through which it touches no
//! memory; C strings, which are borrowed for the call and end in NUL; structures, borrowed for
//! the call and of the size that the kernel is told or knows (asserted beside their
//! definitions); buffers, borrowed for the call with their length beside them.

use core::ffi::c_long;

mod abi;
mod clone;
mod file;
mod mount;
mod process;
mod socket;

pub(crate) use self::abi::*;
pub use self::clone::{CloneArgs, Cloned, clone3};
pub(crate) use self::clone::{Forked, fork};
pub(crate) use self::file::*;
pub(crate) use self::mount::*;
pub(crate) use self::process::*;
pub(crate) use self::socket::*;

use crate::program::RawFd;

/// An error number of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

pub(crate) type Result<T> = core::result::Result<T, Errno>;

/// A descriptor that is closed when its owner goes out of scope.
#[derive(Debug)]
pub(crate) struct Fd(RawFd);

impl Fd {
    pub(crate) fn raw(&self) -> RawFd {
        self.0
    }

    fn from_return(value: usize) -> Self {
        Self(int(value))
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        close(self.0);
    }
}

/// Drops a result whose error changes nothing; the caller says why.
pub(crate) fn ignore<T>(result: Result<T>) {
    drop(result);
}

/// Calls again as long as a signal interrupts the call.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno(libc::EINTR)) => {}
            done => return done,
        }
    }
}

/// A descriptor, flag word or other C int as a register's content: sign-extended.
const fn arg(value: i32) -> usize {
    value as isize as usize
}

/// A return value that the kernel defines as a C int.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the kernel returns a C int in the register"
)]
const fn int(value: usize) -> i32 {
    value as i32
}

/// Makes a system call and splits its result.
///
/// # Safety
///
/// The arguments must be what the call of this number asks for.
unsafe fn syscall(number: c_long, args: [usize; 6]) -> Result<usize> {
    // SAFETY: the caller's promise is passed on.
    let value = unsafe { trap(number, args) };
    // No call made here returns an address, so whatever is negative is an error number.
    usize::try_from(value)
        .map_err(|_| Errno(i32::try_from(value.unsigned_abs()).unwrap_or(libc::EINVAL)))
}

#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn trap(number: c_long, [a, b, c, d, e, f]: [usize; 6]) -> c_long {
    let value: c_long;
    // SAFETY: the kernel's calling convention: rcx and r11 are overwritten, the stack is not
    // touched, and memory only as the call documents, for which the caller answers.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number => value,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    value
}

#[cfg(target_arch = "aarch64")]
#[inline]
unsafe fn trap(number: c_long, [a, b, c, d, e, f]: [usize; 6]) -> c_long {
    let value: c_long;
    // SAFETY: the kernel's calling convention: only x0 is overwritten, the stack is not
    // touched, and memory only as the call documents, for which the caller answers.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => value,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    value
}
