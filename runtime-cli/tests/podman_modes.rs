//! tare under podman, beyond single containers of root: pods, mapped users, an ordinary user's
//! podman, readiness, hooks, logs, restarts, health.
//!
//! `TARE_UNDER_TEST=runc` runs the same on a peer.

#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use testkit::{Fact, Finished, Marker, Podman, Residue, Runtime, needs};

/// The state directory's name below a runtime directory.
const STATE: &str = "tare";

/// podman whose runtime is tare.
fn configuration(more: &str) -> String {
    let tare = Runtime::binary_under_test(env!("CARGO_BIN_EXE_tare"));
    let tare = tare.display();
    format!(
        "[engine]\nruntime = \"tare\"\nruntime_supports_json = [\"tare\"]\n{more}\n\
         [engine.runtimes]\ntare = [\"{tare}\"]\n"
    )
}

/// podman, and what its containers are run with.
struct Scene {
    podman: Podman,
    marker: Marker,
}

impl Scene {
    fn of_root(marker: &Marker, more: &str) -> Self {
        Self {
            podman: Podman::of_root(marker, &configuration(more)),
            marker: marker.clone(),
        }
    }

    fn of_user(marker: &Marker) -> Self {
        Self {
            podman: Podman::of_user(marker, &configuration("")),
            marker: marker.clone(),
        }
    }

    fn call(&self, words: &[&str]) -> Finished {
        self.podman.podman(words)
    }

