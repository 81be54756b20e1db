//! The schema's own examples, and what runtimes print, by the schemas.

use std::path::Path;

use serde_json::{Value, json};

use super::Area;
use crate::case::{Case, Verdict, holds, skipped};
use crate::scene::Scene;
use crate::schema::Schemas;

const AREA: Area = Area("schema");
const CONFIG: &str = "schema/config-schema.json";
const GOOD: &str = "What the schema's authors call good is accepted";
const BAD: &str = "What the schema's authors call bad is an error";

/// Good examples that a Linux runtime can create: name, text.
const ACCEPTED: [(&str, &str); 2] = [
    (
        "minimal",
        include_str!("../../../schema/test/config/good/minimal.json"),
    ),
    (
        "minimal-for-start",
        include_str!("../../../schema/test/config/good/minimal-for-start.json"),
    ),
];

/// Bad examples: name, text, and whether they are about this platform.
const REFUSED: [(&str, &str); 3] = [
    (
        "linux-hugepage",
        include_str!("../../../schema/test/config/bad/linux-hugepage.json"),
    ),
    (
        "linux-rdma",
        include_str!("../../../schema/test/config/bad/linux-rdma.json"),
    ),
    (
        "linux-netdevice",
        include_str!("../../../schema/test/config/bad/linux-netdevice.json"),
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(ACCEPTED.map(|(name, text)| {
        AREA.case(
            format!("schema-good-{name}"),
            CONFIG,
            &format!("{GOOD}: test/config/good/{name}.json."),
            move |scene| {
                let config: Value = serde_json::from_str(text).expect("the examples are JSON");
                let bundle = scene.bundle().with_config(config);
                // Where a shell is looked for when there is no PATH.
                let bin = bundle.rootfs().join("bin");
                std::fs::create_dir(&bin).expect("a directory can be made");
                std::fs::hard_link(&scene.stage().probe, bin.join("sh"))
                    .expect("a file can be linked");
                scene.create(&bundle)
            },
        )
    }));
    cases.extend(REFUSED.map(|(name, text)| {
        AREA.case(
            format!("schema-bad-{name}"),
            CONFIG,
            &format!("{BAD}: test/config/bad/{name}.json."),
            move |scene| {
                // Laid over what is fine otherwise: no other reason for an error.
                let mut bundle = scene.bundle();
                let example: Value = serde_json::from_str(text).expect("the examples are JSON");
                let mut config = bundle.config().clone();
                lay_over(&mut config, &example);
                bundle = bundle.with_config(config);
                scene.is_refused(&bundle).map(drop)
            },
        )
    }));
    cases.extend([
        AREA.case("schema-bad-invalid-json", CONFIG, &format!("{BAD}: test/config/bad/invalid-json.json."), |scene| {
            let bundle = scene.bundle();
            bundle.save_text(include_bytes!("../../../schema/test/config/bad/invalid-json.json"));
            let finished = scene.create_saved(&bundle);
            holds(finished.code != 0, "an error", finished.brief())
        }),
        AREA.case("schema-good-spec-example", CONFIG, &format!("{GOOD}: test/config/good/spec-example.json, less what this host lacks."), whole_example),
        AREA.case("schema-good-for-linux-devices", CONFIG, &format!("{GOOD}: the devices of test/config/good/linux-netdevice.json and linux-rdma.json."), |_| {
            skipped("the examples name devices (eth0, mlx5_1) that this host does not have for a container; see net-device and rdma")
        }),
        AREA.case("schema-of-state", "schema/state-schema.json", "What `state` prints is a state.", state),
        AREA.case("schema-of-features", "schema/features-schema.json", "What `features` prints is a features structure.", features),
    ]);
    cases
}

/// Sets what the upper one has; objects are merged.
fn lay_over(lower: &mut Value, upper: &Value) {
    match (lower, upper) {
        (Value::Object(lower), Value::Object(upper)) => {
            for (name, value) in upper {
                lay_over(lower.entry(name).or_insert(Value::Null), value);
            }
        }
        (lower, upper) => *lower = upper.clone(),
    }
}

/// What is wrong with a state.
pub(super) fn state_problems(state: &Value) -> Vec<String> {
    Schemas::default().problems("state-schema.json", state)
}

fn state(scene: &Scene<'_>) -> Verdict {
    let bundle = scene
        .bundle()
        .does(&["wait"])
        .set("/annotations", json!({ "org.example.key": "value" }));
    scene.create(&bundle)?;
    for status in ["created", "running", "stopped"] {
        match status {
            "running" => scene.succeeds(&["start", bundle.id()]).map(drop)?,
            "stopped" => scene.succeeds(&["kill", bundle.id(), "KILL"]).map(drop)?,
            _ => {}
        }
        scene.until_status(&bundle, status)?;
        let state = scene.runtime().state(bundle.id()).unwrap_or_default();
        let problems = state_problems(&state);
        holds(
            problems.is_empty(),
            &format!("a state ({status}) as the schema has it"),
            problems,
        )?;
    }
    Ok(())
}

fn features(scene: &Scene<'_>) -> Verdict {
    let finished = scene.runtime().call(&["features"]);
    if finished.code != 0 {
        return skipped("the runtime has no `features`, which are optional");
    }
    let features: Value = serde_json::from_str(&finished.stdout).unwrap_or_default();
    let problems = Schemas::default().problems("features-schema.json", &features);
    holds(
        problems.is_empty(),
        "features as the schema has them",
        problems,
    )
}

/// The specification's own example, with hooks that are there and without what only special hosts
/// have: labels, profiles, disks, limits of controllers that may be missing.
fn whole_example(scene: &Scene<'_>) -> Verdict {
    let text = include_str!("../../../schema/test/config/good/spec-example.json");
    let mut config: Value = serde_json::from_str(text).expect("the examples are JSON");
    let own = scene.bundle();
    config["ociVersion"] = json!("1.0.2");
    config["process"]["args"] = json!([crate::bundle::PROBE, "inside", "report"]);
    config["process"]["terminal"] = json!(false);
    config["linux"]["cgroupsPath"] = own.config()["linux"]["cgroupsPath"].clone();
    config["linux"]["resources"] = json!({ "devices": config["linux"]["resources"]["devices"] });
    // Its filter is for 32-bit programs.
    config["linux"]["seccomp"]["architectures"] =
        json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    for pointer in [
        "/process/apparmorProfile",
        "/process/selinuxLabel",
        "/linux/mountLabel",
        "/hooks",
    ] {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer has a slash");
        let parent = if parent.is_empty() {
            Some(&mut config)
        } else {
            config.pointer_mut(parent)
        };
        if let Some(Value::Object(members)) = parent {
            members.remove(name);
        }
    }
    // A time namespace is newer than most runtimes; it has cases of its own.
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "time");
    }
    if let Some(devices) = config["linux"]["devices"].as_array_mut() {
        devices.retain(|device| {
            device["path"]
                .as_str()
                .is_some_and(|path| Path::new(path).exists())
        });
    }
    config["linux"]
        .as_object_mut()
        .map(|linux| linux.remove("timeOffsets"));
    // Linux 6.1 hides it in network namespaces of user namespaces.
    config["linux"]["sysctl"]
        .as_object_mut()
        .map(|sysctl| sysctl.remove("net.core.somaxconn"));
    let bundle = own.with_config(config);
    for name in ["", "proc", "dev", "sys"] {
        std::os::unix::fs::chown(bundle.rootfs().join(name), Some(1000), Some(1000))
            .expect("a directory can be given away");
    }
    let report = scene.report(&bundle)?;
    super::is("hostname", &report["hostname"], "slartibartfast")?;
    super::is("uid", &report["status"]["Uid"], "1 1 1 1")
}
