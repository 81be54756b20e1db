//! R13, R14, R15: users, groups, environment.

use std::path::Path;
use std::time::Duration;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;

use super::{
    Area, Ground, PATIENCE, exec, exec_report, is_refused, run_and_look, run_and_look_within, tried,
};
use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, equal, failed, holds};
use crate::scene::Scene;

/// How long an odd passwd may be read, and what of a processor's time it may cost.
const LONG_PATIENCE: Duration = Duration::from_secs(120);
const COST: Duration = Duration::from_secs(10);

const AREA: Area = Area("users");
const USERS: &str = "CVE-2016-3697, CVE-2026-30892, CVE-2024-40635, CVE-2026-46680";
const GROUPS: &str = "CVE-2023-25173, CVE-2022-36109, CVE-2022-2990";

/// A passwd(5) whose names are numbers.
const PASSWD: &str = "root:x:0:0::/root:/bin/sh\n1:x:0:0::/root:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n00:x:5:5::/:/bin/sh\n";

/// What is no user.
const BAD: [&str; 11] = [
    "-1",
    "4294967295",
    "4294967296",
    "1e1",
    ":5",
    "0x0",
    "root ",
    "name",
    "1:4294967296",
    "1:-1",
    " 1",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        AREA.case("user-that-is-a-number", "R13", "A user that is a number is that number, whatever the image's passwd calls by that name.", USERS, |scene, _| {
            let bundle = running(scene)?;
            for (user, uid, gid) in [("1", "1", None), ("1:1", "1", Some("1")), ("0", "0", Some("0"))] {
                let status = exec_report(scene, &["--user", user], &bundle)?["status"].clone();
                let four = |id: &str| json!([id; 4].join(" "));
                equal(&format!("Uid of {user}"), &status["Uid"], &four(uid))?;
                if let Some(gid) = gid {
                    equal(&format!("Gid of {user}"), &status["Gid"], &four(gid))?;
                }
            }
            Ok(())
        }),
        AREA.case("user-in-the-config-that-is-none", "R13", "A uid of config.json that is out of range or no number is an error.", USERS, |scene, ground| {
            for uid in [json!(-1), json!(4_294_967_295_u64), json!(4_294_967_296_u64), json!("0"), json!(1.5)] {
                let bundle = scene.bundle().does(&["exit", "0"]).set("/process/user/uid", uid.clone());
                is_refused(&run_and_look(scene, ground, &bundle)?, &format!("uid {uid}"))?;
            }
            Ok(())
        }),
        AREA.case("groups-of-the-config", "R14", "A process has the groups of config.json and none of the runtime's caller.", GROUPS, groups),
        AREA.case("groups-of-exec", "R14", "So has a further process.", GROUPS, |scene, _| {
            let bundle = running(scene)?;
            let seen = with_groups(|| exec_report(scene, &["--user", "7:8"], &bundle))?;
            equal("Groups", &seen["status"]["Groups"], &json!(""))
        }),
        AREA.case("environment-of-the-config", "R15", "A process has the environment of config.json and nothing of the runtime's caller.", "CVE-2021-3602, CVE-2020-14370", environment),
        AREA.case("environment-of-two", "R15", "Two containers have nothing of each other's.", "CVE-2021-21334", |scene, _| {
            let bundle = scene.bundle().set("/process/env/-", "FIRST=secret");
            scene.report(&bundle)?;
            let seen = scene.report(&scene.bundle())?["environment"].clone();
            holds(seen["FIRST"].is_null(), "no FIRST", seen)
        }),
        AREA.case("path-is-of-the-container", "R15", "A program is looked for in PATH of config.json, inside.", "PATH of the caller", path),
        AREA.case("environment-in-no-file", "R15", "No file of an image has the environment.", "CVE-2022-4318", |scene, ground| {
            let bundle = scene.bundle().does(&["exit", "0"]).set("/process/env", json!(["PATH=/", "HOME=\nroot::0:0::/:/bin/sh", "SECRET=swordfish"]));
            for name in ["passwd", "group"] {
                std::fs::write(bundle.rootfs().join("etc").join(name), "root:x:0:0::/:\n").expect("a file can be written");
            }
            run_and_look(scene, ground, &bundle)?;
            for path in super::links::tree(&bundle.rootfs()).into_iter().filter(|path| path.is_file() && !path.ends_with("probe")) {
                let text = std::fs::read(&path).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                holds(!text.contains("swordfish") && !text.contains("root::0"), "no environment in files", &path)?;
            }
            Ok(())
        }),
    ];
    cases.extend(BAD.into_iter().enumerate().map(|(index, user)| {
        AREA.case(
            format!("user-that-is-none-{index}"),
            "R13",
            &format!("The user {user:?} is an error."),
            USERS,
            move |scene, _| {
                let bundle = running(scene)?;
                is_refused(&exec(scene, &["--user", user], &bundle, &["report"]), user)
            },
        )
    }));
    cases.extend(["sparse", "device", "lines", "link", "fifo"].map(|kind| {
        AREA.case(
            format!("passwd-{kind}"),
            "R13",
            "An odd passwd of an image decides nothing, and costs neither time nor memory.",
            "CVE-2026-47262",
            move |scene, ground| {
                let bundle = scene
                    .bundle()
                    .set("/process/user", json!({ "uid": 7, "gid": 7 }));
                odd(
                    &bundle.rootfs().join("etc/passwd"),
                    kind,
                    scene.stage().is_long,
                );
                let before = processor_time();
                // How fast it goes is the machine's; a fifo is waited for in vain.
                let patience = if kind == "fifo" {
                    PATIENCE
                } else {
                    LONG_PATIENCE
                };
                let finished = run_and_look_within(scene, ground, &bundle, patience)?;
                let cost = processor_time().saturating_sub(before);
                holds(cost < COST, "less than 10 s of a processor", cost)?;
                let Some(report) = tried(&finished) else {
                    return failed("the program runs", finished.brief());
                };
                equal("Uid", &report["status"]["Uid"], &json!("7 7 7 7"))?;
                holds(
                    report["environment"]["HOME"] != "/wrong",
                    "no HOME of another user",
                    &report["environment"],
                )
            },
        )
    }));
    cases
}