    /// `podman run` of the image without a network of its own, below the test's cgroup.
    fn run_words<'a>(&'a self, flags: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
        let fixed = ["run", "--network", "none"];
        [&fixed, flags, &[self.podman.image()], command].concat()
    }

    fn run(&self, flags: &[&str], command: &[&str]) -> Finished {
        let parent = format!("/{}", self.marker);
        let flags = match self.podman.uid() {
            0 => [&["--cgroup-parent", &parent], flags].concat(),
            _ => flags.to_vec(),
        };
        self.call(&self.run_words(&flags, command))
    }

    fn inspect(&self, name: &str, format: &str) -> String {
        let inspected = self.call(&["inspect", "--format", format, name]);
        inspected.stdout.trim().to_owned()
    }

    fn until(&self, name: &str, format: &str, is_so: impl Fn(&str) -> bool) {
        let started = Instant::now();
        loop {
            let seen = self.inspect(name, format);
            if is_so(&seen) {
                return;
            }
            assert!(started.elapsed().as_secs() < 60, "{format}: {seen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Removes everything, and looks for what is left.
    fn end(self, residue: &Residue) {
        let pods = self.podman.remove_all();
        self.podman.assert_nothing_is_left(STATE, &pods);
        drop(self.podman);
        residue.assert_none(&[]);
    }
}

#[test]
fn containers_of_a_pod_share_its_namespaces() {
    needs!(Fact::Root, Fact::Podman);
    let marker = Marker::new("podmanpod");
    let residue = Residue::watch(&marker);
    let scene = Scene::of_root(&marker, "");
    let parent = format!("/{marker}");
    scene
        .call(&[
            "pod",
            "create",
            "--name",
            "pod",
            "--network",
            "none",
            "--share",
            "ipc,net,uts,pid",
            "--hostname",
            "shared",
            "--cgroup-parent",
            &parent,
        ])
        .succeeded();
    let namespaces =
        "hostname; for n in ipc net uts pid; do readlink /proc/self/ns/$n; done; exec sleep 1000";
    for name in ["one", "two"] {
        scene
            .call(&[
                "run",
                "--detach",
                "--pod",
                "pod",
                "--name",
                name,
                scene.podman.image(),
                "sh",
                "-c",
                namespaces,
            ])
            .succeeded();
    }
    let said = |name: &str| scene.call(&["logs", name]).stdout;
    assert!(said("one").starts_with("shared\nipc:["), "{}", said("one"));
    assert_eq!(said("one"), said("two"));
    // With the pod's pid namespace each sees the others.
    let seen = scene.call(&["exec", "two", "ps"]);
    assert_eq!(seen.stdout.matches("sleep 1000").count(), 2, "{seen}");
    let stats = scene.call(&[
        "pod",
        "stats",
        "--no-stream",
        "--format",
        "{{.Name}} {{.PIDS}}",
        "pod",
    ]);
    let counted = table(&stats.stdout);
    assert!(
        counted.contains(&vec!["one", "1"]) && counted.contains(&vec!["two", "1"]),
        "{stats}"
    );
    scene.call(&["pod", "pause", "pod"]).succeeded();
    assert_eq!(scene.inspect("one", "{{.State.Status}}"), "paused");
    scene.call(&["pod", "unpause", "pod"]).succeeded();
    scene
        .call(&["pod", "stop", "--time", "0", "pod"])
        .succeeded();
    // Until its cleanup has run, podman says "stopped".
    scene.until("one", "{{.State.Status}}", |status| status == "exited");
    scene.call(&["pod", "start", "pod"]).succeeded();
    assert_eq!(scene.inspect("two", "{{.State.Status}}"), "running");
    scene.end(&residue);
}

/// What a container's process finds out about its users: its own, how they are mapped, and whose
/// a new file is.
const USERS: &str =
    "id -u; cat /proc/self/uid_map; touch /dev/shm/x; stat -c %u /dev/shm/x; exit 4";

/// The words of each line.
fn table(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .map(|line| line.split_whitespace().collect())
        .collect()
}

#[test]
fn users_of_roots_containers_are_mapped() {
    needs!(Fact::Root, Fact::Podman, Fact::UserNamespaces);
    let marker = Marker::new("podmanuserns");
    let residue = Residue::watch(&marker);
    let scene = Scene::of_root(&marker, "");
    let said = scene.run(&["--rm", "--uidmap=0:200000:5000"], &["sh", "-c", USERS]);
    let expected = [vec!["0"], vec!["0", "200000", "5000"], vec!["0"]];
    assert_eq!(
        (said.code, table(&said.stdout)),
        (4, expected.to_vec()),
        "{said}"
    );
    scene.end(&residue);
}

#[test]
fn an_ordinary_users_podman_runs_containers() {
    needs!(
        Fact::Root,
        Fact::Podman,
        Fact::UserNamespaces,
        Fact::Program("newuidmap")
    );
    let marker = Marker::new("podmanuser");
    let residue = Residue::watch(&marker);
    let scene = Scene::of_user(&marker);
    let uid = scene.podman.uid().to_string();
    // Who a process is, whose ids its first and last line of the map start with, and how many
    // lines there are; the numbers of the rest are the machine's.
    for (mode, user, lines) in [
        ("host", "0", 2),
        ("keep-id", &uid, 3),
        ("nomap", "0", 1),
        ("auto", "0", 1),
    ] {
        let flag = format!("--userns={mode}");
        let said = scene.run(&["--rm", &flag], &["sh", "-c", USERS]);
        let told = table(&said.stdout);
        assert_eq!((said.code, told.len()), (4, lines + 2), "{said}");
        assert_eq!((told[0][0], told[lines + 1][0]), (user, user), "{said}");
        let maps_to_caller = match mode {
            "host" => told[1] == ["0", &uid, "1"],
            // In podman's own namespace the caller is 0.
            "keep-id" => told[2] == [&uid, "0", "1"],
            _ => !told[1..=lines].iter().any(|line| line[1] == "0"),
        };
        assert!(maps_to_caller, "{said}");
    }
    let script = "trap 'exit 6' TERM; echo started; while :; do sleep 0.1; done";
    scene
        .run(&["--detach", "--name", "one"], &["sh", "-c", script])
        .succeeded();
    let exec = scene.call(&["exec", "one", "sh", "-c", "id -u; exit 3"]);
    assert_eq!((exec.code, exec.stdout.as_str()), (3, "0\n"), "{exec}");
    scene.until("one", "{{.State.Status}}", |status| status == "running");
    scene.call(&["stop", "one"]).succeeded();
    scene.until("one", "{{.State.ExitCode}}", |code| code == "6");
    assert_eq!(scene.call(&["logs", "one"]).stdout, "started\n");
    scene.end(&residue);
}

/// Sends its argument to the socket that its environment names.
const SAY: &str = r#"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
int main(int count, char **words) {
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    strncpy(to.sun_path, getenv("NOTIFY_SOCKET"), sizeof(to.sun_path) - 1);
    return sendto(socket(AF_UNIX, SOCK_DGRAM, 0), words[1], strlen(words[1]), 0,
                  (void *)&to, sizeof(to)) < 0;
}"#;

#[test]
fn readiness_reaches_whoever_runs_podman() {
    needs!(Fact::Root, Fact::Podman, Fact::Program("gcc"));
    let marker = Marker::new("podmannotify");
    let residue = Residue::watch(&marker);
    let scene = Scene::of_root(&marker, "");
    let tools = scene.podman.path("tools");
    std::fs::create_dir(&tools).unwrap();
    let mut compiler = std::process::Command::new("gcc");
    compiler
        .args(["-static", "-x", "c", "-", "-o"])
        .arg(tools.join("say"));
    testkit::finish_with_input(&mut compiler, SAY.as_bytes(), Duration::from_secs(30)).succeeded();
    let volume = format!("{}:/tools:ro", tools.display());
    let manager = scene.podman.path("manager.sock");
    let socket = UnixDatagram::bind(&manager).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let variable = format!("NOTIFY_SOCKET={}", manager.display());
    let parent = format!("/{marker}");
    let flags = [
        "--detach",
        "--sdnotify=container",
        "--name",
        "one",
        "--volume",
        &volume,
        "--cgroup-parent",
        &parent,
    ];
    let script = "/tools/say READY=1 && exec sleep 1000";
    let words = scene.run_words(&flags, &["sh", "-c", script]);
    let mut run = scene.podman.command_with_environment(&[&variable], &words);
    testkit::finish(&mut run, Duration::from_secs(60)).succeeded();
    let mut heard = String::new();
    let mut buffer = [0; 256];
    // The container's word, and podman's about whom to watch; in either order.
    while !(heard.contains("READY=1\n") && heard.contains("MAINPID=")) {
        let length = socket.recv(&mut buffer).expect("both words arrive");
        heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
        heard.push('\n');
    }
    drop(socket);
    std::fs::remove_file(manager).unwrap();
    scene.end(&residue);
}

#[test]
fn hooks_of_a_directory_run_and_logs_are_those_of_kubernetes() {
    needs!(Fact::Root, Fact::Podman);
    let marker = Marker::new("podmanhooks");
    let residue = Residue::watch(&marker);
    let scene = Scene::of_root(&marker, "");
    let hooks = scene.podman.path("hooks");
    std::fs::create_dir(&hooks).unwrap();
    let told = scene.podman.path("told");
    let script = format!("echo $1; cat >> {0}; echo >> {0}", told.display());
    let hook = serde_json::json!({
        "version": "1.0.0",
        "hook": {"path": "/bin/sh", "args": ["sh", "-c", script]},
        "when": {"always": true},
        "stages": ["createRuntime", "poststop"],
    });
    std::fs::write(hooks.join("tell.json"), hook.to_string()).unwrap();
    let log = scene.podman.path("container.log");
    let (hooks, path) = (
        hooks.display().to_string(),
        format!("path={}", log.display()),
    );
    let parent = format!("/{marker}");
    let flags = [
        "--rm",
        "--log-driver",
        "k8s-file",
        "--log-opt",
        &path,
        "--cgroup-parent",
        &parent,
    ];
    let words = scene.run_words(&flags, &["sh", "-c", "echo out; echo err >&2; printf half"]);
    let said = scene.call(&[&["--hooks-dir", &hooks], &words[..]].concat());
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (0, "out\nhalf"),
        "{said}"
    );
    let states: Vec<serde_json::Value> = std::fs::read_to_string(told)
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let statuses: Vec<_> = states.iter().map(|state| &state["status"]).collect();
    assert_eq!(statuses, ["creating", "stopped"], "{states:?}");
    let log = std::fs::read_to_string(log).unwrap();
    let mut lines: Vec<_> = table(&log).iter().map(|line| line[1..].join(" ")).collect();
    lines.sort();
    assert_eq!(lines, ["stderr F err", "stdout F out", "stdout P half"]);
    scene.end(&residue);
}

#[test]
fn a_container_that_fails_is_restarted_and_its_health_is_checked() {
    needs!(Fact::Root, Fact::Podman);
    let marker = Marker::new("podmanrestart");
    let residue = Residue::watch(&marker);
    let scene = Scene::of_root(&marker, "");
    let flags = ["--detach", "--name", "fails", "--restart", "on-failure:2"];
    scene
        .run(&flags, &["sh", "-c", "echo once; exit 3"])
        .succeeded();
    let format = "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}";
    scene.until("fails", format, |seen| seen == "2 exited 3");
    assert_eq!(scene.call(&["logs", "fails"]).stdout, "once\nonce\nonce\n");
    let flags = [
        "--detach",
        "--name",
        "well",
        "--health-cmd",
        "test -e /healthy",
        "--health-interval",
        "disable",
    ];
    scene.run(&flags, &["sleep", "1000"]).succeeded();
    assert_eq!(scene.call(&["healthcheck", "run", "well"]).code, 1);
    scene
        .call(&["exec", "well", "touch", "/healthy"])
        .succeeded();
    scene.call(&["healthcheck", "run", "well"]).succeeded();
    assert_eq!(scene.inspect("well", "{{.State.Health.Status}}"), "healthy");
    scene.end(&residue);
}

#[test]
fn what_kubernetes_would_run_is_played() {
    needs!(Fact::Root, Fact::Podman);
    let marker = Marker::new("podmanplay");
    let residue = Residue::watch(&marker);
    let scene = Scene::of_root(&marker, "");
    let document = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n  - name: a\n    \
         image: {}\n    imagePullPolicy: Never\n    command: [/bin/sh, -c, 'echo played; exec sleep 1000']\n    \
         resources:\n      limits:\n        memory: 64Mi\n    securityContext:\n      \
         readOnlyRootFilesystem: true\n      runAsUser: 1000\n",
        scene.podman.image()
    );
    let file = scene.podman.path("pod.yaml");
    std::fs::write(&file, document).unwrap();
    let file = file.display().to_string();
    let played = scene.call(&["kube", "play", "--network", "none", &file]);
    played.succeeded();
    let exec = scene.call(&["exec", "web-a", "sh", "-c", "id -u; touch /x"]);
    assert_eq!(exec.stdout, "1000\n", "{exec}");
    assert!(exec.stderr.contains("Read-only file system"), "{exec}");
    assert_eq!(scene.call(&["logs", "web-a"]).stdout, "played\n");
    scene.call(&["kube", "down", &file]).succeeded();
    scene.end(&residue);
}
