//! The host's procfs and sysfs, taken out of a mount namespace that keeps the host's tree below
//! its root.

use core::ffi::CStr;

use crate::failure::{At, refuse};
use crate::interpreter::Init;
use crate::paths::{self, Path};
use crate::program::{Call, Failure};
use crate::sys::{self, Errno};

impl Init<'_> {
    /// Unmounts every proc and sysfs that is not below the rootfs; one that a user namespace may
    /// not unmount is covered by a tmpfs.
    pub(crate) fn remove_host_procfs(&mut self) -> Result<(), Failure> {
        let mut rootfs = Path::new();
        let link = paths::descriptor_path(self.rootfs()?).at(Call::Readlink)?;
        let length =
            sys::readlinkat(self.proc, link.as_c_str(), rootfs.room()).at(Call::Readlink)?;
        rootfs.truncate(length);

        // The kernel's cursor stands unmounting while the list is read.
        let path = c"self/mountinfo";
        let list = paths::open_in_proc(self.proc, path, libc::O_RDONLY).at(Call::Open)?;
        let mut buffer = [0_u8; 16 * 1024];
        let mut kept = 0;
        loop {
            let room = buffer.get_mut(kept..).unwrap_or_default();
            let length = sys::uninterrupted(|| sys::read(list.raw(), room)).at(Call::Read)?;
            if length == 0 {
                return Ok(());
            }
            let filled = buffer.get(..kept + length).unwrap_or_default();
            let Some(end) = filled.iter().rposition(|byte| *byte == b'\n') else {
                return refuse(Call::Read, libc::E2BIG);
            };
            for line in filled
                .get(..end)
                .unwrap_or_default()
                .split(|byte| *byte == b'\n')
            {
                remove_if_procfs(line, rootfs.as_bytes())?;
            }
            kept = filled.len() - (end + 1);
            keep_rest(&mut buffer, end + 1, kept);
        }
    }
}

/// Moves the beginning of a line to the front.
fn keep_rest(buffer: &mut [u8], from: usize, length: usize) {
    for at in 0..length {
        if let Some(byte) = buffer.get(from + at).copied()
            && let Some(front) = buffer.get_mut(at)
        {
            *front = byte;
        }
    }
}

fn remove_if_procfs(line: &[u8], rootfs: &[u8]) -> Result<(), Failure> {
    let Some((point, kind)) = point_and_kind(line) else {
        return refuse(Call::Read, libc::EIO);
    };
    if !matches!(kind, b"proc" | b"sysfs") {
        return Ok(());
    }
    let point = unescape(point).at(Call::Read)?;
    if is_below(point.as_bytes(), rootfs) {
        Ok(())
    } else {
        remove(point.as_c_str())
    }
}

fn remove(point: &CStr) -> Result<(), Failure> {
    // A slave first: the unmount must not travel to the host.
    match sys::mount(None, point, None, libc::MS_SLAVE | libc::MS_REC, None) {
        // It was below one that has been unmounted.
        Err(Errno(libc::ENOENT | libc::EINVAL)) => return Ok(()),
        done => done.at(Call::Mount)?,
    }
    match sys::umount(point, libc::MNT_DETACH) {
        // Locked, as mounts from outside of a user namespace are.
        Err(Errno(libc::EINVAL | libc::EPERM)) => {
            let tmpfs = Some(c"tmpfs");
            sys::mount(tmpfs, point, tmpfs, libc::MS_RDONLY, None).at(Call::Mount)
        }
        done => done.at(Call::Umount),
    }
}

/// The fields of a line of mountinfo that matter here, still escaped: proc_pid_mountinfo(5).
fn point_and_kind(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = fields.nth(4)?;
    fields.find(|field| *field == b"-")?;
    Some((point, fields.next()?))
}

/// Undoes the `\NNN` that mountinfo has for space, tab, newline and backslash.
fn unescape(escaped: &[u8]) -> sys::Result<Path> {
    let mut path = Path::new();
    let mut rest = escaped;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (
                b'\\',
                [
                    a @ b'0'..=b'3',
                    b @ b'0'..=b'7',
                    c @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => {
                rest = after;
                path.push(&[(a - b'0') << 6 | (b - b'0') << 3 | (c - b'0')])?;
            }
            _ => path.push(&[*first])?,
        }
    }
    Ok(path)
}

fn is_below(point: &[u8], rootfs: &[u8]) -> bool {
    point
        .strip_prefix(rootfs)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b"36 35 98:0 / /mnt\\040x rw,noatime master:1 - proc /dev/root rw";

    #[test]
    fn a_line_of_mountinfo_has_its_point_and_its_type() {
        assert_eq!(
            point_and_kind(LINE),
            Some((&b"/mnt\\040x"[..], &b"proc"[..]))
        );
        assert_eq!(point_and_kind(b"36 35 98:0 /"), None);
    }

    #[test]
    fn escaped_bytes_are_themselves_again() {
        let plain = |escaped: &[u8], expected: &[u8]| {
            assert_eq!(unescape(escaped).ok().unwrap().as_bytes(), expected);
        };
        plain(b"/mnt\\040x", b"/mnt x");
        plain(b"/a\\134b", b"/a\\b");
        plain(b"/a\\9", b"/a\\9");
    }

    #[test]
    fn only_whole_parts_of_a_path_make_it_lie_below() {
        assert!(is_below(b"/c/rootfs/proc", b"/c/rootfs"));
        assert!(is_below(b"/c/rootfs", b"/c/rootfs"));
        assert!(!is_below(b"/c/rootfs2/proc", b"/c/rootfs"));
    }
}
