use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::sync::{Arc, mpsc};

use containerd_shim_protos::shim_sync::{Events, create_events};
use protobuf::well_known_types::empty::Empty;
use ttrpc::proto::{Response, Status};

use super::*;
use crate::frame::{self, Decoder, Frame, Kind};

struct Setting {
    publisher: Publisher,
    poller: Poller,
    reported: Rc<RefCell<Vec<String>>>,
}

impl Setting {
    fn new(address: &Path) -> Self {
        let reported = Rc::new(RefCell::new(Vec::new()));
        let lines = Rc::clone(&reported);
        let report: Report = Box::new(move |line| lines.borrow_mut().push(line.to_string()));
        let address = Some(address.to_owned());
        Self {
            publisher: Publisher::new(address, "here".into(), report).unwrap(),
            poller: Poller::new().unwrap(),
            reported,
        }
    }

    fn publish(&mut self, topic: &'static str, number: u8) {
        let Self {
            publisher, poller, ..
        } = self;
        publisher.publish(poller, topic, "containerd.events.TaskExit", vec![8, number]);
    }

    /// The loop, until it holds or a minute has passed.
    fn run_until(&mut self, holds: impl Fn(&Publisher) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !holds(&self.publisher) {
            assert!(Instant::now() < end, "waited in vain: {:?}", self.publisher);
            let until = self.publisher.next_deadline().unwrap_or(end);
            match self.poller.next(Some(until.min(end))).unwrap() {
                Some(ready) => self.publisher.ready(&self.poller, ready),
                None => self.publisher.tick(&self.poller, Instant::now()),
            }
        }
    }

    fn run_until_idle(&mut self) {
        self.run_until(Publisher::is_idle);
    }
}

/// The service as the protocol's own crate has it.
struct Service(mpsc::SyncSender<ForwardRequest>);

impl Events for Service {
    fn forward(&self, _: &ttrpc::TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        self.0.send(request).unwrap();
        Ok(Empty::new())
    }
}

#[test]
fn another_implementation_of_the_protocol_understands_and_hears_everything_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events");
    let (sender, heard) = mpsc::sync_channel(100);
    let mut server = ttrpc::Server::new()
        .bind(&format!("unix://{}", path.display()))
        .unwrap()
        .register_service(create_events(Arc::new(Service(sender))));
    server.start().unwrap();
    let mut setting = Setting::new(&path);
    assert!(setting.publisher.link.is_none(), "nothing is open before");
    for number in 0..50 {
        setting.publish("/tasks/exit", number);
    }
    setting.run_until_idle();
    server.shutdown();
    let requests: Vec<ForwardRequest> = heard.try_iter().collect();
    let envelopes = requests.iter().map(|request| request.envelope.clone());
    for (number, envelope) in (0..50).zip(envelopes.clone()) {
        assert_eq!(envelope.namespace, "here");
        assert_eq!(envelope.topic, "/tasks/exit");
        assert_eq!(envelope.event.type_url, "containerd.events.TaskExit");
        assert_eq!(envelope.event.value, [8, number]);
        let age = Timestamp::now().seconds - envelope.timestamp.seconds;
        assert!((0..60).contains(&age), "{age} s");
    }
    assert_eq!(envelopes.count(), 50);
    assert_eq!(*setting.reported.borrow(), Vec::<String>::new());
    assert_eq!(setting.publisher.lost(), 0);
}

/// A server that does with each call what the test says. `None` is silence.
type Script = Box<dyn FnMut(&ForwardRequest) -> Option<Status> + Send>;

fn number(request: &ForwardRequest) -> u8 {
    request.envelope.event.value[1]
}

fn refusal(code: Code) -> Status {
    ttrpc::get_status(code, "not now")
}

