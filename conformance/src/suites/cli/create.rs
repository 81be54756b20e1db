//! runc-create(8) and runc-run(8): their flags.

use super::{Area, equal_output, report, text};
use crate::bundle::Bundle;
use crate::case::{Case, Verdict, equal, holds};
use crate::run::Finished;
use crate::scene::Scene;

const AREA: Area = Area("create");
const CREATE: &str = "runc-create(8)";
const RUN: &str = "runc-run(8)";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = of_both("create", CREATE);
    cases.extend(of_both("run", RUN));
    cases.extend([
        AREA.case(
            "create-starts-nothing",
            CREATE,
            "create runs everything but the user's program, and prints nothing.",
            &["create"],
            |scene| {
                let bundle = scene.bundle().does(&["print", "it runs"]);
                bundle.save();
                let created = scene.create_saved(&bundle);
                equal(
                    "what is printed",
                    &(created.code, created.stdout, created.stderr),
                    &(0, String::new(), String::new()),
                )
            },
        ),
        AREA.case(
            "start-prints-nothing",
            "runc-start(8)",
            "start runs the user's program, and prints nothing.",
            &["start"],
            |scene| {
                let bundle = scene.bundle().does(&["print", "it runs"]);
                scene.create(&bundle)?;
                let started = scene.succeeds(&["start", bundle.id()])?;
                equal(
                    "what is printed",
                    &(started.stdout, started.stderr),
                    &(String::new(), String::new()),
                )?;
                scene.until("the program runs", || scene.output() == "it runs")
            },
        ),
        AREA.case(
            "run",
            RUN,
            "run creates, starts, waits, and deletes; the streams are the container's.",
            &["run"],
            |scene| {
                let bundle = scene.bundle().does(&["print", "it runs"]);
                equal_output(&scene.run(&bundle), "it runs")?;
                holds(
                    scene.runtime().state(bundle.id()).is_none(),
                    "no container any more",
                    "there is one",
                )
            },
        ),
        AREA.case(
            "run-detach",
            RUN,
            "run --detach returns while the container runs.",
            &["run --detach"],
            |scene| detaches(scene, "--detach"),
        ),
        AREA.case(
            "run-detach-short",
            RUN,
            "-d is --detach.",
            &["run -d"],
            |scene| detaches(scene, "-d"),
        ),
        AREA.case(
            "run-keep",
            RUN,
            "With run --keep the container is still there after its end, and can be deleted.",
            &["run --keep"],
            |scene| {
                let bundle = scene.bundle().does(&["exit", "3"]);
                bundle.save();
                let path = text(bundle.path());
                let finished =
                    scene
                        .runtime()
                        .call(&["run", "--keep", "--bundle", &path, bundle.id()]);
                equal("exit status", &finished.code, &3)?;
                equal(
                    "status",
                    &scene.runtime().status(bundle.id()),
                    &"stopped".to_owned(),
                )?;
                scene.succeeds(&["delete", bundle.id()]).map(drop)
            },
        ),
        AREA.case(
            "run-subreaper",
            RUN,
            "Without --no-subreaper run adopts what processes of the container leave behind.",
            &["run --no-subreaper"],
            |scene| {
                holds(
                    adopts(scene, &[])?,
                    "run is the parent of an orphan",
                    "another process is",
                )
            },
        ),
        AREA.case(
            "run-no-subreaper",
            RUN,
            "With --no-subreaper it does not.",
            &["run --no-subreaper"],
            |scene| {
                holds(
                    !adopts(scene, &["--no-subreaper"])?,
                    "another process is the parent of an orphan",
                    "run is",
                )
            },
        ),
        AREA.case(
            "start",
            "runc-start(8)",
            "start takes exactly one id.",
            &["start"],
            |scene| {
                let finished = scene.runtime().call(&["start", "one", "two"]);
                holds(finished.code != 0, "an error", finished.brief())
            },
        ),
    ]);
    cases
}

