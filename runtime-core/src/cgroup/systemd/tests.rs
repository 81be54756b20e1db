//! The client against peers that behave well, badly, and not at all: real sockets, short
//! deadlines.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::address::{Candidate, Socket};
use super::connection::Connection;
use super::message::{Call, Incoming, Kind, PROLOGUE, Prologue, count};
use super::wire::{Decoder, Encoder};
use super::*;
use crate::plan::cgroup::Value;

/// Long enough for two processors that have other things to do, short enough for a test.
const LIMIT: Duration = Duration::from_millis(300);

/// How late a deadline may be noticed.
const SLACK: Duration = Duration::from_secs(5);

const JOB: &str = "/org/freedesktop/systemd1/job/7";

/// A socket with somebody at the other end.
struct Peer {
    candidate: Candidate,
    _directory: tempfile::TempDir,
    thread: JoinHandle<()>,
}

impl Peer {
    /// `serve` gets the first connection; what it returns is kept open for as long as the test
    /// looks at it.
    fn new(is_direct: bool, serve: impl FnOnce(UnixStream) + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path: PathBuf = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(SLACK)).unwrap();
            serve(stream);
        });
        let candidate = Candidate {
            socket: Socket::Path(path),
            is_direct,
        };
        Self {
            candidate,
            _directory: directory,
            thread,
        }
    }

    fn connect(&self) -> Result<Connection, SystemdError> {
        Connection::open(&self.candidate, LIMIT)
    }

    fn start(&self) -> Result<(), SystemdError> {
        self.connect()?
            .start_unit(&unit(), "tare container box", Some(42), LIMIT)
    }

    /// The peer's own expectations were met.
    fn join(self) {
        self.thread.join().unwrap();
    }
}

fn unit() -> UnitPlan {
    UnitPlan {
        name: "tare-box.scope".into(),
        manager: Manager::System,
        slice: "system.slice".into(),
        properties: vec![Property {
            name: "TasksMax".into(),
            value: Value::Uint64(5),
        }],
    }
}

