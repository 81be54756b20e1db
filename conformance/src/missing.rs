//! Old kernels on a new one: system calls that the runtime and all that it starts don't have.
//!
//! A filter answers them with ENOSYS, as a kernel does that has never heard of them. It is put
//! on by the process that becomes the runtime. Flags of calls that an old kernel has can't be
//! taken away so.

use std::fmt;

/// Newer system calls by name and number, the same on every architecture.
const CALLS: [(&str, u32); 19] = [
    ("pidfd_send_signal", 424),
    ("io_uring_setup", 425),
    ("io_uring_enter", 426),
    ("io_uring_register", 427),
    ("open_tree", 428),
    ("move_mount", 429),
    ("fsopen", 430),
    ("fsconfig", 431),
    ("fsmount", 432),
    ("fspick", 433),
    ("pidfd_open", 434),
    ("clone3", 435),
    ("close_range", 436),
    ("openat2", 437),
    ("pidfd_getfd", 438),
    ("faccessat2", 439),
    ("process_madvise", 440),
    ("epoll_pwait2", 441),
    ("mount_setattr", 442),
];

/// The last one that Linux 5.10 has.
const LAST_OF_5_10: u32 = 440;

/// System calls that are not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Those that were named.
    named: Vec<(&'static str, u32)>,
    /// All above this number.
    above: Option<u32>,
}

impl Missing {
    /// All that are newer than Linux 5.10.
    #[must_use]
    pub fn after_5_10(mut self) -> Self {
        self.above = Some(LAST_OF_5_10);
        self
    }

    /// Those of a list with commas, too.
    ///
    /// # Errors
    ///
    /// With the name that is none, and those that there are.
    pub fn named(mut self, list: &str) -> Result<Self, String> {
        for name in list.split(',').filter(|name| !name.is_empty()) {
            let call = CALLS.iter().find(|(known, _)| *known == name);
            let known = || CALLS.map(|(known, _)| known).join(", ");
            self.named
                .push(*call.ok_or_else(|| format!("{name} can't be taken away, but {}", known()))?);
        }
        Ok(self)
    }

    /// Whether a text names one of them, as an error does that says what is missing.
    #[must_use]
    pub fn is_named_in(&self, text: &str) -> bool {
        let is_missing = |(_, number): &&(&str, u32)| {
            self.above.is_some_and(|last| *number > last)
                || self.named.iter().any(|(_, own)| own == number)
        };
        CALLS
            .iter()
            .filter(is_missing)
            .any(|(name, _)| text.contains(name))
    }

    /// The filter.
    #[must_use]
    pub fn filter(&self) -> Filter {
        let arch = std::mem::offset_of!(libc::seccomp_data, arch);
        let number = std::mem::offset_of!(libc::seccomp_data, nr);
        let mut program = vec![
            load(arch),
            // Programs of other architectures number their calls differently.
            jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0),
            answer(libc::SECCOMP_RET_ALLOW),
            load(number),
        ];
        for call in self.named.iter().map(|(_, number)| *number) {
            program.extend([jump(libc::BPF_JEQ, call, 0, 1), answer(NO_SUCH_CALL)]);
        }
        if let Some(last) = self.above {
            program.extend([jump(libc::BPF_JGT, last, 0, 1), answer(NO_SUCH_CALL)]);
        }
        program.push(answer(libc::SECCOMP_RET_ALLOW));
        Filter(program)
    }
}

/// A program for seccomp(2).
#[derive(Clone)]
pub struct Filter(pub(crate) Vec<libc::sock_filter>);

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter of {} instructions", self.0.len())
    }
}

/// AUDIT_ARCH_X86_64 or AUDIT_ARCH_AARCH64.
const ARCHITECTURE: u32 = if cfg!(target_arch = "aarch64") {
    0xc000_00b7
} else {
    0xc000_003e
};

const NO_SUCH_CALL: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();

fn load(offset: usize) -> libc::sock_filter {
    let offset = u32::try_from(offset).unwrap_or(u32::MAX);
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
}

fn jump(how: u32, value: u32, if_so: u8, if_not: u8) -> libc::sock_filter {
    instruction(libc::BPF_JMP | how | libc::BPF_K, value, if_so, if_not)
}

fn answer(value: u32) -> libc::sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, value, 0, 0)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: u16::try_from(code).unwrap_or(u16::MAX),
        jt,
        jf,
        k,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_is_refused_with_those_that_are() {
        let why = Missing::default().named("openat2,open").unwrap_err();
        assert!(
            why.starts_with("open can't") && why.contains("clone3"),
            "{why}"
        );
    }

    #[test]
    fn an_error_names_what_is_missing() {
        let missing = Missing::default().named("openat2").unwrap().after_5_10();
        assert!(missing.is_named_in("openat2(2): ENOSYS"));
        assert!(missing.is_named_in("needs mount_setattr(2), Linux 5.12"));
        assert!(!missing.is_named_in("clone3(2): ENOSYS"));
    }
}
