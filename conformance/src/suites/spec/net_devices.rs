//! config-linux.md#network-devices.

use std::process::Command;

use serde_json::json;

use super::{Area, is};
use crate::case::{Case, Trouble, Verdict, holds, skipped};
use crate::scene::Scene;

const AREA: Area = Area("net-devices");
const PLACE: &str = "config-linux.md#network-devices";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case(
            "net-device",
            PLACE,
            "The runtime moves the network device into the container's network namespace.",
            moved,
        )
        .of("linux.netDevices")
        .of("linux.netDevices.*"),
        AREA.case(
            "net-device-name",
            PLACE,
            "name is the name of the device inside the container.",
            renamed,
        )
        .of("linux.netDevices.*.name"),
        AREA.case(
            "net-device-missing",
            PLACE,
            "The runtime must check that the device exists, and generate an error if not.",
            |scene| {
                scene
                    .is_refused(
                        &scene
                            .bundle()
                            .set("/linux/netDevices", json!({ "nosuchdevice": {} })),
                    )
                    .map(drop)
            },
        ),
        AREA.case(
            "net-device-name-taken",
            PLACE,
            "The runtime must generate an error if the name is taken inside.",
            |scene| {
                let pair = Pair::new(scene)?;
                scene
                    .is_refused(&scene.bundle().set(
                        "/linux/netDevices",
                        json!({ pair.name.as_str(): { "name": "lo" } }),
                    ))
                    .map(drop)
            },
        ),
        AREA.case(
            "net-device-without-a-namespace",
            PLACE,
            "Devices can only be moved into a network namespace that is not the runtime's.",
            |scene| {
                let pair = Pair::new(scene)?;
                let bundle = scene
                    .bundle()
                    .set(
                        "/linux/namespaces",
                        json!([{ "type": "mount" }, { "type": "pid" }]),
                    )
                    .set("/mounts", json!([]))
                    .set("/linux/netDevices", json!({ pair.name.as_str(): {} }));
                scene.is_refused(&bundle).map(drop)
            },
        ),
    ]
}

/// A pair of network devices of the host, for one case.
struct Pair {
    name: String,
    other: String,
}

fn ip(arguments: &[&str]) -> bool {
    let output = Command::new("ip").args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

impl Pair {
    fn new(scene: &Scene<'_>) -> Result<Self, Trouble> {
        // A name has at most 15 bytes.
        let number = scene.marker().rsplit('-').next().unwrap_or_default();
        let name = format!("cf{}x{number}", std::process::id());
        let other = format!("{name}p");
        if !ip(&["link", "add", &name, "type", "veth", "peer", "name", &other]) {
            return skipped("`ip link add … type veth` fails, and there is nothing to move");
        }
        let pair = Self { name, other };
        holds(
            ip(&["addr", "add", "192.0.2.7/32", "dev", &pair.name]),
            "an address",
            &pair.name,
        )?;
        Ok(pair)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // One end takes the other with it; either may be gone with a container.
        if !ip(&["link", "del", &self.other]) {
            ip(&["link", "del", &self.name]);
        }
    }
}

fn moved(scene: &Scene<'_>) -> Verdict {
    let pair = Pair::new(scene)?;
    let bundle = scene
        .bundle()
        .set("/linux/netDevices", json!({ pair.name.as_str(): {} }));
    let file = format!("read:/sys/class/net/{}/flags", pair.name);
    let tried = scene.tries(bundle, &[&file, "read:/proc/net/fib_trie"])?;
    let flags = tried[&file].as_str().unwrap_or_default();
    holds(flags.starts_with("0x"), "the device inside", flags)?;
    let addresses = tried["read:/proc/net/fib_trie"]
        .as_str()
        .unwrap_or_default();
    holds(
        addresses.contains("192.0.2.7"),
        "its address, kept",
        addresses,
    )
}

fn renamed(scene: &Scene<'_>) -> Verdict {
    let pair = Pair::new(scene)?;
    let bundle = scene.bundle().set(
        "/linux/netDevices",
        json!({ pair.name.as_str(): { "name": "inside0" } }),
    );
    let report = scene.report(&bundle)?;
    is(
        "the device inside",
        &report["interfaces"]["inside0"]["kind"],
        "l",
    )
}
