//! From a call's error number to the failure of a step.

use crate::program::{Call, Failure};
use crate::sys::Errno;

/// `sys::fchdir(fd).at(Call::Chdir)?`: names the call, keeps the number.
pub(crate) trait At<T> {
    fn at(self, call: Call) -> Result<T, Failure>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, call: Call) -> Result<T, Failure> {
        self.map_err(|errno| Failure {
            call,
            code: errno.0,
        })
    }
}

/// A failure that this code finds, and not the kernel.
pub(crate) fn refuse<T>(call: Call, code: i32) -> Result<T, Failure> {
    Err(Failure { call, code })
}
