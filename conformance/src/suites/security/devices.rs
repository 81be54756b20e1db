//! R12, R28: devices.

use serde_json::{Value, json};

use super::{Area, Ground, exec, tried, tries_where, with_capabilities};
use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, equal, failed, holds};
use crate::scene::Scene;

const AREA: Area = Area("devices");
const ORIGIN: &str = "GHSA-g54h-m393-cpwq";

/// Devices that are nobody's: memory, a disk, fuse, a graphics card. Not the network's tunnel: runc
/// 1.2 took it from its built-in rules, and 1.2.4 put it back, since containers rely on it.
const TRIES: [&str; 4] = [
    "mknod:/a:c:1:1",
    "mknod:/b:b:8:0",
    "mknod:/c:c:10:229",
    "mknod:/d:c:195:0",
];

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case("devices-without-rules", "R12", "A device list that is absent allows none of the host's devices.", ORIGIN, |scene, _| can_open(scene, None)),
        AREA.case("devices-with-no-rule", "R12", "Nor does an empty one.", ORIGIN, |scene, _| can_open(scene, Some(json!([])))),
        AREA.case("devices-with-rules-that-allow", "R12", "A list that allows one device allows no other.", ORIGIN, |scene, _| {
            can_open(scene, Some(json!([{ "allow": true, "type": "c", "major": 1, "minor": 9, "access": "rwm" }])))
        }),
        AREA.case("devices-that-are-denied", "R12", "A list that denies everything does.", ORIGIN, |scene, _| {
            can_open(scene, Some(json!([{ "allow": false, "access": "rwm" }])))
        }),
        AREA.case("devices-after-an-update", "R12", "update of another limit leaves the rules in force.", ORIGIN, |scene, _| {
            let bundle = device_bundle(scene, Some(json!([{ "allow": false, "access": "rwm" }]))).does(&["wait"]);
            scene.start(&bundle)?;
            scene.succeeds(&["update", "--pids-limit", "40", bundle.id()])?;
            let finished = exec(scene, &[], &bundle, &[&["try"], &TRIES[..]].concat());
            none_opens(tried(&finished), &finished)
        }),
        AREA.case("devices-of-exec", "R12", "A further process has the container's devices.", ORIGIN, |scene, _| {
            let bundle = device_bundle(scene, None).does(&["wait"]);
            scene.start(&bundle)?;
            let finished = exec(scene, &[], &bundle, &[&["try"], &TRIES[..]].concat());
            none_opens(tried(&finished), &finished)
        }),
        AREA.case("masks-of-spec", "R12", "The config.json that `spec` writes masks power, interrupts and thermal counters.", "GHSA-7ww5-4wqc-m92c", masks),
        AREA.case("bpf-again-and-again", "R28", "Device rules are loaded again and again, and the runtime's memory stays sound.", "kernels from 6.17 write past a short bpf_attr", |scene, ground| {
            let words = [&["try"], &TRIES[..]].concat();
            for _ in 0..if scene.stage().is_long { 1000 } else { 15 } {
                // A new one each time: the nodes stay in its root.
                let rules = json!([{ "allow": false, "access": "rwm" }]);
                let bundle = device_bundle(scene, Some(rules)).does(&words);
                let finished = super::run_and_look(scene, ground, &bundle)?;
                none_opens(tried(&finished), &finished)?;
            }
            Ok(())
        }),
    ]
}

fn device_bundle(scene: &Scene<'_>, rules: Option<Value>) -> Bundle {
    let bundle = with_capabilities(scene.bundle(), &["CAP_MKNOD", "CAP_DAC_OVERRIDE"]);
    match rules {
        Some(rules) => bundle.set("/linux/resources/devices", rules),
        None => bundle,
    }
}

fn can_open(scene: &Scene<'_>, rules: Option<Value>) -> Verdict {
    let bundle = device_bundle(scene, rules);
    none_opens(Some(scene.tries(bundle, &TRIES)?), &"no report")
}

/// No device could be opened; making a node is a right of CAP_MKNOD's, and opens nothing.
fn none_opens(seen: Option<Value>, otherwise: &impl std::fmt::Debug) -> Verdict {
    let Some(seen) = seen else {
        return failed("the program runs", format!("{otherwise:?}"));
    };
    // Another errno than EPERM is one of the device's driver: the rules have let it pass.
    let passed = tries_where(&seen, |value| *value != "EPERM" && value["open"] != "EPERM");
    equal("devices that the rules let pass", &passed, &Vec::new())?;
    holds(
        seen.as_object().is_some_and(|all| all.len() == TRIES.len()),
        "all tries",
        seen,
    )
}

fn masks(scene: &Scene<'_>, _: &Ground) -> Verdict {
    let config = written_by_spec(scene)?;
    let masked: Vec<&str> = config["linux"]["maskedPaths"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for path in [
        "/proc/kcore",
        "/proc/interrupts",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ] {
        holds(
            masked.contains(&path),
            &format!("{path} in maskedPaths"),
            &masked,
        )?;
    }
    let counters = "/sys/devices/system/cpu/cpu0/thermal_throttle";
    let thermal = !std::path::Path::new(counters).exists() || masked.contains(&counters);
    holds(
        thermal,
        "thermal_throttle of a processor in maskedPaths",
        masked,
    )
}

fn written_by_spec(scene: &Scene<'_>) -> Result<Value, Trouble> {
    let mut command = scene.runtime().command(&["spec"]);
    let finished = crate::run::finish(
        command.current_dir(scene.directory()),
        b"",
        crate::run::LIMIT,
    );
    let text = std::fs::read_to_string(scene.directory().join("config.json")).unwrap_or_default();
    serde_json::from_str(&text).or_else(|_| failed("a config.json", finished.brief()))
}
