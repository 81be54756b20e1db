//! Differences that are known and have a reason: rows of a table.

use serde_json::{Value, json};

use super::compare::Difference;

/// A difference that is no failure.
pub(super) struct Known {
    /// Where: some of the names of a [`Difference::path`] that follow each other, as in `report >
    /// mounts > *`. `*` is any one name; what is below is meant, too.
    pub(super) place: &'static str,
    /// Whether it is what is known, with this config.json. Which runtime has which value is no
    /// matter: either may be the one that is measured.
    pub(super) is_it: fn(&Difference, &Value) -> bool,
    /// Why nobody has to mind.
    pub(super) reason: &'static str,
    /// The sentence of a document that decides it or leaves it open.
    pub(super) sentence: &'static str,
}

const MASKED: &str = "linux.maskedPaths masks over the provided paths inside the container so that \
     they cannot be read (https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#masked-paths)";
const ANY_MASK: &str = "What hides a masked path is each runtime's own: the null device of the host \
     or of the container, a file system without a size of its own or an empty one. What is tried \
     there is compared.";
const ROOT_PROPAGATION: &str = "rootfsPropagation sets the rootfs's mount propagation: shared, \
     slave, private or unbindable (https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#rootfs-mount-propagation)";
const OLD_RUNC_SHARES_NOT: &str = "runc applies a shared root's propagation to the old root, before \
     pivot_root, up to 1.1: the container's root is private. tare's and newer runc's is shared.";
const CGROUP_MOUNTS: &str = "No sentence of the specification says what a mount of type cgroup is \
     (https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md)";
const OWNERS: &str = "A user namespace has ids when its map is written: user_namespaces(7). What the \
     kernel makes for a namespace at clone(2), in the same call, has the owner of before: nobody. \
     The namespaces belong to the user namespace either way.";
const USER_NAMESPACES: &str = "https://man7.org/linux/man-pages/man7/user_namespaces.7.html";

const SHARES: &str = "shares specifies a relative share of CPU time \
     (https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#cpu)";
const TWO_WEIGHTS: &str = "No sentence says what weight of cgroup v2 a number of v1's shares is. Runtimes had a \
     straight line, in which 1024, v1's default, is 39; newer ones have a curve in which it is 100, v2's.";

