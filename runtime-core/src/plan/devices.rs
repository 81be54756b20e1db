//! `linux.devices`, the specification's default devices, and the links that go with them.

use std::ffi::CString;

use super::idmap::Ids;
use super::namespaces::{MOUNT, USER};
use super::place::Place;
use super::text::{c_string, clean, quoted};
use super::{Content, ContentAct, DevicePlan, NamespacesPlan, Origin};
use crate::host::Host;
use crate::spec::{self, Linux};
use crate::violation::Violations;

/// config-linux.md#default-devices: path, major, minor. All are character devices, 0666.
const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/full", 1, 7),
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/tty", 5, 0),
    ("/dev/urandom", 1, 9),
    ("/dev/zero", 1, 5),
];

/// Links: path, text, whether a file in the way is removed (the image's or a listed device).
const LINKS: [(&str, &str, bool); 5] = [
    ("/dev/fd", "/proc/self/fd", false),
    ("/dev/stdin", "/proc/self/fd/0", false),
    ("/dev/stdout", "/proc/self/fd/1", false),
    ("/dev/stderr", "/proc/self/fd/2", false),
    ("/dev/ptmx", "pts/ptmx", true),
];

const DEFAULT_MODE: u32 = 0o666;
/// What the kernel keeps of a device number: 12 and 20 bits.
const MAJOR_MAX: u32 = 0xfff;
const MINOR_MAX: u32 = 0xf_ffff;
/// The id that a caller inside a user namespace sees for an owner from outside.
const NOBODY: u32 = 65534;

/// What devices are resolved against.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeviceFacts<'a> {
    pub(super) host: &'a Host,
    pub(super) namespaces: &'a NamespacesPlan,
    pub(super) ids: Ids<'a>,
}

impl DeviceFacts<'_> {
    /// mknod(2) of a device fails in a user namespace: the host's node is bound instead.
    fn bind(self) -> bool {
        self.host.in_user_namespace || self.namespaces.has(USER)
    }
}

/// Adds devices and links in the order they are made.
pub(super) fn plan(
    linux: &Linux<'_>,
    facts: DeviceFacts<'_>,
    contents: &mut Vec<Content>,
    violations: &mut Violations,
) {
    let listed = listed(linux, facts, violations);
    let has_mounts = facts.namespaces.has(MOUNT);
    if !has_mounts && facts.bind() {
        if !listed.is_empty() {
            let linux = Place::ROOT.key("linux");
            violations.add(
                linux.key("devices"),
                "in a user namespace need a namespace of type mount in linux.namespaces",
            );
        }
        return;
    }
    defaults(facts, &listed, contents);
    contents.extend(listed);
    links(contents);
}

fn defaults(facts: DeviceFacts<'_>, listed: &[Content], contents: &mut Vec<Content>) {
    for (path, major, minor) in DEFAULT_DEVICES {
        if listed
            .iter()
            .any(|content| device_path(content) == Some(path.as_bytes()))
        {
            continue;
        }
        let device = DevicePlan {
            path: constant(path),
            mode: libc::S_IFCHR | DEFAULT_MODE,
            major,
            minor,
            uid: 0,
            gid: 0,
            bind: facts.bind(),
        };
        contents.push(Content {
            act: ContentAct::Device(device),
            origin: Origin::DefaultDevice,
        });
    }
}

fn links(contents: &mut Vec<Content>) {
    for (path, text, replace) in LINKS {
        let link = ContentAct::Symlink {
            text: constant(text),
            path: constant(path),
            replace,
        };
        contents.push(Content {
            act: link,
            origin: Origin::DefaultDevice,
        });
    }
}

