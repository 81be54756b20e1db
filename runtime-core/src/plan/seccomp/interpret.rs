//! The kernel's part, for tests and fuzz targets only: runs classic BPF over one call.
//!
//! Compiled for `cfg(test)` and `cfg(fuzzing)` alone, so that no product carries it.

use libc::sock_filter;

/// `struct seccomp_data` without the instruction pointer, which no profile looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallData {
    /// AUDIT_ARCH_*.
    pub audit: u32,
    /// The system call.
    pub number: u32,
    /// Its arguments.
    pub arguments: [u64; 6],
}

impl CallData {
    /// The aligned word at an offset of `struct seccomp_data`.
    fn word(&self, offset: u32) -> Option<u32> {
        #[expect(clippy::cast_possible_truncation, reason = "one half at a time")]
        let half = |argument: u64, upper: bool| (argument >> if upper { 32 } else { 0 }) as u32;
        match offset {
            0 => Some(self.number),
            4 => Some(self.audit),
            8 | 12 => Some(0),
            16..64 if offset.is_multiple_of(4) => {
                let argument = self.arguments[(offset as usize - 16) / 8];
                Some(half(argument, offset % 8 == 4))
            }
            _ => None,
        }
    }
}

/// Runs a program: SECCOMP_RET_* with its data.
///
/// # Errors
///
/// What the kernel would have refused the program for, or a jump out of it.
pub fn run(program: &[sock_filter], call: &CallData) -> Result<u32, String> {
    let mut accumulator = 0;
    let mut at = 0;
    loop {
        let one = program
            .get(at)
            .ok_or_else(|| format!("left the program at {at}"))?;
        at += 1;
        let jump = |holds: bool| usize::from(if holds { one.jt } else { one.jf });
        match one.code {
            0x20 => {
                accumulator = call
                    .word(one.k)
                    .ok_or_else(|| format!("bad offset {} at {}", one.k, at - 1))?;
            }
            0x54 => accumulator &= one.k,
            0x05 => at += one.k as usize,
            0x15 => at += jump(accumulator == one.k),
            0x25 => at += jump(accumulator > one.k),
            0x35 => at += jump(accumulator >= one.k),
            0x45 => at += jump(accumulator & one.k != 0),
            0x06 => return Ok(one.k),
            code => return Err(format!("unknown instruction {code:#x} at {}", at - 1)),
        }
    }
}
