//! R10: documents of odd sizes have their exact effect, or an error that names the property.

use serde_json::{Value, json};

use super::{Area, Ground, run_and_look, without_namespace};
use crate::bundle::Bundle;
use crate::case::{Case, Verdict, equal, holds};
use crate::scene::Scene;

const AREA: Area = Area("sizes");
const ORIGIN: &str = "CVE-2021-43784";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case("many-mappings", "R10", "Five thousand id mappings: all of them, or an error, and never the host's user namespace.", ORIGIN, |scene, ground| {
            let mapping = |index: u32| json!({ "containerID": index, "hostID": 100_000 + index, "size": 1 });
            let maps: Vec<Value> = (0..5000).map(mapping).collect();
            let bundle = scene
                .bundle()
                .set("/linux/namespaces/-", json!({ "type": "user" }))
                .set("/linux/uidMappings", json!(maps))
                .set("/linux/gidMappings", json!(maps));
            exact(scene, ground, &bundle, |report| {
                let lines = report["uid_map"].as_str().unwrap_or_default().lines().count();
                // A kernel takes 340.
                holds(lines > 0 && lines <= 340, "mappings of its own", lines)
            })
        }),
        AREA.case("long-namespace-path", "R10", "A namespace's path of 70 KB is an error, not another namespace.", ORIGIN, |scene, ground| {
            let path = format!("/proc/self/{}ns/net", "./".repeat(35_000));
            let bundle = without_namespace(scene.bundle(), "network");
            let bundle = bundle.set("/linux/namespaces/-", json!({ "type": "network", "path": path }));
            let finished = run_and_look(scene, ground, &bundle)?;
            super::is_refused(&finished, "a path longer than PATH_MAX")
        }),
        AREA.case("long-variable", "R10", "A variable of 100 KB arrives whole.", ORIGIN, |scene, ground| {
            let value = "v".repeat(100_000);
            let bundle = scene.bundle().set("/process/env/-", format!("BIG={value}"));
            exact(scene, ground, &bundle, |report| {
                let length = report["environment"]["BIG"].as_str().map(str::len);
                equal("its length", &length, &Some(100_000))
            })
        }),
        AREA.case("longer-variable", "R10", "A variable that is longer than the kernel takes is an error.", ORIGIN, |scene, ground| {
            let bundle = scene.bundle().set("/process/env/-", format!("BIG={}", "v".repeat(1 << 20)));
            super::is_refused(&run_and_look(scene, ground, &bundle)?, "a variable of 1 MB")
        }),
        AREA.case("many-arguments", "R10", "Sixty-four thousand arguments arrive, all of them.", ORIGIN, |scene, ground| {
            let mut args: Vec<&str> = vec!["/probe", "inside", "count"];
            args.extend(std::iter::repeat_n("a", 64_000));
            let finished = run_and_look(scene, ground, &scene.bundle().set("/process/args", json!(args)))?;
            equal("arguments", &(finished.code, finished.stdout.as_str()), &(0, "64000"))
        }),
        AREA.case("large-annotation", "R10", "An annotation of 5 MB does no harm.", ORIGIN, |scene, ground| {
            let bundle = scene.bundle().set("/annotations/big", "x".repeat(5 << 20));
            exact(scene, ground, &bundle, |_| Ok(()))
        }),
        AREA.case("many-mounts", "R10", "Four hundred mounts are made, all of them.", ORIGIN, |scene, ground| {
            let mut bundle = scene.bundle();
            for index in 0..400 {
                bundle = bundle.mount(&format!("/m/{index}"), "tmpfs", "tmpfs", &[]);
            }
            exact(scene, ground, &bundle, |report| {
                let mounts = report["mounts"].as_array().map(|all| all.iter().filter(|mount| mount["target"].as_str().is_some_and(|target| target.starts_with("/m/"))).count());
                equal("mounts below /m", &mounts, &Some(400))
            })
        }),
        AREA.case("text-with-a-zero", "R10", "Text with a zero byte, which the kernel would cut there, is an error.", ORIGIN, |scene, ground| {
            for pointer in ["/process/args/0", "/process/cwd", "/process/env/0", "/mounts/0/destination", "/root/path", "/hostname"] {
                let bundle = scene.bundle().does(&["exit", "0"]).set(pointer, "/proc\0/x");
                super::is_refused(&run_and_look(scene, ground, &bundle)?, pointer)?;
            }
            Ok(())
        }),
    ]
}

/// The container runs and its report is right, or there is an error that is not about time or memory.
fn exact(
    scene: &Scene<'_>,
    ground: &Ground,
    bundle: &Bundle,
    is_right: impl Fn(&Value) -> Verdict,
) -> Verdict {
    let finished = run_and_look(scene, ground, bundle)?;
    match super::tried(&finished) {
        Some(report) => is_right(&report),
        // Signals and Go's panics are no refusals.
        None => holds(
            finished.code == 1 && !finished.stderr.contains("panic"),
            "the effect, or an error",
            finished.brief(),
        ),
    }
}
