//! `linux.sysctl`: only what belongs to a namespace of the container's own.

use std::collections::BTreeMap;
use std::ffi::CString;

use super::NamespacesPlan;
use super::namespaces::{IPC, NETWORK, USER, UTS};
use super::place::Place;
use super::text::c_string;
use crate::spec::Linux;
use crate::violation::Violations;

/// The kernel.* names that belong to an IPC namespace (ipc_namespaces(7)).
const IPC_NAMES: [&str; 8] = [
    "msgmax",
    "msgmnb",
    "msgmni",
    "sem",
    "shm_rmid_forced",
    "shmall",
    "shmmax",
    "shmmni",
];

/// Resolves all sysctls, sorted by path.
pub(super) fn plan(
    linux: &Linux<'_>,
    namespaces: &NamespacesPlan,
    violations: &mut Violations,
) -> Vec<(CString, Vec<u8>)> {
    let root = Place::ROOT.key("linux");
    let place = root.key("sysctl");
    let mut settings: BTreeMap<CString, Vec<u8>> = BTreeMap::new();
    for (name, value) in linux.sysctl.iter().flatten() {
        if violations.is_full() {
            break;
        }
        let place = place.key(name);
        let Some(path) = path(name) else {
            violations.add(place, "is not the name of a sysctl");
            continue;
        };
        if let Err(rule) = allowed(&path, namespaces) {
            violations.add(place, rule);
            continue;
        }
        if value.contains('\0') {
            violations.add(place, "the value has a NUL byte");
        }
        let path = c_string(&path, place, violations);
        if settings.insert(path, value.as_bytes().to_vec()).is_some() {
            violations.add(place, "is there already, in another spelling");
        }
    }
    settings.into_iter().collect()
}

/// The path below `/proc/sys`. The first separator of a name says which one it is: in
/// `net.ipv4.conf.eth0/1.forwarding` and `net/ipv4/conf/eth0.1/forwarding` alike the
/// interface is `eth0.1` (sysctl(8)).
fn path(name: &str) -> Option<String> {
    let separator = name.find(['.', '/']).map(|at| name.as_bytes()[at])?;
    let path: String = match separator {
        b'/' => name.to_owned(),
        _ => name
            .chars()
            .map(|letter| match letter {
                '.' => '/',
                '/' => '.',
                letter => letter,
            })
            .collect(),
    };
    let legal = |letter: char| letter.is_ascii_alphanumeric() || "_-.:@".contains(letter);
    let part_is_legal = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(legal);
    path.split('/').all(part_is_legal).then_some(path)
}

fn allowed(path: &str, namespaces: &NamespacesPlan) -> Result<(), &'static str> {
    let needs = |kind, rule| {
        if namespaces.has(kind) {
            Ok(())
        } else {
            Err(rule)
        }
    };
    match path.split_once('/') {
        Some(("kernel", name)) if IPC_NAMES.contains(&name) => {
            needs(IPC, "needs a namespace of type ipc in linux.namespaces")
        }
        Some(("fs", rest)) if rest.starts_with("mqueue/") => {
            needs(IPC, "needs a namespace of type ipc in linux.namespaces")
        }
        Some(("net", _)) => needs(
            NETWORK,
            "needs a namespace of type network in linux.namespaces",
        ),
        Some(("user", _)) => needs(USER, "needs a namespace of type user in linux.namespaces"),
        Some(("kernel", "domainname")) => {
            needs(UTS, "needs a namespace of type uts in linux.namespaces")
        }
        Some(("kernel", "hostname")) => Err("is set by `hostname`, not as a sysctl"),
        _ => Err("belongs to the whole host, not to a namespace of the container"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_separators_name_the_same_file() {
        for name in [
            "net.ipv4.conf.eth0/1.forwarding",
            "net/ipv4/conf/eth0.1/forwarding",
        ] {
            assert_eq!(path(name).unwrap(), "net/ipv4/conf/eth0.1/forwarding");
        }
    }

    #[test]
    fn names_that_leave_proc_sys_are_no_names() {
        for name in [
            "",
            ".",
            "/",
            "..",
            "net",
            "net..x",
            "net/../kernel/x",
            "net/",
            "/net/x",
            ".net.x",
            "net.a+b",
            "net.a=b",
            "net.a b",
            "net.a\0",
            "net.ü",
            "net.//.x",
            "net/./x",
        ] {
            assert_eq!(path(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_sysctl_needs_the_namespace_it_belongs_to() {
        let with = |new| NamespacesPlan {
            new,
            ..NamespacesPlan::default()
        };
        for (path, kind) in [
            ("kernel/shmmax", IPC),
            ("fs/mqueue/msg_max", IPC),
            ("net/core/somaxconn", NETWORK),
            ("user/max_user_namespaces", USER),
            ("kernel/domainname", UTS),
        ] {
            assert_eq!(allowed(path, &with(kind)), Ok(()), "{path}");
            assert!(allowed(path, &with(!kind)).is_err(), "{path}");
        }
        for path in [
            "kernel/hostname",
            "kernel/core_pattern",
            "vm/swappiness",
            "fs/mqueue",
        ] {
            assert!(allowed(path, &with(!0)).is_err(), "{path}");
        }
    }
}
