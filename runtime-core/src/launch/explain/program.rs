//! Why the container's program does not run.

use std::ffi::CStr;
use std::io::Read;

use nix::errno::Errno;

use crate::errno::Words;
use crate::launch::LaunchError;
use crate::plan::ProcessPlan;

/// Why the program does not run, in the words that containerd, Docker and podman turn into
/// exit codes 126 and 127.
pub(super) fn program(process: &ProcessPlan, rootfs: &CStr, errno: Errno) -> LaunchError {
    let name = process
        .args
        .first()
        .map(|arg| arg.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let reason = match program_hint(process, rootfs, &name, errno) {
        Some(hint) => format!("{}: {hint}", Words(errno)),
        None if errno == Errno::ENOENT && !name.contains('/') => {
            let path = path_of(process);
            format!(
                "executable file not found in $PATH (looked in {path}): install it in the image or correct process.args"
            )
        }
        None if errno == Errno::ENOENT => format!(
            "stat {name}: {}: the container has no such file: install it in the image or correct process.args",
            Words(errno)
        ),
        None => Words(errno).to_string(),
    };
    LaunchError::Program {
        program: name,
        reason,
        errno,
    }
}

fn path_of(process: &ProcessPlan) -> String {
    let variable = process
        .env
        .iter()
        .rev()
        .find_map(|variable| variable.as_bytes().strip_prefix(b"PATH="));
    variable.map_or_else(
        || "the default path".into(),
        |path| String::from_utf8_lossy(path).into_owned(),
    )
}

/// The likely cause, from the file's first bytes.
fn program_hint(process: &ProcessPlan, rootfs: &CStr, name: &str, errno: Errno) -> Option<String> {
    match errno {
        Errno::EACCES => Some(format!(
            "{name} is not executable for user {}: check its mode, the directories above, and noexec mounts",
            process.uid
        )),
        // The words by which engines tell "can't be invoked" (126) from other failures.
        Errno::EISDIR => Some("permission denied: process.args has to start with a program".into()),
        Errno::ENOTDIR => Some("a part of the path is a file".into()),
        Errno::E2BIG => {
            Some("process.args and process.env are larger than the kernel allows".into())
        }
        Errno::ENOENT | Errno::ENOEXEC => {
            let head = process
                .candidates
                .iter()
                .find_map(|path| first_bytes(rootfs, path))?;
            file_hint(name, &head, errno)
        }
        _ => None,
    }
}

/// The start of a file of the rootfs: no link leads out, nothing but a regular file is read.
fn first_bytes(rootfs: &CStr, path: &CStr) -> Option<Vec<u8>> {
    let file = crate::launch::rootfs_file::open_regular(rootfs, path)?;
    let mut head = Vec::new();
    file.take(256).read_to_end(&mut head).ok()?;
    Some(head)
}

fn file_hint(name: &str, head: &[u8], errno: Errno) -> Option<String> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let interpreter = String::from_utf8_lossy(line).trim_start().to_owned();
        return Some(if interpreter.ends_with('\r') {
            format!(
                "{name} has Windows line ends (CRLF), so its interpreter is taken for {interpreter:?}: convert it with dos2unix"
            )
        } else {
            format!(
                "{name} is a script and its interpreter {interpreter:?} does not run in the container"
            )
        });
    }
    if let Some(machine) = elf_machine(head) {
        let here = std::env::consts::ARCH;
        return Some(match (errno, machine) {
            (Errno::ENOEXEC, machine) if machine != here => {
                format!(
                    "{name} is for {machine} and this machine is {here}: use an image of the right architecture"
                )
            }
            (Errno::ENOENT, _) if names_no_loader(head) => format!(
                "{name} exists in the rootfs, but a mount or one of linux.maskedPaths covers it"
            ),
            (Errno::ENOENT, _) => format!(
                "{name} exists, and the dynamic loader that it names does not: the image lacks its C library"
            ),
            _ => format!("{name} is an ELF file that this kernel can't run"),
        });
    }
    match errno {
        Errno::ENOEXEC if head.is_empty() => Some("the file is empty".into()),
        Errno::ENOEXEC => Some(format!(
            "{name} is neither an ELF program nor a script with #! in its first line"
        )),
        _ => None,
    }
}

/// Whether a 64-bit little-endian ELF file is surely static. Its PT_INTERP, if there is one,
/// precedes every PT_LOAD: elf(5).
fn names_no_loader(head: &[u8]) -> bool {
    const CLASS_64_LITTLE: &[u8] = b"\x7fELF\x02\x01";
    const HEADER: usize = 64;
    const ENTRY: usize = 56;
    const PT_LOAD: &[u8] = &[1, 0, 0, 0];
    const PT_INTERP: &[u8] = &[3, 0, 0, 0];
    let Some(entries) = head
        .get(HEADER..)
        .filter(|_| head.starts_with(CLASS_64_LITTLE))
    else {
        return false;
    };
    let mut types = entries
        .chunks_exact(ENTRY)
        .filter_map(|entry| entry.get(..4));
    types.find(|kind| matches!(*kind, PT_LOAD | PT_INTERP)) == Some(PT_LOAD)
}

/// The machine of an ELF file, by the name that Rust and the kernel use.
fn elf_machine(head: &[u8]) -> Option<&'static str> {
    let head = head.strip_prefix(b"\x7fELF")?;
    let little = head.get(1) == Some(&1);
    let bytes = [*head.get(14)?, *head.get(15)?];
    let number = if little {
        u16::from_le_bytes(bytes)
    } else {
        u16::from_be_bytes(bytes)
    };
    Some(match number {
        3 => "x86",
        21 => "powerpc64",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        258 => "loongarch64",
        _ => "another machine",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(head: &[u8], errno: Errno) -> String {
        file_hint("/x", head, errno).unwrap()
    }

    fn elf(machine: u16) -> Vec<u8> {
        let mut head = b"\x7fELF\x02\x01".to_vec();
        head.resize(18, 0);
        head.extend_from_slice(&machine.to_le_bytes());
        head
    }

    #[test]
    fn the_first_bytes_tell_why_a_program_does_not_run() {
        assert!(hint(b"#!/bin/sh\r\necho", Errno::ENOENT).contains("CRLF"));
        assert!(hint(b"#!/no/such\necho", Errno::ENOENT).contains("\"/no/such\""));
        assert!(
            hint(b"echo hello", Errno::ENOEXEC).contains("neither an ELF program nor a script")
        );
        assert!(hint(b"", Errno::ENOEXEC).contains("empty"));
        assert!(hint(&elf(22), Errno::ENOEXEC).contains("is for s390x"));
        assert!(hint(&elf(62), Errno::ENOENT).contains("dynamic loader"));
    }

    #[test]
    fn a_static_program_that_is_not_found_is_covered() {
        // Program headers from offset 64: PT_NOTE, then another.
        let with_second = |kind: u8| {
            let mut head = elf(62);
            head.resize(256, 0);
            head[64] = 4;
            head[64 + 56] = kind;
            hint(&head, Errno::ENOENT)
        };
        assert!(with_second(1).contains("covers it"));
        assert!(with_second(3).contains("dynamic loader"));
    }

    #[test]
    fn a_cut_elf_header_is_no_panic() {
        for length in 0..20 {
            let head = elf(62);
            drop(file_hint("/x", &head[..length], Errno::ENOEXEC));
        }
    }
}