fn serve(mut connection: UnixStream, script: &mut Script) {
    let mut decoder = Decoder::new();
    let mut bytes = [0; 100];
    while let Ok(count @ 1..) = connection.read(&mut bytes) {
        let mut rest = &bytes[..count];
        while let Some(frame) = decoder.next(&mut rest) {
            let Frame::Whole(header, payload) = frame else {
                panic!("{frame:?}")
            };
            assert_eq!((header.kind, header.stream % 2), (Kind::Request, 1));
            let request = Request::parse_from_bytes(&payload).unwrap();
            assert_eq!(request.timeout_nano, 5_000_000_000);
            let forward = ForwardRequest::parse_from_bytes(&request.payload).unwrap();
            let Some(status) = script(&forward) else {
                continue;
            };
            if status.message == "hang up" {
                return;
            }
            let response = Response {
                status: MessageField::some(status),
                ..Response::default()
            };
            let payload = response.write_to_bytes().unwrap();
            let frame = frame::encode(Kind::Response, header.stream, 0, &payload).unwrap();
            connection.write_all(&frame).unwrap();
        }
    }
}

fn server(path: &Path, mut script: Script) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            serve(connection.unwrap(), &mut script);
        }
    })
}

#[test]
fn a_refused_or_broken_call_is_made_again_before_the_ones_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events");
    let (sender, heard) = mpsc::channel();
    let mut calls = 0;
    let _serves = server(
        &path,
        Box::new(move |request| {
            calls += 1;
            sender.send(number(request)).unwrap();
            Some(match calls {
                1 => refusal(Code::UNAVAILABLE),
                3 => ttrpc::get_status(Code::OK, "hang up"),
                _ => refusal(Code::OK),
            })
        }),
    );
    let mut setting = Setting::new(&path);
    for number in 1..=4 {
        setting.publish("/tasks/exit", number);
    }
    setting.run_until_idle();
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [1, 1, 2, 2, 3, 4]);
    assert_eq!(setting.publisher.lost(), 0);
    assert_eq!(setting.publisher.failures, 0);
}

#[test]
fn what_containerd_will_never_take_is_lost_at_once_and_reported() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events");
    let _serves = server(
        &path,
        Box::new(|request| {
            Some(refusal(match number(request) {
                1 => Code::INVALID_ARGUMENT,
                _ => Code::OK,
            }))
        }),
    );
    let mut setting = Setting::new(&path);
    setting.publish("/tasks/create", 1);
    setting.publish("/tasks/exit", 2);
    let before = Instant::now();
    setting.run_until_idle();
    assert!(before.elapsed() < FIRST_DELAY);
    let lines = ["event /tasks/create is lost after 1 tries: not now"];
    assert_eq!(*setting.reported.borrow(), lines);
    assert_eq!(setting.publisher.lost(), 1);
}

#[test]
fn a_silent_containerd_is_left_after_five_seconds_and_an_event_lost_after_five_tries() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events");
    let _serves = server(&path, Box::new(|_| None));
    let mut setting = Setting::new(&path);
    let start = Instant::now();
    setting.publish("/tasks/exit", 1);
    let mut now = start;
    for _ in 0..5 {
        assert!(setting.publisher.link.is_some());
        let deadline = setting.publisher.next_deadline().unwrap();
        assert!(deadline >= now + CALL_TIMEOUT, "{:?}", deadline - now);
        setting
            .publisher
            .tick(&setting.poller, deadline - Duration::from_millis(1));
        assert!(setting.publisher.link.is_some());
        setting.publisher.tick(&setting.poller, deadline);
        assert!(setting.publisher.link.is_none());
        let Some(retry) = setting.publisher.next_deadline() else {
            break;
        };
        now = retry;
        setting.publisher.tick(&setting.poller, now);
    }
    assert!(setting.publisher.is_idle());
    let lines = ["event /tasks/exit is lost after 5 tries: no answer within 5 s"];
    assert_eq!(*setting.reported.borrow(), lines);
    assert_eq!(setting.publisher.lost(), 1);
}

