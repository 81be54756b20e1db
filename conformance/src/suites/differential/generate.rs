//! Valid bundles by chance: the same seed gives the same bundle.
//!
//! Only what every runtime of the last years has is asked for, so that a difference is one of
//! meaning. Each part draws for one section of config.json.

use std::path::Path;

use serde_json::{Value, json};

use super::Recipe;
use super::random::Random;
use crate::bundle::Bundle;
use crate::host;

/// What a bundle by chance is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Theme {
    Process,
    Namespaces,
    UserNamespace,
    Mounts,
    Paths,
    Devices,
    Resources,
    Seccomp,
    Everything,
}

impl Theme {
    /// All of them, by the names that their cases have.
    pub(super) const ALL: [(&'static str, Self); 9] = [
        ("process", Self::Process),
        ("namespaces", Self::Namespaces),
        ("user-namespace", Self::UserNamespace),
        ("mounts", Self::Mounts),
        ("paths", Self::Paths),
        ("devices", Self::Devices),
        ("resources", Self::Resources),
        ("seccomp", Self::Seccomp),
        ("everything", Self::Everything),
    ];

    fn is_about(self, part: Self) -> bool {
        self == part || self == Self::Everything && part != Self::UserNamespace
    }
}

/// Makes a plain bundle one of this theme, with what it binds of the host beside it.
pub(super) fn recipe(theme: Theme, seed: u64, bundle: Bundle) -> Recipe {
    let directory = &bundle.path().join("host");
    let mut draw = Draw {
        random: Random::new(seed),
        config: bundle.config().clone(),
        tries: Vec::new(),
    };
    files(&bundle, directory);
    // Which namespaces there are decides what else is valid.
    if theme == Theme::UserNamespace {
        let owner = draw.user_namespace();
        give_away(&bundle.rootfs(), owner);
    } else if theme.is_about(Theme::Namespaces) {
        draw.namespaces();
    }
    draw.sysctl();
    if theme.is_about(Theme::Process) || theme == Theme::UserNamespace {
        draw.user();
        draw.process();
        draw.capabilities();
        draw.limits();
    }
    if theme.is_about(Theme::Mounts) || theme == Theme::UserNamespace {
        draw.mounts(directory);
        draw.root();
    }
    if theme.is_about(Theme::Paths) || theme == Theme::UserNamespace {
        draw.paths();
    }
    if theme.is_about(Theme::Devices) {
        draw.devices();
    }
    if theme.is_about(Theme::Resources) {
        draw.resources();
    }
    if theme.is_about(Theme::Seccomp) {
        draw.seccomp();
    }
    draw.leave_the_host_alone();
    Recipe {
        bundle: bundle.with_config(draw.config),
        tries: draw.tries,
        succeeds: true,
    }
}

/// What mounts and paths of the bundles are about: a tree and a file to bind, a file to mask.
fn files(bundle: &Bundle, directory: &Path) {
    let source = directory.join("source");
    // Mounts below a mount of it have their target, which can't be made where it is read-only.
    for name in ["tree/inner", "tree/b"] {
        std::fs::create_dir_all(source.join(name)).expect("a directory can be made");
    }
    std::fs::write(source.join("tree/inner/file"), "in the tree").expect("a file can be written");
    std::fs::write(source.join("file"), "alone").expect("a file can be written");
    let etc = bundle.rootfs().join("etc");
    std::fs::write(etc.join("secret"), "secret").expect("a file can be written");
}

/// Makes a root filesystem's directories the container's root's own; the program stays everybody's.
fn give_away(rootfs: &Path, owner: u32) {
    let entries = std::fs::read_dir(rootfs).into_iter().flatten().flatten();
    let directories = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir());
    for directory in directories.chain([rootfs.to_owned()]) {
        std::os::unix::fs::chown(directory, Some(owner), Some(owner))
            .expect("root can give a directory away");
    }
}

/// Capabilities that a host of containers gives away, dangerous ones among them.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SYS_CHROOT",
    "CAP_MKNOD",
    "CAP_AUDIT_WRITE",
    "CAP_SYS_ADMIN",
];

struct Draw {
    random: Random,
    config: Value,
    tries: Vec<String>,
}

impl Draw {
    fn has_namespace(&self, kind: &str) -> bool {
        let list = self.config["linux"]["namespaces"].as_array();
        list.is_some_and(|list| list.iter().any(|namespace| namespace["type"] == kind))
    }

    fn tries(&mut self, words: &[&str]) {
        self.tries
            .extend(words.iter().map(|word| (*word).to_owned()));
    }

    /// Without a namespace of its own, a container's names are the host's.
    fn leave_the_host_alone(&mut self) {
        let names_are_the_hosts = !self.has_namespace("uts");
        self.tries
            .retain(|word| !names_are_the_hosts || !word.contains("hostname"));
    }