pub(super) const KNOWN: &[Known] = &[
    Known {
        place: "report > mounts > * > super",
        is_it: |difference, _| {
            without(&difference.measured, &["ro", "rw"])
                == without(&difference.other, &["ro", "rw"])
        },
        reason: "`ro` is set on the mount by both, and by one on the file system as well: nobody \
             writes there either way. statfs(2) says the same.",
        sentence: "ro: MS_RDONLY (https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#linux-mount-options)",
    },
    Known {
        place: "report > mounts > *",
        is_it: |difference, config| is_masked(config, name(difference, "mounts")),
        reason: ANY_MASK,
        sentence: MASKED,
    },
    Known {
        place: "report > root > *",
        is_it: |difference, config| is_masked(config, &format!("/{}", name(difference, "root"))),
        reason: ANY_MASK,
        sentence: MASKED,
    },
    Known {
        place: "tries > report > *",
        is_it: |difference, config| {
            let word = name(difference, "report");
            word.strip_prefix("stat:")
                .is_some_and(|path| is_masked(config, path))
        },
        reason: ANY_MASK,
        sentence: MASKED,
    },
    Known {
        place: "report > root_propagation",
        is_it: |difference, config| is_root_shared(config) && one_is_shared(difference),
        reason: OLD_RUNC_SHARES_NOT,
        sentence: ROOT_PROPAGATION,
    },
    Known {
        place: "report > mounts > * > optional",
        is_it: |difference, config| is_root_shared(config) && one_is_shared(difference),
        reason: OLD_RUNC_SHARES_NOT,
        sentence: ROOT_PROPAGATION,
    },
    Known {
        place: "report > mounts > * > optional",
        is_it: |difference, config| {
            config["linux"]["rootfsPropagation"] == "rslave" && one_is_shared(difference)
        },
        reason: "rslave is for the root and all below it, after the mounts with tare and crun, before \
             them with runc up to 1.1, where a mount's own `shared` stays.",
        sentence: ROOT_PROPAGATION,
    },
    Known {
        place: "exec > report > status > Umask",
        is_it: |difference, config| {
            let umask = &config["process"]["user"]["umask"];
            let asked = umask.as_u64().map(|umask| json!(format!("{umask:04o}")));
            either(difference, |value| Some(value) == asked.as_ref())
        },
        reason: "runc's exec ignores the umask of process.json up to 1.1.",
        sentence: "umask specifies the umask of the user (https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#posix-platform-user)",
    },
    Known {
        place: "report > rlimits > RLIMIT_NOFILE",
        is_it: |difference, _| difference.measured[1] == difference.other[1],
        reason: "Go programs raise their own soft limit at their start, in a race with runc's exec \
             setting it for the container's process, up to 1.1: sometimes it is the hard one.",
        sentence: "soft is the value of the limit enforced for the corresponding resource (https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#posix-process)",
    },
    Known {
        place: "report > status",
        is_it: |difference, config| {
            let seccomp = &config["linux"]["seccomp"];
            let is_filter = ["Seccomp", "Seccomp_filters"].contains(&name(difference, "status"));
            is_filter
                && seccomp["defaultAction"] == "SCMP_ACT_ALLOW"
                && seccomp["syscalls"] == json!([])
        },
        reason: "A filter that allows everything need not be loaded.",
        sentence: "defaultAction is the default action for seccomp (https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#seccomp)",
    },
    Known {
        place: "report > keyring",
        is_it: |difference, _| {
            // `keyring;UID;GID;PERMISSIONS;NAME`: all but the permissions.
            let rest = |value: &Value| {
                let fields: Vec<String> = value
                    .as_str()
                    .unwrap_or_default()
                    .split(';')
                    .map(str::to_owned)
                    .collect();
                (fields.first().cloned(), fields.last().cloned())
            };
            rest(&difference.measured) == rest(&difference.other)
        },
        reason: "runc changes the session keyring's permissions so that its own exec may find it \
             by name; tare joins it otherwise and leaves the kernel's.",
        sentence: "No sentence of the specification is about keyrings \
             (https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md)",
    },
    Known {
        place: "report > dev > core",
        is_it: |difference, _| {
            let leads_to_it = |value: &Value| value["link"] == "/proc/kcore";
            either(difference, Value::is_null) && either(difference, leads_to_it)
        },
        reason: "Where the kernel has /proc/kcore, runc and crun make a link to it that no document \
             names; tare makes the four links that the specification names.",
        sentence: "/dev/fd, /dev/stdin, /dev/stdout, /dev/stderr (https://github.com/opencontainers/runtime-spec/blob/v1.3.0/runtime-linux.md#dev-symbolic-links)",
    },
    Known {
        place: "cgroups > * > cpu.weight",
        is_it: |difference, config| {
            let shares = config["linux"]["resources"]["cpu"]["shares"].as_u64();
            shares.is_some_and(|shares| {
                let ways = [linear_weight(shares), curved_weight(shares)].map(|way| json!(way));
                ways.contains(&difference.measured) && ways.contains(&difference.other)
            })
        },
        reason: TWO_WEIGHTS,
        sentence: SHARES,
    },
    Known {
        place: "cgroups > * > cpu.weight.nice",
        is_it: |_, config| config["linux"]["resources"]["cpu"]["shares"].is_u64(),
        reason: TWO_WEIGHTS,
        sentence: SHARES,
    },
    Known {
        place: "report > interfaces > lo",
        is_it: |difference, _| either(difference, |value| *value == json!(65534)),
        reason: OWNERS,
        sentence: USER_NAMESPACES,
    },
    Known {
        place: "report > dev > mqueue",
        is_it: |difference, _| either(difference, |value| *value == json!(65534)),
        reason: OWNERS,
        sentence: USER_NAMESPACES,
    },
    Known {
        place: "report > root > * > mode",
        is_it: |difference, config| {
            let target = format!("/{}", name(difference, "root"));
            let asked = mode_of_tmpfs(config, &target);
            asked.is_some() && either(difference, |value| value.as_str() == asked.as_deref())
        },
        reason: "runc gives a tmpfs the mode of the directory that it covers, also where the \
             options say another one, up to 1.1.",
        sentence: "options are mount options of the filesystem to be used: mode= of tmpfs(5) (https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#mounts)",
    },
    Known {
        place: "report > mounts > /sys/fs/cgroup > root",
        is_it: |difference, config| {
            let is_own = |value: &Value| value.as_str().is_some_and(|root| root != "/");
            let is_all = |value: &Value| *value == "/";
            has_cgroup_mount(config) && either(difference, is_all) && either(difference, is_own)
        },
        reason: "Without a cgroup namespace tare shows a container its own cgroup alone, in cgroup v2 \
             as in v1; runc does so in v1, and shows all of the host's in v2.",
        sentence: CGROUP_MOUNTS,
    },
    Known {
        place: "report > mounts > /sys/fs/cgroup/unified",
        is_it: |difference, config| has_cgroup_mount(config) && either(difference, Value::is_null),
        reason: "On a hybrid host runc shows the container the hierarchies of v1, tare that of v2 \
             as well, read-only like the others.",
        sentence: CGROUP_MOUNTS,
    },
    Known {
        place: "report > mounts > /sys/fs/cgroup/unified > optional",
        is_it: |_, config| has_cgroup_mount(config),
        reason: "As the mounts beside it.",
        sentence: CGROUP_MOUNTS,
    },
    Known {
        place: "report > mounts > /sys/fs/cgroup > options",
        is_it: |difference, config| {
            let same = without(&difference.measured, &["ro", "rw"])
                == without(&difference.other, &["ro", "rw"]);
            has_cgroup_mount(config) && same
        },
        reason: "runc leaves the directory of the hierarchies writable, tare applies the mount's ro \
             to it, too.",
        sentence: CGROUP_MOUNTS,
    },
    Known {
        place: "report > mounts > * > source",
        is_it: |difference, config| {
            let is_there = name(difference, "mounts").starts_with("/sys/fs/cgroup");
            has_cgroup_mount(config) && is_there
        },
        reason: "A name that nothing depends on: the file system's own or the host's.",
        sentence: CGROUP_MOUNTS,
    },
];

