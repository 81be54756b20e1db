//! config-linux.md#devices.

use serde_json::{Value, json};

use super::{Area, is};
use crate::case::{Case, Verdict};
use crate::scene::Scene;

const AREA: Area = Area("devices");
const PLACE: &str = "config-linux.md#devices";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        kind("c", "c", 10, 237),
        kind("u", "c", 10, 237),
        kind("b", "b", 7, 0),
        AREA.case("device-p", PLACE, "type p is a pipe, without major and minor.", |scene| {
            made(scene, json!({ "type": "p", "path": "/dev/of-this-case" }), "/dev/of-this-case", &json!({ "kind": "p" }))
        })
        .of("linux.devices[].type"),
        AREA.case("device-file-mode", PLACE, "fileMode is the file mode for the device.", |scene| {
            made(scene, device(json!({ "fileMode": 0o640 })), "/dev/of-this-case", &json!({ "mode": "0640" }))
        })
        .of("linux.devices[].fileMode"),
        AREA.case("device-uid", PLACE, "uid is the id of the device's owner.", |scene| {
            made(scene, device(json!({ "uid": 33 })), "/dev/of-this-case", &json!({ "uid": 33, "gid": 0 }))
        })
        .of("linux.devices[].uid"),
        AREA.case("device-gid", PLACE, "gid is the id of the device's group.", |scene| {
            made(scene, device(json!({ "gid": 44 })), "/dev/of-this-case", &json!({ "uid": 0, "gid": 44 }))
        })
        .of("linux.devices[].gid"),
        AREA.case("device-outside-of-dev", PLACE, "The path may be anywhere in the container filesystem, notably outside of /dev.", |scene| {
            made(scene, device(json!({ "path": "/etc/deep/device" })), "/etc/deep/device", &json!({ "kind": "c", "major": 10, "minor": 237 }))
        })
        .of("linux.devices[].path"),
        AREA.case("devices-several", PLACE, "devices lists devices that must be available in the container.", several)
            .of("linux.devices").of("linux.devices[]"),
        AREA.case("device-where-another-file-is", PLACE, "If a file already exists at path that does not match, the runtime must generate an error.", another_file),
        AREA.case("device-where-another-device-is", PLACE, "If a file already exists at path that does not match, the runtime must generate an error.", another_device),
        AREA.case("device-that-is-there", PLACE, "If a file already exists at path that does not match, the runtime must generate an error: one that matches is fine.", same_device),
        refuses("device-unknown-type", "config.md#valid-values", "Runtimes must generate an error when invalid values are encountered.", device(json!({ "type": "x" }))),
    ];
    for member in ["type", "path", "major", "minor"] {
        let mut without = device(json!({}));
        if let Some(device) = without.as_object_mut() {
            device.remove(member);
        }
        cases.push(refuses(
            &format!("device-without-{member}"),
            PLACE,
            &format!("{member} is required."),
            without,
        ));
    }
    cases
}

fn refuses(name: &str, place: &str, sentence: &str, device: Value) -> Case {
    AREA.refuses(name, place, sentence, "/linux/devices", json!([device]))
}

/// A device that hosts and containers have no other use for, with these members.
fn device(members: Value) -> Value {
    let mut device = json!({ "type": "c", "path": "/dev/of-this-case", "major": 10, "minor": 237 });
    for (name, value) in members.as_object().into_iter().flatten() {
        device[name] = value.clone();
    }
    device
}

fn made(scene: &Scene<'_>, device: Value, path: &str, expected: &Value) -> Verdict {
    let word = format!("stat:{path}");
    let bundle = scene.bundle().set("/linux/devices", json!([device]));
    let tried = scene.tries(bundle, &[&word])?;
    let mut expected = expected.as_object().into_iter().flatten();
    expected.try_for_each(|(name, value)| is(name, &tried[&word][name], value.clone()))
}

fn kind(word: &'static str, seen: &'static str, major: u32, minor: u32) -> Case {
    AREA.case(format!("device-{word}"), PLACE, &format!("type {word} is a device of this type, with its major and minor number."), move |scene| {
        let device = json!({ "type": word, "path": "/dev/of-this-case", "major": major, "minor": minor });
        made(scene, device, "/dev/of-this-case", &json!({ "kind": seen, "major": major, "minor": minor }))
    })
    .of("linux.devices[].type")
    .of("linux.devices[].major")
    .of("linux.devices[].minor")
}

fn several(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().set(
        "/linux/devices",
        json!([
            device(json!({ "path": "/dev/one" })),
            device(json!({ "path": "/dev/two", "type": "b", "major": 7, "minor": 1 })),
        ]),
    );
    let report = scene.report(&bundle)?;
    is("one", &report["dev"]["one"]["kind"], "c")?;
    is("two", &report["dev"]["two"]["kind"], "b")
}

fn another_file(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().set(
        "/linux/devices",
        json!([device(json!({ "path": "/etc/taken" }))]),
    );
    std::fs::write(bundle.rootfs().join("etc/taken"), "a file").expect("a file can be written");
    scene.is_refused(&bundle).map(drop)
}

fn put_device(path: &std::path::Path, major: u64, minor: u64) {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    mknod(path, SFlag::S_IFCHR, mode, makedev(major, minor)).expect("a device can be made");
}

fn another_device(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().set(
        "/linux/devices",
        json!([device(json!({ "path": "/etc/taken" }))]),
    );
    put_device(&bundle.rootfs().join("etc/taken"), 1, 3);
    scene.is_refused(&bundle).map(drop)
}

fn same_device(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().set(
        "/linux/devices",
        json!([device(json!({ "path": "/etc/taken" }))]),
    );
    put_device(&bundle.rootfs().join("etc/taken"), 10, 237);
    let tried = scene.tries(bundle, &["stat:/etc/taken"])?;
    is("minor", &tried["stat:/etc/taken"]["minor"], 237)
}