    fn namespaces(&mut self) {
        let kinds = ["pid", "ipc", "uts", "network", "cgroup"];
        let mut kinds = self.random.some(&kinds, 70);
        kinds.push("mount");
        let list: Vec<Value> = kinds.iter().map(|kind| json!({ "type": kind })).collect();
        self.config["linux"]["namespaces"] = json!(list);
        if self.has_namespace("uts") && self.random.percent(60) {
            self.config["hostname"] = json!(self.random.one(&["a", "drawn-by-chance", "x.y.z"]));
        }
    }

    /// Maps ids, and gives the host's id of the container's root.
    fn user_namespace(&mut self) -> u32 {
        let size = self.random.number(1001, 65536);
        let first = self.random.number(100_000, 900_000);
        let map = json!([{ "containerID": 0, "hostID": first, "size": size }]);
        self.config["linux"]["uidMappings"] = map.clone();
        self.config["linux"]["gidMappings"] = map;
        if let Some(list) = self.config["linux"]["namespaces"].as_array_mut() {
            list.push(json!({ "type": "user" }));
        }
        u32::try_from(first).unwrap_or(u32::MAX)
    }

    fn sysctl(&mut self) {
        let mut values = serde_json::Map::new();
        if self.has_namespace("ipc") && self.random.percent(40) {
            let value = self.random.number(1000, 60_000).to_string();
            values.insert("kernel.msgmax".to_owned(), json!(value));
        }
        if self.has_namespace("network") && self.random.percent(40) {
            values.insert("net.ipv4.ip_forward".to_owned(), json!("1"));
        }
        if !values.is_empty() {
            self.config["linux"]["sysctl"] = Value::Object(values);
        }
        self.tries(&[
            "read:/proc/sys/kernel/msgmax",
            "read:/proc/sys/net/ipv4/ip_forward",
        ]);
    }

    fn user(&mut self) {
        let random = &mut self.random;
        let mut user = json!({
            "uid": random.one(&[0, 0, 1, 1000]),
            "gid": random.one(&[0, 0, 5, 1000]),
        });
        if random.percent(50) {
            user["additionalGids"] = json!(random.some(&[0, 5, 10, 999, 1000], 50));
        }
        if random.percent(50) {
            user["umask"] = json!(random.one(&[0, 0o22, 0o27, 0o77]));
        }
        self.config["process"]["user"] = user;
    }

    fn process(&mut self) {
        let random = &mut self.random;
        let process = &mut self.config["process"];
        process["cwd"] = json!(random.one(&["/", "/tmp", "/etc/..", "/made/for/it"]));
        let words = [
            "PATH=/",
            "HOME=/home/x",
            "EMPTY=",
            "TWO=a=b",
            "TERM=dumb",
            "LANG=C",
        ];
        process["env"] = json!(random.some(&words, 60));
        if random.percent(60) {
            process["noNewPrivileges"] = json!(random.percent(50));
        }
        if random.percent(50) {
            // Lower than the caller's would need a privilege that not every root has.
            let text = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
            let least = text.trim().parse().unwrap_or(0);
            process["oomScoreAdj"] = json!(random.number(least, 1000));
        }
        let annotations = random.some(&["org.example.a", "org.example.b", "x"], 40);
        for name in annotations {
            self.config["annotations"][name] = json!(random.one(&["", "1", "drawn by chance"]));
        }
    }

    fn capabilities(&mut self) {
        let random = &mut self.random;
        if random.percent(10) {
            return;
        }
        let bounding = random.some(&CAPABILITIES, 50);
        let permitted = random.some(&bounding, 80);
        let inheritable = random.some(&bounding, 50);
        let both: Vec<&str> = permitted
            .iter()
            .copied()
            .filter(|name| inheritable.contains(name))
            .collect();
        self.config["process"]["capabilities"] = json!({
            "effective": random.some(&permitted, 80),
            "ambient": random.some(&both, 50),
            "bounding": bounding,
            "permitted": permitted,
            "inheritable": inheritable,
        });
        self.tries(&["chroot", "sethostname", "mknod:/tmp/null:c:1:3"]);
    }

    fn limits(&mut self) {
        let kinds = [
            ("RLIMIT_NOFILE", 64, 4096),
            ("RLIMIT_CORE", 0, 1 << 30),
            ("RLIMIT_CPU", 100, 10_000),
            ("RLIMIT_FSIZE", 1 << 20, 1 << 40),
            ("RLIMIT_NPROC", 2000, 9000),
            ("RLIMIT_STACK", 1 << 20, 1 << 26),
            ("RLIMIT_MSGQUEUE", 0, 819_200),
            ("RLIMIT_SIGPENDING", 100, 1000),
        ];
        let mut limits = Vec::new();
        for (kind, least, most) in self.random.some(&kinds, 35) {
            let hard = self.random.number(least, most);
            let soft = self.random.number(least, hard);
            limits.push(json!({ "type": kind, "hard": hard, "soft": soft }));
        }
        if !limits.is_empty() {
            self.config["process"]["rlimits"] = json!(limits);
        }
    }

