//! config.md#process and #linux-process.

use serde_json::json;

use super::{Area, is};
use crate::bundle::PROBE;
use crate::case::{Case, Verdict, failed, holds, skipped};
use crate::host::{CAP_SYS_RESOURCE, has_capability};
use crate::scene::Scene;

const AREA: Area = Area("process");
const PLACE: &str = "config.md#process";
const LINUX: &str = "config.md#linux-process";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case("process-absent", PLACE, "process is optional, and required when start is called.", absent)
            .of("process"),
        AREA.case("cwd", PLACE, "cwd is the working directory that will be set for the executable.", cwd)
            .of("process.cwd"),
        AREA.refuses("cwd-relative", PLACE, "cwd must be an absolute path.", "/process/cwd", json!("tmp")),
        AREA.case("cwd-is-required", PLACE, "cwd is required.", |scene| {
            scene.is_refused(&scene.bundle().without("/process/cwd")).map(drop)
        }),
        AREA.case("env", PLACE, "env has the semantics of environ: what is listed is there.", env)
            .of("process.env").of("process.env[]"),
        AREA.case("env-of-the-caller-stays-outside", PLACE, "env lists the variables of the process.", env_of_the_caller),
        AREA.case("args", PLACE, "args has the semantics of execvp's argv.", args)
            .of("process.args").of("process.args[]"),
        AREA.case("args-searched-in-path", PLACE, "The first entry of args is used as execvp's file.", searched),
        AREA.refuses("args-empty", PLACE, "At least one entry in args is required.", "/process/args", json!([])),
        AREA.case("args-are-required", PLACE, "At least one entry in args is required.", |scene| {
            scene.is_refused(&scene.bundle().without("/process/args")).map(drop)
        }),
        AREA.case("args-of-a-program-that-is-missing", "runtime.md#start", "If the program can't be run, an error is generated.", missing_program),
        AREA.case("command-line-is-for-windows", PLACE, "commandLine specifies the full command line on Windows.", command_line)
            .of("process.commandLine"),
        AREA.case("no-new-privileges", LINUX, "noNewPrivileges prevents the process from gaining additional privileges.", |scene| no_new_privileges(scene, true, "1"))
            .of("process.noNewPrivileges"),
        AREA.case("no-new-privileges-false", LINUX, "noNewPrivileges prevents it only when it is true.", |scene| no_new_privileges(scene, false, "0")),
        AREA.case("oom-score-adj", LINUX, "If oomScoreAdj is set, the runtime must set oom_score_adj to the given value.", oom_score)
            .of("process.oomScoreAdj"),
        AREA.case("oom-score-adj-lower", LINUX, "If oomScoreAdj is set, the runtime must set oom_score_adj to the given value.", lower_oom_score),
        AREA.case("oom-score-adj-unset", LINUX, "If oomScoreAdj is not set, the runtime must not change the value of oom_score_adj.", oom_score_unset),
        AREA.refuses("oom-score-adj-impossible", "config.md#valid-values", "Runtimes must generate an error when invalid values are encountered.", "/process/oomScoreAdj", json!(5000)),
        AREA.case("apparmor-profile", LINUX, "apparmorProfile is the name of the AppArmor profile for the process.", apparmor)
            .of("process.apparmorProfile"),
        AREA.refuses("apparmor-profile-that-is-missing", "runtime.md#create", "If the runtime cannot apply a property it must generate an error.", "/process/apparmorProfile", json!("no-such-profile")),
        AREA.case("selinux-label", LINUX, "selinuxLabel is the SELinux label for the process.", selinux)
            .of("process.selinuxLabel"),
        AREA.case("only-the-standard-streams-are-open", "runtime-linux.md#file-descriptors", "By default only stdin, stdout and stderr are kept open for the application.", descriptors),
        AREA.case("links-to-the-streams", "runtime-linux.md#dev-symbolic-links", "/dev/fd, /dev/stdin, /dev/stdout and /dev/stderr are symbolic links below /proc/self/fd.", links),
    ]
}

fn absent(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().without("/process");
    scene.create(&bundle)?;
    let started = scene.runtime().call(&["start", bundle.id()]);
    holds(started.code != 0, "an error of `start`", started.brief())
}

fn cwd(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().set("/process/cwd", "/tmp");
    is("cwd", &scene.report(&bundle)?["cwd"], "/tmp")
}

fn env(scene: &Scene<'_>) -> Verdict {
    let env = json!(["PATH=/", "ONE=1", "EMPTY=", "WITH=equals=inside", "LAST=ü"]);
    let report = scene.report(&scene.bundle().set("/process/env", env))?;
    let seen = &report["environment"];
    is("ONE", &seen["ONE"], "1")?;
    is("EMPTY", &seen["EMPTY"], "")?;
    is("WITH", &seen["WITH"], "equals=inside")?;
    is("LAST", &seen["LAST"], "ü")
}

