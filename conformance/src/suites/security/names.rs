//! R16, R17, R18: names from outside are refused before anything is done; annotations command nothing.

use serde_json::json;

use super::{Area, Ground, is_refused, run_and_look, tried, without_namespace};
use crate::bundle::PROBE;
use crate::case::{Case, Verdict, equal, holds};
use crate::host;
use crate::scene::Scene;

const AREA: Area = Area("names");
const IDS: &str = "CVE-2021-20206, GHSA-x7pf, runc 1.5.2";
const SYSCTLS: &str = "CVE-2022-0811, GHSA-w2j5";

/// Sysctls that are the host's, or names that lead to one.
const OF_THE_HOST: [&str; 17] = [
    "kernel.core_pattern",
    "kernel/core_pattern",
    "kernel.sysrq",
    "vm.swappiness",
    "fs.file-max",
    "net.ipv4.+ip_forward",
    "net.ipv4=ip_forward",
    "net.ipv4 ip_forward",
    "net/../kernel/core_pattern",
    "net/ipv4/../../kernel/core_pattern",
    "net.//.kernel.core_pattern",
    "net..core_pattern",
    ".",
    "..",
    "",
    "/kernel/core_pattern",
    "kernel.hostname",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        AREA.case("ids-that-are-none", "R16", "An id with a slash, a line break, or none at all is refused by every command, before anything is written.", IDS, ids),
        AREA.case("cgroups-paths-that-lead-out", "R16", "A cgroupsPath that leads out of the hierarchy is refused, or stays inside.", IDS, cgroups_paths),
        AREA.case("sub-cgroups-that-lead-out", "R16", "exec --cgroup takes no way out of the container's cgroup, not to a neighbour of the same prefix either.", IDS, sub_cgroups),
        AREA.case("hooks-that-are-no-paths", "R16", "A hook's path is absolute and a file's.", IDS, |scene, ground| {
            for path in ["", ".", "..", "true", "../bin/true", "/", "/nowhere"] {
                for kind in ["prestart", "createRuntime", "createContainer"] {
                    let bundle = scene.bundle().does(&["exit", "0"]).set(&format!("/hooks/{kind}"), json!([{ "path": path }]));
                    is_refused(&run_and_look(scene, ground, &bundle)?, &format!("{kind} {path:?}"))?;
                }
            }
            Ok(())
        }),
        AREA.case("annotations-command-nothing", "R18", "No annotation loads or runs a file of the host, or changes what a container may do.", "CVE-2024-3154, CVE-2023-6476, CVE-2026-24834", annotations),
    ];
    cases.extend(OF_THE_HOST.into_iter().enumerate().map(|(index, key)| {
        AREA.case(
            format!("sysctl-of-the-host-{index}"),
            "R17",
            &format!("The sysctl {key:?} is refused."),
            SYSCTLS,
            move |scene, ground| {
                let bundle = scene
                    .bundle()
                    .does(&["exit", "0"])
                    .set("/linux/sysctl", json!({ key: "0" }));
                is_refused(&run_and_look(scene, ground, &bundle)?, key)
            },
        )
    }));
    cases.extend([("network", "net.ipv4.ip_default_ttl", "net"), ("ipc", "kernel.shmmax", "ipc"), ("uts", "kernel.domainname", "uts")].map(|(kind, key, file)| {
        AREA.case(format!("sysctl-in-the-hosts-{kind}"), "R17", &format!("{key} is refused in the host's {kind} namespace, named or not."), SYSCTLS, move |scene, ground| {
            // The value that it has: whoever sets it does no harm.
            let value = std::fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/"))).unwrap_or_default();
            let bundle = without_namespace(scene.bundle().does(&["exit", "0"]), kind);
            let bundle = bundle.set("/linux/sysctl", json!({ key: value.trim() }));
            is_refused(&run_and_look(scene, ground, &bundle)?, key)?;
            let own = json!({ "type": kind, "path": format!("/proc/{}/ns/{file}", std::process::id()) });
            let finished = run_and_look(scene, ground, &bundle.set("/linux/namespaces/-", own))?;
            is_refused(&finished, key)
        })
    }));
    cases
}

