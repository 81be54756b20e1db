//! `process.terminal` and `process.consoleSize`: through a console socket, and in the foreground.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use serde_json::json;
use testkit::{finish_with_input, needs, under_terminal};

use crate::container::{Container, proc_file};

/// The descriptor that a runtime sends to a console socket, and the text with it.
fn receive(listener: &UnixListener) -> (OwnedFd, String) {
    let (stream, _) = listener.accept().expect("the runtime has connected");
    let mut text = [0; 256];
    let mut space = nix::cmsg_space!(std::os::fd::RawFd);
    let mut buffers = [IoSliceMut::new(&mut text)];
    let message = recvmsg::<UnixAddr>(
        stream.as_raw_fd(),
        &mut buffers,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )
    .expect("it has sent a message");
    let count = message.bytes;
    let mut descriptors = Vec::new();
    for control in message.cmsgs().expect("the control data is whole") {
        if let ControlMessageOwned::ScmRights(received) = control {
            descriptors.extend(received);
        }
    }
    assert_eq!(descriptors.len(), 1, "one descriptor is sent");
    // SAFETY: recvmsg(2) has just made this descriptor, and nobody else knows it.
    #[allow(unsafe_code, reason = "nix gives the number only")]
    let master = unsafe { OwnedFd::from_raw_fd(descriptors[0]) };
    (master, String::from_utf8_lossy(&text[..count]).into_owned())
}

/// The bundle's directory, with its config.json written.
fn saved(container: &Container) -> String {
    container.bundle().save();
    container.path("")
}

/// What comes from a terminal until `last` has come.
fn read_until(master: &OwnedFd, last: &str) -> String {
    let mut file = File::from(master.try_clone().expect("a descriptor can be duplicated"));
    let mut text = String::new();
    let mut buffer = [0; 1024];
    while !text.contains(last) {
        let count = file
            .read(&mut buffer)
            .unwrap_or_else(|error| panic!("{error} after {text:?}"));
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    text
}

#[test]
fn a_console_socket_gets_the_master_of_a_terminal_of_the_configs_size() {
    needs!(Root);
    let container = Container::new("console")
        .set("/process/terminal", true)
        .set("/process/consoleSize", json!({"height": 33, "width": 77}))
        .script("stty size; tty; read line; echo got $line; ls -l /dev/console; sleep 1000");
    let socket = container.path("console.sock");
    let listener = UnixListener::bind(&socket).expect("a socket can be bound");
    container.bundle().save();
    let path = container.path("");
    container
        .runtime
        .call(&[
            "create",
            "--bundle",
            &path,
            "--console-socket",
            &socket,
            container.id(),
        ])
        .succeeded();
    let (master, text) = receive(&listener);
    assert_eq!(text, "/dev/pts/0");
    container
        .runtime
        .call(&["start", container.id()])
        .succeeded();
    let said = read_until(&master, "/dev/pts/0\r\n");
    assert!(said.contains("33 77\r\n"), "{said:?}");
    File::from(master.try_clone().expect("a descriptor can be duplicated"))
        .write_all(b"hello\n")
        .expect("the terminal takes it");
    let said = read_until(&master, "/dev/console");
    assert!(said.contains("got hello\r\n"), "{said:?}");

    let pid = container.pid();
    for number in 0..3 {
        let link = std::fs::read_link(format!("/proc/{pid}/fd/{number}")).expect("it is open");
        assert_eq!(link.to_str(), Some("/dev/pts/0"));
    }
    // It leads a session of its own, whose controlling terminal this is.
    let stat = proc_file(pid, "stat");
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .expect("it has a name")
        .split(' ')
        .collect();
    assert_eq!(fields[3], pid.to_string(), "the session is its own: {stat}");
    assert_ne!(fields[4], "0", "it has a terminal: {stat}");
    assert!(container.mounts().find("/dev/console").is_some());
}

#[test]
fn the_terminal_belongs_to_the_user() {
    needs!(Root);
    let container = Container::new("consoleuser")
        .set("/process/terminal", true)
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .with_user_namespace()
        .script("stat -c %u /dev/pts/0 /dev/console; echo x > /dev/tty; sleep 1000");
    let socket = container.path("console.sock");
    let listener = UnixListener::bind(&socket).expect("a socket can be bound");
    container.bundle().save();
    let path = container.path("");
    container
        .runtime
        .call(&[
            "run",
            "--detach",
            "--bundle",
            &path,
            "--console-socket",
            &socket,
            container.id(),
        ])
        .succeeded();
    let (master, _) = receive(&listener);
    let said = read_until(&master, "x\r\n");
    assert!(said.contains("1000\r\n1000\r\nx\r\n"), "{said:?}");
}

#[test]
fn a_terminal_in_the_foreground_is_the_callers_and_has_its_size() {
    needs!(Root, Program("script"));
    let container = Container::new("foreground")
        .set("/process/terminal", true)
        .script("stty size; read line; echo got $line; exit 9");
    container.bundle().save();
    let path = container.path("");
    let command = container
        .runtime
        .command(&["run", "--bundle", &path, container.id()]);
    let run = finish_with_input(
        &mut under_terminal(&command),
        b"typed\n",
        Duration::from_secs(60),
    );
    assert!(run.stdout.contains("30 100"), "{run}");
    assert!(run.stdout.contains("got typed"), "{run}");
    assert_eq!(run.code, 9, "{run}");
}

#[test]
fn a_terminal_without_a_console_socket_and_a_socket_without_a_terminal_are_errors() {
    needs!(Root);
    let said = Container::new("nosocket")
        .set("/process/terminal", true)
        .refused();
    assert!(said.contains("console socket"), "{said}");
    let container = Container::new("noterminal");
    let socket = container.path("console.sock");
    let _listener = UnixListener::bind(&socket).expect("a socket can be bound");
    container.bundle().save();
    let path = container.path("");
    let run = container.runtime.call(&[
        "create",
        "--bundle",
        &path,
        "--console-socket",
        &socket,
        container.id(),
    ]);
    assert_eq!(run.code, 1, "{run}");
    assert!(run.stderr.contains("console socket"), "{run}");
}

#[test]
fn a_size_without_a_terminal_is_ignored_and_an_impossible_one_refused() {
    needs!(Root);
    let container =
        Container::new("sizeonly").set("/process/consoleSize", json!({"height": 1, "width": 1}));
    assert_eq!(container.prints_of("tty; true"), "not a tty\n");
    let container = Container::new("hugesize")
        .set("/process/terminal", true)
        .set(
            "/process/consoleSize",
            json!({"height": 70_000, "width": 1}),
        );
    let run = container
        .runtime
        .call(&["plan", "--bundle", &saved(&container)]);
    assert_eq!(run.code, 1, "{run}");
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("/process/consoleSize"), "{said}");
}