/// What create and run have in common.
fn of_both(command: &'static str, place: &'static str) -> Vec<Case> {
    let case =
        |name: &str, sentence: &str, row: &str, check: fn(&Scene<'_>, &'static str) -> Verdict| {
            let row = match row.strip_prefix("--") {
                Some(_) => format!("{command} {row}"),
                None => row.to_owned(),
            };
            AREA.case(
                format!("{command}-{name}"),
                place,
                sentence,
                &[&row],
                move |scene| check(scene, command),
            )
        };
    vec![
        case(
            "bundle",
            "--bundle is the path to the root of the bundle directory.",
            "--bundle",
            |scene, command| is_found(scene, command, "--bundle"),
        ),
        AREA.case(
            format!("{command}-bundle-short"),
            place,
            "-b is --bundle.",
            &[&format!("{command} -b")],
            move |scene| is_found(scene, command, "-b"),
        ),
        case(
            "bundle-default",
            "The bundle is the current directory by default.",
            "--bundle",
            bundle_of_the_directory,
        ),
        case(
            "pid-file",
            "--pid-file is written with the pid of init, in decimal digits and nothing else.",
            "--pid-file",
            pid_file,
        ),
        case(
            "pid-file-without-a-newline",
            "There is no newline in it.",
            "pid file without a newline",
            pid_file,
        ),
        case(
            "pid-file-relative",
            "A relative --pid-file is one of the caller's directory, not of the bundle.",
            "pid file of the caller's directory",
            relative_pid_file,
        ),
        case(
            "pid-file-on-a-link",
            "The pid file is written beside and renamed: what a link with its name leads to stays.",
            "--pid-file",
            pid_file_on_a_link,
        ),
        case(
            "no-pivot",
            "With --no-pivot the container has its root without pivot_root(2).",
            "--no-pivot",
            no_pivot,
        ),
        case(
            "no-new-keyring",
            "With --no-new-keyring the session keyring is the caller's.",
            "--no-new-keyring",
            old_keyring,
        ),
        case(
            "new-keyring",
            "Without it the container has a session keyring of its own.",
            "--no-new-keyring",
            new_keyring,
        ),
    ]
}

fn detached(scene: &Scene<'_>, command: &str, flags: &[&str], bundle: &Bundle) -> Finished {
    let path = text(bundle.path());
    let mut words = vec![command];
    words.extend((command == "run").then_some("--detach"));
    words.extend(flags);
    scene.detached(&[&words, &["--bundle", &path, bundle.id()][..]].concat())
}

/// Both commands with these flags, and `start` where create needs it; then the program's output.
fn runs(
    scene: &Scene<'_>,
    command: &str,
    flags: &[&str],
    bundle: &Bundle,
) -> Result<Finished, crate::case::Trouble> {
    bundle.save();
    let path = text(bundle.path());
    if command == "run" {
        return Ok(scene
            .runtime()
            .call(&[&["run"], flags, &["--bundle", &path, bundle.id()]].concat()));
    }
    let mut created = detached(scene, command, flags, bundle);
    if created.code == 0 {
        scene.succeeds(&["start", bundle.id()])?;
        scene.until_status(bundle, "stopped")?;
        created.stdout = scene.output();
    }
    Ok(created)
}

fn is_found(scene: &Scene<'_>, command: &str, flag: &str) -> Verdict {
    let bundle = scene.bundle().does(&["wait"]);
    bundle.save();
    let mut words = vec![command];
    words.extend((command == "run").then_some("--detach"));
    let path = text(bundle.path());
    words.extend([flag, &path, bundle.id()]);
    let finished = scene.detached(&words);
    holds(finished.code == 0, "exit 0", finished.brief())?;
    let expected = if command == "run" {
        "running"
    } else {
        "created"
    };
    equal(
        "status",
        &scene.runtime().status(bundle.id()).as_str(),
        &expected,
    )
}

fn with_detach<'a>(command: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec![command];
    words.extend((command == "run").then_some("--detach"));
    words.extend(rest);
    words
}

fn bundle_of_the_directory(scene: &Scene<'_>, command: &'static str) -> Verdict {
    let bundle = scene.bundle().does(&["wait"]);
    bundle.save();
    let finished = scene.detached_from(bundle.path(), &with_detach(command, &[bundle.id()]));
    equal("exit status", &finished.code, &0)?;
    let seen = scene.runtime().state(bundle.id()).unwrap_or_default()["bundle"].clone();
    super::is("bundle", &seen, text(bundle.path()))
}

fn pid_file(scene: &Scene<'_>, command: &'static str) -> Verdict {
    let bundle = scene.bundle().does(&["wait"]);
    bundle.save();
    let file = scene.directory().join("pid");
    let finished = detached(scene, command, &["--pid-file", &text(&file)], &bundle);
    holds(finished.code == 0, "exit 0", finished.brief())?;
    let pid = scene.runtime().pid(bundle.id()).to_string();
    equal("the file", &std::fs::read_to_string(file).ok(), &Some(pid))
}

fn relative_pid_file(scene: &Scene<'_>, command: &'static str) -> Verdict {
    let bundle = scene.bundle().does(&["wait"]);
    bundle.save();
    let path = text(bundle.path());
    let words = with_detach(
        command,
        &["--pid-file", "pid", "--bundle", &path, bundle.id()],
    );
    let finished = scene.detached_from(scene.directory(), &words);
    equal("exit status", &finished.code, &0)?;
    let pid = scene.runtime().pid(bundle.id()).to_string();
    equal(
        "the file",
        &std::fs::read_to_string(scene.directory().join("pid")).ok(),
        &Some(pid),
    )
}