fn read_line(stream: &mut UnixStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

fn let_in(stream: &mut UnixStream) {
    read_greeting(stream);
    stream
        .write_all(b"DATA\r\nOK 0123456789abcdef\r\n")
        .unwrap();
}

fn read_greeting(stream: &mut UnixStream) {
    for line in ["\0AUTH EXTERNAL\r\n", "DATA\r\n", "BEGIN\r\n"] {
        assert_eq!(read_line(stream), line);
    }
}

/// One message: its member, and its body.
fn read_call(stream: &mut UnixStream) -> (String, u32, Vec<u8>) {
    let mut head = [0; PROLOGUE];
    stream.read_exact(&mut head).unwrap();
    let prologue = Prologue::parse(&head).unwrap();
    let mut fields = vec![0; prologue.fields];
    stream.read_exact(&mut fields).unwrap();
    let mut body = vec![0; prologue.body];
    stream.read_exact(&mut body).unwrap();
    let member = super::message::Fields::parse(&fields).unwrap().member;
    let serial = u32::from_le_bytes(head[8..12].try_into().unwrap());
    (member.unwrap_or_default().to_owned(), serial, body)
}

/// A message that is no call: the fields are given as (code, type, text or number).
fn message(kind: u8, fields: &[(u8, &str, &str)], reply_to: Option<u32>, body: Encoder) -> Vec<u8> {
    let body = body.into_bytes();
    let mut bytes = Encoder::default();
    bytes.raw(&[b'l', kind, 0, 1]);
    bytes.u32(u32::try_from(body.len()).unwrap());
    bytes.u32(1);
    let number = reply_to.map(|serial| serial.to_string());
    let number = number.iter().map(|serial| (5, "u", serial.as_str()));
    bytes.array(
        8,
        fields.iter().copied().chain(number),
        |to, (code, kind, text)| {
            to.byte(code);
            to.signature(kind);
            match kind {
                "u" => to.u32(text.parse().unwrap()),
                "g" => to.signature(text),
                _ => to.string(text),
            }
        },
    );
    bytes.align(8);
    bytes.raw(&body);
    bytes.into_bytes()
}

fn text(text: &str) -> Encoder {
    let mut body = Encoder::default();
    body.string(text);
    body
}

fn returned(serial: u32, job: &str) -> Vec<u8> {
    message(2, &[(8, "g", "o")], Some(serial), text(job))
}

fn refused(serial: u32, name: &str, why: &str) -> Vec<u8> {
    message(3, &[(4, "s", name), (8, "g", "s")], Some(serial), text(why))
}

fn job_removed(job: &str, unit: &str, result: &str) -> Vec<u8> {
    let mut body = Encoder::default();
    body.u32(7);
    for value in [job, unit, result] {
        body.string(value);
    }
    let fields = [
        (1, "o", "/org/freedesktop/systemd1"),
        (2, "s", "org.freedesktop.systemd1.Manager"),
        (3, "s", "JobRemoved"),
        (8, "g", "uoss"),
    ];
    message(4, &fields, None, body)
}

/// The failure, which came no later than its deadline allows.
fn failure(peer: &Peer) -> String {
    let begin = Instant::now();
    let error = peer.start().unwrap_err();
    assert!(begin.elapsed() < SLACK, "{:?}: {error}", begin.elapsed());
    error.to_string()
}

#[test]
fn a_unit_is_started_by_one_call_and_its_jobs_end() {
    let peer = Peer::new(true, |mut stream| {
        let_in(&mut stream);
        let (member, serial, body) = read_call(&mut stream);
        assert_eq!(member, "StartTransientUnit");
        let mut values = Decoder::new(&body);
        assert_eq!(values.string(), Some("tare-box.scope"));
        assert_eq!(values.string(), Some("fail"));
        let text = String::from_utf8_lossy(&body);
        for name in ["Description", "tare container box", "PIDs", "TasksMax"] {
            assert!(text.contains(name), "{name}");
        }
        // News of other units, and of other jobs of this one, come between.
        stream
            .write_all(&job_removed(JOB, "other.scope", "failed"))
            .unwrap();
        stream
            .write_all(&job_removed("/job/6", "tare-box.scope", "canceled"))
            .unwrap();
        stream.write_all(&returned(serial, JOB)).unwrap();
        stream
            .write_all(&job_removed(JOB, "tare-box.scope", "done"))
            .unwrap();
        let mut end = [0];
        assert_eq!(stream.read(&mut end).unwrap(), 0, "there was a second call");
    });
    peer.start().unwrap();
    peer.join();
}

#[test]
fn a_job_that_is_over_before_its_name_is_known_counts() {
    let peer = Peer::new(true, |mut stream| {
        let_in(&mut stream);
        let (_, serial, _) = read_call(&mut stream);
        stream
            .write_all(&job_removed(JOB, "tare-box.scope", "done"))
            .unwrap();
        stream.write_all(&returned(serial, JOB)).unwrap();
    });
    peer.start().unwrap();
    peer.join();
}

#[test]
fn on_a_bus_the_end_of_jobs_is_asked_for_first() {
    let peer = Peer::new(false, |mut stream| {
        let_in(&mut stream);
        let (member, serial, _) = read_call(&mut stream);
        assert_eq!(member, "Hello");
        stream
            .write_all(&message(2, &[(8, "g", "s")], Some(serial), text(":1.5")))
            .unwrap();
        assert_eq!(read_call(&mut stream).0, "AddMatch");
        assert_eq!(read_call(&mut stream).0, "Subscribe");
        let (member, serial, _) = read_call(&mut stream);
        assert_eq!(member, "StartTransientUnit");
        stream.write_all(&returned(serial, JOB)).unwrap();
        stream
            .write_all(&job_removed(JOB, "tare-box.scope", "done"))
            .unwrap();
    });
    peer.start().unwrap();
    peer.join();
}

#[test]
fn a_failed_unit_in_the_way_is_forgotten_once_and_no_more() {
    let exists = "org.freedesktop.systemd1.UnitExists";
    let peer = Peer::new(true, move |mut stream| {
        let_in(&mut stream);
        let (_, serial, _) = read_call(&mut stream);
        stream
            .write_all(&refused(
                serial,
                exists,
                "Unit tare-box.scope was already loaded.",
            ))
            .unwrap();
        let (member, serial, _) = read_call(&mut stream);
        assert_eq!(member, "ResetFailedUnit");
        stream
            .write_all(&message(2, &[], Some(serial), Encoder::default()))
            .unwrap();
        let (member, serial, _) = read_call(&mut stream);
        assert_eq!(member, "StartTransientUnit");
        stream
            .write_all(&refused(
                serial,
                exists,
                "Unit tare-box.scope was already loaded.",
            ))
            .unwrap();
    });
    let said = failure(&peer);
    assert!(
        said.contains("already loaded") && said.contains("choose another name"),
        "{said}"
    );
    peer.join();
}

#[test]
fn a_unit_that_is_not_there_is_stopped_already() {
    let missing = "org.freedesktop.systemd1.NoSuchUnit";
    let peer = Peer::new(true, move |mut stream| {
        let_in(&mut stream);
        for expected in ["StopUnit", "ResetFailedUnit"] {
            let (member, serial, _) = read_call(&mut stream);
            assert_eq!(member, expected);
            stream
                .write_all(&refused(serial, missing, "Unit x not loaded."))
                .unwrap();
        }
    });
    let connection = peer.connect().unwrap();
    Systemd { connection }.stop("x.scope").unwrap();
    peer.join();
}

#[test]
fn properties_of_a_running_unit_are_set_by_one_call() {
    let peer = Peer::new(true, |mut stream| {
        let_in(&mut stream);
        let (member, serial, body) = read_call(&mut stream);
        assert_eq!(member, "SetUnitProperties");
        let mut values = Decoder::new(&body);
        assert_eq!(values.string(), Some("tare-box.scope"));
        assert_eq!(
            values.u32(),
            Some(1),
            "until the unit is gone, and no longer"
        );
        stream
            .write_all(&message(2, &[], Some(serial), Encoder::default()))
            .unwrap();
        let (_, serial, _) = read_call(&mut stream);
        let unknown = "org.freedesktop.DBus.Error.PropertyReadOnly";
        stream
            .write_all(&refused(serial, unknown, "Cannot set property TasksMax"))
            .unwrap();
    });
    let connection = peer.connect().unwrap();
    let mut systemd = Systemd { connection };
    let UnitPlan {
        name, properties, ..
    } = unit();
    systemd.set_properties(&name, &properties).unwrap();
    let said = systemd
        .set_properties(&name, &properties)
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("Cannot set property TasksMax") && said.contains("newer systemd"),
        "{said}"
    );
    peer.join();
}

