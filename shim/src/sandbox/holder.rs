//! The program that holds a pod's namespaces: it waits, and as a pid namespace's init it has the
//! kernel reap its orphans.
//!
//! Two hundred bytes of its own, and not a second life of the shim's binary: what runs in the
//! pod's namespaces has nothing in it that a neighbour could use.

/// Where the segment is loaded; any address will do.
const BASE: u64 = 0x40_0000;

/// Bytes of the ELF header and its one program header: the code follows them.
const HEADERS: u64 = 64 + 56;

/// `rt_sigaction(SIGCHLD, {SIG_IGN}, NULL, 8)`, then `pause()` for ever.
#[cfg(target_arch = "x86_64")]
const CODE: [u32; 9] = [
    // mov eax, 13; mov edi, 17
    u32::from_le_bytes([0xb8, 0x0d, 0x00, 0x00]),
    u32::from_le_bytes([0x00, 0xbf, 0x11, 0x00]),
    // lea rsi, [the words after the code]
    u32::from_le_bytes([0x00, 0x00, 0x48, 0x8d]),
    u32::from_le_bytes([0x35, 0x13, 0x00, 0x00]),
    // xor edx, edx; mov r10d, 8
    u32::from_le_bytes([0x00, 0x31, 0xd2, 0x41]),
    u32::from_le_bytes([0xba, 0x08, 0x00, 0x00]),
    // syscall; mov eax, 34
    u32::from_le_bytes([0x00, 0x0f, 0x05, 0xb8]),
    u32::from_le_bytes([0x22, 0x00, 0x00, 0x00]),
    // syscall; back to mov eax, 34
    u32::from_le_bytes([0x0f, 0x05, 0xeb, 0xf7]),
];

/// `rt_sigaction(SIGCHLD, {SIG_IGN}, NULL, 8)`, then `ppoll(NULL, 0, NULL, NULL)` for ever.
#[cfg(target_arch = "aarch64")]
const CODE: [u32; 13] = [
    0xd280_0220, // mov x0, #17
    0x1000_0181, // adr x1, the words after the code
    0xd280_0002, // mov x2, #0
    0xd280_0103, // mov x3, #8
    0xd280_10c8, // mov x8, #134
    0xd400_0001, // svc #0
    0xd280_0000, // mov x0, #0
    0xd280_0001, // mov x1, #0
    0xd280_0002, // mov x2, #0
    0xd280_0003, // mov x3, #0
    0xd280_0928, // mov x8, #73
    0xd400_0001, // svc #0
    0x17ff_fffa, // back to the first mov after the first svc
];

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// The kernel's sigaction: SIG_IGN, no flags, no restorer, an empty mask.
const SIGACTION: [u64; 4] = [1, 0, 0, 0];

/// The program, as a static ELF file of this machine's architecture: elf(5).
pub(super) fn program() -> Vec<u8> {
    let code: Vec<u8> = CODE
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .chain(SIGACTION.iter().flat_map(|word| word.to_le_bytes()))
        .collect();
    let size = HEADERS + u64::try_from(code.len()).unwrap_or(0);
    let mut file = Vec::with_capacity(256);
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    let halves = |file: &mut Vec<u8>, words: &[u16]| {
        file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    };
    let words = |file: &mut Vec<u8>, words: &[u32]| {
        file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    };
    let doubles = |file: &mut Vec<u8>, words: &[u64]| {
        file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    };
    // An executable; its entry, its program headers, no sections.
    halves(&mut file, &[2, MACHINE]);
    words(&mut file, &[1]);
    doubles(&mut file, &[BASE + HEADERS, 64, 0]);
    words(&mut file, &[0]);
    halves(&mut file, &[64, 56, 1, 64, 0, 0]);
    // One segment to load, readable and executable: the whole file.
    words(&mut file, &[1, 5]);
    doubles(&mut file, &[0, BASE, BASE, size, size, 0x1000]);
    file.extend(code);
    file
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    use std::os::unix::process::ExitStatusExt;
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_waits_until_it_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pause");
        let mut options = std::fs::File::options();
        options.write(true).create_new(true).mode(0o755);
        options.open(&path).unwrap().write_all(&program()).unwrap();
        let mut child = std::process::Command::new(&path).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(child.try_wait().unwrap().is_none(), "it has not ended");
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let ignored = status.lines().find(|line| line.starts_with("SigIgn:"));
        let mask = u64::from_str_radix(ignored.unwrap()[7..].trim(), 16).unwrap();
        assert_ne!(mask & 1 << 16, 0, "SIGCHLD is ignored: {status}");
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
}
