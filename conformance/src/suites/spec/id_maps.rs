//! config-linux.md#user-namespace-mappings and #offset-for-time-namespace.

use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use super::{Area, is};
use crate::bundle::Bundle;
use crate::case::{Case, Verdict, equal, holds, skipped};
use crate::scene::Scene;

const AREA: Area = Area("id-maps");
const PLACE: &str = "config-linux.md#user-namespace-mappings";
const TIME: &str = "config-linux.md#offset-for-time-namespace";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        AREA.case("ids-of-users", PLACE, "uidMappings maps uids from the host to the container.", |scene| {
            is("uid_map", &words(&scene.report(&bundle(scene))?["uid_map"]), json!(["0", "100000", "1000", "2000", "300000", "5"]))
        })
        .of("linux.uidMappings").of("linux.uidMappings[]"),
        AREA.case("ids-of-groups", PLACE, "gidMappings maps gids from the host to the container.", |scene| {
            is("gid_map", &words(&scene.report(&bundle(scene))?["gid_map"]), json!(["0", "200000", "1000"]))
        })
        .of("linux.gidMappings").of("linux.gidMappings[]"),
        AREA.case("ids-as-seen-outside", PLACE, "hostID is the starting id on the host to be mapped to containerID, size is their number.", outside)
            .of("linux.uidMappings[].containerID").of("linux.uidMappings[].hostID").of("linux.uidMappings[].size")
            .of("linux.gidMappings[].containerID").of("linux.gidMappings[].hostID").of("linux.gidMappings[].size"),
        AREA.case("ids-of-files-stay", PLACE, "The runtime should not modify the ownership of referenced filesystems to realize the mapping.", files),
        AREA.case("ids-with-devices", "config-linux.md#default-devices", "The runtime must supply the default devices in a user namespace too.", devices),
        AREA.case("ids-without-a-namespace", "runtime.md#create", "If the runtime cannot apply a property it must generate an error: a mapping needs a user namespace.", |scene| {
            let bundle = scene.bundle().set("/linux/uidMappings", json!([{ "containerID": 0, "hostID": 100_000, "size": 10 }]))
                .set("/linux/gidMappings", json!([{ "containerID": 0, "hostID": 100_000, "size": 10 }]));
            scene.is_refused(&bundle).map(drop)
        }),
        AREA.case("ids-that-overlap", "runtime.md#create", "If the runtime cannot apply a property it must generate an error.", |scene| {
            let overlap = json!([{ "containerID": 0, "hostID": 100_000, "size": 10 }, { "containerID": 5, "hostID": 200_000, "size": 10 }]);
            scene.is_refused(&bundle(scene).set("/linux/uidMappings", overlap)).map(drop)
        }),
        offset("monotonic", "secs", 172_800, 0),
        offset("monotonic", "nanosecs", 5, 123_456_789),
        offset("boottime", "secs", 604_800, 0),
        offset("boottime", "nanosecs", 6, 987_654_321),
        AREA.case("time-offset-impossible", "config.md#valid-values", "Runtimes must generate an error when invalid values are encountered: nanoseconds are less than a second.", |scene| {
            let bundle = with_time(scene).set("/linux/timeOffsets", json!({ "monotonic": { "secs": 1, "nanosecs": 2_000_000_000 } }));
            scene.is_refused(&bundle).map(drop)
        }),
    ];
    for member in ["containerID", "hostID", "size"] {
        cases.push(AREA.case(
            format!("ids-without-{}", member.to_lowercase()),
            PLACE,
            &format!("{member} is required."),
            move |scene| {
                scene
                    .is_refused(&bundle(scene).without(&format!("/linux/uidMappings/0/{member}")))
                    .map(drop)
            },
        ));
    }
    cases
}

fn words(text: &Value) -> Value {
    json!(
        text.as_str()
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
    )
}

