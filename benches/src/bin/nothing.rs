//! The workload of the measurements: it ends at once, or, with any argument, never.
//!
//! It has no Rust runtime to set up, so that what is measured is the container's launch.
#![no_main]

use core::ffi::{c_char, c_int};

/// What the C library calls.
// SAFETY: no other function of this program has the name, and it has the type that C gives it.
#[unsafe(no_mangle)]
pub extern "C" fn main(count: c_int, _arguments: *const *const c_char) -> c_int {
    if count == 1 {
        return 0;
    }
    loop {
        // SAFETY: pause(2) takes nothing and touches no memory.
        unsafe { libc::pause() };
    }
}
