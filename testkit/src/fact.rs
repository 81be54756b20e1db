//! Facts of the machine that a test needs, and skips that nobody overlooks.

use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

/// Something that a test can't do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The test runs as root in the initial user namespace.
    Root,
    /// The test runs as somebody else than root.
    OrdinaryUser,
    /// A program on the path.
    Program(&'static str),
    /// containerd, its shim, dockerd and their clients.
    Engines,
    /// podman, conmon, an init for its containers, and runc.
    Podman,
    /// User namespaces are open to everybody.
    UserNamespaces,
    /// This controller, whether of cgroup v1 or v2.
    Cgroup(&'static str),
    /// A cgroup v1 hierarchy of this controller under /sys/fs/cgroup.
    CgroupV1(&'static str),
    /// A cgroup2 mount that has this controller.
    CgroupV2(&'static str),
    /// The capability with this number is in the bounding set.
    Capability(u8),
    /// AppArmor is enabled.
    AppArmor,
    /// SELinux is enabled.
    Selinux,
    /// criu can dump and restore on this kernel.
    Criu,
    /// The kernel has NUMA policies (CONFIG_NUMA).
    MemoryPolicies,
    /// systemd is the service manager, for a user the user's own.
    Systemd,
}

impl Fact {
    /// Whether this machine has it.
    #[must_use]
    pub fn holds(self) -> bool {
        match self {
            Self::Root => nix::unistd::geteuid().is_root() && in_initial_user_namespace(),
            Self::OrdinaryUser => !nix::unistd::geteuid().is_root(),
            Self::Program(name) => find_program(name).is_some(),
            Self::Engines => crate::engine::is_installed(),
            Self::Podman => crate::podman::is_installed(),
            Self::UserNamespaces => {
                Path::new("/proc/self/ns/user").exists()
                    && first_line("/proc/sys/user/max_user_namespaces") != "0"
                    && first_line("/proc/sys/kernel/unprivileged_userns_clone") != "0"
            }
            Self::Cgroup(controller) => {
                Self::CgroupV1(controller).holds() || Self::CgroupV2(controller).holds()
            }
            Self::CgroupV1(controller) => Path::new("/sys/fs/cgroup")
                .join(controller)
                .join("tasks")
                .exists(),
            Self::CgroupV2(controller) => has_v2_controller(controller),
            Self::Capability(number) => bounding_set() & (1 << number) != 0,
            Self::AppArmor => first_line("/sys/module/apparmor/parameters/enabled") == "Y",
            Self::Selinux => Path::new("/sys/fs/selinux/enforce").exists(),
            Self::Criu => criu_works(),
            Self::MemoryPolicies => Path::new("/proc/self/numa_maps").exists(),
            Self::Systemd => systemd_runs(),
        }
    }

    /// Whether the guests of `cargo xtask test --suite guest` are built without it: what those
    /// tests look at is tested on the host.
    const fn is_known_to_be_missing_in_guests(self) -> bool {
        matches!(
            self,
            Self::CgroupV1(_) | Self::Selinux | Self::Engines | Self::Podman | Self::Program(_)
        )
    }

    /// Whether the project's own CI machines are known to lack it, so that its absence there
    /// is no mistake: hybrid cgroups whose controllers are v1, no CAP_SYS_RESOURCE, no LSM,
    /// no systemd, and root.
    const fn is_known_to_be_missing_in_ci(self) -> bool {
        matches!(
            self,
            Self::CgroupV2(_)
                | Self::Capability(24)
                | Self::AppArmor
                | Self::Selinux
                | Self::Criu
                | Self::Systemd
                | Self::OrdinaryUser
        )
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => write!(f, "root in the initial user namespace"),
            Self::OrdinaryUser => write!(f, "an ordinary user"),
            Self::Program(name) => write!(f, "the program {name}"),
            Self::Engines => write!(f, "containerd and docker.io"),
            Self::Podman => write!(f, "podman, conmon and catatonit"),
            Self::UserNamespaces => write!(f, "user namespaces"),
            Self::Cgroup(controller) => write!(f, "the cgroup controller {controller}"),
            Self::CgroupV1(controller) => write!(f, "a cgroup v1 hierarchy of {controller}"),
            Self::CgroupV2(controller) => write!(f, "cgroup v2 with {controller}"),
            Self::Capability(number) => write!(f, "capability {number} in the bounding set"),
            Self::AppArmor => write!(f, "AppArmor"),
            Self::Selinux => write!(f, "SELinux"),
            Self::Criu => write!(f, "a criu that this kernel agrees with"),
            Self::MemoryPolicies => write!(f, "a kernel with NUMA policies"),
            Self::Systemd => write!(f, "that systemd is running"),
        }
    }
}

/// Returns from the test, loudly, unless all [`Fact`]s hold.
///
/// With `CI=true` or `REQUIRE_KERNEL=1` a missing fact is a failure, except for those that the
/// project's CI machines are known to lack. In a guest ([`crate::guest`]) it always is, except
/// for those that guests are built without.
#[macro_export]
macro_rules! needs {
    ($($fact:expr),+ $(,)?) => {{
        #[allow(unused_imports, reason = "an argument may be a path of its own")]
        use $crate::Fact::*;
        if $crate::missing(&[$($fact),+]) {
            return;
        }
    }};
}

/// Whether one of the facts is missing; says so on standard error. See [`needs!`].
///
/// # Panics
///
/// If it is missing where it has to be there.
#[must_use]
pub fn missing(facts: &[Fact]) -> bool {
    let Some(fact) = facts.iter().find(|fact| !fact.holds()) else {
        return false;
    };
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let may_be_missing = if is_set("TARE_GUEST") {
        let is_users = *fact == Fact::Root && !nix::unistd::geteuid().is_root();
        is_users || fact.is_known_to_be_missing_in_guests()
    } else {
        let strict = is_set("CI") || is_set("REQUIRE_KERNEL");
        !strict || fact.is_known_to_be_missing_in_ci()
    };
    assert!(
        may_be_missing,
        "{test} needs {fact}, which has to be here (a guest, CI or REQUIRE_KERNEL is set)"
    );
    announce(&format!("SKIPPED {test}: it needs {fact}\n"));
    true
}

/// Writes past the capture of the test harness: a skip has to be seen.
fn announce(line: &str) {
    use std::io::Write;
    // A test that is skipped with its stderr closed is skipped all the same.
    drop(std::io::stderr().write_all(line.as_bytes()));
}

fn is_set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// Where a program of this name is, on the path or in the directories for administration.
#[must_use]
pub fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// What `criu check` says, which has a kernel's every feature tried: asked once.
fn criu_works() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| {
        let Some(criu) = find_program("criu") else {
            return false;
        };
        let mut check = std::process::Command::new(criu);
        let null = std::process::Stdio::null;
        check
            .arg("check")
            .stdin(null())
            .stdout(null())
            .stderr(null());
        check.status().is_ok_and(|status| status.success())
    })
}

