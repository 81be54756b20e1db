//! runc-exec(8).

use serde_json::{Value, json};

use super::{Area, equal_output, fails, is, paused, report, running, stopped, text};
use crate::bundle::{Bundle, PROBE};
use crate::case::{Case, Trouble, Verdict, equal, failed, holds, skipped};
use crate::run::Finished;
use crate::scene::Scene;

const AREA: Area = Area("exec");
const PLACE: &str = "runc-exec(8)";

/// Bits of CAP_KILL and CAP_NET_RAW.
const KILL: u64 = 1 << 5;
const NET_RAW: u64 = 1 << 13;

pub(super) fn cases() -> Vec<Case> {
    [of_the_process(), of_privileges(), of_the_rest()]
        .into_iter()
        .flatten()
        .collect()
}

fn of_the_process() -> Vec<Case> {
    vec![
        AREA.case(
            "exec",
            PLACE,
            "exec runs a further process in the container, with its streams.",
            &["exec"],
            |scene| {
                let bundle = running(scene)?;
                let seen = says(scene, &bundle, &[])?;
                let pid = scene.runtime().pid(bundle.id());
                let namespace = |kind: &str| {
                    std::fs::read_link(format!("/proc/{pid}/ns/{kind}"))
                        .map(|link| link.display().to_string())
                        .unwrap_or_default()
                };
                for kind in ["pid", "mnt", "net", "ipc", "uts"] {
                    is(kind, &seen["namespaces"][kind], namespace(kind))?;
                }
                Ok(())
            },
        ),
        AREA.case(
            "exec-template",
            PLACE,
            "The process is as in the bundle's config.json, but for what flags say.",
            &["exec takes the bundle's config.json"],
            template,
        ),
        AREA.case(
            "exec-without-a-terminal",
            PLACE,
            "There is no terminal without --tty, whatever config.json says.",
            &["exec --tty"],
            no_terminal,
        ),
        AREA.case(
            "exec-tty",
            PLACE,
            "--tty allocates a pseudo-TTY, which the caller's terminal is connected to.",
            &["exec --tty"],
            |scene| on_a_terminal(scene, "--tty"),
        ),
        AREA.case(
            "exec-tty-short",
            PLACE,
            "-t is --tty.",
            &["exec -t"],
            |scene| on_a_terminal(scene, "-t"),
        ),
        AREA.case(
            "exec-cwd",
            PLACE,
            "--cwd is the current working directory in the container.",
            &["exec --cwd"],
            |scene| {
                let bundle = running(scene)?;
                is(
                    "cwd",
                    &says(scene, &bundle, &["--cwd", "/tmp"])?["cwd"],
                    "/tmp",
                )
            },
        ),
        AREA.case(
            "exec-env",
            PLACE,
            "--env sets environment variables, once for each.",
            &["exec --env"],
            |scene| {
                let bundle = running(scene)?;
                let seen = says(scene, &bundle, &["--env", "A=one", "--env", "B=two"])?;
                is("A", &seen["environment"]["A"], "one")?;
                is("B", &seen["environment"]["B"], "two")
            },
        ),
        AREA.case(
            "exec-env-short",
            PLACE,
            "-e is --env.",
            &["exec -e"],
            |scene| {
                let bundle = running(scene)?;
                is(
                    "A",
                    &says(scene, &bundle, &["-e", "A=one"])?["environment"]["A"],
                    "one",
                )
            },
        ),
        AREA.case(
            "exec-env-with-a-comma",
            "urfave/cli, as runc configures it",
            "A comma separates no values.",
            &["spelling a comma separates nothing"],
            |scene| {
                let bundle = running(scene)?;
                is(
                    "A",
                    &says(scene, &bundle, &["--env", "A=one,B=two"])?["environment"]["A"],
                    "one,B=two",
                )
            },
        ),
        AREA.case(
            "exec-user",
            PLACE,
            "--user is UID[:GID].",
            &["exec --user"],
            |scene| {
                let bundle = running(scene)?;
                let seen = says(scene, &bundle, &["--user", "7:8"])?;
                is("Uid", &seen["status"]["Uid"], "7 7 7 7")?;
                is("Gid", &seen["status"]["Gid"], "8 8 8 8")
            },
        ),
        AREA.case(
            "exec-user-short",
            PLACE,
            "-u is --user.",
            &["exec -u"],
            |scene| {
                let bundle = running(scene)?;
                is(
                    "Uid",
                    &says(scene, &bundle, &["-u", "7"])?["status"]["Uid"],
                    "7 7 7 7",
                )
            },
        ),
        AREA.case(
            "exec-additional-gids",
            PLACE,
            "--additional-gids adds group ids, once for each.",
            &["exec --additional-gids"],
            |scene| {
                let bundle = running(scene)?;
                let seen = says(
                    scene,
                    &bundle,
                    &["--additional-gids", "44", "--additional-gids", "45"],
                )?;
                is("Groups", &seen["status"]["Groups"], "44 45")
            },
        ),
        AREA.case(
            "exec-additional-gids-short",
            PLACE,
            "-g is --additional-gids.",
            &["exec -g"],
            |scene| {
                let bundle = running(scene)?;
                is(
                    "Groups",
                    &says(scene, &bundle, &["-g", "44"])?["status"]["Groups"],
                    "44",
                )
            },
        ),
        AREA.case(
            "exec-process",
            PLACE,
            "--process is the path to a process.json.",
            &["exec --process"],
            |scene| by_file(scene, "--process"),
        ),
        AREA.case(
            "exec-process-short",
            PLACE,
            "-p is --process.",
            &["exec -p"],
            |scene| by_file(scene, "-p"),
        ),
    ]
}