/// cpu.weight of v1's shares, as runc has it up to 1.3.1.
fn linear_weight(shares: u64) -> String {
    let shares = shares.clamp(2, 262_144);
    (1 + (shares - 2) * 9999 / 262_142).to_string()
}

/// The same as runc has it from 1.3.2 on: a curve through (2, 1), (1024, 100) and (262144, 10000).
fn curved_weight(shares: u64) -> String {
    let bits = f64::from(u32::try_from(shares.clamp(2, 262_144)).unwrap_or(u32::MAX)).log2();
    let exponent = (bits * bits + 125.0 * bits) / 612.0 - 7.0 / 34.0;
    format!("{:.0}", 10_f64.powf(exponent).ceil())
}

impl Known {
    fn covers(&self, difference: &Difference, config: &Value) -> bool {
        let names: Vec<&str> = self.place.split(" > ").collect();
        let is_there = difference.path.windows(names.len()).any(|part| {
            let mut pairs = names.iter().zip(part);
            pairs.all(|(name, part)| *name == "*" || name == part)
        });
        is_there && (self.is_it)(difference, config)
    }
}

/// What is known of a difference that this config.json makes.
pub(super) fn known(difference: &Difference, config: &Value) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.covers(difference, config))
}

/// The name that follows this one in the place of a difference, the last one of them; a mount's
/// without its number.
fn name<'a>(difference: &'a Difference, after: &str) -> &'a str {
    let mut names = difference.path.iter().skip_while(|name| *name != after);
    let name = names.nth(1).map(String::as_str).unwrap_or_default();
    name.split(" #").next().unwrap_or_default()
}

fn either(difference: &Difference, is_so: impl Fn(&Value) -> bool) -> bool {
    is_so(&difference.measured) || is_so(&difference.other)
}