fn ids(scene: &Scene<'_>, ground: &Ground) -> Verdict {
    let bundle = scene.bundle().does(&["exit", "0"]);
    bundle.save();
    let path = super::text(bundle.path());
    std::fs::create_dir_all(scene.runtime().root()).expect("a directory can be made");
    let long = "x".repeat(4096);
    for name in [
        "",
        ".",
        "..",
        "a/b",
        "../x",
        "a\nb",
        "ü",
        "/",
        "a/",
        "x\u{202e}",
        &long,
    ] {
        for words in [
            &["create", "--bundle", &path][..],
            &["run", "--bundle", &path],
            &["start"],
            &["state"],
            &["kill"],
            &["delete"],
            &["pause"],
            &["ps"],
        ] {
            let finished = scene.runtime().call(&[words, &["--", name]].concat());
            is_refused(&finished, &format!("{} {name:?}", words[0]))?;
        }
        ground.check()?;
    }
    let left = std::fs::read_dir(scene.runtime().root())
        .into_iter()
        .flatten()
        .count();
    equal("entries of the state root", &left, &0)
}

fn cgroups_paths(scene: &Scene<'_>, ground: &Ground) -> Verdict {
    let out = format!("/../../../../../{}-out", scene.marker());
    let nested = format!("a/../../../../{}-out", scene.marker());
    for path in [
        out.as_str(),
        &nested,
        "/a\nb",
        &format!("/{}", "y".repeat(300)),
    ] {
        let bundle = scene
            .bundle()
            .does(&["wait"])
            .set("/linux/cgroupsPath", path);
        bundle.save();
        let created = scene.create_saved(&bundle);
        let pid = if created.code == 0 {
            scene.runtime().pid(bundle.id())
        } else {
            0
        };
        let inside = host::cgroup(pid, "pids").is_none_or(|cgroup| {
            host::hierarchy("pids").is_some_and(|top| {
                cgroup.starts_with(top) && !cgroup.display().to_string().contains("..")
            })
        });
        super::remove(scene, &bundle);
        crate::residue::remove_cgroups(&format!("{}-out", scene.marker()));
        holds(
            inside && !created.is_late,
            &format!("inside the hierarchy, or an error, with {path:?}"),
            created.brief(),
        )?;
        ground.check()?;
    }
    Ok(())
}

fn sub_cgroups(scene: &Scene<'_>, _: &Ground) -> Verdict {
    let bundle = scene.bundle().does(&["wait"]);
    scene.start(&bundle)?;
    // Named like the first one with one letter more.
    let neighbour = format!("{}2", bundle.id());
    let sibling = scene
        .bundle()
        .does(&["wait"])
        .set("/linux/cgroupsPath", format!("/{neighbour}"));
    scene.start(&sibling)?;
    for below in [
        "..",
        "../..",
        &format!("../{neighbour}"),
        "a/../../..",
        &format!("/../{neighbour}"),
        "2",
        "nowhere",
    ] {
        let words = [
            "exec",
            "--cgroup",
            below,
            bundle.id(),
            PROBE,
            "inside",
            "exit",
            "0",
        ];
        is_refused(&scene.runtime().call(&words), &format!("--cgroup {below}"))?;
    }
    super::remove(scene, &sibling);
    crate::residue::remove_cgroups(&neighbour);
    Ok(())
}

fn annotations(scene: &Scene<'_>, ground: &Ground) -> Verdict {
    let canary = ground.file("secret");
    let annotations = json!({
        "org.systemd.property.ExecStopPost": format!("'/bin/rm {canary}'"),
        "run.oci.hooks.stdout": canary,
        "run.oci.hooks.stderr": canary,
        "run.oci.mount_context_type": "context",
        "run.oci.seccomp_fail_unknown_syscall": "0",
        "run.oci.seccomp.receiver": canary,
        "org.criu.config": canary,
        "cdi.k8s.io/x": "vendor.com/device=all",
        "io.kubernetes.cri-o.Devices": "/dev/mem",
        "run.oci.systemd.subgroup": "/../..",
        "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
        "io.podman.annotations.checkpoint": "true",
    });
    let seccomp = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71 }] });
    let bundle = scene
        .bundle()
        .does(&["try", "stat:/dev/mem", "sethostname", "read:/proc/self/status"])
        .set("/annotations", annotations)
        .set("/linux/seccomp", seccomp)
        .set("/hooks/createRuntime", json!([{ "path": super::text(&scene.stage().probe), "args": ["probe", "inside", "print", "said by a hook"] }]));
    let finished = run_and_look(scene, ground, &bundle)?;
    // Refusing one of them is right, too.
    let Some(seen) = tried(&finished) else {
        return is_refused(&finished, "an annotation");
    };
    equal("/dev/mem", &seen["stat:/dev/mem"], &json!(null))?;
    equal(
        "what the filter says",
        &seen["sethostname"],
        &json!("EPROTO"),
    )
}