fn of_privileges() -> Vec<Case> {
    vec![
        AREA.case(
            "exec-cap",
            PLACE,
            "--cap adds a capability to the bounding, effective and permitted sets, to no other.",
            &["exec --cap"],
            |scene| with_capability(scene, "--cap"),
        ),
        AREA.case(
            "exec-cap-short",
            PLACE,
            "-c is --cap.",
            &["exec -c"],
            |scene| with_capability(scene, "-c"),
        ),
        AREA.case(
            "exec-no-new-privs",
            PLACE,
            "--no-new-privs sets no_new_privs for the process.",
            &["exec --no-new-privs"],
            |scene| {
                let bundle = running(scene)?;
                is(
                    "without it",
                    &says(scene, &bundle, &[])?["status"]["NoNewPrivs"],
                    "0",
                )?;
                is(
                    "with it",
                    &says(scene, &bundle, &["--no-new-privs"])?["status"]["NoNewPrivs"],
                    "1",
                )
            },
        ),
        AREA.case(
            "exec-apparmor",
            PLACE,
            "--apparmor sets the process's profile, or is an error where that can't be.",
            &["exec --apparmor"],
            |scene| {
                is_never_ignored(
                    scene,
                    "--apparmor",
                    "conformance-none",
                    "/sys/module/apparmor/parameters/enabled",
                )
            },
        ),
        AREA.case(
            "exec-process-label",
            PLACE,
            "--process-label sets the process's SELinux label, or is an error where that can't be.",
            &["exec --process-label"],
            |scene| {
                is_never_ignored(
                    scene,
                    "--process-label",
                    "system_u:system_r:conformance_t:s0",
                    "/sys/fs/selinux/enforce",
                )
            },
        ),
    ]
}