#[test]
fn only_the_unit_with_the_description_is_ours() {
    let answer = |description: &str| {
        let mut body = Encoder::default();
        body.signature("s");
        body.string(description);
        body
    };
    let peer = Peer::new(true, move |mut stream| {
        let_in(&mut stream);
        for description in ["tare container a", "a.scope"] {
            let (member, serial, _) = read_call(&mut stream);
            assert_eq!(member, "Get");
            let reply = message(2, &[(8, "g", "v")], Some(serial), answer(description));
            stream.write_all(&reply).unwrap();
        }
    });
    let connection = peer.connect().unwrap();
    let mut systemd = Systemd { connection };
    assert!(systemd.is_described("a.scope", "tare container a").unwrap());
    assert!(!systemd.is_described("a.scope", "tare container a").unwrap());
    peer.join();
}

#[test]
fn a_job_that_fails_is_told_with_its_result() {
    for result in [
        "failed",
        "timeout",
        "canceled",
        "dependency",
        "skipped",
        "?",
    ] {
        let peer = Peer::new(true, move |mut stream| {
            let_in(&mut stream);
            let (_, serial, _) = read_call(&mut stream);
            stream.write_all(&returned(serial, JOB)).unwrap();
            stream
                .write_all(&job_removed(JOB, "tare-box.scope", result))
                .unwrap();
        });
        let said = failure(&peer);
        assert!(
            said.contains(&format!("its job ended with {result:?}")),
            "{said}"
        );
        peer.join();
    }
}

#[test]
fn a_mute_peer_is_waited_for_until_the_deadline_wherever_it_stops() {
    type Serve = fn(&mut UnixStream);
    let stops: [(Serve, &str); 5] = [
        (|_| {}, "accept the connection"),
        (
            |stream| stream.write_all(b"DATA").unwrap(),
            "accept the connection",
        ),
        (let_in, "start the unit tare-box.scope"),
        (
            |stream| {
                let_in(stream);
                let (_, serial, _) = read_call(stream);
                stream.write_all(&returned(serial, JOB)).unwrap();
            },
            "start the unit tare-box.scope",
        ),
        (
            |stream| {
                let_in(stream);
                let (_, serial, _) = read_call(stream);
                let reply = returned(serial, JOB);
                stream.write_all(&reply[..reply.len() - 1]).unwrap();
            },
            "start the unit tare-box.scope",
        ),
    ];
    for (serve, waiting) in stops {
        let peer = Peer::new(true, move |mut stream| {
            serve(&mut stream);
            // Until the other side gives up.
            drop(stream.read_to_end(&mut Vec::new()));
        });
        let said = failure(&peer);
        assert!(
            said.contains("timed out after 0 s waiting for systemd"),
            "{said}"
        );
        assert!(said.contains(waiting), "{said}");
        peer.join();
    }
}

