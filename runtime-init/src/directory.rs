//! Reading a directory without an allocator.

use core::ffi::CStr;

use crate::failure::{At, refuse};
use crate::program::{Call, Failure, RawFd};
use crate::sys;

/// Where the name starts in `struct linux_dirent64`, and where the record's length is.
const NAME: usize = 19;
const LENGTH: usize = 16;

/// Calls `act` with the name of every entry but `.` and `..`.
pub(crate) fn for_each_entry(
    directory: RawFd,
    act: &mut dyn FnMut(&CStr) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut buffer = [0_u8; 2048];
    loop {
        let length = sys::getdents(directory, &mut buffer).at(Call::Read)?;
        if length == 0 {
            return Ok(());
        }
        let mut records = buffer.get(..length).unwrap_or_default();
        while let Some((record, rest)) = split_record(records) {
            records = rest;
            let name = record
                .get(NAME..)
                .and_then(|name| CStr::from_bytes_until_nul(name).ok());
            match name {
                Some(name) if name == c"." || name == c".." => {}
                Some(name) => act(name)?,
                None => return refuse(Call::Read, libc::EIO),
            }
        }
    }
}

fn split_record(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = [*records.get(LENGTH)?, *records.get(LENGTH + 1)?];
    let length = usize::from(u16::from_ne_bytes(length));
    if length == 0 {
        None
    } else {
        records.split_at_checked(length)
    }
}