fn systemd_runs() -> bool {
    if nix::unistd::geteuid().is_root() {
        return Path::new("/run/systemd/private").exists();
    }
    let directory = std::env::var_os("XDG_RUNTIME_DIR").unwrap_or_default();
    Path::new(&directory).join("systemd/private").exists()
}

fn in_initial_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn first_line(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

fn has_v2_controller(controller: &str) -> bool {
    first_line("/sys/fs/cgroup/cgroup.controllers")
        .split(' ')
        .any(|name| name == controller)
}

fn bounding_set() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The controllers that cgroup v2 has and that limits are about.
    const CONTROLLERS: [&str; 6] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];

    #[test]
    fn a_guest_has_what_it_is_built_for() {
        if !is_set("TARE_GUEST") {
            return;
        }
        let built_for = CONTROLLERS.map(Fact::CgroupV2).into_iter().chain([
            Fact::Root,
            Fact::UserNamespaces,
            // CAP_SYS_RESOURCE, CAP_CHECKPOINT_RESTORE.
            Fact::Capability(24),
            Fact::Capability(40),
            Fact::AppArmor,
            Fact::Program("apparmor_parser"),
            Fact::Criu,
        ]);
        let missing: Vec<String> = built_for
            .filter(|fact| !fact.holds())
            .map(|fact| fact.to_string())
            .collect();
        assert_eq!(missing, Vec::<String>::new());
        assert!(!Fact::CgroupV1("memory").holds());
    }
}
