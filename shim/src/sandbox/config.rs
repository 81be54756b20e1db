//! The container that holds a pod's namespaces, as a config.json. Pure.

use serde_json::{Value, json};

use super::pod::{Pod, Scope};
use super::users::Users;

/// What an unprivileged process without a user is called by images for pods.
const NOBODY: u64 = 65535;

/// Where the program is, below the bundle.
pub(super) const ROOTFS: &str = "rootfs";

/// What it is called there.
pub(super) const PROGRAM: &str = "pause";

/// All that the program does, and what the runtime does after the filter is in force.
const SYSTEM_CALLS: [&str; 12] = [
    "close",
    "execve",
    "execveat",
    "exit",
    "exit_group",
    "pause",
    "ppoll",
    "restart_syscall",
    "rt_sigaction",
    "rt_sigprocmask",
    "sendto",
    "write",
];

/// The config.json of a sandbox: no capability, no mount, no writable file, a filter with twelve
/// system calls, and the namespaces that the pod's containers will join. `owner` is the name of
/// the user namespace that the network namespace belongs to, if the pod's users are mapped.
pub(super) fn config(id: &str, pod: &Pod, network: &str, owner: Option<&str>) -> Value {
    // Mapped users are nobody on the host in any case.
    let is_user = |users: &Users| users.contain(NOBODY);
    let user = match pod.users.as_ref().is_none_or(is_user) {
        true => NOBODY,
        false => 0,
    };
    let mut config = json!({
        "ociVersion": "1.1.0",
        "process": {
            "user": { "uid": user, "gid": user },
            "args": [format!("/{PROGRAM}")],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": {},
        },
        "root": { "path": ROOTFS, "readonly": true },
        "mounts": [],
        "linux": {
            "namespaces": namespaces(pod, network),
            "cgroupsPath": cgroup_path(id, &pod.cgroup_parent),
            "resources": {
                "cpu": { "shares": 2 },
                "devices": [{ "allow": false, "access": "rwm" }],
            },
            "sysctl": pod.sysctls,
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO",
                "syscalls": [{ "names": SYSTEM_CALLS, "action": "SCMP_ACT_ALLOW" }],
            },
        },
    });
    if pod.network != Scope::Node && !pod.hostname.is_empty() {
        config["hostname"] = json!(pod.hostname);
    }
    if let Some(users) = &pod.users {
        let linux = &mut config["linux"];
        linux["uidMappings"] = json!(users.uids);
        linux["gidMappings"] = json!(users.gids);
        let namespace = match owner {
            None => json!({ "type": "user" }),
            Some(path) => json!({ "type": "user", "path": path }),
        };
        if let Some(namespaces) = linux["namespaces"].as_array_mut() {
            namespaces.push(namespace);
        }
    }
    config
}

fn namespaces(pod: &Pod, network: &str) -> Vec<Value> {
    let mut namespaces = vec![json!({ "type": "mount" })];
    match (pod.network, network) {
        (Scope::Node, _) => {}
        (_, "") => namespaces.push(json!({ "type": "network" })),
        (_, path) => namespaces.push(json!({ "type": "network", "path": path })),
    }
    // The name of a pod on the host's network is the host's.
    if pod.network != Scope::Node {
        namespaces.push(json!({ "type": "uts" }));
    }
    if pod.ipc != Scope::Node {
        namespaces.push(json!({ "type": "ipc" }));
    }
    // Of its own, unless the containers are to see the host's: what holds the namespaces is
    // nobody's to see.
    if pod.pid != Scope::Node {
        namespaces.push(json!({ "type": "pid" }));
    }
    namespaces
}

/// Below the pod's cgroup; a parent that is a slice is systemd's.
fn cgroup_path(id: &str, parent: &str) -> String {
    let slice = parent.rsplit('/').next().unwrap_or_default();
    if slice.ends_with(".slice") {
        return format!("{slice}:tare:{id}");
    }
    format!("{}/{id}", parent.trim_end_matches('/'))
}

/// Whether the pod's cgroup is systemd's to make.
pub(super) fn is_of_systemd(pod: &Pod) -> bool {
    pod.cgroup_parent.ends_with(".slice")
}

#[cfg(test)]
mod tests {
    use super::super::users::Range;
    use super::*;

    fn kinds(config: &Value) -> Vec<&str> {
        let namespaces = config["linux"]["namespaces"].as_array().unwrap();
        namespaces
            .iter()
            .map(|namespace| namespace["type"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn a_pod_has_the_namespaces_that_it_asks_for() {
        let pod = Pod {
            hostname: "web".to_owned(),
            cgroup_parent: "/kubepods/pod1".to_owned(),
            ..Pod::default()
        };
        let sandbox = config("one", &pod, "/run/netns/one", None);
        assert_eq!(kinds(&sandbox), ["mount", "network", "uts", "ipc", "pid"]);
        assert_eq!(sandbox["linux"]["namespaces"][1]["path"], "/run/netns/one");
        assert_eq!(sandbox["linux"]["cgroupsPath"], "/kubepods/pod1/one");
        assert_eq!(sandbox["hostname"], "web");
        let of_the_host = Pod {
            network: Scope::Node,
            pid: Scope::Node,
            ipc: Scope::Node,
            ..pod
        };
        let sandbox = config("one", &of_the_host, "", None);
        assert_eq!(kinds(&sandbox), ["mount"]);
        assert_eq!(sandbox["hostname"], Value::Null);
    }

    #[test]
    fn mapped_users_have_a_namespace_new_or_that_of_the_network() {
        let range = |size| Range {
            container: 0,
            host: 100_000,
            size,
        };
        let of = |size, owner| {
            let users = Users {
                uids: vec![range(size)],
                gids: vec![range(size)],
            };
            let pod = Pod {
                users: Some(users),
                ..Pod::default()
            };
            config("one", &pod, "/run/netns/one", owner)
        };
        let new = of(65_536, None);
        let last = |config: &Value| config["linux"]["namespaces"].as_array().unwrap()[5].clone();
        assert_eq!(last(&new), json!({ "type": "user" }));
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
        assert_eq!(new["linux"]["uidMappings"], map);
        assert_eq!(new["process"]["user"]["uid"], 65_535);
        let joined = of(1000, Some("/proc/self/fd/9"));
        let expected = json!({ "type": "user", "path": "/proc/self/fd/9" });
        assert_eq!(last(&joined), expected);
        assert_eq!(joined["process"]["user"]["gid"], 0);
    }

    #[test]
    fn a_slice_is_systemds() {
        let pod = Pod {
            cgroup_parent: "/kubepods.slice/kubepods-pod1.slice".to_owned(),
            ..Pod::default()
        };
        assert!(is_of_systemd(&pod));
        let path = config("one", &pod, "", None)["linux"]["cgroupsPath"].clone();
        assert_eq!(path, "kubepods-pod1.slice:tare:one");
    }
}
