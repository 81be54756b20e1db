//! `hooks`: order, namespaces, standard input, environment, directory, timeouts, failures.

use std::fs;

use serde_json::{Value, json};
use testkit::needs;

use crate::container::{Container, eventually, own_namespace};

const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// A hook that runs this in a shell. `startContainer` has the container's shell.
fn hook(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
}

/// A container with a directory `out` of the host's, which it has at `/out`.
fn container(topic: &str) -> Container {
    let container = Container::new(topic).mount("", "out", "/out", &["bind"]);
    fs::create_dir(container.path("out")).expect("a directory can be made");
    container
}

/// What hooks and the program wrote into `out/NAME`.
fn written(container: &Container, name: &str) -> String {
    fs::read_to_string(container.path(&format!("out/{name}"))).unwrap_or_default()
}

/// Where a hook of this kind finds the directory.
fn out(container: &Container, kind: &str) -> String {
    if kind == "startContainer" {
        "/out".to_owned()
    } else {
        container.path("out")
    }
}

/// All six kinds twice, each writing a line.
fn with_all(mut container: Container, script: &str) -> Container {
    for kind in KINDS {
        let out = out(&container, kind);
        let hooks: Vec<Value> = (1..3)
            .map(|number| hook(&format!("K={kind}; N={number}; O={out}; {script}")))
            .collect();
        container = container.set(&format!("/hooks/{kind}"), json!(hooks));
    }
    container
}

#[test]
fn all_hooks_run_in_order_around_the_program() {
    needs!(Root);
    let container = with_all(container("hookorder"), "echo $K $N >> $O/order")
        .script("echo program >> /out/order; sleep 1000");
    container.runtime.create(container.bundle()).succeeded();
    let created = "prestart 1\nprestart 2\ncreateRuntime 1\ncreateRuntime 2\n\
        createContainer 1\ncreateContainer 2\n";
    assert_eq!(written(&container, "order"), created);
    container
        .runtime
        .call(&["start", container.id()])
        .succeeded();
    eventually("the program has written", || {
        written(&container, "order").contains("program\n")
    });
    let started = written(&container, "order");
    let rest = started
        .strip_prefix(created)
        .expect("what was written stays");
    let rest = rest
        .strip_prefix("startContainer 1\nstartContainer 2\n")
        .expect("startContainer is first");
    let mut lines: Vec<&str> = rest.lines().collect();
    // The program runs while the poststart hooks do.
    lines.sort_unstable();
    assert_eq!(lines, ["poststart 1", "poststart 2", "program"]);
    container
        .runtime
        .call(&["delete", "--force", container.id()])
        .succeeded();
    let end = written(&container, "order");
    assert!(end.ends_with("poststop 1\npoststop 2\n"), "{end}");
}

