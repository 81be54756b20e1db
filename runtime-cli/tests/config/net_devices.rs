//! `linux.netDevices`: devices of the host that a container gets.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Finished, finish, needs};

use crate::container::{Container, proc_file};

fn ip(arguments: &[&str]) -> Finished {
    let mut command = Command::new("ip");
    finish(command.args(arguments), Duration::from_secs(20))
}

/// Both ends of a veth pair, down and without addresses.
struct Pair {
    name: String,
    other: String,
}

impl Pair {
    fn new(letter: char) -> Self {
        // A name has at most 15 bytes.
        let name = format!("t{}{letter}", std::process::id());
        let other = format!("{name}x");
        ip(&["link", "add", &name, "type", "veth", "peer", "name", &other]).succeeded();
        Self { name, other }
    }

    fn with_addresses(self) -> Self {
        for address in ["192.0.2.7/24", "198.51.100.9/32", "2001:db8::7/64"] {
            ip(&["addr", "add", address, "dev", &self.name]).succeeded();
        }
        // Not global, and not permanent: neither moves.
        ip(&[
            "addr",
            "add",
            "169.254.9.9/16",
            "scope",
            "link",
            "dev",
            &self.name,
        ])
        .succeeded();
        let short = [
            "addr",
            "add",
            "203.0.113.5/32",
            "dev",
            &self.name,
            "valid_lft",
            "1000",
        ];
        ip(&[&short[..], &["preferred_lft", "1000"]].concat()).succeeded();
        self
    }

    /// What ip(8) tells of the end that moves: one object, none when it is not on the host.
    fn seen(&self) -> Option<Value> {
        let shown = ip(&["-json", "addr", "show", "dev", &self.name]);
        let all: Value = serde_json::from_str(&shown.stdout).ok()?;
        all.as_array()?.first().cloned()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // One end takes the other along; both are gone with a container that had one.
        drop(ip(&["link", "del", &self.other]));
    }
}

/// Local addresses with their prefixes, sorted.
fn addresses(device: &Value) -> Vec<String> {
    let all = device["addr_info"].as_array().into_iter().flatten();
    let global = all.filter(|address| address["scope"] == "global");
    let mut addresses: Vec<String> = global
        .map(|address| {
            format!(
                "{}/{}",
                address["local"].as_str().unwrap_or("?"),
                address["prefixlen"]
            )
        })
        .collect();
    addresses.sort();
    addresses
}

/// The devices of a process's network namespace, by ip(8) in there.
fn inside(pid: i32) -> Vec<Value> {
    let mut command = Command::new("nsenter");
    command.args([
        "--target",
        &pid.to_string(),
        "--net",
        "ip",
        "-json",
        "addr",
        "show",
    ]);
    let shown = finish(&mut command, Duration::from_secs(20)).success();
    serde_json::from_str(&shown.stdout).expect("it is JSON")
}

fn named<'a>(devices: &'a [Value], name: &str) -> &'a Value {
    let found = devices.iter().find(|device| device["ifname"] == name);
    found.unwrap_or_else(|| panic!("{name} in {devices:?}"))
}

fn is_up(device: &Value) -> bool {
    let flags = device["flags"].as_array().into_iter().flatten();
    flags.into_iter().any(|flag| flag == "UP")
}

fn with(topic: &str, devices: Value) -> Container {
    Container::new(topic).set("/linux/netDevices", devices)
}

#[test]
fn devices_move_with_their_global_addresses_and_are_up() {
    needs!(Root, Program("ip"), Program("nsenter"));
    let (one, two) = (Pair::new('a').with_addresses(), Pair::new('b'));
    ip(&["link", "set", "dev", &two.name, "mtu", "1280"]).succeeded();
    let name = one.name.as_str();
    let (container, pid) = with(
        "netdevices",
        json!({name: {}, two.name.as_str(): {"name": "inner%d"}}),
    )
    .sleeping();
    assert!(one.seen().is_none() && two.seen().is_none());
    let devices = inside(pid);
    let (first, second) = (named(&devices, name), named(&devices, "inner0"));
    let all = ["192.0.2.7/24", "198.51.100.9/32", "2001:db8::7/64"];
    assert_eq!(addresses(first), all);
    assert!(is_up(first) && is_up(second), "{devices:?}");
    assert_eq!(second["mtu"], 1280);
    let seen = container.exec("cat /proc/net/dev /proc/net/fib_trie");
    assert!(
        seen.contains("inner0:") && seen.contains("192.0.2.7"),
        "{seen}"
    );
    assert!(proc_file(pid, "net/dev").contains("inner0:"));
    // They are gone with the namespace, as devices without hardware are.
    drop(container);
    assert!(one.seen().is_none() && two.seen().is_none());
}

#[test]
fn a_renamed_device_has_the_name_that_its_sysctls_have() {
    needs!(Root, Program("ip"));
    let pair = Pair::new('c').with_addresses();
    let container = with("netname", json!({pair.name.as_str(): {"name": "eth0"}})).set(
        "/linux/sysctl",
        json!({"net.ipv4.conf.eth0.forwarding": "1"}),
    );
    let printed = container
        .prints_of("cat /proc/sys/net/ipv4/conf/eth0/forwarding; ls /proc/sys/net/ipv4/conf");
    assert_eq!(printed, "1\nall\ndefault\neth0\nlo\n");
}

#[test]
fn a_failed_create_gives_devices_back_as_they_were() {
    needs!(Root, Program("ip"));
    let pair = Pair::new('d').with_addresses();
    ip(&["link", "set", "dev", &pair.name, "up"]).succeeded();
    let name = pair.name.as_str();
    let hook = json!([{"path": "/bin/false"}]);
    for container in [
        // After they have moved; one of several can't move; a mount fails; a name is taken.
        with("nethook", json!({name: {"name": "eth0"}}))
            .set("/hooks", json!({"createRuntime": hook})),
        with("netmissing", json!({name: {}, "nosuchdevice": {}})),
        with("netmount", json!({name: {}})).mount("bind", "/no/such/path", "/x", &["bind"]),
        with("nettaken", json!({name: {"name": "lo"}})),
    ] {
        let said = container.refused();
        let device = pair.seen().unwrap_or_else(|| panic!("it is lost: {said}"));
        let all = ["192.0.2.7/24", "198.51.100.9/32", "2001:db8::7/64"];
        let now = addresses(&device);
        assert!(
            all.iter().all(|one| now.iter().any(|is| is == one)),
            "{now:?}"
        );
        assert!(is_up(&device), "{device}");
    }
}

#[test]
fn what_can_not_be_moved_is_named_with_the_cause() {
    needs!(Root, Program("ip"));
    let pair = Pair::new('e');
    let name = pair.name.as_str();
    let said = with("nodevice", json!({"nosuchdevice": {}})).refused();
    assert!(said.contains("linux.netDevices: nosuchdevice"), "{said}");
    assert!(said.contains("no such device"), "{said}");
    let said = with("takenname", json!({name: {"name": "lo"}})).refused();
    assert!(said.contains("a device of this name already"), "{said}");
    let said = with("ownnet", json!({name: {}}))
        .without_namespace("network")
        .refused();
    assert!(said.contains("/linux/netDevices"), "{said}");
    let own = format!("/proc/{}/ns/net", std::process::id());
    let said = with("samenet", json!({name: {}}))
        .joining("network", &own)
        .refused();
    assert!(said.contains("the runtime's own"), "{said}");
    assert!(pair.seen().is_some());
}
