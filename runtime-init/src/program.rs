//! What the child is told to do: a list of steps with every value ready for the kernel.
//!
//! The parent makes the list before clone3 from its `Plan`; the child walks it once, in
//! order, and reports a failure as numbers: which step, which call, which errno. The parent
//! still has the list, so it is the parent that finds the words.

use core::ffi::{CStr, c_char};

use libc::sock_filter;

/// A descriptor number in the table that the child has from its parent.
pub type RawFd = i32;

/// Everything the child needs; borrowed from the parent's memory, of which it has a copy.
#[derive(Debug)]
pub struct Program<'a> {
    /// What to do, in order. The last step is [`Step::Exec`].
    pub steps: &'a [Step<'a>],
    /// The child's end of the SOCK_SEQPACKET socket that it shares with its parent.
    pub sync: RawFd,
    /// The root directory of a procfs, checked by the parent to be one.
    pub proc: RawFd,
}

/// One fallible act of the child.
///
/// Paths of the rootfs are absolute inside the container and are resolved under the
/// rootfs's descriptor, never by the host's root.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    // --- arriving
    /// Clears the dumpable flag: no process of a joined namespace may open this one's
    /// `/proc/PID/{exe,root,fd}` (prctl(2), PR_SET_DUMPABLE).
    Undumpable,
    /// Closes every descriptor but these, which are sorted: what the runtime's caller left open
    /// is out of reach before any namespace is joined.
    KeepOnly(&'a [RawFd]),
    /// Closes every descriptor but these, which are sorted, with those that earlier steps have
    /// opened and the parent's procfs: a container that can look into this process finds
    /// nothing of the host's. Steps after it name no path of the rootfs or of the procfs.
    LetGo(&'a [RawFd]),
    /// rt_sigaction(2): every signal at its default but SIGPIPE, which stays ignored until
    /// [`Step::Exec`]. clone3(2) has taken handlers away, but what the runtime's caller ignores
    /// (nohup(1), a shell's job in the background) would stay ignored, in hooks and in the program.
    /// Before any filter of the container's, which may hide the call or tell of it.
    DefaultSignals,
    /// Makes these descriptors the standard input, output and error (dup3(2)).
    Stdio([RawFd; 3]),
    /// Lets the program have these descriptors: they stay open over execve(2).
    PassOn(&'a [RawFd]),
    /// sched_setaffinity(2): the CPUs as the kernel's mask, of which it takes those that the
    /// cgroup has.
    Affinity(&'a [u64]),
    /// Enters cgroup v1 directories by writing `0` to these open `tasks` files.
    EnterCgroups(&'a [RawFd]),
    /// setns(2) with a namespace's descriptor and its CLONE_NEW* type; a descriptor of
    /// another type fails with EINVAL.
    Join {
        /// The namespace, open.
        namespace: RawFd,
        /// CLONE_NEW* of the expected type, or several of them with a pidfd.
        kind: u64,
    },
    /// unshare(2).
    Unshare(u64),
    /// Goes on in a second process with these further clone flags, a sibling of this one
    /// (CLONE_PARENT); tells the parent its pid ([`Message::RESPAWNED`]) and ends this one.
    Respawn(u64),
    /// Tells the parent how far the child is.
    Tell(Phase),
    /// Waits until the parent says that it has done its part. End of file means that the
    /// parent is gone: the child ends without a word.
    Await(Gate),
    /// Gives the parent this process's user namespace, open, with [`Phase::UserNamespace`]: the
    /// procfs opens those of an undumpable process to nobody else without CAP_SYS_PTRACE.
    TellUserNamespace,
    /// Takes user 0 and group 0 of the new user namespace, keeping all capabilities there.
    /// With `set_groups` the supplementary groups are emptied.
    BecomeRoot {
        /// Whether setgroups(2) is allowed in the namespace.
        set_groups: bool,
    },
    /// Makes a new time namespace, writes `/proc/self/timens_offsets`, enters it.
    TimeOffsets(&'a [u8]),
    /// setsid(2).
    NewSession,
    /// Joins a new session keyring of this name (keyctl(2)), and lets its owner search it.
    /// ENOSYS is no failure: a kernel without keyrings has none to leak.
    SessionKeyring(&'a CStr),
    /// sethostname(2).
    Hostname(&'a [u8]),
    /// setdomainname(2).
    Domainname(&'a [u8]),
    /// Brings the loopback device of the network namespace up.
    LoopbackUp,

    // --- the root filesystem
    /// Sets the propagation of every mount of this namespace (MS_SLAVE, MS_PRIVATE, …).
    RootPropagation(u64),
    /// Makes the rootfs a mount of its own and keeps a descriptor of it: all later paths
    /// start there. The mount above it becomes private, so that pivot_root(2) accepts it.
    BindRootfs(&'a CStr),
    /// Keeps a descriptor of a rootfs without mounting anything.
    OpenRootfs(&'a CStr),
    /// Attaches a filesystem or a part of one.
    Mount(Mount<'a>),
    /// Makes a directory with its missing parents, unless it is there.
    Directory {
        /// Where.
        path: &'a CStr,
        /// Its permission bits, whatever the umask.
        mode: u32,
    },
    /// Makes a device node. One that is there must be the same device.
    Device(Device<'a>),
    /// Makes a symbolic link. One that is there with the same target is left alone; any other
    /// file fails with EEXIST unless `replace`.
    Symlink {
        /// The link's text.
        text: &'a CStr,
        /// Where the link is made.
        path: &'a CStr,
        /// Whether a file that is in the way is removed first.
        replace: bool,
    },
    /// A new pseudoterminal of the container's devpts: its peer becomes /dev/console (when
    /// `bind`) and descriptors 0 to 2; its master goes to `socket`.
    Console(Console<'a>),
    /// Makes descriptor 0 the controlling terminal of this session (ioctl_tty(2), TIOCSCTTY).
    ControllingTerminal,
    /// Runs one hook in a process of its own and waits for it.
    Hook(Hook<'a>),
    /// Writes a sysctl: a path below `/proc/sys`, by the parent's procfs.
    Sysctl {
        /// Such as `net/ipv4/ip_forward`.
        path: &'a CStr,
        /// Written in one write(2).
        value: &'a [u8],
    },
    /// Makes a path read-only; mounts below it keep their attributes. A missing path is no
    /// failure.
    ReadonlyPath(&'a CStr),
    /// Hides a file behind /dev/null, a directory behind an empty read-only tmpfs. A missing
    /// path is no failure.
    MaskedPath(&'a CStr),
    /// Makes the rootfs mount read-only.
    ReadonlyRootfs,
    /// Makes the rootfs `/` by pivot_root(2) and detaches the host's tree.
    PivotRoot,
    /// The same by MS_MOVE and chroot(2), where pivot_root(2) can't work (initramfs).
    MoveRoot,
    /// chroot(2) into the rootfs, for a container without a mount namespace of its own.
    Chroot,
    /// Sets the propagation of the container's `/` after the pivot.
    FinalPropagation(u64),

    // --- the process
    /// Opens `/proc/self/attr/<file>` for [`Step::LsmLabel`], while the child may.
    OpenLsmLabel(&'a CStr),
    /// Writes the label of the next execve(2) into what `OpenLsmLabel` opened.
    LsmLabel(&'a [u8]),
    /// personality(2).
    Personality(u32),
    /// set_mempolicy(2).
    MemoryPolicy {
        /// MPOL_* and MPOL_F_* in one.
        mode: u32,
        /// Node n is bit n % 64 of word n / 64.
        nodes: &'a [u64],
    },
    /// The file mode creation mask that the program gets; without this step the caller's.
    Umask(u32),
    /// Gives descriptors 0 to 2 to this user, except `/dev/null` and where the kernel refuses
    /// (EINVAL, EPERM, EROFS): the program may then open `/dev/stdout`.
    OwnStdio {
        /// In the container's user namespace.
        uid: u32,
    },
    /// setgroups(2).
    Groups(&'a [u32]),
    /// setresgid(2), then setresuid(2), keeping permitted capabilities.
    User {
        /// In the container's user namespace.
        uid: u32,
        /// In the container's user namespace.
        gid: u32,
    },
    /// Drops every capability that is not in the mask from the bounding set.
    BoundingSet(u64),
    /// capset(2), then the ambient set. Ambient capabilities that the kernel refuses for want
    /// of an inheritable one fail with EPERM.
    Capabilities(CapabilityMasks),
    /// prlimit(2) of the child itself: a runtime without CAP_SYS_RESOURCE may not set the limits
    /// of a process that has become another user.
    Limit {
        /// RLIMIT_*.
        resource: u32,
        /// In the resource's own unit.
        soft: u64,
        /// In the resource's own unit.
        hard: u64,
    },
    /// prctl(2), PR_SET_NO_NEW_PRIVS.
    NoNewPrivileges,
    /// seccomp(2), SECCOMP_SET_MODE_FILTER.
    Seccomp {
        /// The assembled program.
        program: &'a [sock_filter],
        /// SECCOMP_FILTER_FLAG_*.
        flags: u32,
    },
    /// The same with SECCOMP_FILTER_FLAG_NEW_LISTENER; the parent gets the listener's descriptor
    /// with [`Phase::Filtered`], and the child keeps none.
    SeccompListener {
        /// The assembled program.
        program: &'a [sock_filter],
        /// SECCOMP_FILTER_FLAG_*, the one for the listener apart.
        flags: u32,
    },
    /// chdir(2), and checks that the directory is below the root.
    WorkingDirectory {
        /// Inside the container.
        path: &'a CStr,
        /// Whether missing directories are made.
        create: bool,
    },
    /// Sets close-on-exec on every descriptor from this one on.
    CloseOnExecFrom(u32),
    /// Looks for the program among these paths, in order: the first that is an executable
    /// file is what [`Step::Exec`] starts. None: the most telling errno of them all.
    FindProgram(&'a [&'a CStr]),
    /// Waits in accept4(2) on this listening SOCK_SEQPACKET socket for whoever starts the
    /// container; from then on failures go to that connection. The connection is
    /// close-on-exec, so its end of file after [`Phase::Executing`] means success.
    AwaitStart(RawFd),
    /// execve(2) of what `FindProgram` found, with all signals unblocked and SIGPIPE at its
    /// default; [`Step::DefaultSignals`] is for the others.
    Exec(Exec<'a>),
}

/// A mount, as typed steps on descriptors.
#[derive(Clone, Copy, Debug)]
pub struct Mount<'a> {
    /// What is attached.
    pub source: Source<'a>,
    /// Where: missing parts are made, directories for a directory, an empty file otherwise.
    pub target: &'a CStr,
    /// Whether a link in `target` is refused instead of resolved inside the rootfs.
    pub refuse_links: bool,
    /// Whether `target` may lie in a procfs.
    pub inside_proc: bool,
    /// Whether a bound tree must be the root of a procfs.
    pub source_is_procfs: bool,
    /// MOUNT_ATTR_* to set and to clear on the mount itself.
    pub attributes: Attributes,
    /// MOUNT_ATTR_* to set and to clear on it and on every mount below it.
    pub recursive: Attributes,
    /// Propagation changes, in order: MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE, each
    /// with or without MS_REC.
    pub propagation: &'a [u64],
    /// Whether what `target` has in the rootfs is copied into the new filesystem first
    /// (tmpcopyup).
    pub copy_up: bool,
}

/// What a mount attaches.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A new filesystem: fsopen(2), fsconfig(2), fsmount(2).
    Filesystem {
        /// Such as `tmpfs`.
        kind: &'a CStr,
        /// The `source` parameter.
        device: Option<&'a CStr>,
        /// Parameters in order; without a value, a flag.
        options: &'a [(&'a CStr, Option<&'a CStr>)],
    },
    /// A copy of a tree of the host's, by open_tree(2) in the child.
    Bind {
        /// A path of the runtime's mount namespace.
        path: &'a CStr,
        /// With the mounts below it.
        recursive: bool,
    },
    /// A detached tree that the parent has opened (and idmapped).
    Tree(RawFd),
    /// mount(2), for what the newer calls can't say: MS_REMOUNT, MS_I_VERSION, MS_SILENT.
    Classic {
        /// Filesystem type.
        kind: &'a CStr,
        /// First argument of mount(2).
        device: &'a CStr,
        /// MS_*.
        flags: u64,
        /// Comma-joined options.
        data: &'a CStr,
    },
    /// The mount that is at `target` already: only its attributes change.
    Existing,
}

/// Attribute bits for mount_setattr(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// MOUNT_ATTR_* to set; for access times the whole field, with MOUNT_ATTR__ATIME cleared.
    pub set: u64,
    /// MOUNT_ATTR_* to clear.
    pub clear: u64,
}

/// A device node.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// Inside the container.
    pub path: &'a CStr,
    /// S_IFCHR, S_IFBLK or S_IFIFO with the permission bits.
    pub mode: u32,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Owner in the container's user namespace.
    pub uid: u32,
    /// Group in the container's user namespace.
    pub gid: u32,
    /// Bind the host's node of this path instead of mknod(2): in a user namespace.
    pub bind: Option<&'a CStr>,
}

/// The container's terminal.
#[derive(Clone, Copy, Debug)]
pub struct Console<'a> {
    /// A connected AF_UNIX socket: gets the master by SCM_RIGHTS, the peer's path as payload.
    pub socket: RawFd,
    /// Rows and columns, if they are to be set.
    pub size: Option<(u16, u16)>,
    /// Whether the peer is bound to /dev/console.
    pub bind: bool,
    /// Owner of the peer.
    pub uid: u32,
    /// The devpts instance's multiplexer, such as `/dev/pts/ptmx`, inside the container.
    pub multiplexer: &'a CStr,
}

/// One hook, run by the child (createContainer, startContainer).
#[derive(Clone, Copy, Debug)]
pub struct Hook<'a> {
    /// Executable, absolute.
    pub path: &'a CStr,
    /// NULL-terminated.
    pub argv: &'a [*const c_char],
    /// NULL-terminated.
    pub envp: &'a [*const c_char],
    /// After so long the hook's process group is killed; [`Failure::TIMED_OUT`].
    pub timeout_ms: u32,
    /// The state as JSON: rewound, then the hook's standard input.
    pub state: RawFd,
    /// Standard output and standard error of the hook.
    pub output: RawFd,
}

/// The five capability sets but the bounding one, as bit masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilityMasks {
    /// Bit n is capability n.
    pub effective: u64,
    /// Bit n is capability n.
    pub permitted: u64,
    /// Bit n is capability n.
    pub inheritable: u64,
    /// Bit n is capability n.
    pub ambient: u64,
}

/// The last step.
#[derive(Clone, Copy, Debug)]
pub struct Exec<'a> {
    /// NULL-terminated.
    pub argv: &'a [*const c_char],
    /// NULL-terminated.
    pub envp: &'a [*const c_char],
}

/// How far the child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Phase {
    /// In a new user namespace, waiting for its id mappings.
    NeedsIds = 1,
    /// All namespaces entered.
    Joined = 2,
    /// Nothing left but to start.
    Ready = 3,
    /// The next call is execve(2).
    Executing = 4,
    /// Its filter is in force; the listener's descriptor comes along (SCM_RIGHTS).
    Filtered = 5,
    /// Its user namespace's descriptor comes along (SCM_RIGHTS).
    UserNamespace = 6,
}

/// What the parent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Gate {
    /// The id mappings are written.
    IdsMapped = 1,
    /// The runtime-namespace hooks have run.
    HooksDone = 2,
    /// The state is on disk; limits are set. A child without [`Step::AwaitStart`] goes on to
    /// execve(2) now.
    Committed = 3,
}

/// Every message of the socket, in both directions: 12 bytes, and text after a failure.
///
/// Values are native-endian; both ends are one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Message {
    /// [`Message::PHASE`], [`Message::GATE`], [`Message::RESPAWNED`] or [`Message::FAILURE`].
    pub kind: u16,
    /// Phase, gate; for a failure the index of the step.
    pub subject: u16,
    /// For a failure the [`Call`]; 0 otherwise.
    pub call: u16,
    /// Keeps the layout free of padding; 0.
    pub reserved: u16,
    /// For a failure errno, or a hook's wait status; for a respawn the pid.
    pub code: i32,
}

impl Message {
    /// `subject` is a [`Phase`].
    pub const PHASE: u16 = 1;
    /// `subject` is a [`Gate`].
    pub const GATE: u16 = 2;
    /// `code` is the pid of the process that goes on, in the parent's pid namespace.
    pub const RESPAWNED: u16 = 3;
    /// `subject`, `call` and `code` say what failed; up to [`Message::TEXT_MAX`] bytes of the
    /// kernel's own explanation may follow.
    pub const FAILURE: u16 = 4;
    /// The longest text after a failure, in bytes.
    pub const TEXT_MAX: usize = 244;
    /// The size of the fixed part, in bytes.
    pub const SIZE: usize = 12;

    /// The bytes as they cross the socket.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[0..2].copy_from_slice(&self.kind.to_ne_bytes());
        bytes[2..4].copy_from_slice(&self.subject.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.call.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.code.to_ne_bytes());
        bytes
    }

    /// The message in these bytes, if they are long enough.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let half = |at: usize| Some(u16::from_ne_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        let code = bytes.get(8..12)?.try_into().ok()?;
        Some(Self {
            kind: half(0)?,
            subject: half(2)?,
            call: half(4)?,
            reserved: 0,
            code: i32::from_ne_bytes(code),
        })
    }
}

/// Why the child gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The call that failed within the step.
    pub call: Call,
    /// errno; with [`Call::HookStatus`] the hook's wait status, or [`Failure::TIMED_OUT`].
    pub code: i32,
}

impl Failure {
    /// The `code` of a hook that did not end in time.
    pub const TIMED_OUT: i32 = -1;
}

/// Names the calls of the child, so that a failure can say which one it was.
macro_rules! calls {
    ($($name:ident = $text:literal,)*) => {
        /// A call of the child that can fail.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        #[allow(missing_docs, reason = "each is the system call of its name, or says so in its text")]
        pub enum Call { $($name,)* }

        impl Call {
            const ALL: &[(Self, &str)] = &[$((Self::$name, $text),)*];

            /// The call as a manual page title, such as `openat2(2)`.
            #[must_use]
            #[allow(clippy::indexing_slicing, reason = "the table has every variant, in order")]
            pub fn text(self) -> &'static str {
                Self::ALL[self as usize].1
            }

            /// The call with this number, as it crossed the socket.
            #[must_use]
            pub fn from_number(number: u16) -> Option<Self> {
                Self::ALL.get(usize::from(number)).map(|(call, _)| *call)
            }
        }
    };
}

calls! {
    Accept = "accept4(2)",
    Capset = "capset(2)",
    CapAmbient = "prctl(2) PR_CAP_AMBIENT",
    CapBsetDrop = "prctl(2) PR_CAPBSET_DROP",
    Chdir = "chdir(2)",
    Chroot = "chroot(2)",
    Clone = "clone3(2)",
    CloseRange = "close_range(2)",
    Copy = "copying what the directory holds",
    Dup = "dup3(2)",
    Execve = "execve(2)",
    Faccessat = "faccessat2(2)",
    Fchmod = "fchmodat(2)",
    Fchown = "fchownat(2)",
    Fcntl = "fcntl(2)",
    Fsconfig = "fsconfig(2)",
    Fsmount = "fsmount(2)",
    Fsopen = "fsopen(2)",
    Fstat = "statx(2)",
    Fstatfs = "fstatfs(2)",
    Getcwd = "getcwd(2)",
    HookStatus = "the hook's end",
    Ioctl = "ioctl(2)",
    Keyctl = "keyctl(2)",
    Mkdir = "mkdirat(2)",
    Mknod = "mknodat(2)",
    Mount = "mount(2)",
    MountSetattr = "mount_setattr(2)",
    MoveMount = "move_mount(2)",
    Open = "openat2(2)",
    OpenTree = "open_tree(2)",
    Personality = "personality(2)",
    PivotRoot = "pivot_root(2)",
    Prctl = "prctl(2)",
    Prlimit = "prlimit(2)",
    Read = "read(2)",
    Readlink = "readlinkat(2)",
    Receive = "recvmsg(2)",
    SchedSetaffinity = "sched_setaffinity(2)",
    Seccomp = "seccomp(2)",
    Send = "sendmsg(2)",
    Setdomainname = "setdomainname(2)",
    SetMempolicy = "set_mempolicy(2)",
    Setgid = "setresgid(2)",
    Setgroups = "setgroups(2)",
    Sethostname = "sethostname(2)",
    Setns = "setns(2)",
    Setsid = "setsid(2)",
    Setuid = "setresuid(2)",
    Sigaction = "rt_sigaction(2)",
    Socket = "socket(2)",
    Symlink = "symlinkat(2)",
    Umask = "umask(2)",
    Umount = "umount2(2)",
    Unlink = "unlinkat(2)",
    Unshare = "unshare(2)",
    Wait = "waitid(2)",
    Write = "write(2)",
    InsideProc = "checking that the target is outside of /proc",
    SourceProcfs = "checking that the source is a procfs",
    DeviceNumbers = "checking the device's numbers",
    OutsideRoot = "checking that the directory is inside the container",
}
