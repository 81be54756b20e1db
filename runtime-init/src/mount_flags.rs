//! Mount attributes as the flags of mount(2) and statfs(2).

use crate::program::Attributes;
use crate::sys;

/// MS_* of the access time field.
const ACCESS: u64 = libc::MS_NOATIME | libc::MS_RELATIME | libc::MS_STRICTATIME;

/// The MS_* flags that these become when the attributes change.
///
/// A remount without a flag for access times would leave them as they are, so where the field
/// is to change there is always one.
pub(crate) fn changed(flags: u64, attributes: Attributes) -> u64 {
    let Attributes { set, clear } = attributes;
    let access = if (set | clear) & sys::MOUNT_ATTR_ATIME == 0 {
        flags & ACCESS
    } else {
        match set & sys::MOUNT_ATTR_ATIME {
            sys::MOUNT_ATTR_NOATIME => libc::MS_NOATIME,
            sys::MOUNT_ATTR_STRICTATIME => libc::MS_STRICTATIME,
            _ => libc::MS_RELATIME,
        }
    };
    (flags & !ACCESS & !single_flags(clear)) | single_flags(set) | access
}

/// MS_* for the attributes that have one bit.
fn single_flags(attributes: u64) -> u64 {
    [
        (sys::MOUNT_ATTR_RDONLY, libc::MS_RDONLY),
        (sys::MOUNT_ATTR_NOSUID, libc::MS_NOSUID),
        (sys::MOUNT_ATTR_NODEV, libc::MS_NODEV),
        (sys::MOUNT_ATTR_NOEXEC, libc::MS_NOEXEC),
        (sys::MOUNT_ATTR_NODIRATIME, libc::MS_NODIRATIME),
        (sys::MOUNT_ATTR_NOSYMFOLLOW, sys::MS_NOSYMFOLLOW),
    ]
    .iter()
    .filter(|(attribute, _)| attributes & attribute != 0)
    .fold(0, |flags, (_, flag)| flags | flag)
}

/// MS_* for the `f_flags` of statfs(2), which has no bit for strictatime.
pub(crate) fn flags_of_statfs(status: u64) -> u64 {
    let same = libc::MS_RDONLY
        | libc::MS_NOSUID
        | libc::MS_NODEV
        | libc::MS_NOEXEC
        | libc::MS_NOATIME
        | libc::MS_NODIRATIME;
    let moved = |from: u64, to: u64| if status & from == 0 { 0 } else { to };
    let flags = (status & same)
        | moved(sys::ST_RELATIME, libc::MS_RELATIME)
        | moved(sys::ST_NOSYMFOLLOW, sys::MS_NOSYMFOLLOW);
    if flags & ACCESS == 0 {
        flags | libc::MS_STRICTATIME
    } else {
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_has_its_mount_flag() {
        let set = sys::MOUNT_ATTR_RDONLY
            | sys::MOUNT_ATTR_NOSUID
            | sys::MOUNT_ATTR_NODEV
            | sys::MOUNT_ATTR_NOEXEC
            | sys::MOUNT_ATTR_NODIRATIME
            | sys::MOUNT_ATTR_NOSYMFOLLOW
            | sys::MOUNT_ATTR_STRICTATIME;
        let flags = libc::MS_RDONLY
            | libc::MS_NOSUID
            | libc::MS_NODEV
            | libc::MS_NOEXEC
            | libc::MS_NODIRATIME
            | sys::MS_NOSYMFOLLOW
            | libc::MS_STRICTATIME;
        assert_eq!(changed(0, Attributes { set, clear: 0 }), flags);
        assert_eq!(
            changed(flags, Attributes { set: 0, clear: set }),
            libc::MS_RELATIME
        );
        assert_eq!(changed(flags, Attributes::default()), flags);
    }

    #[test]
    fn access_times_change_only_when_told_to() {
        let relatime = Attributes {
            set: 0,
            clear: sys::MOUNT_ATTR_ATIME,
        };
        let readonly = Attributes {
            set: sys::MOUNT_ATTR_RDONLY,
            clear: 0,
        };
        assert_eq!(changed(libc::MS_NOATIME, relatime), libc::MS_RELATIME);
        let kept = libc::MS_NOATIME | libc::MS_RDONLY;
        assert_eq!(changed(libc::MS_NOATIME, readonly), kept);
    }

    #[test]
    fn flags_that_statfs_tells_survive_a_remount() {
        let told = libc::MS_NOSUID | libc::MS_NODEV | sys::ST_RELATIME | sys::ST_NOSYMFOLLOW;
        let kept = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_RELATIME | sys::MS_NOSYMFOLLOW;
        assert_eq!(flags_of_statfs(told), kept);
        assert_eq!(flags_of_statfs(0), libc::MS_STRICTATIME);
    }
}