    fn mounts(&mut self, directory: &Path) {
        let places = ["/a", "/a/b", "/tmp", "/deep/er/place", "/dev/shm"];
        for place in self.random.some(&places, 45) {
            let mount = match self.random.number(0, 1) {
                0 => self.tmpfs(place),
                _ => self.bind(place, &directory.join("source/tree")),
            };
            self.add_mount(mount);
        }
        if self.random.percent(40) {
            let mount = self.bind("/bound-file", &directory.join("source/file"));
            self.add_mount(mount);
        }
        if self.has_namespace("ipc") && self.random.percent(40) {
            let options = ["nosuid", "noexec", "nodev"];
            self.add_mount(json!({
                "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                "options": options,
            }));
        }
        self.tries(&[
            "write:/a/new",
            "write:/tmp/new",
            "list:/a",
            "read:/bound-file",
            "overwrite:/bound-file",
        ]);
    }

    fn add_mount(&mut self, mount: Value) {
        if let Some(mounts) = self.config["mounts"].as_array_mut() {
            mounts.push(mount);
        }
    }

    fn flags(&mut self) -> Vec<&'static str> {
        let mut options = self.random.some(&["nosuid", "nodev", "noexec", "ro"], 40);
        // In a user namespace access times of the host's mounts are locked: mount_namespaces(7).
        if self.random.percent(40) && !self.has_namespace("user") {
            let words = ["noatime", "relatime", "strictatime", "nodiratime"];
            options.push(self.random.one(&words));
        }
        options
    }

    fn tmpfs(&mut self, at: &str) -> Value {
        let mut options = self.flags();
        options.extend(
            self.random
                .some(&["size=1m", "mode=755", "nr_inodes=100"], 40),
        );
        json!({ "destination": at, "type": "tmpfs", "source": "tmpfs", "options": options })
    }

    fn bind(&mut self, at: &str, source: &Path) -> Value {
        let mut options = vec![self.random.one(&["bind", "rbind"])];
        options.extend(self.flags());
        if self.random.percent(50) {
            let words = [
                "private", "rprivate", "slave", "rslave", "shared", "rshared",
            ];
            options.push(self.random.one(&words));
        }
        json!({ "destination": at, "type": "none", "source": source, "options": options })
    }

    fn root(&mut self) {
        self.config["root"]["readonly"] = json!(self.random.percent(30));
        let words = [
            "private", "rprivate", "slave", "rslave", "shared", "rshared",
        ];
        if self.random.percent(50) {
            self.config["linux"]["rootfsPropagation"] = json!(self.random.one(&words));
        }
        self.tries(&["mkdir:/new", "mount:/etc"]);
    }

    fn paths(&mut self) {
        let masked = [
            "/proc/kcore",
            "/proc/keys",
            "/proc/timer_list",
            "/sys/firmware",
            "/etc/secret",
            "/tmp",
            "/nothing/here",
        ];
        self.config["linux"]["maskedPaths"] = json!(self.random.some(&masked, 50));
        let readonly = [
            "/proc/sys",
            "/proc/bus",
            "/proc/irq",
            "/etc",
            "/nothing/there",
        ];
        self.config["linux"]["readonlyPaths"] = json!(self.random.some(&readonly, 50));
        self.tries(&[
            "stat:/proc/timer_list",
            "read:/etc/secret",
            "stat:/proc/kcore",
            "list:/sys/firmware",
            "write:/etc/new",
            "write:/tmp/new",
            "append:/proc/sys/kernel/hostname",
        ]);
    }

    fn devices(&mut self) {
        let nodes = [
            ("/dev/one", "c", 1, 3),
            ("/dev/sub/two", "c", 1, 7),
            ("/dev/loop-7", "b", 7, 7),
            ("/elsewhere", "c", 10, 200),
        ];
        let mut devices = Vec::new();
        for (path, kind, major, minor) in self.random.some(&nodes, 50) {
            let mut device = json!({ "path": path, "type": kind, "major": major, "minor": minor });
            if self.random.percent(60) {
                device["fileMode"] = json!(self.random.one(&[0o600, 0o666, 0o640]));
            }
            if self.random.percent(40) {
                device["uid"] = json!(1000);
                device["gid"] = json!(5);
            }
            devices.push(device);
        }
        self.config["linux"]["devices"] = json!(devices);
        if self.random.percent(70) {
            self.device_rules();
        }
        self.tries(&[
            "stat:/dev/one",
            "stat:/dev/sub/two",
            "stat:/elsewhere",
            "open:/dev/one",
            "open:/dev/sub/two",
            "open:/dev/null",
            "mknod:/tmp/zero:c:1:5",
            "mknod:/tmp/full:c:1:7",
            "mknod:/tmp/disk:b:7:7",
        ]);
    }

    fn device_rules(&mut self) {
        let mut rules = vec![json!({ "allow": false, "access": "rwm" })];
        let kinds = [
            ("c", 1, Some(7)),
            ("c", 10, Some(200)),
            ("b", 7, None),
            ("c", 1, Some(5)),
        ];
        for (kind, major, minor) in self.random.some(&kinds, 50) {
            let access = self.random.one(&["r", "rw", "rwm", "m"]);
            let mut rule = json!({ "allow": true, "type": kind, "major": major, "access": access });
            if let Some(minor) = minor {
                rule["minor"] = json!(minor);
            }
            rules.push(rule);
        }
        self.config["linux"]["resources"]["devices"] = json!(rules);
    }

    fn resources(&mut self) {
        let random = &mut self.random;
        let resources = &mut self.config["linux"]["resources"];
        // What is drawn does not depend on the host; what is asked for does.
        let mut set = |controller, group: &str, name: &str, value: u64| {
            if host::hierarchy(controller).is_some() {
                resources[group][name] = json!(value);
            }
        };
        if random.percent(60) {
            let limit = random.number(16, 256) << 20;
            set("memory", "memory", "limit", limit);
            if random.percent(40) {
                set("memory", "memory", "reservation", limit / 2);
            }
        }
        if random.percent(60) {
            set("pids", "pids", "limit", random.number(20, 5000));
        }
        if random.percent(60) {
            set("cpu", "cpu", "shares", random.number(2, 4096));
        }
        if random.percent(60) {
            let period = random.number(10_000, 500_000);
            set("cpu", "cpu", "period", period);
            set("cpu", "cpu", "quota", random.number(1000, period));
        }
        if random.percent(50) {
            let cpus = random.one(&["0", "1", "0-1", "0,1"]);
            if host::hierarchy("cpuset").is_some() {
                resources["cpu"]["cpus"] = json!(cpus);
                resources["cpu"]["mems"] = json!("0");
            }
        }
        if random.percent(40) {
            self.add_mount(json!({
                "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
            }));
        }
    }

    fn seccomp(&mut self) {
        let random = &mut self.random;
        let mut rules = Vec::new();
        for name in random.some(&["getcpu", "chroot", "sethostname", "mkdir", "getpgid"], 50) {
            let mut rule = json!({ "names": [name], "action": "SCMP_ACT_ERRNO" });
            if random.percent(60) {
                rule["errnoRet"] = json!(random.one(&[1, 5, 38, 95]));
            }
            if name == "getpgid" {
                let operator = random.one(&["SCMP_CMP_EQ", "SCMP_CMP_NE", "SCMP_CMP_GT"]);
                rule["args"] = json!([{ "index": 0, "value": 77, "op": operator }]);
            }
            rules.push(rule);
        }
        self.config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": [native()],
            "syscalls": rules,
        });
        let call = |number: libc::c_long, first: i32| format!("call:{number}:{first}");
        self.tries.push(call(libc::SYS_getcpu, 0));
        self.tries.push(call(libc::SYS_getpgid, 77));
        self.tries.push(call(libc::SYS_getpgid, 78));
        self.tries(&["chroot", "sethostname", "mkdir:/tmp/new"]);
    }
}

