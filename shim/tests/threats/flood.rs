//! S03 (CVE-2022-31030, CVE-2022-23471, CVE-2025-64329): what a container writes, who attaches
//! to it, and what can't be started must not eat the host's memory; and a reader that is dead
//! must not hold a container up for ever.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use containerd_shim_protos::api as task;
use nix::sys::stat::Mode;
use serde_json::json;
use testkit::needs;

use crate::kit::{Client, TASK, outcome, wait_request};
use crate::room::wait_until;
use crate::vitals::{GROWTH_KIB, Vitals, anonymous_kib, server_of};
use crate::yard::{Bundle, Yard, entries, long_or};

/// A shim has 10 s of patience with a reader that is gone, and the flood has to pass.
const PATIENCE: Duration = Duration::from_secs(120);

fn fifo(path: PathBuf) -> PathBuf {
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
    path
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn to(stdout: &Path) -> task::ExecProcessRequest {
    task::ExecProcessRequest {
        stdout: text(stdout),
        ..Default::default()
    }
}

/// Deletes a further process that has ended; gives its status.
fn finish(client: &mut Client, bundle: &Bundle, exec: &str) -> u32 {
    client.wait(&bundle.id, exec).unwrap();
    client.delete(&bundle.id, exec).unwrap().exit_status
}

#[test]
fn s03_a_flood_without_a_reader_passes_and_takes_no_memory() {
    needs!(Root);
    let yard = Yard::new("flood");
    let (bundle, mut client, _) = yard.run("one", &yard.config("one", "exec sleep 10000"));
    let server = server_of(&mut client);
    let before = Vitals::at_rest(server);
    let anonymous = anonymous_kib(server);
    let (never, dies) = (fifo(yard.path("never")), fifo(yard.path("dies")));
    let bytes = long_or(2 << 30, 256 << 20);
    let script = format!("head -c {bytes} /dev/zero && exit 4");
    for (exec, stdout) in [("never", &never), ("dies", &dies)] {
        client
            .exec_with(&bundle.id, exec, &script, to(stdout))
            .unwrap();
    }
    let mut reader = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&dies)
        .unwrap();
    client.start(&bundle.id, "never").unwrap();
    client.start(&bundle.id, "dies").unwrap();
    read_some(&mut reader, 1 << 20);
    drop(reader);
    let mut most = 0;
    for exec in ["never", "dies"] {
        let started = Instant::now();
        let stopped = task::Status::STOPPED;
        while client.state(&bundle.id, exec).unwrap().status.enum_value() != Ok(stopped) {
            most = most.max(anonymous_kib(server));
            assert!(started.elapsed() < PATIENCE, "{exec} is held up");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(finish(&mut client, &bundle, exec), 4);
    }
    let grown = most.saturating_sub(anonymous);
    assert!(grown < GROWTH_KIB, "{grown} KiB more during the flood");
    before.assert_back();
    yard.end(&bundle, client);
    yard.close();
}

/// Reads this much of a FIFO that somebody writes to.
fn read_some(reader: &mut File, length: usize) {
    let mut buffer = [0; 64 << 10];
    let mut seen = 0;
    let started = Instant::now();
    while seen < length {
        match reader.read(&mut buffer) {
            Ok(count @ 1..) => seen += count,
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
        assert!(started.elapsed() < PATIENCE, "only {seen} bytes have come");
    }
}

#[test]
fn s03_a_thousand_attach_resize_detach_leave_nothing() {
    needs!(Root);
    let yard = Yard::new("attach");
    let (bundle, mut client, _) = yard.run("one", &yard.config("one", "exec sleep 10000"));
    let (input, output) = (fifo(yard.path("in")), fifo(yard.path("out")));
    let terminal = task::ExecProcessRequest {
        stdin: text(&input),
        terminal: true,
        ..to(&output)
    };
    let script = "stty -echo; while read line; do echo \"<$line>\"; done";
    client
        .exec_with(&bundle.id, "shell", script, terminal)
        .unwrap();
    client.start(&bundle.id, "shell").unwrap();
    let attach = |client: &mut Client, round: usize| {
        let mut reader = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&output)
            .unwrap();
        let mut writer = File::options().write(true).open(&input).unwrap();
        let resize = task::ResizePtyRequest {
            id: bundle.id.clone(),
            exec_id: "shell".to_owned(),
            width: 80 + u32::try_from(round % 7).unwrap(),
            height: 25,
            ..Default::default()
        };
        let _: task::Empty = client.call("ResizePty", &resize).unwrap();
        writeln!(writer, "round {round}").unwrap();
        read_until(&mut reader, &format!("<round {round}>"));
    };
    attach(&mut client, 0);
    let before = Vitals::at_rest(server_of(&mut client));
    for round in 1..=1000 {
        attach(&mut client, round);
    }
    before.assert_back();
    client.kill(&bundle.id, "shell", 9).unwrap();
    assert_eq!(finish(&mut client, &bundle, "shell"), 137);
    yard.end(&bundle, client);
    yard.close();
}

/// Reads until this text has come.
fn read_until(reader: &mut File, text: &str) {
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    let started = Instant::now();
    while !seen.contains(text) {
        match reader.read(&mut buffer) {
            Ok(count @ 1..) => seen.push_str(&String::from_utf8_lossy(&buffer[..count])),
            _ => std::thread::sleep(Duration::from_micros(200)),
        }
        assert!(started.elapsed() < PATIENCE, "no {text}: {seen:?}");
    }
}

#[test]
fn s03_further_processes_that_end_or_can_not_be_started_leave_nothing() {
    needs!(Root);
    let yard = Yard::new("execs");
    let (bundle, mut client, _) = yard.run("one", &yard.config("one", "exec sleep 10000"));
    let output = fifo(yard.path("out"));
    let live = |client: &mut Client, round: usize| {
        let exec = format!("e{round}");
        client
            .exec_with(&bundle.id, &exec, "exit 3", to(&output))
            .unwrap();
        // Who is never there to read would be waited for.
        let reader = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&output)
            .unwrap();
        client.start(&bundle.id, &exec).unwrap();
        assert_eq!(finish(client, &bundle, &exec), 3);
        drop(reader);
        let missing = format!("m{round}");
        let request = no_such_program(&bundle.id, &missing, &output);
        let _: task::Empty = client.call("Exec", &request).unwrap();
        let refusal = client.start(&bundle.id, &missing).unwrap_err();
        assert!(refusal.message.contains("no such file"), "{refusal:?}");
        assert_eq!(finish(client, &bundle, &missing), 255);
    };
    live(&mut client, 0);
    let before = Vitals::at_rest(server_of(&mut client));
    let files = entries(&bundle.path);
    for round in 1..=long_or(500, 60) {
        live(&mut client, round);
    }
    before.assert_back();
    assert_eq!(entries(&bundle.path), files, "files are left in the bundle");
    yard.end(&bundle, client);
    yard.close();
}

