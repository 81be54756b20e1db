//! S02 (CVE-2026-53488): what an image or a pod says in labels, annotations, environment or
//! config.json never becomes a program of the host that runs as root, nor a file that is written.
//! Streams lead where the caller's request says, and nowhere else.

use std::os::unix::fs::{PermissionsExt, symlink};

use containerd_shim_protos::api as task;
use serde_json::json;
use shim::failure::Code;
use testkit::needs;

use crate::kit::{Client, Refusal};
use crate::yard::{Bundle, Yard, entries};

/// Makes a program of the host that leaves a file where it has run; gives its path.
fn program(yard: &Yard) -> String {
    let path = yard.path("evil");
    let ran = yard.path("ran");
    let script = format!("#!/bin/sh\necho \"$0 $*\" >> {}\necho >&5\n", ran.display());
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// What a client might call a log.
const NAMES: [&str; 8] = [
    "stdout",
    "stderr",
    "log-uri",
    "log_uri",
    "nerdctl/log-uri",
    "io.containerd.log-uri",
    "io.containerd.runc.v2.stdout",
    "com.docker.compose.log-uri",
];

#[test]
fn s02_what_annotations_and_environment_say_is_never_run_nor_written() {
    needs!(Root);
    let yard = Yard::new("annotations");
    let program = program(&yard);
    let log = yard.path("log-of-nobody");
    let texts = [
        format!("binary://{program}?id=x"),
        format!("binary-v2://{program}"),
        format!("file://{}", log.display()),
    ];
    for (number, text) in texts.iter().enumerate() {
        let name = format!("c{number}");
        let mut config = yard.config(&name, "echo out; echo err >&2; exec sleep 10000");
        config["annotations"] = NAMES.iter().map(|name| (*name, json!(text))).collect();
        let words = NAMES.iter().map(|name| json!(format!("{name}={text}")));
        config["process"]["env"]
            .as_array_mut()
            .unwrap()
            .extend(words);
        let (bundle, mut client, _) = yard.run(&name, &config);
        client.exec(&bundle.id, "e", "echo out").unwrap();
        client.start(&bundle.id, "e").unwrap();
        assert_eq!(client.wait(&bundle.id, "e").unwrap().exit_status, 0);
        yard.end(&bundle, client);
    }
    assert!(!yard.path("ran").exists(), "the program was run");
    assert!(!log.exists(), "the file was made");
    yard.close();
}

/// A container whose output is to go there.
fn create(
    yard: &Yard,
    client: &mut Client,
    bundle: &Bundle,
    stdout: &str,
) -> Result<task::CreateTaskResponse, Refusal> {
    let request = task::CreateTaskRequest {
        stdout: stdout.to_owned(),
        ..yard.create_request(bundle)
    };
    client.call("Create", &request)
}

#[test]
fn s02_a_log_is_no_link_and_its_path_is_the_one_that_is_written() {
    needs!(Root);
    let yard = Yard::new("links");
    let program = program(&yard);
    let at = |name: &str| yard.path(name).display().to_string();
    std::fs::write(at("canary"), "canary").unwrap();
    symlink(at("canary"), at("link")).unwrap();
    symlink(at("made-by-the-link"), at("dangling")).unwrap();
    nix::unistd::mkfifo(&yard.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink(at("fifo"), at("link-to-fifo")).unwrap();
    let bundle = yard.bundle("one", &yard.config("one", "echo out; exec sleep 10000"));
    let mut client = yard.connect(&bundle);
    let before = entries(&yard.path(""));
    for (stdout, reason) in [
        (format!("file://{}", at("link")), "a symbolic link"),
        (format!("file://{}", at("dangling")), "a symbolic link"),
        (format!("file://{}", at("fifo")), "a FIFO"),
        (format!("file://{}", at("x/../canary")), "`..`"),
        (format!("file://{}", at("x/%2E%2E/canary")), "`..`"),
        (at("link-to-fifo"), "a symbolic link"),
        (at("x/../fifo"), "`..`"),
        (
            format!("binary://{}", program.replace("/evil", "/x/../evil")),
            "`..`",
        ),
        (format!("BINARY-V3://{program}"), "unknown scheme"),
        (format!("binary://localhost{program}"), "a host"),
    ] {
        let refusal = create(&yard, &mut client, &bundle, &stdout).unwrap_err();
        assert_eq!(
            refusal.code,
            Code::INVALID_ARGUMENT,
            "{stdout}: {refusal:?}"
        );
        assert!(refusal.message.contains(reason), "{stdout}: {refusal:?}");
    }
    assert_eq!(std::fs::read_to_string(at("canary")).unwrap(), "canary");
    let mut after = entries(&yard.path(""));
    after.retain(|name| name != "runtime");
    assert_eq!(after, before, "something was made or run");
    // The same container can be made with a log that is one.
    let log = format!("file://{}", at("log"));
    create(&yard, &mut client, &bundle, &log).unwrap();
    client.start(&bundle.id, "").unwrap();
    crate::room::wait_until("the output is in the log", || {
        std::fs::read_to_string(at("log")).is_ok_and(|text| text == "out\n")
    });
    yard.end(&bundle, client);
    yard.close();
}
