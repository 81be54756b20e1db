//! runc-update(8): each flag, as the files of the container's cgroup have it afterwards.

use serde_json::json;

use super::{Area, running, text};
use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, equal, holds, skipped};
use crate::host;
use crate::run::{Finished, LIMIT, finish};
use crate::scene::Scene;

const AREA: Area = Area("update");
const PLACE: &str = "runc-update(8)";

/// Where a figure is seen: controller, file, what it says; `|` between what it may say.
type File = (&'static str, &'static str, &'static str);

/// A flag with a value, and what it does on cgroup v1 and v2.
struct Figure {
    name: &'static str,
    row: &'static str,
    flags: &'static [&'static str],
    v1: Option<File>,
    v2: Option<File>,
}

const fn figure(
    name: &'static str,
    row: &'static str,
    flags: &'static [&'static str],
    v1: Option<File>,
    v2: Option<File>,
) -> Figure {
    Figure {
        name,
        row,
        flags,
        v1,
        v2,
    }
}

const FIGURES: [Figure; 18] = [
    figure(
        "memory",
        "update --memory",
        &["--memory", "67108864"],
        Some(("memory", "memory.limit_in_bytes", "67108864")),
        Some(("memory", "memory.max", "67108864")),
    ),
    figure(
        "memory-with-a-unit",
        "update --memory",
        &["--memory", "64m"],
        Some(("memory", "memory.limit_in_bytes", "67108864")),
        Some(("memory", "memory.max", "67108864")),
    ),
    figure(
        "memory-unlimited",
        "update --memory",
        &["--memory", "-1"],
        Some(("memory", "memory.limit_in_bytes", "9223372036854771712")),
        Some(("memory", "memory.max", "max")),
    ),
    figure(
        "memory-reservation",
        "update --memory-reservation",
        &["--memory-reservation", "33554432"],
        Some(("memory", "memory.soft_limit_in_bytes", "33554432")),
        Some(("memory", "memory.low", "33554432")),
    ),
    figure(
        "memory-swap",
        "update --memory-swap",
        &["--memory-swap", "201326592"],
        Some(("memory", "memory.memsw.limit_in_bytes", "201326592")),
        None,
    ),
    figure(
        "memory-swap-with-memory",
        "update --memory-swap",
        &["--memory", "67108864", "--memory-swap", "134217728"],
        Some(("memory", "memory.memsw.limit_in_bytes", "134217728")),
        Some(("memory", "memory.swap.max", "67108864")),
    ),
    figure(
        "pids-limit",
        "update --pids-limit",
        &["--pids-limit", "23"],
        Some(("pids", "pids.max", "23")),
        Some(("pids", "pids.max", "23")),
    ),
    figure(
        "pids-limit-unlimited",
        "update --pids-limit",
        &["--pids-limit", "-1"],
        Some(("pids", "pids.max", "max")),
        Some(("pids", "pids.max", "max")),
    ),
    figure(
        "cpu-share",
        "update --cpu-share",
        &["--cpu-share", "512"],
        Some(("cpu", "cpu.shares", "512")),
        Some(("cpu", "cpu.weight", "20|59")),
    ),
    figure(
        "cpu-period",
        "update --cpu-period",
        &["--cpu-period", "200000"],
        Some(("cpu", "cpu.cfs_period_us", "200000")),
        Some(("cpu", "cpu.max", "50000 200000")),
    ),
    figure(
        "cpu-quota",
        "update --cpu-quota",
        &["--cpu-quota", "70000"],
        Some(("cpu", "cpu.cfs_quota_us", "70000")),
        Some(("cpu", "cpu.max", "70000 100000")),
    ),
    figure(
        "cpu-burst",
        "update --cpu-burst",
        &["--cpu-burst", "30000"],
        Some(("cpu", "cpu.cfs_burst_us", "30000")),
        Some(("cpu", "cpu.max.burst", "30000")),
    ),
    figure(
        "cpu-idle",
        "update --cpu-idle",
        &["--cpu-idle", "1"],
        Some(("cpu", "cpu.idle", "1")),
        Some(("cpu", "cpu.idle", "1")),
    ),
    figure(
        "cpu-rt-runtime",
        "update --cpu-rt-runtime",
        &["--cpu-rt-runtime", "5000"],
        Some(("cpu", "cpu.rt_runtime_us", "5000")),
        None,
    ),
    figure(
        "cpu-rt-period",
        "update --cpu-rt-period",
        &["--cpu-rt-period", "900000", "--cpu-rt-runtime", "4000"],
        Some(("cpu", "cpu.rt_period_us", "900000")),
        None,
    ),
    figure(
        "cpuset-cpus",
        "update --cpuset-cpus",
        &["--cpuset-cpus", "0"],
        Some(("cpuset", "cpuset.cpus", "0")),
        Some(("cpuset", "cpuset.cpus", "0")),
    ),
    figure(
        "cpuset-mems",
        "update --cpuset-mems",
        &["--cpuset-mems", "0"],
        Some(("cpuset", "cpuset.mems", "0")),
        Some(("cpuset", "cpuset.mems", "0")),
    ),
    figure(
        "blkio-weight",
        "update --blkio-weight",
        &["--blkio-weight", "300"],
        Some(("blkio", "blkio.bfq.weight", "300|default 300")),
        Some(("io", "io.bfq.weight", "default 300")),
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = FIGURES.into_iter().map(of_figure).collect();
    cases.extend([
        AREA.case(
            "update-resources",
            PLACE,
            "--resources is a file with linux.resources.",
            &["update", "update --resources"],
            |scene| from_a_file(scene, "--resources", &[]),
        ),
        AREA.case(
            "update-resources-short",
            PLACE,
            "-r is --resources.",
            &["update -r"],
            |scene| from_a_file(scene, "-r", &[]),
        ),
        AREA.case(
            "update-resources-alone",
            PLACE,
            "With --resources the other flags are ignored.",
            &["update --resources"],
            |scene| from_a_file(scene, "--resources", &["--pids-limit", "99"]),
        ),
        AREA.case(
            "update-resources-from-standard-input",
            "containerd writes --resources=-",
            "- is standard input.",
            &["update --resources"],
            |scene| {
                needs("pids", "pids.max", scene)?;
                let bundle = limited(scene)?;
                let mut command =
                    scene
                        .runtime()
                        .command(&["update", "--resources=-", bundle.id()]);
                let finished = finish(&mut command, br#"{"pids":{"limit":31}}"#, LIMIT);
                holds(finished.code == 0, "exit 0", finished.brief())?;
                reads(scene, &bundle, ("pids", "pids.max", "31"))
            },
        ),
        AREA.case(
            "update-keeps-the-quota",
            PLACE,
            "A new period keeps the quota.",
            &["update keeps the other value"],
            |scene| {
                keeps(
                    scene,
                    &["--cpu-period", "200000"],
                    ("cpu", "cpu.cfs_quota_us", "50000"),
                    ("cpu", "cpu.max", "50000 200000"),
                )
            },
        ),
        AREA.case(
            "update-keeps-the-period",
            PLACE,
            "A new quota keeps the period.",
            &["update keeps the other value"],
            |scene| {
                keeps(
                    scene,
                    &["--cpu-quota", "70000"],
                    ("cpu", "cpu.cfs_period_us", "100000"),
                    ("cpu", "cpu.max", "70000 100000"),
                )
            },
        ),
        AREA.case(
            "update-keeps-other-limits",
            PLACE,
            "What no flag is about stays.",
            &["update keeps the other value"],
            |scene| {
                keeps(
                    scene,
                    &["--cpu-quota", "70000"],
                    ("pids", "pids.max", "50"),
                    ("pids", "pids.max", "50"),
                )
            },
        ),
        AREA.case(
            "update-leaves-devices-alone",
            PLACE,
            "update changes no device rule, not even of --resources.",
            &["update leaves devices alone"],
            devices,
        ),
        AREA.case(
            "update-kernel-memory",
            PLACE,
            "--kernel-memory is obsolete: accepted, with a warning.",
            &["update --kernel-memory"],
            |scene| {
                scene
                    .succeeds(&[
                        "update",
                        "--kernel-memory",
                        "33554432",
                        limited(scene)?.id(),
                    ])
                    .map(drop)
            },
        ),
        AREA.case(
            "update-kernel-memory-tcp",
            PLACE,
            "--kernel-memory-tcp is obsolete: accepted, with a warning.",
            &["update --kernel-memory-tcp"],
            |scene| {
                scene
                    .succeeds(&[
                        "update",
                        "--kernel-memory-tcp",
                        "33554432",
                        limited(scene)?.id(),
                    ])
                    .map(drop)
            },
        ),
        AREA.case(
            "update-l3-cache-schema",
            PLACE,
            "--l3-cache-schema is in force, or an error where it can't be.",
            &["update --l3-cache-schema"],
            |scene| of_resctrl(scene, "--l3-cache-schema", "L3:0=3"),
        ),
        AREA.case(
            "update-mem-bw-schema",
            PLACE,
            "--mem-bw-schema is in force, or an error where it can't be.",
            &["update --mem-bw-schema"],
            |scene| of_resctrl(scene, "--mem-bw-schema", "MB:0=50"),
        ),
        AREA.case(
            "update-with-nonsense",
            PLACE,
            "A value that is no number is an error, and changes nothing.",
            &["update"],
            |scene| {
                needs("pids", "pids.max", scene)?;
                let bundle = limited(scene)?;
                for words in [
                    ["--pids-limit", "many"],
                    ["--memory", "10 sheep"],
                    ["--cpu-quota", "1e3"],
                ] {
                    let finished = update(scene, &bundle, &words);
                    holds(
                        finished.code == 1,
                        &format!("exit 1 for {words:?}"),
                        finished.brief(),
                    )?;
                }
                reads(scene, &bundle, ("pids", "pids.max", "50"))
            },
        ),
        AREA.case(
            "update-of-a-stopped-one",
            PLACE,
            "A stopped container can't be updated.",
            &["update"],
            |scene| {
                let bundle = super::stopped(scene)?;
                let finished = update(scene, &bundle, &["--pids-limit", "5"]);
                holds(finished.code == 1, "exit 1", finished.brief())
            },
        ),
    ]);
    cases
}

fn of_figure(figure: Figure) -> Case {
    let Figure {
        name,
        row,
        flags,
        v1,
        v2,
    } = figure;
    let sentence = format!("`{}` is in force afterwards.", flags.join(" "));
    AREA.case(
        format!("update-{name}"),
        PLACE,
        &sentence,
        &[row],
        move |scene| {
            let file = here(v1, v2)?;
            needs(file.0, file.1, scene)?;
            let bundle = limited(scene)?;
            let finished = update(scene, &bundle, flags);
            holds(finished.code == 0, "exit 0", finished.brief())?;
            reads(scene, &bundle, file)
        },
    )
}

/// The file that this host may have: of cgroup v2 if its controller is there.
fn here(v1: Option<File>, v2: Option<File>) -> Result<File, Trouble> {
    let is_v2 = |file: &File| host::hierarchy(file.0).is_some_and(|top| host::is_cgroup2(&top));
    match (v1, v2) {
        (_, Some(file)) if is_v2(&file) => Ok(file),
        (Some(file), _) if host::hierarchy(file.0).is_some() && !is_v2(&file) => Ok(file),
        _ => skipped("this host's cgroups have no such limit"),
    }
}

fn needs(controller: &str, file: &str, scene: &Scene<'_>) -> Verdict {
    if host::has_cgroup_file(controller, file, scene.marker()) {
        return Ok(());
    }
    skipped(format!(
        "this kernel's {controller} controller has no {file}"
    ))
}

/// A running container with limits.
fn limited(scene: &Scene<'_>) -> Result<Bundle, Trouble> {
    let resources = json!({
        "memory": { "limit": 134_217_728, "swap": 268_435_456 },
        "pids": { "limit": 50 },
        "cpu": { "quota": 50_000, "period": 100_000 },
        "devices": [{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm" }],
    });
    let bundle = scene
        .bundle()
        .does(&["wait"])
        .set("/linux/resources", resources);
    scene.start(&bundle)?;
    Ok(bundle)
}

fn update(scene: &Scene<'_>, bundle: &Bundle, flags: &[&str]) -> Finished {
    scene
        .runtime()
        .call(&[&["update"], flags, &[bundle.id()]].concat())
}

/// A file of the container's cgroup says this.
fn reads(scene: &Scene<'_>, bundle: &Bundle, (controller, file, expected): File) -> Verdict {
    let pid = scene.runtime().pid(bundle.id());
    let cgroup = host::cgroup(pid, controller).unwrap_or_default();
    let seen = std::fs::read_to_string(cgroup.join(file)).unwrap_or_default();
    let is_it = expected.split('|').any(|expected| expected == seen.trim());
    holds(is_it, &format!("{file}: {expected}"), seen.trim())
}

fn keeps(scene: &Scene<'_>, flags: &[&str], v1: File, v2: File) -> Verdict {
    let file = here(Some(v1), Some(v2))?;
    needs(file.0, file.1, scene)?;
    let bundle = limited(scene)?;
    let finished = update(scene, &bundle, flags);
    holds(finished.code == 0, "exit 0", finished.brief())?;
    reads(scene, &bundle, file)
}

fn from_a_file(scene: &Scene<'_>, flag: &str, more: &[&str]) -> Verdict {
    needs("pids", "pids.max", scene)?;
    let bundle = limited(scene)?;
    let file = scene.directory().join("resources.json");
    std::fs::write(&file, r#"{"pids":{"limit":31}}"#).expect("a file can be written");
    let path = text(&file);
    let finished = update(scene, &bundle, &[&[flag, &path], more].concat());
    holds(finished.code == 0, "exit 0", finished.brief())?;
    reads(scene, &bundle, ("pids", "pids.max", "31"))
}

fn devices(scene: &Scene<'_>) -> Verdict {
    let own = json!(["CAP_MKNOD"]);
    let capabilities = json!({ "bounding": own, "effective": own, "permitted": own });
    let rules = json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "access": "m" },
    ]);
    let bundle = scene.bundle().does(&["wait"]);
    let bundle = bundle
        .set("/process/capabilities", capabilities)
        .set("/linux/resources/devices", rules);
    scene.start(&bundle)?;
    let file = scene.directory().join("resources.json");
    let all = json!({ "devices": [{ "allow": true, "access": "rwm" }] });
    std::fs::write(&file, all.to_string()).expect("a file can be written");
    let opens = |when: &str| {
        let words = [
            "exec",
            bundle.id(),
            crate::bundle::PROBE,
            "inside",
            "try",
            "mknod:/tmp/mem:c:1:1",
            "remove:/tmp/mem",
        ];
        let tried = super::report(&scene.runtime().call(&words))?;
        equal(
            when,
            &tried["mknod:/tmp/mem:c:1:1"]["open"],
            &json!("EPERM"),
        )
    };
    opens("opening /dev/mem before")?;
    // Whether it is an error or ignored is the runtime's to say.
    drop(update(scene, &bundle, &["--resources", &text(&file)]));
    opens("opening /dev/mem afterwards")
}

fn of_resctrl(scene: &Scene<'_>, flag: &str, schema: &str) -> Verdict {
    if std::path::Path::new("/sys/fs/resctrl/schemata").exists() {
        return skipped("this host has resctrl: what schemata it takes depends on its processor");
    }
    let bundle = running(scene)?;
    let finished = update(scene, &bundle, &[flag, schema]);
    let is_it = finished.code == 1 && !super::is_usage_error(&finished);
    holds(is_it, "exit 1, and not about the flag", finished.brief())
}