fn no_such_program(id: &str, exec: &str, output: &Path) -> task::ExecProcessRequest {
    let document = json!({
        "cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["/no/such/program"],
    });
    let spec = containerd_shim_protos::protobuf::well_known_types::any::Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
        value: document.to_string().into_bytes(),
        ..Default::default()
    };
    task::ExecProcessRequest {
        id: id.to_owned(),
        exec_id: exec.to_owned(),
        spec: Some(spec).into(),
        ..to(output)
    }
}

/// Who gives up waiting for an end does not tell the shim: the calls must not pile up until no
/// other is answered, and those of a connection that is gone are forgotten.
#[test]
fn s03_calls_that_nobody_waits_for_any_more_keep_nobody_from_calling() {
    needs!(Root);
    let yard = Yard::new("waits");
    let (bundle, mut client, _) = yard.run("one", &yard.config("one", "exec sleep 10000"));
    let server = server_of(&mut client);
    let before = Vitals::at_rest(server);
    let mut other = yard.connect(&bundle);
    let mut refused = 0;
    let wait = wait_request(&bundle.id, "");
    for _ in 0..5000 {
        other.send(TASK, "Wait", &wait);
    }
    let state = task::StateRequest {
        id: bundle.id.clone(),
        ..Default::default()
    };
    let stream = other.send(TASK, "State", &state);
    loop {
        let (of, response) = other.receive().unwrap();
        match outcome(response) {
            Ok(_) => {
                assert_eq!(of, stream, "a Wait is answered");
                break;
            }
            Err(refusal) => {
                assert_eq!(refusal.code, shim::failure::Code::RESOURCE_EXHAUSTED);
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && refused < 1000, "{refused} are refused");
    drop(other);
    // There is room for others again: the end is told to who is still there.
    let mut waiter = yard.connect(&bundle);
    let waiting = waiter.send(TASK, "Wait", &wait);
    client.state(&bundle.id, "").unwrap();
    client.kill(&bundle.id, "", 9).unwrap();
    waiter.response_to(waiting).unwrap();
    drop(waiter);
    before.assert_back();
    yard.end(&bundle, client);
    yard.close();
}

/// Hooks that hang hold up what they belong to, and nobody's signals.
#[test]
fn s03_a_kill_gets_through_while_everything_else_hangs() {
    needs!(Root);
    let yard = Yard::new("hooks");
    let member = |name: &str| {
        let mut config = yard.config(name, "exec sleep 10000");
        let group = format!("{}-pod", yard.marker);
        config["annotations"] = json!({"io.containerd.runc.v2.group": group});
        config
    };
    let (bundle, mut client, _) = yard.run("one", &member("one"));
    let server = server_of(&mut client);
    let gate = yard.path("gate");
    let waits = format!("while [ ! -e {} ]; do sleep 0.1; done", gate.display());
    // More than jobs run at once.
    let hanging: Vec<Bundle> = (0..70)
        .map(|number| {
            let name = format!("h{number}");
            let mut config = member(&name);
            let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", waits]});
            config["hooks"] = json!({"createRuntime": [hook]});
            yard.bundle(&name, &config)
        })
        .collect();
    let mut creator = yard.connect(&bundle);
    for bundle in &hanging {
        creator.send(TASK, "Create", &yard.create_request(bundle));
    }
    wait_until("as many jobs hang as run at once", || {
        Vitals::of(server).threads() > 64
    });
    client.kill(&bundle.id, "", 9).unwrap();
    assert_eq!(client.wait(&bundle.id, "").unwrap().exit_status, 137);
    std::fs::write(&gate, "").unwrap();
    for _ in &hanging {
        let (_, created) = creator.receive().unwrap();
        outcome(created).unwrap();
    }
    for bundle in &hanging {
        creator.delete(&bundle.id, "").unwrap();
    }
    drop(creator);
    yard.end(&bundle, client);
    yard.close();
}
