//! `linux.sysctl`: what belongs to a namespace of the container's own, and nothing else.

use std::fs;

use serde_json::json;
use testkit::needs;

use crate::container::Container;

#[test]
fn sysctls_of_every_namespace_are_set_inside_only() {
    needs!(Root);
    let settings = [
        ("kernel.msgmax", "kernel/msgmax", "9000"),
        ("kernel.shmmni", "kernel/shmmni", "1234"),
        ("kernel.sem", "kernel/sem", "100\t200\t30\t40"),
        ("kernel.shm_rmid_forced", "kernel/shm_rmid_forced", "1"),
        ("fs.mqueue.msg_max", "fs/mqueue/msg_max", "77"),
        (
            "net.ipv4.ip_unprivileged_port_start",
            "net/ipv4/ip_unprivileged_port_start",
            "79",
        ),
        (
            "net.ipv4.conf.lo.forwarding",
            "net/ipv4/conf/lo/forwarding",
            "1",
        ),
        ("net/core/somaxconn", "net/core/somaxconn", "321"),
        ("kernel.domainname", "kernel/domainname", "of.sysctl"),
    ];
    let before: Vec<_> = settings
        .iter()
        .map(|(_, path, _)| fs::read_to_string(format!("/proc/sys/{path}")).ok())
        .collect();
    let map: serde_json::Map<String, serde_json::Value> = settings
        .iter()
        .map(|(name, _, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let (container, _) = Container::new("sysctls")
        .set("/linux/sysctl", json!(map))
        .sleeping();
    for ((name, path, value), before) in settings.iter().zip(before) {
        let inside = container.exec(&format!("cat /proc/sys/{path}"));
        assert_eq!(inside.trim(), *value, "{name}");
        assert_eq!(
            fs::read_to_string(format!("/proc/sys/{path}")).ok(),
            before,
            "{name}"
        );
    }
}

#[test]
fn sysctls_in_a_user_namespace_of_their_own_work() {
    needs!(Root);
    let printed = Container::new("usersysctl")
        .with_user_namespace()
        .set(
            "/linux/sysctl",
            json!({"net.ipv4.ip_forward": "1", "kernel.msgmnb": "12345"}),
        )
        .prints_of("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmnb");
    assert_eq!(printed, "1\n12345\n");
}

#[test]
fn sysctls_of_the_host_are_refused() {
    needs!(Root);
    for name in [
        "kernel.panic",
        "kernel.core_pattern",
        "vm.swappiness",
        "fs.file-max",
        "kernel.hostname",
        "user.max_user_namespaces",
        "net",
        "net.../x",
        "",
    ] {
        let said = Container::new("hostsysctl")
            .set("/linux/sysctl", json!({name: "1"}))
            .refused();
        assert!(
            said.contains(&format!("/linux/sysctl/{}", name.replace('/', "~1"))),
            "{name}: {said}"
        );
    }
    for (kind, name) in [("ipc", "kernel.shmmax"), ("network", "net.ipv4.ip_forward")] {
        let said = Container::new("sharedsysctl")
            .without_namespace(kind)
            .set("/linux/sysctl", json!({name: "1"}))
            .refused();
        assert!(said.contains(&format!("/linux/sysctl/{name}")), "{said}");
    }
    // A namespace joined by path that is the host's is the host's.
    for (kind, file, name) in [
        ("network", "net", "net.ipv4.ip_forward"),
        ("ipc", "ipc", "kernel.msgmax"),
    ] {
        let before = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("there is one");
        let said = Container::new("joinedhost")
            .joining(kind, &format!("/proc/{}/ns/{file}", std::process::id()))
            .set("/linux/sysctl", json!({name: "1"}))
            .refused();
        assert!(said.contains(name) || said.contains("sysctl"), "{said}");
        assert_eq!(
            fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("there is one"),
            before
        );
    }
}

#[test]
fn a_missing_sysctl_and_a_wrong_value_are_errors_that_name_it() {
    needs!(Root);
    for (name, value) in [
        ("net.ipv4.no_such_thing", "1"),
        ("net.ipv4.ip_local_port_range", "x"),
    ] {
        let said = Container::new("badsysctl")
            .set("/linux/sysctl", json!({name: value}))
            .refused();
        assert!(
            said.contains(&name.replace('.', "/")) || said.contains(name),
            "{said}"
        );
    }
}