fn pid_file_on_a_link(scene: &Scene<'_>, command: &'static str) -> Verdict {
    let bundle = scene.bundle().does(&["wait"]);
    bundle.save();
    let [file, victim] = ["pid", "victim"].map(|name| scene.directory().join(name));
    std::fs::write(&victim, "untouched").expect("a file can be written");
    std::os::unix::fs::symlink(&victim, &file).expect("a link can be made");
    let finished = detached(scene, command, &["--pid-file", &text(&file)], &bundle);
    holds(finished.code == 0, "exit 0", finished.brief())?;
    equal(
        "what the link led to",
        &std::fs::read_to_string(victim).ok(),
        &Some("untouched".to_owned()),
    )?;
    let pid = scene.runtime().pid(bundle.id()).to_string();
    equal("the file", &std::fs::read_to_string(file).ok(), &Some(pid))
}

fn no_pivot(scene: &Scene<'_>, command: &'static str) -> Verdict {
    let bundle = scene.bundle().does(&["try", "list:/", "read:/mark"]);
    std::fs::write(bundle.rootfs().join("mark"), "of the rootfs").expect("a file can be written");
    let seen = report(&runs(scene, command, &["--no-pivot"], &bundle)?)?;
    super::is("a file of the rootfs", &seen["read:/mark"], "of the rootfs")?;
    let has_host = seen["list:/"]
        .as_array()
        .is_some_and(|list| list.iter().any(|name| name == "boot"));
    holds(!has_host, "the rootfs at /", &seen["list:/"])
}

/// What the program says of its session keyring, and what this program has.
fn keyrings(
    scene: &Scene<'_>,
    command: &str,
    flags: &[&str],
) -> Result<(String, String), crate::case::Trouble> {
    let bundle = scene.bundle();
    let seen = report(&runs(scene, command, flags, &bundle)?)?;
    let inside = seen["keyring"].as_str().unwrap_or_default().to_owned();
    let own = crate::sys::describe_session_keyring().unwrap_or_default();
    let own = String::from_utf8_lossy(&own)
        .trim_end_matches('\0')
        .to_owned();
    Ok((inside, own))
}

fn old_keyring(scene: &Scene<'_>, command: &'static str) -> Verdict {
    let (inside, own) = keyrings(scene, command, &["--no-new-keyring"])?;
    equal("the session keyring", &inside, &own)
}

fn new_keyring(scene: &Scene<'_>, command: &'static str) -> Verdict {
    let (inside, own) = keyrings(scene, command, &[])?;
    holds(
        inside != own && inside.starts_with("keyring;"),
        "another session keyring than the caller's",
        inside,
    )
}

fn detaches(scene: &Scene<'_>, flag: &str) -> Verdict {
    let bundle = scene.bundle().does(&["wait"]);
    bundle.save();
    let path = text(bundle.path());
    let finished = scene.detached(&["run", flag, "--bundle", &path, bundle.id()]);
    equal("exit status", &finished.code, &0)?;
    equal(
        "status",
        &scene.runtime().status(bundle.id()),
        &"running".to_owned(),
    )
}

/// Whether a foreground run with these flags is the parent of a process whose own parent has ended,
/// in a container that has no pid namespace of its own.
fn adopts(scene: &Scene<'_>, flags: &[&str]) -> Result<bool, crate::case::Trouble> {
    let bundle = super::in_the_hosts_pid_namespace(scene).does(&["adopt"]);
    bundle.save();
    let path = text(bundle.path());
    let words = [&["run"], flags, &["--bundle", &path, bundle.id()]].concat();
    let mut command = scene.runtime().command(&words);
    let said = scene.directory().join("said");
    let mut run = command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(&said).expect("a file can be made"))
        .spawn()
        .expect("the runtime starts");
    let orphan = || {
        super::pids(&bundle).into_iter().find(|pid| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&words).contains("deaf")
        })
    };
    let parent_of = |pid: i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        parent
            .and_then(|text| text.trim().parse::<u32>().ok())
            .unwrap_or(0)
    };
    let is_of_the_container =
        |pid: u32| super::pids(&bundle).contains(&i32::try_from(pid).unwrap_or(0));
    let found = scene.until("an orphan", || {
        orphan().is_some_and(|pid| !is_of_the_container(parent_of(pid)))
    });
    let parent = orphan().map_or(0, parent_of);
    let is_run = parent == run.id();
    super::kill_all(&bundle);
    let status = run.wait();
    scene.runtime().note_end(&words, status.ok(), &said);
    found.map(|()| is_run)
}