/// HOME may be added; nothing else may come in.
fn env_of_the_caller(scene: &Scene<'_>) -> Verdict {
    let report = scene.report(&scene.bundle())?;
    let mut seen = report["environment"].clone();
    if let Some(seen) = seen.as_object_mut() {
        seen.remove("HOME");
    }
    is("the environment", &seen, json!({ "PATH": "/" }))
}

fn args(scene: &Scene<'_>) -> Verdict {
    let bundle = scene
        .bundle()
        .does(&["report"])
        .set("/process/args/0", "/tmp/link");
    std::os::unix::fs::symlink(PROBE, bundle.rootfs().join("tmp/link"))
        .expect("a link can be made");
    is(
        "arguments",
        &scene.report(&bundle)?["arguments"],
        json!(["/tmp/link", "inside", "report"]),
    )?;
    let tried = scene.tries(scene.bundle(), &["", "a b", "$HOME"])?;
    let words: Vec<&String> = tried
        .as_object()
        .into_iter()
        .flatten()
        .map(|(word, _)| word)
        .collect();
    is("arguments", &json!(words), json!(["", "$HOME", "a b"]))
}

fn searched(scene: &Scene<'_>) -> Verdict {
    let bundle = scene
        .bundle()
        .set("/process/args/0", "found")
        .set("/process/env", json!(["PATH=/tmp:/etc/programs:/"]));
    std::fs::create_dir(bundle.rootfs().join("etc/programs")).expect("a directory can be made");
    std::os::unix::fs::symlink(PROBE, bundle.rootfs().join("etc/programs/found"))
        .expect("a link can be made");
    is("argv[0]", &scene.report(&bundle)?["arguments"][0], "found")
}

fn missing_program(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().set("/process/args", json!(["/nothing"]));
    let finished = scene.run(&bundle);
    holds(finished.code != 0, "an error", finished.brief())
}

fn command_line(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().set("/process/commandLine", "cmd /c dir");
    is("argv[0]", &scene.report(&bundle)?["arguments"][0], PROBE)
}

fn no_new_privileges(scene: &Scene<'_>, value: bool, expected: &str) -> Verdict {
    let bundle = scene.bundle().set("/process/noNewPrivileges", value);
    is(
        "NoNewPrivs",
        &scene.report(&bundle)?["status"]["NoNewPrivs"],
        expected,
    )
}

fn own_oom_score() -> i64 {
    let text = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

fn oom_score(scene: &Scene<'_>) -> Verdict {
    let value = (own_oom_score() + 123).min(1000);
    let bundle = scene.bundle().set("/process/oomScoreAdj", value);
    is(
        "oom_score_adj",
        &scene.report(&bundle)?["oom_score_adj"],
        value.to_string(),
    )
}

fn lower_oom_score(scene: &Scene<'_>) -> Verdict {
    if !has_capability(CAP_SYS_RESOURCE) {
        return skipped("lowering oom_score_adj needs CAP_SYS_RESOURCE");
    }
    let bundle = scene.bundle().set("/process/oomScoreAdj", -321);
    is(
        "oom_score_adj",
        &scene.report(&bundle)?["oom_score_adj"],
        "-321",
    )
}

fn oom_score_unset(scene: &Scene<'_>) -> Verdict {
    let own = own_oom_score();
    is(
        "oom_score_adj",
        &scene.report(&scene.bundle())?["oom_score_adj"],
        own.to_string(),
    )
}

fn apparmor(scene: &Scene<'_>) -> Verdict {
    let enabled =
        std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    if enabled.trim() != "Y" {
        return skipped("AppArmor is not enabled in this kernel");
    }
    let bundle = scene.bundle().set("/process/apparmorProfile", "unconfined");
    is("label", &scene.report(&bundle)?["label"], "unconfined")
}

fn selinux(scene: &Scene<'_>) -> Verdict {
    let label = "system_u:system_r:container_t:s0:c1,c2";
    let bundle = scene.bundle().set("/process/selinuxLabel", label);
    if std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        return is("label", &scene.report(&bundle)?["label"], label);
    }
    // Without SELinux it can't be applied.
    match scene.is_refused(&bundle) {
        Ok(_) => Ok(()),
        Err(_) => failed(
            "an error, since SELinux is not active here",
            "the container is created without its label",
        ),
    }
}

fn descriptors(scene: &Scene<'_>) -> Verdict {
    let report = scene.report(&scene.bundle())?;
    let open: Vec<&String> = report["files"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(number, _)| number)
        .collect();
    is("open descriptors", &json!(open), json!(["0", "1", "2"]))
}

fn links(scene: &Scene<'_>) -> Verdict {
    let report = scene.report(&scene.bundle())?;
    is("fd", &report["dev"]["fd"]["link"], "/proc/self/fd")?;
    for (number, name) in ["stdin", "stdout", "stderr"].into_iter().enumerate() {
        is(
            name,
            &report["dev"][name]["link"],
            format!("/proc/self/fd/{number}"),
        )?;
    }
    Ok(())
}