#[test]
fn every_hook_gets_the_state_with_status_and_pid() {
    needs!(Root);
    let container = with_all(container("hookstate"), "cat > $O/state-$K-$N")
        .set("/annotations", json!({"key": "value"}))
        .args(&["sleep", "1000"]);
    let pid = container.detached();
    container
        .runtime
        .call(&["delete", "--force", container.id()])
        .succeeded();
    for (kind, status) in [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("startContainer", "created"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ] {
        for number in 1..3 {
            let text = written(&container, &format!("state-{kind}-{number}"));
            let state: Value =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{kind}: {e}: {text:?}"));
            assert_eq!(state["status"], status, "{kind}");
            assert_eq!(state["id"], container.id(), "{kind}");
            assert_eq!(state["ociVersion"], "1.0.2", "{kind}");
            assert_eq!(state["bundle"], json!(container.bundle().path()), "{kind}");
            assert_eq!(state["annotations"], json!({"key": "value"}), "{kind}");
            if kind != "poststop" {
                assert_eq!(state["pid"], pid, "{kind}");
            }
        }
    }
}

#[test]
fn hooks_run_in_their_namespaces() {
    needs!(Root);
    let look = "for n in mnt pid net uts; do readlink /proc/self/ns/$n; done > $O/ns-$K; \
        ls -d /bin/busybox-of-host /etc/hostname-of-container > $O/root-$K 2>/dev/null; hostname > $O/host-$K";
    let container = with_all(container("hooknamespaces"), look).args(&["sleep", "1000"]);
    container.write("etc/hostname-of-container", "x");
    let pid = container.detached();
    let theirs: Vec<String> = ["mnt", "pid", "net", "uts"]
        .iter()
        .map(|file| crate::container::namespace_of(pid, file))
        .collect();
    let ours: Vec<String> = ["mnt", "pid", "net", "uts"].map(own_namespace).to_vec();
    container
        .runtime
        .call(&["delete", "--force", container.id()])
        .succeeded();
    for kind in KINDS {
        let seen: Vec<String> = written(&container, &format!("ns-{kind}"))
            .lines()
            .map(str::to_owned)
            .collect();
        let inside = ["createContainer", "startContainer"].contains(&kind);
        assert_eq!(
            seen,
            if inside { theirs.clone() } else { ours.clone() },
            "{kind}"
        );
        // Only after the pivot is the container's root the hook's.
        let root = written(&container, &format!("root-{kind}"));
        assert_eq!(
            root.contains("hostname-of-container"),
            kind == "startContainer",
            "{kind}: {root}"
        );
        let hostname = written(&container, &format!("host-{kind}"));
        assert_eq!(hostname == "container\n", inside, "{kind}: {hostname}");
    }
}

#[test]
fn a_create_container_hook_sees_the_containers_mounts_from_the_hosts_root() {
    needs!(Root);
    let container = container("hookmounts").mount("tmpfs", "seen-by-hook", "/m", &[]);
    let look = format!(
        "cat /proc/self/mountinfo > {}",
        container.path("out/mounts")
    );
    let container = container
        .set("/hooks/createContainer", json!([hook(&look)]))
        .script("true");
    container.run().succeeded();
    let mounts = written(&container, "mounts");
    assert!(mounts.contains("seen-by-hook"), "{mounts}");
    assert!(mounts.contains("/rootfs/m "), "{mounts}");
}

#[test]
fn a_hooks_environment_arguments_and_directory_are_its_own() {
    needs!(Root);
    let container = container("hookenv");
    let file = container.path("out/env");
    let script =
        format!("echo \"$0 $1 $A [$INHERITED]\" > {file}; pwd >> {file}; env | wc -l >> {file}");
    let container = container
        .set(
            "/hooks/createRuntime",
            json!([{"path": "/bin/sh", "args": ["named", "-c", script, "zero", "one"], "env": ["A=b c"]}]),
        )
        .script("true");
    container.bundle().save();
    let mut command =
        container
            .runtime
            .command(&["run", "--bundle", &container.path(""), container.id()]);
    command.env("INHERITED", "yes");
    testkit::finish(&mut command, std::time::Duration::from_secs(60)).succeeded();
    let written_now = written(&container, "env");
    let lines: Vec<&str> = written_now.lines().collect();
    assert_eq!(lines[0], "zero one b c []", "only its own environment");
    assert_eq!(
        lines[1],
        container.bundle().path().to_str().expect("it is text")
    );
    drop(container);

    // Without `env` it is the runtime's own.
    let container = self::container("hookenv");
    let file = container.path("out/env");
    let container = container
        .set(
            "/hooks/prestart",
            json!([hook(&format!("echo [$INHERITED] > {file}"))]),
        )
        .script("true");
    container.bundle().save();
    let mut command =
        container
            .runtime
            .command(&["run", "--bundle", &container.path(""), container.id()]);
    command.env("INHERITED", "yes");
    testkit::finish(&mut command, std::time::Duration::from_secs(60)).succeeded();
    assert_eq!(written(&container, "env"), "[yes]\n");
}

#[test]
fn a_hook_without_arguments_has_its_path_as_name() {
    needs!(Root);
    let container = container("hookpath");
    let program = container.path("hook");
    fs::write(
        &program,
        format!("#!/bin/sh\necho $0 $# > {}\n", container.path("out/args")),
    )
    .expect("a file can be written");
    fs::set_permissions(
        &program,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("it is ours");
    let container = container
        .set("/hooks/createRuntime", json!([{"path": program}]))
        .script("true");
    container.run().succeeded();
    assert_eq!(written(&container, "args"), format!("{program} 0\n"));
}

#[test]
fn a_hook_that_fails_before_the_program_ends_everything_and_poststop_runs() {
    needs!(Root);
    for kind in &KINDS[..4] {
        let container = container("hookfails");
        let out_here = out(&container, kind);
        let stop = container.path("out");
        let container = container
            .set(
                &format!("/hooks/{kind}"),
                json!([
                    hook("exit 0"),
                    hook("echo its words >&2; exit 7"),
                    hook(&format!("echo no > {out_here}/later"))
                ]),
            )
            .set(
                "/hooks/poststop",
                json!([hook(&format!("cat > {stop}/stopped"))]),
            )
            .script("echo ran > /out/ran");
        let run = container.run();
        assert_eq!(run.code, 1, "{kind}: {run}");
        assert!(
            run.stderr
                .contains(&format!("error running {kind} hook #1")),
            "{kind}: {run}"
        );
        assert_eq!(written(&container, "ran"), "", "{kind}");
        assert_eq!(written(&container, "later"), "", "{kind}");
        let state: Value = serde_json::from_str(&written(&container, "stopped"))
            .unwrap_or_else(|error| panic!("{kind}: poststop has run: {error}"));
        assert_eq!(state["status"], "stopped", "{kind}");
        let left = fs::read_dir(container.runtime.root()).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{kind}");
    }
}

#[test]
fn with_create_and_start_a_start_container_hook_that_fails_leaves_nothing() {
    needs!(Root);
    let container = container("startfails");
    let stop = container.path("out");
    let container = container
        .set("/hooks/startContainer", json!([hook("exit 3")]))
        .set(
            "/hooks/poststop",
            json!([hook(&format!("echo stopped > {stop}/stopped"))]),
        )
        .script("echo ran > /out/ran");
    container.runtime.create(container.bundle()).succeeded();
    let start = container.runtime.call(&["start", container.id()]);
    assert_eq!(start.code, 1, "{start}");
    assert!(start.stderr.contains("startContainer hook #0"), "{start}");
    assert_eq!(written(&container, "ran"), "");
    assert_eq!(written(&container, "stopped"), "stopped\n");
    let state = container.runtime.call(&["state", container.id()]);
    assert_eq!(state.code, 1, "{state}");
}

#[test]
fn a_poststart_hook_that_fails_stops_and_deletes_the_container() {
    needs!(Root);
    for detached in [false, true] {
        let container = container("poststartfails");
        let stop = container.path("out");
        let container = container
            .set("/hooks/poststart", json!([hook("exit 4")]))
            .set(
                "/hooks/poststop",
                json!([hook(&format!("echo stopped > {stop}/stopped"))]),
            )
            .args(&["sleep", "1000"]);
        let run = if detached {
            container.runtime.create(container.bundle()).succeeded();
            container.runtime.call(&["start", container.id()])
        } else {
            container.run()
        };
        assert_eq!(run.code, 1, "{run}");
        assert!(
            run.stderr.contains("error running poststart hook #0"),
            "{run}"
        );
        assert_eq!(written(&container, "stopped"), "stopped\n", "{run}");
        let state = container.runtime.call(&["state", container.id()]);
        assert_eq!(state.code, 1, "{state}");
    }
}

#[test]
fn a_poststop_hook_that_fails_is_a_warning_and_the_others_run() {
    needs!(Root);
    let container = container("poststopfails");
    let stop = container.path("out");
    let (container, _) = container
        .set(
            "/hooks/poststop",
            json!([hook("exit 5"), {"path": "/nonexistent"}, hook(&format!("echo third > {stop}/third"))]),
        )
        .sleeping();
    let delete = container
        .runtime
        .call(&["delete", "--force", container.id()]);
    assert_eq!(delete.code, 0, "{delete}");
    assert!(delete.stderr.contains("poststop hook #0"), "{delete}");
    assert!(delete.stderr.contains("poststop hook #1"), "{delete}");
    assert_eq!(written(&container, "third"), "third\n");
}

#[test]
fn a_hook_that_takes_too_long_is_killed() {
    needs!(Root);
    for kind in &KINDS[..4] {
        let container = container("hooktimeout");
        let mut slow = hook("sleep 1000 & sleep 1000");
        slow["timeout"] = json!(1);
        let container = container
            .set(&format!("/hooks/{kind}"), json!([slow]))
            .script("true");
        let run = container.run();
        assert_eq!(run.code, 1, "{kind}: {run}");
        assert!(run.stderr.contains("timed out after 1 s"), "{kind}: {run}");
    }
    let mut quick = hook("exit 0");
    quick["timeout"] = json!(100);
    let container = container("hooktimeout")
        .set("/hooks/prestart", json!([quick]))
        .script("true");
    container.run().succeeded();
    drop(container);
    let mut never = hook("exit 0");
    never["timeout"] = json!(0);
    let said = Container::new("hooktimeout")
        .set("/hooks/prestart", json!([never]))
        .refused();
    assert!(said.contains("/hooks/prestart/0/timeout"), "{said}");
}

#[test]
fn a_missing_hook_and_a_relative_path_are_errors() {
    needs!(Root);
    let said = Container::new("missinghook")
        .set(
            "/hooks/createRuntime",
            json!([{"path": "/nonexistent/hook"}]),
        )
        .refused();
    assert!(
        said.contains("createRuntime hook #0 /nonexistent/hook"),
        "{said}"
    );
    let said = Container::new("relativehook")
        .set("/hooks/poststop", json!([{"path": "sh"}]))
        .refused();
    assert!(said.contains("/hooks/poststop/0/path"), "{said}");
}

#[test]
fn a_hook_may_change_the_containers_network() {
    needs!(Root, Program("ip"));
    let container = container("hooknetwork");
    let script = "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); \
        nsenter --net=/proc/$pid/ns/net ip link add hooked type veth peer name peer";
    let container = container.set("/hooks/createRuntime", json!([hook(script)]));
    let printed = container.prints_of("ip -o link | grep -c ': hooked'");
    assert_eq!(printed, "1\n");
}
