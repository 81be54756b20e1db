//! bpf(2) for device programs of cgroups.
//!
//! # Safety
//!
//! Every call passes one [`Attr`]: zeroed, larger than any kernel's `union bpf_attr`, and
//! exclusively borrowed. The size matters: kernels from 6.17 to 7.1 write back into fields
//! behind the end of a shorter attribute, whatever length they were told. Addresses stored in
//! it are those of slices that the calling function borrows until the call has returned.

#![allow(unsafe_code, reason = "nix has no bpf(2)")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use crate::plan::cgroup::device_program::Instruction;

const MAP_NONE: u32 = 0;
const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const PROG_DETACH: i32 = 9;
const PROG_GET_FD_BY_ID: i32 = 13;
const OBJ_GET_INFO_BY_FD: i32 = 15;
const PROG_QUERY: i32 = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// The most programs that one cgroup can have attached (BPF_CGROUP_MAX_PROGS).
const MOST_PROGRAMS: usize = 64;

/// Room for any kernel's `union bpf_attr` (168 bytes in Linux 7.1); the kernel wants the rest
/// to be zero.
const ATTR_SIZE: u32 = 512;

/// Room for any kernel's `struct bpf_prog_info` (232 bytes in Linux 6.18).
const INFO_SIZE: usize = 512;

/// Where `struct bpf_prog_info` has the program's name.
const INFO_NAME: std::ops::Range<usize> = 64..80;

/// One `union bpf_attr`.
#[repr(C, align(8))]
struct Attr([u8; ATTR_SIZE as usize]);

impl Attr {
    fn new() -> Self {
        Self([0; ATTR_SIZE as usize])
    }

    fn u32(mut self, offset: usize, value: u32) -> Self {
        self.0[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn fd(self, offset: usize, fd: BorrowedFd<'_>) -> Self {
        self.u32(offset, fd.as_raw_fd().cast_unsigned())
    }

    fn bytes(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// An address, as the kernel takes it on every architecture: 64 bits.
    fn address<T>(self, offset: usize, pointer: *const T) -> Self {
        self.bytes(offset, &(pointer.expose_provenance() as u64).to_ne_bytes())
    }

    fn read_u32(&self, offset: usize) -> u32 {
        let bytes = self.0[offset..offset + 4].try_into();
        u32::from_ne_bytes(bytes.expect("four bytes were taken"))
    }

    fn call(&mut self, command: i32) -> Result<libc::c_long, Errno> {
        let attr = self.0.as_mut_ptr();
        // SAFETY: `attr` is exclusively borrowed, zeroed behind what is set, and as large as
        // any `union bpf_attr`; the addresses in it are of live slices (see the module).
        Errno::result(unsafe { libc::syscall(libc::SYS_bpf, command, attr, ATTR_SIZE) })
    }

    fn call_for_fd(&mut self, command: i32) -> Result<OwnedFd, Errno> {
        let fd = RawFd::try_from(self.call(command)?).expect("the kernel's descriptors are ints");
        // SAFETY: the kernel has just made this descriptor, and nothing else knows of it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// Loads a device program under a name of at most 15 bytes; the descriptor keeps it.
///
/// `log` takes what the kernel's verifier has to say when it refuses the program; empty means
/// that it shall say nothing.
pub(crate) fn load_device_program(
    program: &[Instruction],
    name: &str,
    log: &mut [u8],
) -> Result<OwnedFd, Errno> {
    let count = u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    let log_size = u32::try_from(log.len()).map_err(|_| Errno::E2BIG)?;
    let mut attr = Attr::new()
        .u32(0, PROG_TYPE_CGROUP_DEVICE)
        .u32(4, count)
        .address(8, program.as_ptr())
        .address(16, c"Apache-2.0".as_ptr())
        .u32(24, u32::from(log_size != 0))
        .u32(28, log_size)
        .bytes(48, name.as_bytes())
        .u32(64, MAP_NONE)
        .u32(68, CGROUP_DEVICE);
    if log_size != 0 {
        attr = attr.address(32, log.as_mut_ptr().cast_const());
    }
    attr.call_for_fd(PROG_LOAD)
}

/// Attaches a device program to the cgroup, beside others or in the place of `replaced`.
pub(crate) fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let attr = Attr::new()
        .fd(0, cgroup)
        .fd(4, program)
        .u32(8, CGROUP_DEVICE);
    let mut attr = match replaced {
        None => attr.u32(12, ALLOW_MULTI),
        Some(replaced) => attr.u32(12, ALLOW_MULTI | REPLACE).fd(16, replaced),
    };
    attr.call(PROG_ATTACH).map(drop)
}

/// Takes a device program off the cgroup.
pub(crate) fn detach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let mut attr = Attr::new()
        .fd(0, cgroup)
        .fd(4, program)
        .u32(8, CGROUP_DEVICE);
    attr.call(PROG_DETACH).map(drop)
}

/// The device programs attached to the cgroup itself, in the order they run.
pub(crate) fn attached_device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Errno> {
    let mut ids = [0u32; MOST_PROGRAMS];
    let room = u32::try_from(ids.len()).expect("64");
    let mut attr = Attr::new()
        .fd(0, cgroup)
        .u32(4, CGROUP_DEVICE)
        .address(16, ids.as_mut_ptr().cast_const())
        .u32(24, room);
    attr.call(PROG_QUERY)?;
    let count = usize::try_from(attr.read_u32(24)).map_err(|_| Errno::EOVERFLOW)?;
    let mut programs = Vec::with_capacity(count.min(ids.len()));
    for id in ids.into_iter().take(count) {
        match Attr::new().u32(0, id).call_for_fd(PROG_GET_FD_BY_ID) {
            Ok(program) => programs.push(program),
            // Detached meanwhile.
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(programs)
}

/// The name that a program was loaded under.
pub(crate) fn program_name(program: BorrowedFd<'_>) -> Result<String, Errno> {
    let mut info = [0u64; INFO_SIZE / 8];
    let mut attr = Attr::new()
        .fd(0, program)
        .u32(4, u32::try_from(INFO_SIZE).expect("512"))
        .address(8, info.as_mut_ptr().cast_const());
    attr.call(OBJ_GET_INFO_BY_FD)?;
    let bytes: Vec<u8> = info.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let name = bytes[INFO_NAME].split(|byte| *byte == 0).next();
    Ok(String::from_utf8_lossy(name.unwrap_or_default()).into_owned())
}
