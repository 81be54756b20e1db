//! The program that this process runs: execveat(2), getauxval(3).
#![allow(unsafe_code, reason = "nix lacks these calls")]

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// execveat(2) of the file behind a descriptor.
///
/// Returns only on failure.
pub(crate) fn execveat(file: BorrowedFd<'_>, argv: &[CString], environment: &[CString]) -> Errno {
    let argv = pointers(argv);
    let environment = pointers(environment);
    // SAFETY: the path is a static empty string; both arrays end in NULL and point to live
    // NUL-terminated strings.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}

/// A NULL-terminated array of pointers to these strings, which must outlive it.
pub(crate) fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// The value of an auxiliary vector entry (getauxval(3)) that is a string, such as AT_EXECFN.
pub(crate) fn auxiliary_string(entry: libc::c_ulong) -> Option<&'static CStr> {
    // SAFETY: takes an integer.
    let address = unsafe { libc::getauxval(entry) };
    // SAFETY: the kernel puts this string on the initial stack, where it stays for the life of
    // the process.
    (address != 0).then(|| unsafe { CStr::from_ptr(address as *const c_char) })
}
