//! config.md#posix-platform-user.

use serde_json::json;

use super::{Area, is};
use crate::case::{Case, Verdict};
use crate::scene::Scene;

const AREA: Area = Area("user");
const PLACE: &str = "config.md#posix-platform-user";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case(
            "uid",
            PLACE,
            "uid is the user ID in the container namespace.",
            |scene| {
                status(
                    scene,
                    "/process/user/uid",
                    json!(1234),
                    "Uid",
                    "1234 1234 1234 1234",
                )
            },
        )
        .of("process.user")
        .of("process.user.uid"),
        AREA.case(
            "gid",
            PLACE,
            "gid is the group ID in the container namespace.",
            |scene| {
                status(
                    scene,
                    "/process/user/gid",
                    json!(4321),
                    "Gid",
                    "4321 4321 4321 4321",
                )
            },
        )
        .of("process.user.gid"),
        AREA.case(
            "additional-gids",
            PLACE,
            "additionalGids are additional group IDs in the container namespace.",
            |scene| {
                status(
                    scene,
                    "/process/user/additionalGids",
                    json!([5, 60000, 7]),
                    "Groups",
                    "5 7 60000",
                )
            },
        )
        .of("process.user.additionalGids")
        .of("process.user.additionalGids[]"),
        AREA.case(
            "additional-gids-unset",
            PLACE,
            "additionalGids is optional: without it there are none.",
            groups_unset,
        ),
        AREA.case("umask", PLACE, "umask is the umask of the user.", |scene| {
            status(scene, "/process/user/umask", json!(0o027), "Umask", "0027")
        })
        .of("process.user.umask"),
        AREA.case(
            "umask-unset",
            PLACE,
            "If umask is unspecified it should not be changed from the caller's.",
            umask_unset,
        ),
        AREA.case(
            "username-is-for-windows",
            "config.md#windows-user",
            "username is the user name for the process, on Windows.",
            |scene| {
                status(
                    scene,
                    "/process/user/username",
                    json!("containeradministrator"),
                    "Uid",
                    "0 0 0 0",
                )
            },
        )
        .of("process.user.username"),
        AREA.refuses(
            "uid-that-is-none",
            "config.md#valid-values",
            "Runtimes must generate an error when invalid values are encountered.",
            "/process/user/uid",
            json!(-1),
        ),
        AREA.refuses(
            "uid-that-is-too-large",
            "config.md#valid-values",
            "Runtimes must generate an error when invalid values are encountered.",
            "/process/user/uid",
            json!(4_294_967_296_u64),
        ),
        AREA.refuses(
            "gid-that-is-a-name",
            PLACE,
            "Symbolic names are left to upper levels to derive.",
            "/process/user/gid",
            json!("users"),
        ),
    ]
}

fn status(
    scene: &Scene<'_>,
    pointer: &str,
    value: serde_json::Value,
    line: &str,
    expected: &str,
) -> Verdict {
    let report = scene.report(&scene.bundle().set(pointer, value))?;
    is(line, &report["status"][line], expected)
}

/// The caller's groups don't come in.
fn groups_unset(scene: &Scene<'_>) -> Verdict {
    let bundle = scene
        .bundle()
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let groups = scene.report(&bundle)?["status"]["Groups"].clone();
    // The group itself may be among them.
    is(
        "Groups",
        &json!(
            groups
                .as_str()
                .unwrap_or_default()
                .replace("1000", "")
                .trim()
        ),
        "",
    )
}

fn umask_unset(scene: &Scene<'_>) -> Verdict {
    let own = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))
        .unwrap_or_default()
        .trim()
        .to_owned();
    is(
        "Umask",
        &scene.report(&scene.bundle())?["status"]["Umask"],
        own,
    )
}