fn constant(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

fn device_path(content: &Content) -> Option<&[u8]> {
    match &content.act {
        ContentAct::Device(device) => Some(device.path.to_bytes()),
        _ => None,
    }
}

fn listed(linux: &Linux<'_>, facts: DeviceFacts<'_>, violations: &mut Violations) -> Vec<Content> {
    let root = Place::ROOT.key("linux");
    let place = root.key("devices");
    let mut contents: Vec<Content> = Vec::new();
    let mut paths = std::collections::HashMap::new();
    for (index, device) in linux.devices.iter().flatten().enumerate() {
        if violations.is_full() {
            break;
        }
        let Ok(origin) = u16::try_from(index) else {
            violations.add(place, "are more than 65536");
            break;
        };
        let place = place.index(index);
        let Some(plan) = plan_one(device, facts, place, violations) else {
            continue;
        };
        // The same device twice is harmless; two devices of one path can't be.
        if let Some(earlier) = paths.get(&plan.path) {
            if *earlier != (plan.mode & libc::S_IFMT, plan.major, plan.minor) {
                violations.add(place.key("path"), "is there already, as another device");
            }
            continue;
        }
        paths.insert(
            plan.path.clone(),
            (plan.mode & libc::S_IFMT, plan.major, plan.minor),
        );
        contents.push(Content {
            act: ContentAct::Device(plan),
            origin: Origin::Device(origin),
        });
    }
    contents
}

fn plan_one(
    device: &spec::Device<'_>,
    facts: DeviceFacts<'_>,
    place: Place<'_>,
    violations: &mut Violations,
) -> Option<DevicePlan> {
    let format = format(device, place, violations)?;
    let path = path(device, place, violations)?;
    let (major, minor) = match format {
        libc::S_IFIFO => (0, 0),
        _ => (
            number("major", device.major, MAJOR_MAX, place, violations)?,
            number("minor", device.minor, MINOR_MAX, place, violations)?,
        ),
    };
    let (uid, gid) = owner(device, facts, place, violations);
    Some(DevicePlan {
        path,
        mode: format | permissions(device, place, violations),
        major,
        minor,
        uid,
        gid,
        bind: facts.bind() && format != libc::S_IFIFO,
    })
}

fn format(device: &spec::Device<'_>, place: Place<'_>, violations: &mut Violations) -> Option<u32> {
    match device.kind.as_deref() {
        Some("c" | "u") => return Some(libc::S_IFCHR),
        Some("b") => return Some(libc::S_IFBLK),
        Some("p") => return Some(libc::S_IFIFO),
        Some(kind) => violations.add(
            place.key("type"),
            format!(
                "unknown device type {}; it must be one of b, c, p, u",
                quoted(kind)
            ),
        ),
        None => violations.add(place.key("type"), "is missing"),
    }
    None
}

fn path(
    device: &spec::Device<'_>,
    place: Place<'_>,
    violations: &mut Violations,
) -> Option<CString> {
    let place = place.key("path");
    match device.path.as_deref() {
        None => violations.add(place, "is missing"),
        Some(path) if !path.starts_with('/') => {
            violations.add(place, format!("{} is not an absolute path", quoted(path)));
        }
        Some(path) if clean(path) == "/" => violations.add(place, "is the container's root"),
        Some(path) => return Some(c_string(&clean(path), place, violations)),
    }
    None
}

fn number(
    key: &str,
    number: Option<i64>,
    max: u32,
    place: Place<'_>,
    violations: &mut Violations,
) -> Option<u32> {
    let place = place.key(key);
    let Some(number) = number else {
        violations.add(place, "is missing");
        return None;
    };
    let fits = u32::try_from(number).ok().filter(|number| *number <= max);
    if fits.is_none() {
        violations.add(place, format!("{number} is not between 0 and {max}"));
    }
    fits
}

fn permissions(device: &spec::Device<'_>, place: Place<'_>, violations: &mut Violations) -> u32 {
    // Some callers pass all of st_mode.
    let mode = device.file_mode.unwrap_or(DEFAULT_MODE) & !libc::S_IFMT;
    if mode > 0o7777 {
        violations.add(place.key("fileMode"), format!("{mode} is no file mode"));
    }
    mode
}

fn owner(
    device: &spec::Device<'_>,
    facts: DeviceFacts<'_>,
    place: Place<'_>,
    violations: &mut Violations,
) -> (u32, u32) {
    let (uid, gid) = (device.uid.unwrap_or(0), device.gid.unwrap_or(0));
    if uid != NOBODY && !facts.ids.has_user(uid) {
        violations.add(
            place.key("uid"),
            format!("user {uid} is not mapped in linux.uidMappings"),
        );
    }
    if gid != NOBODY && !facts.ids.has_group(gid) {
        violations.add(
            place.key("gid"),
            format!("group {gid} is not mapped in linux.gidMappings"),
        );
    }
    (uid, gid)
}