#[test]
fn a_peer_that_talks_without_a_pause_is_no_reason_to_wait_longer() {
    let peer = Peer::new(true, |mut stream| {
        let_in(&mut stream);
        let news = job_removed(JOB, "other.scope", "done");
        while stream.write_all(&news).is_ok() {}
    });
    let said = failure(&peer);
    assert!(said.contains("timed out"), "{said}");
    peer.join();
}

#[test]
fn a_backlog_that_stays_full_is_waited_for_no_longer_than_the_deadline() {
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
    };
    use std::os::fd::AsRawFd;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .unwrap();
    bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    let candidate = Candidate {
        socket: Socket::Path(path),
        is_direct: true,
    };
    let begin = Instant::now();
    let error = Connection::open(&candidate, LIMIT).unwrap_err();
    assert!(matches!(error, SystemdError::Timeout { .. }), "{error}");
    assert!(begin.elapsed() < SLACK);
}

#[test]
fn garbage_and_impossible_lengths_are_refused_at_once() {
    let huge_fields = [
        b'l', 2, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f,
    ];
    let huge_body = [
        b'l', 2, 0, 1, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0,
    ];
    let big_endian = [b'B', 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    let no_serial = [b'l', 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let no_reply_serial = message(2, &[(8, "g", "o")], None, text(JOB));
    let short_body = message(2, &[(8, "g", "o")], Some(1), Encoder::default());
    let no_name = message(3, &[(8, "g", "s")], Some(1), text("why"));
    let no_job = message(2, &[], Some(1), Encoder::default());
    let job_without_unit = {
        let fields = [
            (2, "s", "org.freedesktop.systemd1.Manager"),
            (3, "s", "JobRemoved"),
            (8, "g", "uoss"),
        ];
        message(4, &fields, None, text(JOB))
    };
    for bytes in [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        huge_fields.to_vec(),
        huge_body.to_vec(),
        big_endian.to_vec(),
        no_serial.to_vec(),
        no_reply_serial,
        short_body,
        no_name,
        no_job,
        job_without_unit,
    ] {
        let sent = bytes.clone();
        let peer = Peer::new(true, move |mut stream| {
            let_in(&mut stream);
            read_call(&mut stream);
            stream.write_all(&sent).unwrap();
            drop(stream.read_to_end(&mut Vec::new()));
        });
        let said = failure(&peer);
        assert!(
            said.contains("does not speak D-Bus as specified"),
            "{bytes:?}: {said}"
        );
        peer.join();
    }
}

#[test]
fn a_line_may_come_in_pieces_and_with_what_follows_it() {
    for (pieces, answers) in [
        (&["DA", "TA\r", "\nOK 0", "1\r\n"][..], "after DATA"),
        (&["OK 01\r\nERROR\r\n"], "an older one"),
    ] {
        let peer = Peer::new(true, move |mut stream| {
            read_greeting(&mut stream);
            for piece in pieces {
                stream.write_all(piece.as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(10));
            }
            // News may come at once.
            let news = job_removed(JOB, "other.scope", "done");
            stream.write_all(&news).unwrap();
            let (_, serial, _) = read_call(&mut stream);
            stream.write_all(&returned(serial, JOB)).unwrap();
            let over = job_removed(JOB, "tare-box.scope", "done");
            stream.write_all(&over).unwrap();
        });
        peer.start()
            .unwrap_or_else(|error| panic!("{answers}: {error}"));
        peer.join();
    }
}

#[test]
fn a_greeting_that_is_none_is_refused() {
    for (line, said) in [
        (&b"REJECTED EXTERNAL\r\n"[..], "does not accept user"),
        (b"ERROR\r\n", "does not accept user"),
        (&[b'x'; 600], "a line without an end"),
    ] {
        let peer = Peer::new(true, move |mut stream| {
            read_greeting(&mut stream);
            stream.write_all(line).unwrap();
            drop(stream.read_to_end(&mut Vec::new()));
        });
        let failure = failure(&peer);
        assert!(failure.contains(said), "{failure}");
        peer.join();
    }
}

#[test]
fn whoever_hangs_up_is_named_with_what_was_waited_for() {
    type Serve = fn(&mut UnixStream);
    let stops: [Serve; 3] = [
        |_| {},
        let_in,
        |stream| {
            let_in(stream);
            let (_, serial, _) = read_call(stream);
            stream.write_all(&returned(serial, JOB)).unwrap();
        },
    ];
    for serve in stops {
        let peer = Peer::new(true, move |mut stream| serve(&mut stream));
        let said = failure(&peer);
        assert!(
            said.contains("closed the connection while it was waited for to"),
            "{said}"
        );
        peer.join();
    }
}

#[test]
fn news_that_is_too_long_to_matter_is_read_past() {
    let peer = Peer::new(true, |mut stream| {
        let_in(&mut stream);
        let (_, serial, _) = read_call(&mut stream);
        let long = message(
            4,
            &[(3, "s", "PropertiesChanged"), (8, "g", "s")],
            None,
            text(&"x".repeat(200_000)),
        );
        stream.write_all(&long).unwrap();
        stream.write_all(&returned(serial, JOB)).unwrap();
        stream
            .write_all(&job_removed(JOB, "tare-box.scope", "done"))
            .unwrap();
    });
    peer.start().unwrap();
    peer.join();
}

#[test]
fn without_systemd_the_sockets_that_were_tried_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let user = UserBus {
        session_bus_address: None,
        runtime_directory: Some(directory.path().to_owned()),
    };
    let error = Systemd::connect(Manager::User, &user).unwrap_err();
    assert!(error.is_not_running());
    let said = error.to_string();
    let direct = directory.path().join("systemd/private");
    assert!(
        said.starts_with("systemd is not running here: connect "),
        "{said}"
    );
    assert!(said.contains(&direct.display().to_string()), "{said}");
    assert!(
        said.contains("no such file or directory (ENOENT)"),
        "{said}"
    );
    let error = Systemd::connect(Manager::User, &UserBus::default()).unwrap_err();
    assert!(
        error.is_not_running() && error.to_string().contains("XDG_RUNTIME_DIR"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_messages_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(count(&bytes) <= bytes.len() / PROLOGUE);
    }

    #[test]
    fn a_message_with_any_byte_changed_never_panics(at in 0_usize..200, to in any::<u8>()) {
        for mut bytes in [job_removed(JOB, "tare-box.scope", "done"), refused(3, "a.b", "c"), returned(1, JOB)] {
            let length = bytes.len();
            bytes[at % length] = to;
            prop_assert!(count(&bytes) <= 1);
            prop_assert_eq!(count(&bytes[..at % length]), 0);
        }
    }

    #[test]
    fn what_is_said_is_understood(job in "/[a-z0-9_/]{0,20}", unit in "[ -~]{0,30}", result in "[a-z]{0,9}") {
        let bytes = job_removed(&job, &unit, &result);
        let (head, rest) = bytes.split_first_chunk::<PROLOGUE>().unwrap();
        let prologue = Prologue::parse(head).unwrap();
        prop_assert_eq!(prologue.kind, Kind::Signal);
        let (fields, body) = rest.split_at(prologue.fields);
        let incoming = Incoming::parse(prologue.kind, fields, body);
        prop_assert_eq!(incoming, Some(Incoming::JobRemoved { job, unit, result }));
    }

    #[test]
    fn a_call_is_a_message_whose_parts_have_the_lengths_that_it_says(serial in 1_u32.., body in proptest::collection::vec(any::<u8>(), 0..50)) {
        let call = Call {
            destination: Some("a.b"),
            path: "/a",
            interface: "a.c",
            member: "M",
            signature: "ay",
            wants_reply: true,
        };
        let bytes = call.to_bytes(serial, &body);
        let (head, rest) = bytes.split_first_chunk::<PROLOGUE>().unwrap();
        let prologue = Prologue::parse(head).unwrap();
        prop_assert_eq!(prologue.body, body.len());
        prop_assert_eq!(&rest[prologue.fields..], &body[..]);
        let fields = super::message::Fields::parse(&rest[..prologue.fields]).unwrap();
        prop_assert_eq!((fields.member, fields.interface, fields.signature), (Some("M"), Some("a.c"), "ay"));
    }
}
