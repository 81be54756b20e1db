//! config.md: the document as a whole, its version, host and domain name.

use serde_json::json;

use super::{Area, is};
use crate::case::{Case, Verdict, holds, skipped};
use crate::scene::Scene;

const AREA: Area = Area("config");
const VERSION: &str = "config.md#specification-version";
const EXTENSIBILITY: &str = "config.md#extensibility";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case(
            "version-is-required",
            VERSION,
            "ociVersion is required.",
            |scene| {
                scene
                    .is_refused(&scene.bundle().without("/ociVersion"))
                    .map(drop)
            },
        ),
        AREA.case(
            "version-of-its-own",
            VERSION,
            "A configuration is compatible with all runtimes that support its version.",
            own_version,
        )
        .of("ociVersion"),
        AREA.case(
            "version-1-0-0",
            VERSION,
            "A configuration of 1.0.0 is compatible with any later 1.x.",
            |scene| {
                scene
                    .report(&scene.bundle().set("/ociVersion", "1.0.0"))
                    .map(drop)
            },
        ),
        AREA.refuses(
            "version-that-is-none",
            VERSION,
            "ociVersion must be in SemVer 2.0.0 format.",
            "/ociVersion",
            json!("one"),
        ),
        AREA.refuses(
            "version-of-another-major",
            VERSION,
            "Compatibility is retained within major versions.",
            "/ociVersion",
            json!("9.0.0"),
        ),
        AREA.case(
            "hostname",
            "config.md#hostname",
            "hostname is the container's hostname as seen by processes inside.",
            hostname,
        )
        .of("hostname"),
        AREA.case(
            "domainname",
            "config.md#domainname",
            "domainname is the container's domainname as seen by processes inside.",
            domainname,
        )
        .of("domainname"),
        AREA.case(
            "unknown-property-at-the-top",
            EXTENSIBILITY,
            "Runtimes must not generate an error if they encounter an unknown property.",
            |scene| {
                scene
                    .report(
                        &scene
                            .bundle()
                            .set("/orgExampleUnknown", json!({ "deep": [1, "two"] })),
                    )
                    .map(drop)
            },
        ),
        AREA.case(
            "unknown-property-in-process",
            EXTENSIBILITY,
            "Runtimes must ignore unknown properties.",
            |scene| {
                scene
                    .report(&scene.bundle().set("/process/orgExampleUnknown", 7))
                    .map(drop)
            },
        ),
        AREA.case(
            "unknown-property-in-linux",
            EXTENSIBILITY,
            "Runtimes must ignore unknown properties.",
            |scene| {
                scene
                    .report(&scene.bundle().set("/linux/orgExampleUnknown", json!(["x"])))
                    .map(drop)
            },
        ),
        AREA.case(
            "unknown-property-in-a-mount",
            EXTENSIBILITY,
            "Runtimes must ignore unknown properties.",
            |scene| {
                scene
                    .report(&scene.bundle().set("/mounts/0/orgExampleUnknown", true))
                    .map(drop)
            },
        ),
        AREA.case(
            "linux-is-optional",
            "config.md#platform-specific-configuration",
            "linux may be set.",
            without_linux,
        )
        .of("linux"),
        AREA.case(
            "config-that-is-missing",
            "bundle.md#container-format",
            "config.json must reside in the root of the bundle directory.",
            missing,
        ),
        AREA.case(
            "config-of-a-bundle-that-is-missing",
            "runtime.md#create",
            "Create must generate an error if it is not provided a path to the bundle.",
            no_bundle,
        ),
        AREA.refuses(
            "wrong-type-of-a-string",
            "config.md#valid-values",
            "Runtimes must generate an error when invalid values are encountered.",
            "/process/cwd",
            json!(7),
        ),
        AREA.refuses(
            "wrong-type-of-an-object",
            "config.md#valid-values",
            "Runtimes must generate an error when invalid values are encountered.",
            "/process",
            json!([]),
        ),
        AREA.refuses(
            "wrong-type-of-an-array",
            "config.md#valid-values",
            "Runtimes must generate an error when invalid values are encountered.",
            "/mounts",
            json!("none"),
        ),
    ]
}

fn own_version(scene: &Scene<'_>) -> Verdict {
    let features = scene.runtime().call(&["features"]);
    let features: serde_json::Value = serde_json::from_str(&features.stdout).unwrap_or_default();
    let Some(version) = features["ociVersionMax"].as_str() else {
        return skipped("the runtime has no `features`, which would say what it supports");
    };
    scene
        .report(&scene.bundle().set("/ociVersion", version))
        .map(drop)
}

fn hostname(scene: &Scene<'_>) -> Verdict {
    let before = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let report = scene.report(&scene.bundle().set("/hostname", "slartibartfast"))?;
    is("hostname", &report["hostname"], "slartibartfast")?;
    let after = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    holds(before == after, "the host's name as it was", after)
}

fn domainname(scene: &Scene<'_>) -> Verdict {
    let report = scene.report(&scene.bundle().set("/domainname", "magrathea.test"))?;
    is("domainname", &report["domainname"], "magrathea.test")
}

/// Without a section of its own it is in the runtime's namespaces; its mounts would be too.
fn without_linux(scene: &Scene<'_>) -> Verdict {
    let bundle = scene
        .bundle()
        .set("/mounts", json!([]))
        .without("/linux")
        .does(&["print", "here"]);
    let finished = scene.run(&bundle);
    holds(
        finished.stdout == "here",
        "the program runs",
        finished.brief(),
    )
}

fn missing(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle();
    let finished = scene.create_saved(&bundle);
    holds(finished.code != 0, "an error", finished.brief())?;
    holds(
        scene.runtime().state(bundle.id()).is_none(),
        "no container",
        "there is one",
    )
}

fn no_bundle(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle();
    let nowhere = scene.directory().join("nowhere").display().to_string();
    let finished = scene.detached(&["create", "--bundle", &nowhere, bundle.id()]);
    holds(finished.code != 0, "an error", finished.brief())?;
    holds(
        scene.runtime().state(bundle.id()).is_none(),
        "no container",
        "there is one",
    )
}