fn without(words: &Value, left_out: &[&str]) -> Vec<String> {
    let words = words.as_array().into_iter().flatten();
    words
        .filter_map(Value::as_str)
        .filter(|word| !left_out.contains(word))
        .map(str::to_owned)
        .collect()
}

fn is_masked(config: &Value, path: &str) -> bool {
    let masked = config["linux"]["maskedPaths"].as_array();
    masked.is_some_and(|masked| masked.iter().any(|masked| masked == path))
}

fn is_root_shared(config: &Value) -> bool {
    let word = config["linux"]["rootfsPropagation"].as_str();
    word.is_some_and(|word| word.ends_with("shared"))
}

fn one_is_shared(difference: &Difference) -> bool {
    let without = |value: &Value| without(value, &["shared"]);
    without(&difference.measured) == without(&difference.other)
}

fn has_cgroup_mount(config: &Value) -> bool {
    let mounts = config["mounts"].as_array();
    mounts.is_some_and(|mounts| mounts.iter().any(|mount| mount["type"] == "cgroup"))
}

/// The mode that the options of a tmpfs say, as reports have it: `0700`.
fn mode_of_tmpfs(config: &Value, target: &str) -> Option<String> {
    let mounts = config["mounts"].as_array()?;
    let mount = mounts
        .iter()
        .rfind(|mount| mount["destination"] == target)?;
    let options = mount["options"].as_array()?;
    let mode = options
        .iter()
        .find_map(|option| option.as_str()?.strip_prefix("mode="))?;
    let mode = u32::from_str_radix(mode, 8).ok()?;
    Some(format!("{mode:04o}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Difference, KNOWN, known};

    fn difference(path: &[&str], measured: Value, other: Value) -> Difference {
        let path = path.iter().map(|name| (*name).to_owned()).collect();
        Difference {
            path,
            measured,
            other,
        }
    }

    #[test]
    fn every_row_has_its_reason_and_a_document() {
        for row in KNOWN {
            assert!(!row.reason.is_empty(), "{}", row.place);
            assert!(row.sentence.contains("https://"), "{}", row.place);
        }
    }

    #[test]
    fn a_mount_s_mask_is_known_and_another_mount_is_not() {
        let config = json!({ "linux": { "maskedPaths": ["/etc/secret"] } });
        let of = |target| {
            difference(
                &["run", "report", "mounts", target, "type"],
                json!(1),
                json!(2),
            )
        };
        assert!(known(&of("/etc/secret"), &config).is_some());
        assert!(known(&of("/etc/secret #2"), &config).is_some());
        assert!(known(&of("/etc"), &config).is_none());
    }

    #[test]
    fn a_read_only_file_system_is_known_and_a_smaller_one_is_not() {
        let path = ["run", "report", "mounts", "/sys", "super"];
        let of = |word| difference(&path, json!(["rw"]), json!([word]));
        assert!(known(&of("ro"), &json!({})).is_some());
        assert!(known(&of("size=1k"), &json!({})).is_none());
    }

    #[test]
    fn both_weights_of_shares_are_known_and_a_third_is_not() {
        let config = json!({ "linux": { "resources": { "cpu": { "shares": 512 } } } });
        let path = ["life", "cgroups", "/sys/fs/cgroup", "cpu.weight"];
        let of = |one, other| difference(&path, json!(one), json!(other));
        assert!(known(&of("59", "20"), &config).is_some());
        assert!(known(&of("20", "59"), &config).is_some());
        assert!(known(&of("59", "21"), &config).is_none());
        assert_eq!(super::curved_weight(1024), "100");
        assert_eq!(super::curved_weight(2), "1");
    }

    #[test]
    fn the_umask_of_a_further_process_is_known_and_of_the_first_is_not() {
        let config = json!({ "process": { "user": { "umask": 0o27 } } });
        let of = |start: &[&str]| {
            let path = [start, &["report", "status", "Umask"]].concat();
            difference(&path, json!("0027"), json!("0022"))
        };
        assert!(known(&of(&["life", "exec"]), &config).is_some());
        assert!(known(&of(&["run"]), &config).is_none());
    }
}
