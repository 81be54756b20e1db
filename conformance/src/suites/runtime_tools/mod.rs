//! OCI's runtime-tools: bundles by its generator, checked by its validator, and what its library
//! reads of a container's cgroups.
//!
//! Debian's package of runtime-tools has these libraries; its validation programs and runtimetest
//! are in no package. So the program in `conformance/runtime-tools` is built against the libraries:
//! an implementation that knows nothing of this one makes config.json and reads what was done.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::bundle::{Bundle, PROBE};
use crate::case::{Case, Trouble, Verdict, equal, failed, holds, skipped};
use crate::host;
use crate::run::{Finished, LIMIT, finish};
use crate::scene::Scene;

mod build;
mod tap;

/// What a test sets, and what of this host the tools need to read it.
struct Row {
    /// The tools' word for it.
    name: &'static str,
    /// A controller and the file that the tools read.
    controller: &'static str,
    file: &'static str,
    /// Why they can't tell where that file is missing.
    reason: &'static str,
    /// The heading of config-linux.md.
    heading: &'static str,
    sentence: &'static str,
}

const ONLY_V1: &str = "runtime-tools read cgroups of v1 only";

const ROWS: [Row; 7] = [
    Row {
        name: "blkio",
        controller: "blkio",
        file: "blkio.weight",
        reason: "runtime-tools read blkio.weight, which Linux has no more since 5.0: blkio.bfq.weight is in its place",
        heading: "block-io",
        sentence: "weight specifies per-cgroup weight.",
    },
    Row {
        name: "cpus",
        controller: "cpu",
        file: "cpu.shares",
        reason: ONLY_V1,
        heading: "cpu",
        sentence: "cpu represents the cgroup subsystems cpu and cpusets.",
    },
    Row {
        name: "devices",
        controller: "devices",
        file: "devices.list",
        reason: ONLY_V1,
        heading: "allowed-device-list",
        sentence: "The runtime MUST apply entries in the listed order.",
    },
    Row {
        name: "hugetlb",
        controller: "hugetlb",
        file: "hugetlb.2MB.limit_in_bytes",
        reason: ONLY_V1,
        heading: "huge-page-limits",
        sentence: "hugepageLimits represents the hugetlb controller which allows to limit the HugeTLB reservations.",
    },
    Row {
        name: "memory",
        controller: "memory",
        file: "memory.limit_in_bytes",
        reason: ONLY_V1,
        heading: "memory",
        sentence: "memory represents the cgroup subsystem memory and it's used to set limits on the container's memory usage.",
    },
    Row {
        name: "network",
        controller: "net_cls",
        file: "net_cls.classid",
        reason: "this kernel has no controller net_cls",
        heading: "network",
        sentence: "network represents the cgroup subsystems net_cls and net_prio.",
    },
    Row {
        name: "pids",
        controller: "pids",
        file: "pids.max",
        reason: ONLY_V1,
        heading: "pids",
        sentence: "pids represents the cgroup subsystem pids.",
    },
];

/// Where the container's cgroup is said to be.
#[derive(Clone, Copy)]
enum Place {
    Absolute,
    Relative,
}

pub(super) fn cases() -> Vec<Case> {
    let absolute = ROWS.iter().map(|row| cgroups(row, Place::Absolute));
    let relative = ROWS.iter().map(|row| cgroups(row, Place::Relative));
    let default = Case::new(
        "runtime-tools",
        "generate",
        "default",
        sentence(
            "config.md",
            "The container's top-level directory has config.json: the generator's own is honoured.",
        ),
        default_config,
    );
    [default]
        .into_iter()
        .chain(absolute)
        .chain(relative)
        .collect()
}

fn sentence(place: &str, text: &str) -> String {
    format!("{text} (https://github.com/opencontainers/runtime-spec/blob/v1.3.0/{place})")
}

fn cgroups(row: &'static Row, place: Place) -> Case {
    let name = match place {
        Place::Absolute => format!("cgroups-{}", row.name),
        Place::Relative => format!("cgroups-relative-{}", row.name),
    };
    let heading = format!("config-linux.md#{}", row.heading);
    Case::new(
        "runtime-tools",
        "cgroups",
        name,
        sentence(&heading, row.sentence),
        move |scene| limits(scene, row, place),
    )
}

/// What the generator has set is what the library reads.
fn limits(scene: &Scene<'_>, row: &Row, place: Place) -> Verdict {
    if host::has_cgroup2() || !host::has_cgroup_file(row.controller, row.file, scene.marker()) {
        return skipped(row.reason);
    }
    let bundle = scene.bundle();
    let cgroup = match place {
        Place::Absolute => format!("/{}", bundle.id()),
        Place::Relative => format!("{}/inner", bundle.id()),
    };
    generate(row.name, &bundle, &cgroup, &["wait"])?;
    // A copy: what was asked for is no matter of what the runtime has come across.
    let asked = scene.directory().join("asked");
    std::fs::create_dir_all(&asked).expect("a directory can be made");
    std::fs::copy(bundle.path().join("config.json"), asked.join("config.json"))
        .expect("a file can be copied");
    let created = scene.create_saved(&bundle);
    if created.code != 0 {
        return failed("`create` succeeds", created.brief());
    }
    let pid = scene.runtime().pid(bundle.id()).to_string();
    let told = call(&["check", row.name, &text(&asked), &pid])?;
    if told.code != 0 {
        return failed("runtime-tools can read what is set", told.brief());
    }
    tap::verdict(&told.stdout)
}

/// The process sees what the generator's default configuration says.
fn default_config(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle();
    let cgroup = format!("/{}", bundle.id());
    generate("default", &bundle, &cgroup, &["report"])?;
    let config = std::fs::read(bundle.path().join("config.json")).unwrap_or_default();
    let config: Value = serde_json::from_slice(&config).unwrap_or_default();
    let finished = scene
        .runtime()
        .call(&["run", "--bundle", &text(bundle.path()), bundle.id()]);
    let Ok(report) = serde_json::from_str::<Value>(&finished.stdout) else {
        return failed("the container runs and reports", finished.brief());
    };
    equal("hostname", &report["hostname"], &config["hostname"])?;
    equal("cwd", &report["cwd"], &config["process"]["cwd"])?;
    for limit in list(&config["process"]["rlimits"]) {
        let name = limit["type"].as_str().unwrap_or_default();
        let seen = &report["rlimits"][name];
        equal(name, &seen[0], &limit["soft"])?;
        equal(name, &seen[1], &limit["hard"])?;
    }
    for mount in list(&config["mounts"]) {
        let is_there = list(&report["mounts"])
            .iter()
            .any(|seen| seen["target"] == mount["destination"]);
        holds(is_there, "every mount of config.json", mount)?;
    }
    let has_filter = !config["linux"]["seccomp"].is_null();
    let mode = if has_filter { "2" } else { "0" };
    equal("Seccomp", &report["status"]["Seccomp"], &mode.into())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// config.json by the generator, found valid by the validator.
fn generate(name: &str, bundle: &Bundle, cgroup: &str, words: &[&str]) -> Verdict {
    let path = text(bundle.path());
    let start = ["config", name, &path, cgroup, PROBE, "inside"];
    let told = call(&[&start, words].concat())?;
    match told.code {
        0 => Ok(()),
        _ => failed("runtime-tools find valid what they generate", told.brief()),
    }
}

/// A call of the tools.
fn call(arguments: &[&str]) -> Result<Finished, Trouble> {
    let tools = build::tools().or_else(skipped)?;
    Ok(finish(Command::new(tools).args(arguments), b"", LIMIT))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
