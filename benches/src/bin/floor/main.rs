//! `floor ROOTFS`: the work that the kernel does for a container of the default config, and
//! nothing else: no JSON, no state, no command line, no protection of the own binary.
//!
//! What a runtime takes more than this is the runtime's own.

use std::ffi::CStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{execve, fchdir, pivot_root, setgroups, sethostname, setsid, symlinkat};

mod sys;

const PROGRAM: &CStr = c"/nothing";

/// CAP_KILL, CAP_NET_BIND_SERVICE, CAP_AUDIT_WRITE.
const CAPABILITIES: u64 = 1 << 5 | 1 << 10 | 1 << 29;

const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];

/// Devices of every container, as v1's devices.allow and mknod(2) want them.
const DEVICES: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

fn main() -> ExitCode {
    let Some(rootfs) = std::env::args_os().nth(1) else {
        return ExitCode::from(2);
    };
    match run(Path::new(&rootfs)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // There is nobody to tell if standard error is closed.
            writeln!(std::io::stderr(), "floor: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn run(rootfs: &Path) -> std::io::Result<u8> {
    let cgroups = Cgroup::create_all()?;
    let unified = cgroups.iter().find(|cgroup| cgroup.is_unified);
    let unified = unified.map(Cgroup::open).transpose()?;
    let code = match sys::clone_with_namespaces(unified.as_ref().map(AsFd::as_fd))? {
        None => match become_container(rootfs, &cgroups) {
            Ok(never) => match never {},
            Err(error) => {
                writeln!(std::io::stderr(), "floor: in the child: {error}").ok();
                sys::exit_now(1)
            }
        },
        Some(pid) => match waitpid(pid, None)? {
            WaitStatus::Exited(_, code) => u8::try_from(code).unwrap_or(u8::MAX),
            _ => 137,
        },
    };
    for cgroup in &cgroups {
        fs::remove_dir(&cgroup.path)?;
    }
    Ok(code)
}

/// One cgroup of the container.
struct Cgroup {
    path: PathBuf,
    name: String,
    is_unified: bool,
}

impl Cgroup {
    fn create_all() -> std::io::Result<Vec<Self>> {
        let mut cgroups = Vec::new();
        for (hierarchy, is_unified) in hierarchies()? {
            let name = hierarchy
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let path = hierarchy.join(format!("floor-{}", std::process::id()));
            fs::create_dir(&path)?;
            let cgroup = Self {
                path,
                name,
                is_unified,
            };
            cgroup.prepare(&hierarchy)?;
            cgroups.push(cgroup);
        }
        Ok(cgroups)
    }

    /// What a v1 hierarchy wants before a process may enter, and the device rules.
    fn prepare(&self, parent: &Path) -> std::io::Result<()> {
        match self.name.as_str() {
            "cpuset" => {
                for name in ["cpuset.cpus", "cpuset.mems"] {
                    self.write(name, &fs::read(parent.join(name))?)?;
                }
            }
            "devices" => {
                self.write("devices.deny", b"a")?;
                for rule in ["c *:* m", "b *:* m", "c 5:2 rwm", "c 136:* rwm"] {
                    self.write("devices.allow", rule.as_bytes())?;
                }
                for (_, major, minor) in DEVICES {
                    self.write("devices.allow", format!("c {major}:{minor} rwm").as_bytes())?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn write(&self, name: &str, value: &[u8]) -> std::io::Result<()> {
        OpenOptions::new()
            .write(true)
            .open(self.path.join(name))?
            .write_all(value)
    }

    fn open(&self) -> std::io::Result<OwnedFd> {
        Ok(open(
            &self.path,
            OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?)
    }
}

/// Mount points of cgroup file systems, and whether each is cgroup2.
fn hierarchies() -> std::io::Result<Vec<(PathBuf, bool)>> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let hierarchy = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        // A tmpfs over the cgroup2 mount hides it: there is nothing to make a cgroup in.
        let is_there = Path::new(point).join("cgroup.procs").exists();
        (is_there && kind.starts_with("cgroup")).then(|| (point.into(), kind == "cgroup2"))
    };
    Ok(mounts.lines().filter_map(hierarchy).collect())
}

fn become_container(
    rootfs: &Path,
    cgroups: &[Cgroup],
) -> Result<std::convert::Infallible, Box<dyn std::error::Error>> {
    for cgroup in cgroups.iter().filter(|cgroup| !cgroup.is_unified) {
        cgroup.write("tasks", b"0")?;
    }
    setsid()?;
    sys::join_new_session_keyring()?;
    umask(Mode::empty());
    mount_all(rootfs, cgroups)?;
    make_devices(&rootfs.join("dev"))?;
    enter(rootfs)?;
    restrict_paths()?;
    umask(Mode::from_bits_truncate(0o022));
    sethostname("floor")?;
    setrlimit(Resource::RLIMIT_NOFILE, 1024, 1024)?;
    setgroups(&[])?;
    sys::limit_capabilities(CAPABILITIES)?;
    nix::sys::prctl::set_no_new_privs()?;
    let environment = [c"PATH=/bin", c"TERM=xterm"];
    Ok(execve(PROGRAM, &[PROGRAM], &environment)?)
}

/// The default config's mounts, onto the rootfs.
fn mount_all(rootfs: &Path, cgroups: &[Cgroup]) -> nix::Result<()> {
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
    mount(
        Some(rootfs),
        rootfs,
        none,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        none,
    )?;
    let fresh = |kind: &str, target: &str, flags, data| {
        mount(Some(kind), &rootfs.join(target), Some(kind), flags, data)
    };
    fresh("proc", "proc", MsFlags::empty(), none)?;
    let dev = MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME;
    fresh("tmpfs", "dev", dev, Some("mode=755,size=65536k"))?;
    for name in ["dev/pts", "dev/shm", "dev/mqueue"] {
        nix::unistd::mkdir(&rootfs.join(name), Mode::from_bits_truncate(0o755))?;
    }
    let pts = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    fresh(
        "devpts",
        "dev/pts",
        pts,
        Some("newinstance,ptmxmode=0666,mode=0620,gid=5"),
    )?;
    fresh("tmpfs", "dev/shm", quiet, Some("mode=1777,size=65536k"))?;
    fresh("mqueue", "dev/mqueue", quiet, none)?;
    fresh("sysfs", "sys", quiet | MsFlags::MS_RDONLY, none)?;
    mount_cgroups(&rootfs.join("sys/fs/cgroup"), cgroups, quiet)
}

fn mount_cgroups(target: &Path, cgroups: &[Cgroup], quiet: MsFlags) -> nix::Result<()> {
    let none = None::<&str>;
    mount(
        Some("tmpfs"),
        target,
        Some("tmpfs"),
        quiet,
        Some("mode=755"),
    )?;
    for cgroup in cgroups.iter().filter(|cgroup| !cgroup.is_unified) {
        let point = target.join(&cgroup.name);
        nix::unistd::mkdir(&point, Mode::from_bits_truncate(0o755))?;
        mount(Some(&cgroup.path), &point, none, MsFlags::MS_BIND, none)?;
        read_only(&point, quiet)?;
    }
    read_only(target, quiet)
}

fn make_devices(dev: &Path) -> nix::Result<()> {
    for (name, major, minor) in DEVICES {
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&dev.join(name), SFlag::S_IFCHR, mode, makedev(major, minor))?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlinkat(target, nix::fcntl::AT_FDCWD, &dev.join(name))?;
    }
    Ok(())
}

fn enter(rootfs: &Path) -> nix::Result<()> {
    let directory = |path: &Path| {
        open(
            path,
            OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
    };
    let (old, new) = (directory(Path::new("/"))?, directory(rootfs)?);
    fchdir(&new)?;
    pivot_root(".", ".")?;
    fchdir(&old)?;
    let none = None::<&str>;
    mount(none, ".", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
    umount2(".", MntFlags::MNT_DETACH)?;
    fchdir(&new)?;
    read_only(Path::new("/"), MsFlags::empty())
}

fn restrict_paths() -> nix::Result<()> {
    let none = None::<&str>;
    for path in READ_ONLY {
        match mount(
            Some(path),
            path,
            none,
            MsFlags::MS_BIND | MsFlags::MS_REC,
            none,
        ) {
            Ok(()) => read_only(Path::new(path), MsFlags::empty())?,
            Err(Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    for path in MASKED {
        match mount(Some("/dev/null"), path, none, MsFlags::MS_BIND, none) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(Errno::ENOTDIR) => {
                mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_RDONLY, none)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read_only(point: &Path, flags: MsFlags) -> nix::Result<()> {
    let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(None::<&str>, point, None::<&str>, flags, None::<&str>)
}