#[test]
fn events_wait_for_a_containerd_that_is_not_there_yet() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events");
    let mut setting = Setting::new(&path);
    setting.publish("/tasks/start", 1);
    setting.publish("/tasks/exit", 2);
    assert!(!setting.publisher.is_idle());
    let (sender, heard) = mpsc::channel();
    let _serves = server(
        &path,
        Box::new(move |request| {
            sender.send(number(request)).unwrap();
            Some(refusal(Code::OK))
        }),
    );
    setting.run_until_idle();
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn while_nobody_listens_an_event_is_kept_and_the_delays_grow() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events");
    let mut setting = Setting::new(&path);
    setting.publish("/tasks/exit", 1);
    let mut now = Instant::now();
    let mut delays = Vec::new();
    for _ in 0..8 {
        let then = setting.publisher.next_deadline().expect("another try");
        delays.push(then.saturating_duration_since(now).as_secs_f64());
        now = then;
        setting.publisher.tick(&setting.poller, now);
    }
    for (delay, expected) in delays.iter().zip([0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]) {
        assert!((expected - 0.2..=expected).contains(delay), "{delays:?}");
    }
    assert!(!setting.publisher.is_idle());
    assert_eq!(setting.publisher.lost(), 0);
}

#[test]
fn an_unused_connection_is_closed_and_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events");
    let _serves = server(&path, Box::new(|_| Some(refusal(Code::OK))));
    let mut setting = Setting::new(&path);
    setting.publish("/tasks/start", 1);
    setting.run_until_idle();
    let closes = setting.publisher.next_deadline().unwrap();
    assert!(closes > Instant::now() + IDLE - Duration::from_secs(5));
    setting.publisher.tick(&setting.poller, closes);
    assert!(setting.publisher.link.is_none());
    assert_eq!(setting.publisher.next_deadline(), None);
    setting.publish("/tasks/exit", 2);
    setting.run_until_idle();
    assert_eq!(setting.publisher.lost(), 0);
}

#[test]
fn a_containerd_that_restarts_is_noticed_by_the_unused_connection() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events");
    let listener = UnixListener::bind(&path).unwrap();
    let mut once: Script = Box::new(|_| Some(refusal(Code::OK)));
    let first = std::thread::spawn(move || {
        let (connection, _) = listener.accept().unwrap();
        connection
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        serve(connection, &mut once);
    });
    let mut setting = Setting::new(&path);
    setting.publish("/tasks/start", 1);
    setting.run_until_idle();
    setting.run_until(|publisher| publisher.link.is_none());
    first.join().unwrap();
    assert_eq!(setting.publisher.next_deadline(), None);
    assert_eq!(setting.publisher.failures, 0);
}

#[test]
fn a_long_queue_goes_through_a_full_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events");
    let (sender, heard) = mpsc::channel();
    let _serves = server(
        &path,
        Box::new(move |request| {
            sender.send(request.envelope.event.value.len()).unwrap();
            Some(refusal(Code::OK))
        }),
    );
    let mut setting = Setting::new(&path);
    let long = vec![0; 3 << 20];
    setting
        .publisher
        .publish(&setting.poller, "/tasks/exit", "x", long.clone());
    setting
        .publisher
        .publish(&setting.poller, "/tasks/exit", "x", vec![0; 5 << 20]);
    setting.run_until_idle();
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [long.len()]);
    assert_eq!(setting.publisher.lost(), 1);
    let line = &setting.reported.borrow()[0];
    assert!(line.contains("and a message at most 4194304"), "{line}");
}

#[test]
fn only_unix_sockets_by_absolute_path_are_addresses() {
    let path = |address: &str| socket_path(Path::new(address)).map_err(|failure| failure.code);
    assert_eq!(path("/run/c.ttrpc"), Ok("/run/c.ttrpc".into()));
    assert_eq!(path("unix:///run/c.ttrpc"), Ok("/run/c.ttrpc".into()));
    for bad in ["vsock://2:1024", "run/c", "unix://run/c", "@abstract"] {
        assert_eq!(path(bad), Err(Code::INVALID_ARGUMENT), "{bad}");
    }
}

#[test]
fn without_an_address_nothing_is_kept() {
    for address in [None, Some(PathBuf::new())] {
        let report: Report = Box::new(|line| panic!("{line}"));
        let mut publisher = Publisher::new(address, "n".into(), report).unwrap();
        let poller = Poller::new().unwrap();
        publisher.publish(&poller, "/tasks/exit", "x", vec![]);
        assert!(publisher.is_idle() && publisher.next_deadline().is_none());
    }
}