fn of_the_rest() -> Vec<Case> {
    vec![
        AREA.case("exec-detach", PLACE, "--detach returns while the process runs.", &["exec --detach"], |scene| detaches(scene, "--detach")),
        AREA.case("exec-detach-short", PLACE, "-d is --detach.", &["exec -d"], |scene| detaches(scene, "-d")),
        AREA.case("exec-pid-file", PLACE, "--pid-file is written with the process's pid, in decimal digits and nothing else.", &["exec --pid-file"], |scene| {
            let bundle = running(scene)?;
            let pid = wait_detached(scene, &bundle, &["-d"])?;
            // exec may end a moment before the process executes its program.
            let words = || std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            scene.until("the pid of the process", || words().starts_with(PROBE.as_bytes()))
        }),
        AREA.case("exec-cgroup", PLACE, "--cgroup runs the process in a cgroup below the container's.", &["exec --cgroup"], sub_cgroup),
        AREA.case("exec-cgroup-that-is-missing", PLACE, "A cgroup that there is not is an error.", &["exec --cgroup"], |scene| {
            let bundle = running(scene)?;
            let finished = call(scene, &bundle, &["--cgroup", "nowhere"]);
            holds(finished.code == 255 && !super::is_usage_error(&finished), "exit 255", finished.brief())
        }),
        AREA.case("exec-ignore-paused", PLACE, "With --ignore-paused a process is put into a paused container, and runs when it is resumed.", &["exec --ignore-paused"], |scene| {
            let bundle = paused(scene)?;
            let mut command = scene.runtime().command(&["exec", "--ignore-paused", bundle.id(), PROBE, "inside", "exit", "7"]);
            let mut child = command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().expect("the runtime starts");
            std::thread::sleep(std::time::Duration::from_millis(200));
            let early = child.try_wait().ok().flatten().map(|status| status.code());
            scene.succeeds(&["resume", bundle.id()])?;
            let status = child.wait().ok().and_then(|status| status.code());
            equal("an end while it is paused", &early, &None)?;
            equal("exit status", &status, &Some(7))
        }),
        AREA.case("exec-in-a-paused-one", PLACE, "Without it that is an error.", &["exec --ignore-paused", "text cannot exec in a paused container"], |scene| {
            let bundle = paused(scene)?;
            let finished = call(scene, &bundle, &[]);
            scene.succeeds(&["resume", bundle.id()])?;
            fails(&finished, 255, "cannot exec in a paused container")
        }),
        AREA.case("exec-in-a-created-one", PLACE, "A process may be put into a container that is created and not started.", &["exec in a created container"], |scene| {
            let bundle = scene.bundle().does(&["wait"]);
            scene.create(&bundle)?;
            equal_output(&scene.runtime().call(&["exec", bundle.id(), PROBE, "inside", "print", "it runs"]), "it runs")?;
            equal("status", &scene.runtime().status(bundle.id()), &"created".to_owned())
        }),
        AREA.case("exec-in-a-stopped-one", PLACE, "There is nothing to run in when the container has stopped.", &["text cannot exec in a stopped container"], |scene| {
            let bundle = stopped(scene)?;
            fails(&call(scene, &bundle, &[]), 255, "cannot exec in a stopped container")
        }),
        AREA.case("exec-without-a-command", PLACE, "A command or --process is needed.", &["exec"], |scene| {
            let bundle = running(scene)?;
            let finished = scene.runtime().call(&["exec", bundle.id()]);
            holds(finished.code != 0, "an error", finished.brief())
        }),
    ]
}

/// `exec` with these flags of a process that reports.
fn call(scene: &Scene<'_>, bundle: &Bundle, flags: &[&str]) -> Finished {
    let words = [&["exec"], flags, &[bundle.id(), PROBE, "inside", "report"]].concat();
    scene.runtime().call(&words)
}

/// What such a process says.
fn says(scene: &Scene<'_>, bundle: &Bundle, flags: &[&str]) -> Result<Value, Trouble> {
    report(&call(scene, bundle, flags))
}

