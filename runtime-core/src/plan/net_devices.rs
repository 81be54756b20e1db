//! `linux.netDevices`: config-linux.md#network-devices.

use super::NamespacesPlan;
use super::namespaces::NETWORK;
use super::place::Place;
use super::text::quoted;
use crate::host::Host;
use crate::spec::Linux;
use crate::violation::Violations;

/// The longest name of a network device, in bytes (IFNAMSIZ without the NUL).
const NAME_MAX: usize = 15;

/// A network device of the runtime's namespace that the container gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevicePlan {
    /// Its name outside.
    pub name: String,
    /// Its name inside; with `%d` the kernel chooses the number.
    pub inside: String,
}

impl NetDevicePlan {
    /// Whether the kernel chooses the name inside.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.inside.contains('%')
    }
}

/// Resolves the devices, in the order of their names.
pub(super) fn plan(
    linux: &Linux<'_>,
    namespaces: &NamespacesPlan,
    host: &Host,
    violations: &mut Violations,
) -> Vec<NetDevicePlan> {
    let Some(devices) = linux
        .net_devices
        .as_ref()
        .filter(|devices| !devices.is_empty())
    else {
        return Vec::new();
    };
    let linux = Place::ROOT.key("linux");
    let place = linux.key("netDevices");
    if !namespaces.has(NETWORK) {
        violations.add(
            place,
            "needs a namespace of type network in linux.namespaces",
        );
    }
    if host.is_rootless() {
        violations.add(
            place,
            "can't be moved without root in the initial user namespace",
        );
    }
    let mut plan: Vec<NetDevicePlan> = Vec::new();
    for (name, device) in devices {
        if violations.is_full() {
            break;
        }
        let inside = device.name.as_deref().filter(|name| !name.is_empty());
        let inside = inside.unwrap_or(name).to_owned();
        let place = place.key(name);
        let is_one = is_name(name) && !name.contains('%');
        let has_one = is_name(&inside) && is_plain_or_template(&inside);
        if !is_one {
            violations.add(
                place,
                format!("{} is no name of a network device", quoted(name)),
            );
        } else if !has_one {
            let rule = format!("{} is no name of a network device", quoted(&inside));
            violations.add(place.key("name"), rule);
        }
        let device = NetDevicePlan {
            name: name.to_string(),
            inside,
        };
        let is_taken = |other: &NetDevicePlan| other.inside == device.inside;
        if !device.is_template() && plan.iter().any(is_taken) {
            let rule = format!(
                "{} is the name of another device already",
                quoted(&device.inside)
            );
            violations.add(place.key("name"), rule);
        }
        plan.push(device);
    }
    plan
}

/// What the kernel takes for a name (dev_valid_name).
fn is_name(name: &str) -> bool {
    let is_bad =
        |byte: u8| matches!(byte, b'/' | b':' | 0) || byte.is_ascii_whitespace() || byte == 0x0b;
    !matches!(name, "" | "." | "..") && name.len() <= NAME_MAX && !name.bytes().any(is_bad)
}

fn is_plain_or_template(name: &str) -> bool {
    match name.split_once('%') {
        None => true,
        Some((_, rest)) => rest.starts_with('d') && !rest.contains('%'),
    }
}