/// A container with a user namespace. The root filesystem belongs to its root.
fn bundle(scene: &Scene<'_>) -> Bundle {
    let bundle = scene
        .bundle()
        .set("/linux/namespaces/-", json!({ "type": "user" }))
        .set(
            "/linux/uidMappings",
            json!([
                { "containerID": 0, "hostID": 100_000, "size": 1000 },
                { "containerID": 2000, "hostID": 300_000, "size": 5 },
            ]),
        )
        .set(
            "/linux/gidMappings",
            json!([{ "containerID": 0, "hostID": 200_000, "size": 1000 }]),
        );
    for name in ["", "proc", "dev", "sys", "tmp", "etc"] {
        std::os::unix::fs::chown(bundle.rootfs().join(name), Some(100_000), Some(200_000))
            .expect("a directory can be given away");
    }
    bundle
}

fn outside(scene: &Scene<'_>) -> Verdict {
    let bundle = bundle(scene)
        .set("/process/user", json!({ "uid": 2003, "gid": 77 }))
        .does(&["wait"]);
    scene.start(&bundle)?;
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", scene.runtime().pid(bundle.id())))
            .unwrap_or_default();
    let line = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or_default()
            .to_owned()
    };
    equal("uid on the host", &line("Uid:"), &"300003".to_owned())?;
    equal("gid on the host", &line("Gid:"), &"200077".to_owned())
}

fn files(scene: &Scene<'_>) -> Verdict {
    let bundle = bundle(scene);
    let file = bundle.rootfs().join("etc/of-root");
    std::fs::write(&file, "x").expect("a file can be written");
    let tried = scene.tries(bundle, &["stat:/etc/of-root"])?;
    let metadata = std::fs::metadata(&file).expect("the file is there");
    equal(
        "owner on the host",
        &(metadata.uid(), metadata.gid()),
        &(0, 0),
    )?;
    is("owner inside", &tried["stat:/etc/of-root"]["uid"], 65534)
}

fn devices(scene: &Scene<'_>) -> Verdict {
    let tried = scene.tries(
        bundle(scene),
        &[
            "overwrite:/dev/null",
            "open:/dev/zero",
            "open:/dev/urandom",
            "overwrite:/dev/full",
            "read:/proc/self/uid_map",
        ],
    )?;
    let map = tried["read:/proc/self/uid_map"]
        .as_str()
        .unwrap_or_default();
    holds(map.contains("100000"), "a user namespace", map)?;
    is("writing null", &tried["overwrite:/dev/null"], "ok")?;
    is("reading zero", &tried["open:/dev/zero"], "ok")?;
    is("reading urandom", &tried["open:/dev/urandom"], "ok")?;
    is("writing full", &tried["overwrite:/dev/full"], "ENOSPC")
}

fn with_time(scene: &Scene<'_>) -> Bundle {
    scene
        .bundle()
        .set("/linux/namespaces/-", json!({ "type": "time" }))
}

fn offset(clock: &'static str, part: &'static str, seconds: i64, nanoseconds: u32) -> Case {
    AREA.case(
        format!("time-offset-{clock}-{part}"),
        TIME,
        &format!("timeOffsets sets the offset of the clock {clock}: {part}."),
        move |scene| {
            if !std::path::Path::new("/proc/self/timens_offsets").exists() {
                return skipped("this kernel has no time namespaces");
            }
            let bundle = with_time(scene).set(
                "/linux/timeOffsets",
                json!({ clock: { "secs": seconds, "nanosecs": nanoseconds } }),
            );
            let report = scene.report(&bundle)?;
            let text = report["timens_offsets"].as_str().unwrap_or_default();
            let line = text
                .lines()
                .find(|line| line.starts_with(clock))
                .unwrap_or_default();
            let expected = format!("{clock} {seconds} {nanoseconds}");
            holds(
                line.split_whitespace().collect::<Vec<_>>().join(" ") == expected,
                &expected,
                text,
            )
        },
    )
    .of("linux.timeOffsets")
    .of(&format!("linux.timeOffsets.{clock}"))
    .of(&format!("linux.timeOffsets.{clock}.{part}"))
}