/// With a terminal of the case's own as the runtime's streams.
fn on_a_terminal(scene: &Scene<'_>, flag: &str) -> Verdict {
    let bundle = running(scene)?;
    // Little is written: some lose what a terminal has not taken at once.
    let words = [
        "exec",
        flag,
        bundle.id(),
        PROBE,
        "inside",
        "try",
        "open:/dev/tty",
    ];
    let mut command = scene.runtime().command(&words);
    let pair = nix::pty::openpty(None, None)
        .or_else(|errno| skipped(format!("a pseudoterminal: {errno:?}")))?;
    let stream = || pair.slave.try_clone().map(std::process::Stdio::from);
    let streams =
        [stream(), stream(), stream()].map(|stream| stream.expect("it can be duplicated"));
    let [stdin, stdout, stderr] = streams;
    let mut child = command
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .or_else(|error| failed("the runtime starts", error.to_string()))?;
    // The end of what is written comes when nobody has the other side any more.
    drop(command);
    drop(pair.slave);
    let said = crate::listener::read_terminal(pair.master);
    // It has ended, or does not listen to its terminal's end.
    child.kill().ok();
    child.wait().ok();
    // Some colour what comes.
    let is_one = said.contains(r#""open:/dev/tty":"ok""#);
    holds(is_one, "a terminal at /dev/tty", said)
}

fn template(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().does(&["wait"]);
    let bundle = bundle
        .set("/process/env/-", "A=one")
        .set("/process/cwd", "/tmp")
        .set(
            "/process/user",
            json!({ "uid": 7, "gid": 8, "additionalGids": [44] }),
        );
    scene.start(&bundle)?;
    let seen = says(scene, &bundle, &["--env", "B=two"])?;
    is("A", &seen["environment"]["A"], "one")?;
    is("B", &seen["environment"]["B"], "two")?;
    is("cwd", &seen["cwd"], "/tmp")?;
    is("Uid", &seen["status"]["Uid"], "7 7 7 7")?;
    is("Groups", &seen["status"]["Groups"], "44")
}

/// In a container that has a terminal.
fn no_terminal(scene: &Scene<'_>) -> Verdict {
    let bundle = scene
        .bundle()
        .does(&["wait"])
        .set("/process/terminal", true);
    bundle.save();
    let listener = crate::listener::Listener::new(&scene.directory().join("socket"))?;
    let (socket, path) = (text(listener.path()), text(bundle.path()));
    let words = [
        "run",
        "-d",
        "--console-socket",
        &socket,
        "--bundle",
        &path,
        bundle.id(),
    ];
    let finished = scene.detached(&words);
    holds(finished.code == 0, "`run` succeeds", finished.brief())?;
    let message = listener.receive()?;
    let seen = says(scene, &bundle, &[])?["terminal"]["is_terminal"].clone();
    drop(message);
    is("terminals", &seen, json!([false, false, false]))
}

fn by_file(scene: &Scene<'_>, flag: &str) -> Verdict {
    let bundle = running(scene)?;
    let process = json!({
        "user": { "uid": 7, "gid": 8 }, "cwd": "/tmp", "env": ["A=one"],
        "args": [PROBE, "inside", "report"],
    });
    let file = scene.directory().join("process.json");
    std::fs::write(&file, process.to_string()).expect("a file can be written");
    let seen = report(
        &scene
            .runtime()
            .call(&["exec", flag, &text(&file), bundle.id()]),
    )?;
    is("cwd", &seen["cwd"], "/tmp")?;
    is("A", &seen["environment"]["A"], "one")?;
    is("Uid", &seen["status"]["Uid"], "7 7 7 7")
}

fn with_capability(scene: &Scene<'_>, flag: &str) -> Verdict {
    let own = json!(["CAP_KILL"]);
    let capabilities = json!({ "bounding": own, "effective": own, "permitted": own });
    let bundle = scene
        .bundle()
        .does(&["wait"])
        .set("/process/capabilities", capabilities);
    scene.start(&bundle)?;
    let seen = says(scene, &bundle, &[flag, "CAP_NET_RAW"])?;
    let set =
        |name: &str| u64::from_str_radix(seen["status"][name].as_str().unwrap_or("x"), 16).ok();
    let sets = ["CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"].map(set);
    let both = Some(KILL | NET_RAW);
    equal(
        "bounding, effective, permitted, inheritable, ambient",
        &sets,
        &[both, both, both, Some(0), Some(0)],
    )
}

/// A label is in force, or asking for it is an error: which one depends on the kernel.
fn is_never_ignored(scene: &Scene<'_>, flag: &str, label: &str, sign: &str) -> Verdict {
    let bundle = running(scene)?;
    let finished = call(scene, &bundle, &[flag, label]);
    if super::is_usage_error(&finished) {
        return holds(false, &format!("{flag} is known"), finished.brief());
    }
    if std::path::Path::new(sign).exists() && finished.code == 0 {
        let seen = report(&finished)?["label"].clone();
        return holds(
            seen.as_str().is_some_and(|seen| seen.contains(label)),
            label,
            seen,
        );
    }
    holds(finished.code == 255, "exit 255", finished.brief())
}

/// The pid of a process that waits, from its pid file.
fn wait_detached(scene: &Scene<'_>, bundle: &Bundle, flags: &[&str]) -> Result<i32, Trouble> {
    let file = scene.directory().join("exec-pid");
    let path = text(&file);
    let words = [
        &["exec"],
        flags,
        &["--pid-file", &path, bundle.id(), PROBE, "inside", "wait"],
    ]
    .concat();
    let finished = scene.detached(&words);
    holds(finished.code == 0, "exit 0", finished.brief())?;
    let written = std::fs::read_to_string(file).unwrap_or_default();
    written
        .parse()
        .or_else(|_| crate::case::failed("a number alone", written))
}

fn detaches(scene: &Scene<'_>, flag: &str) -> Verdict {
    let bundle = running(scene)?;
    let pid = wait_detached(scene, &bundle, &[flag])?;
    holds(
        super::pids(&bundle).contains(&pid),
        "a process in the container's cgroup",
        pid,
    )
}

fn sub_cgroup(scene: &Scene<'_>) -> Verdict {
    let bundle = running(scene)?;
    let pid = scene.runtime().pid(bundle.id());
    let Some(cgroup) = crate::host::cgroup(pid, "pids") else {
        return skipped("this host has no pids controller");
    };
    std::fs::create_dir(cgroup.join("below")).or_else(|error| skipped(error.to_string()))?;
    let is_v1 = cgroup.join("tasks").exists();
    let argument = if is_v1 { "pids:below" } else { "below" };
    let pid = wait_detached(scene, &bundle, &["-d", "--cgroup", argument])?;
    let seen = crate::host::cgroup(pid, "pids");
    equal("the cgroup", &seen, &Some(cgroup.join("below")))
}