/// This machine's name among seccomp's architectures.
fn native() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "SCMP_ARCH_AARCH64",
        _ => "SCMP_ARCH_X86_64",
    }
}

#[cfg(test)]
mod tests {
    use super::{Bundle, Theme, Value, recipe};

    fn config(theme: Theme, seed: u64) -> Value {
        let directory = tempfile::tempdir().expect("a directory");
        let probe = directory.path().join("program");
        std::fs::write(&probe, "").expect("a file can be written");
        let bundle = Bundle::new(&directory.path().join("b"), "id".to_owned(), "/id", &probe);
        let config = recipe(theme, seed, bundle).bundle.config().to_string();
        let place = directory.path().display().to_string();
        serde_json::from_str(&config.replace(&place, "PLACE")).expect("it was JSON before")
    }

    #[test]
    fn a_seed_gives_the_same_bundle_again_and_another_gives_another() {
        for (name, theme) in Theme::ALL {
            // A bundle is given to another user in this one.
            if theme == Theme::UserNamespace {
                continue;
            }
            assert_eq!(config(theme, 5), config(theme, 5), "{name}");
            let several: std::collections::BTreeSet<String> =
                (0..9).map(|seed| config(theme, seed).to_string()).collect();
            assert!(several.len() > 3, "{name}");
        }
    }
}
