//! config-linux.md#allowed-device-list.

use serde_json::{Value, json};

use super::Area;
use crate::case::{Case, Verdict, holds};
use crate::host;
use crate::scene::Scene;

const AREA: Area = Area("device-rules");
const PLACE: &str = "config-linux.md#allowed-device-list";

/// Two devices that no default rule of a runtime is about: loop-control and a loop device.
const CONTROL: &str = "/dev/control";
const LOOP: &str = "/dev/loop";

/// What the rules allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Access {
    Allowed,
    Denied,
}
use Access::{Allowed, Denied};

/// Name, property, rules after "deny all", act, what comes of it.
type Row = (&'static str, &'static str, Value, &'static str, Access);

fn rows() -> Vec<Row> {
    let deny = || json!({ "allow": false, "access": "rwm" });
    let read = "open:/dev/control";
    let write = "overwrite:/dev/control";
    let make = "mknod:/tmp/new:c:10:237";
    let block = "open:/dev/loop";
    vec![
        ("deny", "allow", json!([deny()]), read, Denied),
        (
            "allow",
            "allow",
            json!([deny(), { "allow": true, "type": "c", "major": 10, "minor": 237, "access": "rwm" }]),
            read,
            Allowed,
        ),
        (
            "order",
            "allow",
            json!([{ "allow": true, "type": "c", "major": 10, "minor": 237, "access": "rwm" }, deny()]),
            read,
            Denied,
        ),
        (
            "order-of-exceptions",
            "allow",
            json!([deny(), { "allow": true, "type": "c", "major": 10, "access": "rwm" }, { "allow": false, "type": "c", "major": 10, "minor": 237, "access": "rwm" }]),
            read,
            Denied,
        ),
        (
            "type-c",
            "type",
            json!([deny(), { "allow": true, "type": "c", "major": 10, "minor": 237, "access": "r" }]),
            read,
            Allowed,
        ),
        (
            "type-c-is-not-b",
            "type",
            json!([deny(), { "allow": true, "type": "c", "major": 7, "minor": 0, "access": "r" }]),
            block,
            Denied,
        ),
        (
            "type-b",
            "type",
            json!([deny(), { "allow": true, "type": "b", "major": 7, "minor": 0, "access": "r" }]),
            block,
            Allowed,
        ),
        (
            "type-b-is-not-c",
            "type",
            json!([deny(), { "allow": true, "type": "b", "major": 10, "minor": 237, "access": "r" }]),
            read,
            Denied,
        ),
        (
            "type-a",
            "type",
            json!([deny(), { "allow": true, "type": "a", "access": "rwm" }]),
            read,
            Allowed,
        ),
        (
            "type-unset",
            "type",
            json!([deny(), { "allow": true, "access": "rwm" }]),
            block,
            Allowed,
        ),
        (
            "major",
            "major",
            json!([deny(), { "allow": true, "type": "c", "major": 11, "minor": 237, "access": "rwm" }]),
            read,
            Denied,
        ),
        (
            "major-unset",
            "major",
            json!([deny(), { "allow": true, "type": "c", "minor": 237, "access": "rwm" }]),
            read,
            Allowed,
        ),
        (
            "minor",
            "minor",
            json!([deny(), { "allow": true, "type": "c", "major": 10, "minor": 236, "access": "rwm" }]),
            read,
            Denied,
        ),
        (
            "minor-unset",
            "minor",
            json!([deny(), { "allow": true, "type": "c", "major": 10, "access": "rwm" }]),
            read,
            Allowed,
        ),
        (
            "access-r",
            "access",
            json!([deny(), { "allow": true, "type": "c", "major": 10, "minor": 237, "access": "r" }]),
            read,
            Allowed,
        ),
        (
            "access-r-is-not-w",
            "access",
            json!([deny(), { "allow": true, "type": "c", "major": 10, "minor": 237, "access": "r" }]),
            write,
            Denied,
        ),
        (
            "access-w",
            "access",
            json!([deny(), { "allow": true, "type": "c", "major": 10, "minor": 237, "access": "w" }]),
            write,
            Allowed,
        ),
        (
            "access-w-is-not-r",
            "access",
            json!([deny(), { "allow": true, "type": "c", "major": 10, "minor": 237, "access": "w" }]),
            read,
            Denied,
        ),
        (
            "access-m-is-not-r",
            "access",
            json!([deny(), { "allow": true, "type": "c", "major": 10, "minor": 237, "access": "m" }]),
            read,
            Denied,
        ),
        // The device can be made, and then not be opened: that is no EPERM of mknod(2).
        (
            "access-m",
            "access",
            json!([deny(), { "allow": true, "type": "c", "major": 10, "minor": 237, "access": "m" }]),
            make,
            Allowed,
        ),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = rows().into_iter().map(one).collect();
    cases.extend([
        AREA.refuses(
            "device-rule-without-allow",
            PLACE,
            "allow is required.",
            "/linux/resources/devices",
            json!([{ "access": "rwm" }]),
        ),
        AREA.refuses(
            "device-rule-unknown-type",
            "config.md#valid-values",
            "Runtimes must generate an error when invalid values are encountered.",
            "/linux/resources/devices",
            json!([{ "allow": true, "type": "x", "access": "rwm" }]),
        ),
        AREA.refuses(
            "device-rule-unknown-access",
            PLACE,
            "access is a composition of r, w and m.",
            "/linux/resources/devices",
            json!([{ "allow": true, "type": "c", "major": 10, "minor": 237, "access": "rx" }]),
        ),
    ]);
    cases
}

fn one((name, property, rules, act, expected): Row) -> Case {
    let sentence = format!("The runtime must apply entries in the listed order: {property}.");
    AREA.case(
        format!("device-rule-{name}"),
        PLACE,
        &sentence,
        move |scene| check(scene, &rules, act, expected),
    )
    .of("linux.resources.devices")
    .of("linux.resources.devices[]")
    .of(&format!("linux.resources.devices[].{property}"))
}

fn check(scene: &Scene<'_>, rules: &Value, act: &str, expected: Access) -> Verdict {
    let everything = json!(["CAP_MKNOD", "CAP_SYS_ADMIN"]);
    let bundle = scene
        .bundle()
        .set("/linux/resources/devices", rules.clone())
        .set(
            "/process/capabilities",
            json!({ "bounding": everything, "permitted": everything, "effective": everything }),
        )
        .set(
            "/linux/devices",
            json!([
                { "type": "c", "path": CONTROL, "major": 10, "minor": 237 },
                { "type": "b", "path": LOOP, "major": 7, "minor": 0 },
            ]),
        );
    let which = if host::has_cgroup2() { "v2" } else { "v1" };
    let tried = match scene.tries(bundle.clone(), &[act]) {
        // cgroup v1 has no exceptions to exceptions: what can't be applied is an error.
        Err(_) if is_nested(rules) && which == "v1" => {
            return scene.is_refused(&bundle).map(drop);
        }
        tried => tried?,
    };
    let seen = &tried[act];
    // What the device says is another error than what a rule denies; a made device that can't be
    // opened is an object.
    let is_allowed = ["ok", "ENXIO", "ENODEV", "EINVAL"]
        .iter()
        .any(|word| seen == word);
    let is_as_expected = match expected {
        Denied => seen == "EPERM",
        Allowed => is_allowed || seen["made"] == "ok",
    };
    holds(
        is_as_expected,
        &format!("{act}: {expected:?} (cgroup {which})"),
        seen,
    )
}

/// Whether a rule denies a part of what another allows.
fn is_nested(rules: &Value) -> bool {
    let rules = rules.as_array().map_or(&[][..], Vec::as_slice);
    rules
        .iter()
        .skip(1)
        .any(|rule| rule["allow"] == false && rule["minor"].is_u64())
}
