//! Numbers and structures of the kernel's interface that the libc crate lacks or defines
//! differently from one C library to the next.

pub(crate) const OPEN_TREE_CLONE: u32 = 1;
pub(crate) const AT_RECURSIVE: u32 = 0x8000;
pub(crate) const AT_EMPTY_PATH: u32 = 0x1000;

pub(crate) const FSCONFIG_SET_FLAG: u32 = 0;
pub(crate) const FSCONFIG_SET_STRING: u32 = 1;
pub(crate) const FSCONFIG_CMD_CREATE: u32 = 6;

pub(crate) const RESOLVE_NO_XDEV: u64 = 0x01;
pub(crate) const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
pub(crate) const RESOLVE_NO_SYMLINKS: u64 = 0x04;
pub(crate) const RESOLVE_BENEATH: u64 = 0x08;
pub(crate) const RESOLVE_IN_ROOT: u64 = 0x10;

pub(crate) const MOUNT_ATTR_RDONLY: u64 = 0x01;
pub(crate) const MOUNT_ATTR_NOSUID: u64 = 0x02;
pub(crate) const MOUNT_ATTR_NODEV: u64 = 0x04;
pub(crate) const MOUNT_ATTR_NOEXEC: u64 = 0x08;
pub(crate) const MOUNT_ATTR_ATIME: u64 = 0x70;
pub(crate) const MOUNT_ATTR_NOATIME: u64 = 0x10;
pub(crate) const MOUNT_ATTR_STRICTATIME: u64 = 0x20;
pub(crate) const MOUNT_ATTR_NODIRATIME: u64 = 0x80;
pub(crate) const MOUNT_ATTR_NOSYMFOLLOW: u64 = 0x20_0000;

pub(crate) const MS_NOSYMFOLLOW: u64 = 256;
/// The bits of `f_flags` in statfs(2) that are not those of mount(2).
pub(crate) const ST_RELATIME: u64 = 4096;
pub(crate) const ST_NOSYMFOLLOW: u64 = 8192;

pub(crate) const CLONE_NEWTIME: u64 = 0x80;
pub(crate) const CLONE_PIDFD: u64 = 0x1000;
pub(crate) const CLONE_PARENT: u64 = 0x8000;
pub(crate) const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

pub(crate) const CLOSE_RANGE_CLOEXEC: u32 = 4;

pub(crate) const PROC_SUPER_MAGIC: u64 = 0x9fa0;
/// The inode number of a procfs's root directory.
pub(crate) const PROC_ROOT_INODE: u64 = 1;
pub(crate) const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

pub(crate) const TIOCSPTLCK: u32 = 0x4004_5431;
pub(crate) const TIOCGPTN: u32 = 0x8004_5430;
pub(crate) const TIOCGPTPEER: u32 = 0x5441;
pub(crate) const TIOCSWINSZ: u32 = 0x5414;
pub(crate) const TIOCSCTTY: u32 = 0x540e;
pub(crate) const SIOCGIFFLAGS: u32 = 0x8913;
pub(crate) const SIOCSIFFLAGS: u32 = 0x8914;

/// `struct open_how`.
#[repr(C)]
pub(super) struct OpenHow {
    pub(super) flags: u64,
    pub(super) mode: u64,
    pub(super) resolve: u64,
}

/// `struct mount_attr`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct MountAttr {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) propagation: u64,
    pub(crate) user_namespace: u64,
}

/// `struct statx_timestamp`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Timestamp {
    pub(crate) sec: i64,
    pub(crate) nsec: u32,
    pub(crate) reserved: i32,
}

/// `struct statx`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Status {
    pub(crate) mask: u32,
    pub(crate) block_size: u32,
    pub(crate) attributes: u64,
    pub(crate) links: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u16,
    pub(crate) spare: u16,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    pub(crate) blocks: u64,
    pub(crate) attributes_mask: u64,
    pub(crate) accessed: Timestamp,
    pub(crate) born: Timestamp,
    pub(crate) changed: Timestamp,
    pub(crate) modified: Timestamp,
    pub(crate) device_major: u32,
    pub(crate) device_minor: u32,
    pub(crate) filesystem_major: u32,
    pub(crate) filesystem_minor: u32,
    pub(crate) rest: [u64; 14],
}

impl Status {
    /// STATX_ATTR_MOUNT_ROOT.
    const MOUNT_ROOT: u64 = 0x2000;

    pub(crate) fn is_mount_root(&self) -> bool {
        self.attributes & Self::MOUNT_ROOT != 0
    }

    /// The S_IF* bits.
    pub(crate) fn kind(&self) -> u32 {
        u32::from(self.mode) & libc::S_IFMT
    }

    pub(crate) fn permissions(&self) -> u32 {
        u32::from(self.mode) & 0o7777
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    pub(crate) fn is_device(&self, kind: u32, major: u32, minor: u32) -> bool {
        self.kind() == kind && self.device_major == major && self.device_minor == minor
    }
}

/// `struct statfs` of 64-bit architectures, as far as it is of use.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct FilesystemStatus {
    pub(crate) magic: u64,
    unused: [u64; 9],
    pub(crate) flags: u64,
    spare: [u64; 4],
}

/// `struct user_cap_header_struct` of _LINUX_CAPABILITY_VERSION_3.
#[repr(C)]
pub(super) struct CapabilityHeader {
    pub(super) version: u32,
    pub(super) pid: i32,
}

/// `struct user_cap_data_struct`; there are two, for the low and the high half.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct CapabilityData {
    pub(super) effective: u32,
    pub(super) permitted: u32,
    pub(super) inheritable: u32,
}

/// The kernel's own `struct sigaction`, with an empty mask.
#[repr(C)]
pub(super) struct SignalAction {
    pub(super) handler: usize,
    pub(super) flags: u64,
    pub(super) restorer: usize,
    pub(super) mask: u64,
}

/// `struct ifreq` with its flags.
#[repr(C)]
pub(super) struct InterfaceRequest {
    pub(super) name: [u8; 16],
    pub(super) flags: u16,
    pub(super) unused: [u8; 22],
}

/// `struct msghdr`.
#[repr(C)]
pub(super) struct MessageHeader {
    pub(super) name: usize,
    pub(super) name_length: u32,
    pub(super) gap: u32,
    pub(super) vectors: *const Vector,
    pub(super) vector_count: usize,
    pub(super) control: *const RightsMessage,
    pub(super) control_length: usize,
    pub(super) flags: u32,
    pub(super) end: u32,
}

/// `struct iovec`.
#[repr(C)]
pub(super) struct Vector {
    pub(super) base: *const u8,
    pub(super) length: usize,
}

/// `struct cmsghdr` with one descriptor.
#[repr(C)]
pub(super) struct RightsMessage {
    pub(super) length: usize,
    pub(super) level: i32,
    pub(super) kind: i32,
    pub(super) descriptor: i32,
    pub(super) end: u32,
}

const _: () = {
    assert!(size_of::<OpenHow>() == 24);
    assert!(size_of::<MountAttr>() == 32);
    assert!(size_of::<Status>() == 256);
    assert!(size_of::<FilesystemStatus>() == 120);
    assert!(size_of::<CapabilityHeader>() == 8);
    assert!(size_of::<CapabilityData>() == 12);
    assert!(size_of::<SignalAction>() == 32);
    assert!(size_of::<InterfaceRequest>() == 40);
    assert!(size_of::<MessageHeader>() == 56);
    assert!(size_of::<RightsMessage>() == 24);
};