/// What processes that have ended have used, of those that this one started.
fn processor_time() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN);
    let Ok(usage) = usage else {
        return Duration::ZERO;
    };
    let parts = [usage.user_time(), usage.system_time()];
    let micros = parts.map(|time| nix::sys::time::TimeValLike::num_microseconds(&time));
    Duration::from_micros(micros.iter().map(|part| part.unsigned_abs()).sum())
}

fn running(scene: &Scene<'_>) -> Result<Bundle, Trouble> {
    let bundle = scene.bundle().does(&["wait"]);
    std::fs::write(bundle.rootfs().join("etc/passwd"), PASSWD).expect("a file can be written");
    scene.start(&bundle)?;
    Ok(bundle)
}

/// Does something while this program, and what it starts, has groups of the host.
fn with_groups<T>(act: impl FnOnce() -> T) -> T {
    let was = nix::unistd::getgroups().unwrap_or_default();
    let groups = [4, 6, 24, 27, 999].map(nix::unistd::Gid::from_raw);
    nix::unistd::setgroups(&groups).expect("root sets groups");
    let done = act();
    nix::unistd::setgroups(&was).expect("root sets groups");
    done
}

fn groups(scene: &Scene<'_>, _: &Ground) -> Verdict {
    let many: Vec<u32> = (1000..1070).collect();
    for groups in [json!([]), json!([44]), json!(many)] {
        let user = json!({ "uid": 7, "gid": 8, "additionalGids": groups });
        let report = with_groups(|| scene.report(&scene.bundle().set("/process/user", user)))?;
        let expected: Vec<String> = groups
            .as_array()
            .into_iter()
            .flatten()
            .map(ToString::to_string)
            .collect();
        equal(
            "Groups",
            &report["status"]["Groups"],
            &json!(expected.join(" ")),
        )?;
        equal("Gid", &report["status"]["Gid"], &json!("8 8 8 8"))?;
    }
    Ok(())
}

fn environment(scene: &Scene<'_>, _: &Ground) -> Verdict {
    let env = json!(["PATH=/", "A=1\n2=x", "EMPTY=", "A=3"]);
    let bundle = scene.bundle().set("/process/env", env);
    bundle.save();
    let path = super::text(bundle.path());
    let words = ["run", "--bundle", &path, bundle.id()];
    let mut command = scene.runtime().command(&words);
    command.env("HOST_SECRET", "swordfish").env("EMPTY", "host");
    let finished = scene.runtime().finish(&mut command, &words);
    let Some(report) = tried(&finished) else {
        return failed("the program runs", finished.brief());
    };
    let seen = &report["environment"];
    let text = seen.to_string();
    holds(!text.contains("swordfish"), "nothing of the caller's", seen)?;
    equal("EMPTY", &seen["EMPTY"], &json!(""))?;
    holds(
        seen["2"].is_null(),
        "no variable out of another's value",
        seen,
    )
}

fn path(scene: &Scene<'_>, ground: &Ground) -> Verdict {
    let bundle = scene.bundle().set(
        "/process/args",
        json!(["program", "inside", "print", "inside"]),
    );
    let bundle = bundle.set("/process/env", json!(["PATH=/bin"]));
    std::fs::create_dir(bundle.rootfs().join("bin")).expect("a directory can be made");
    std::fs::hard_link(
        bundle.rootfs().join("probe"),
        bundle.rootfs().join("bin/program"),
    )
    .expect("a file can be linked");
    bundle.save();
    let path = super::text(bundle.path());
    let words = ["run", "--bundle", &path, bundle.id()];
    let mut command = scene.runtime().command(&words);
    command.env("PATH", ground.canary());
    let finished = scene.runtime().finish(&mut command, &words);
    equal(
        "output",
        &(finished.code, finished.stdout.as_str()),
        &(0, "inside"),
    )
}

fn odd(passwd: &Path, kind: &str, is_long: bool) {
    let mode = Mode::from_bits_truncate(0o644);
    match kind {
        "sparse" => std::fs::File::create(passwd)
            .and_then(|file| file.set_len(if is_long { 10 << 30 } else { 1 << 30 }))
            .expect("a sparse file can be made"),
        "device" => mknod(passwd, SFlag::S_IFCHR, mode, makedev(1, 3)).expect("root makes nodes"),
        "lines" => {
            let line = "x:x:4294967296:0::/wrong:\n1:x:0:0::/wrong:\n\0:x:7:0::/wro\0ng:\n";
            std::fs::write(passwd, line.repeat(50_000)).expect("a file can be written");
        }
        "link" => std::os::unix::fs::symlink("../../../../../../etc/passwd", passwd)
            .expect("a link can be made"),
        _ => nix::unistd::mkfifo(passwd, mode).expect("a fifo can be made"),
    }
}
