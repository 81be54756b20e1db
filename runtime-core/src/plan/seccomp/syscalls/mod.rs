//! The numbers of system calls, by name.

use super::architecture::Architecture;

mod table;

/// Stands in a table's cell where the architecture lacks the call.
const ABSENT: u32 = u32::MAX;

/// One system call's numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// As the kernel's headers have it.
    pub(super) name: &'static str,
    /// In the order of [`Architecture`]'s variants; x32's with its bit set.
    pub(super) numbers: [u32; 5],
}

impl Call {
    /// The call's number on an architecture that has it.
    pub(super) fn number(&self, architecture: Architecture) -> Option<u32> {
        let number = self.numbers[architecture as usize];
        (number != ABSENT).then_some(number)
    }

    /// Whether the kernel takes this argument as 32 bits, whatever the register's upper half
    /// holds. Comparing all 64 bits there would let a caller slip past "unless it is 40" by
    /// setting a bit that the kernel then drops.
    pub(super) fn takes_int(&self, argument: u8) -> bool {
        INT_ARGUMENTS
            .iter()
            .any(|(name, arguments)| *name == self.name && arguments & (1 << argument) != 0)
    }

    /// How the call is also made through x86's older multiplexers.
    pub(super) fn multiplexed(&self) -> Option<&'static Multiplexed> {
        // Most calls are told by their number: it is none of those that came so late.
        if !matches!(
            self.numbers[Architecture::X86 as usize],
            337 | 345 | 359..=402 | ABSENT
        ) {
            return None;
        }
        let found = MULTIPLEXED.binary_search_by(|call| call.name.cmp(self.name));
        found.ok().map(|at| &MULTIPLEXED[at])
    }
}

/// Finds a call by its name.
pub(super) fn find(name: &str) -> Option<&'static Call> {
    let mut slot = hash(name.as_bytes()) % SLOTS;
    while INDEX[slot] != EMPTY {
        let call = &table::CALLS[usize::from(INDEX[slot])];
        if call.name == name {
            return Some(call);
        }
        slot = (slot + 1) % SLOTS;
    }
    None
}

/// All calls, sorted by name.
#[cfg(test)]
fn all() -> &'static [Call] {
    table::CALLS
}

// An open-addressing index, filled by the compiler: a start-up pays nothing for it.
const SLOTS: usize = 2048;
const EMPTY: u16 = u16::MAX;
static INDEX: [u16; SLOTS] = index();

const fn index() -> [u16; SLOTS] {
    let mut slots = [EMPTY; SLOTS];
    let mut entry: u16 = 0;
    while (entry as usize) < table::CALLS.len() {
        let mut slot = hash(table::CALLS[entry as usize].name.as_bytes()) % SLOTS;
        while slots[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = entry;
        entry += 1;
    }
    slots
}

/// FNV-1a, 32 bits.
const fn hash(name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut at = 0;
    while at < name.len() {
        hash = (hash ^ name[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash as usize
}

/// Which arguments of a call the kernel takes as int or unsigned int: bit n is argument n.
/// Those that profiles have conditions on; a call that is not here is compared in full.
const INT_ARGUMENTS: &[(&str, u8)] = &[
    ("arch_prctl", 0b00_0001),
    ("bpf", 0b00_0101),
    ("fcntl", 0b00_0011),
    ("getsockopt", 0b00_0111),
    ("ioctl", 0b00_0011),
    ("keyctl", 0b00_0001),
    ("kill", 0b00_0011),
    ("personality", 0b00_0001),
    ("prctl", 0b00_0001),
    ("seccomp", 0b00_0011),
    ("setns", 0b00_0011),
    ("setsockopt", 0b00_0111),
    ("socket", 0b00_0111),
    ("socketpair", 0b00_0111),
];

/// A call that 32-bit x86 also reaches through `socketcall` or `ipc`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Multiplexed {
    name: &'static str,
    /// Number of the multiplexer.
    pub(super) through: u32,
    /// What its first argument is then.
    pub(super) selector: u32,
}

const SOCKETCALL: u32 = 102;
const IPC: u32 = 117;

const fn multiplexed(name: &'static str, through: u32, selector: u32) -> Multiplexed {
    Multiplexed {
        name,
        through,
        selector,
    }
}

/// include/uapi/linux/net.h and include/uapi/linux/ipc.h, sorted by name.
static MULTIPLEXED: &[Multiplexed] = &[
    multiplexed("accept", SOCKETCALL, 5),
    multiplexed("accept4", SOCKETCALL, 18),
    multiplexed("bind", SOCKETCALL, 2),
    multiplexed("connect", SOCKETCALL, 3),
    multiplexed("getpeername", SOCKETCALL, 7),
    multiplexed("getsockname", SOCKETCALL, 6),
    multiplexed("getsockopt", SOCKETCALL, 15),
    multiplexed("listen", SOCKETCALL, 4),
    multiplexed("msgctl", IPC, 14),
    multiplexed("msgget", IPC, 13),
    multiplexed("msgrcv", IPC, 12),
    multiplexed("msgsnd", IPC, 11),
    multiplexed("recv", SOCKETCALL, 10),
    multiplexed("recvfrom", SOCKETCALL, 12),
    multiplexed("recvmmsg", SOCKETCALL, 19),
    multiplexed("recvmsg", SOCKETCALL, 17),
    multiplexed("semctl", IPC, 3),
    multiplexed("semget", IPC, 2),
    multiplexed("semop", IPC, 1),
    multiplexed("semtimedop", IPC, 4),
    multiplexed("send", SOCKETCALL, 9),
    multiplexed("sendmmsg", SOCKETCALL, 20),
    multiplexed("sendmsg", SOCKETCALL, 16),
    multiplexed("sendto", SOCKETCALL, 11),
    multiplexed("setsockopt", SOCKETCALL, 14),
    multiplexed("shmat", IPC, 21),
    multiplexed("shmctl", IPC, 24),
    multiplexed("shmdt", IPC, 22),
    multiplexed("shmget", IPC, 23),
    multiplexed("shutdown", SOCKETCALL, 13),
    multiplexed("socket", SOCKETCALL, 1),
    multiplexed("socketpair", SOCKETCALL, 8),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_found_by_its_name_and_nothing_else_is() {
        for call in all() {
            assert_eq!(find(call.name), Some(call));
        }
        for stranger in ["", "opena", "OPEN", "open ", "openat3", "\0"] {
            assert_eq!(find(stranger), None, "{stranger:?}");
        }
    }

    #[test]
    fn the_tables_are_sorted_without_duplicates() {
        assert!(all().is_sorted_by(|a, b| a.name < b.name));
        assert!(MULTIPLEXED.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn numbers_are_those_of_the_running_toolchain() {
        let number = |name: &str, architecture| find(name).unwrap().number(architecture);
        assert_eq!(number("getpid", Architecture::X86_64), Some(39));
        assert_eq!(number("getpid", Architecture::X86), Some(20));
        assert_eq!(number("execve", Architecture::X32), Some(0x4000_0208));
        assert_eq!(number("execve", Architecture::Aarch64), Some(221));
        assert_eq!(number("set_tls", Architecture::Arm), Some(0x000f_0005));
        assert_eq!(number("open", Architecture::Aarch64), None);
    }

    #[test]
    fn names_that_have_rules_of_their_own_are_calls() {
        for (name, _) in INT_ARGUMENTS {
            assert!(find(name).is_some(), "{name}");
        }
        for call in MULTIPLEXED {
            assert!(
                find(call.name).unwrap().multiplexed().is_some(),
                "{}",
                call.name
            );
        }
    }
}
