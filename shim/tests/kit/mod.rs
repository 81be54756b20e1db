//! containerd's side of the protocol: a client, an event service, and a shim between them.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::unwrap_used,
    reason = "a module of test binaries, each of which uses a part of it"
)]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use containerd_shim_protos::api as task;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use shim::failure::Code;
use shim::frame::{self, Decoder, Frame, Kind};
use shim::log::Log;
use shim::server::{Setting, serve};
use testkit::{Marker, TestBundle};
use ttrpc::proto::{Request, Response};

pub const TASK: &str = "containerd.task.v2.Task";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection to a shim.
pub struct Client {
    socket: UnixStream,
    decoder: Decoder,
    input: Vec<u8>,
    last_stream: u32,
}

/// A failed call: its code and text.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    pub message: String,
}

impl Client {
    pub fn connect(path: &Path) -> Self {
        let socket = UnixStream::connect(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket,
            decoder: Decoder::new(),
            input: Vec::new(),
            last_stream: 0,
        }
    }

    /// Sends a request, and gives its stream.
    pub fn send<M: Message>(&mut self, service: &str, method: &str, message: &M) -> u32 {
        let request = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload: message.write_to_bytes().unwrap(),
            ..Request::default()
        };
        self.last_stream += if self.last_stream == 0 { 1 } else { 2 };
        let payload = request.write_to_bytes().unwrap();
        let frame = frame::encode(Kind::Request, self.last_stream, 0, &payload).unwrap();
        self.socket.write_all(&frame).unwrap();
        self.last_stream
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// The next response and its stream; none at the end of the connection.
    pub fn receive(&mut self) -> Option<(u32, Response)> {
        loop {
            let mut input = self.input.as_slice();
            let frame = self.decoder.next(&mut input);
            self.input = input.to_vec();
            match frame {
                Some(Frame::Whole(header, payload)) => {
                    assert_eq!(header.kind, Kind::Response);
                    return Some((header.stream, Response::parse_from_bytes(&payload).unwrap()));
                }
                Some(Frame::TooLong(header)) => panic!("{header:?}"),
                None => {}
            }
            let mut buffer = [0; 4096];
            match self.socket.read(&mut buffer).expect("an answer in time") {
                0 => return None,
                count => self.input.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// Waits for the end of the connection: whoever served it has let go of everything.
    pub fn until_closed(mut self) {
        loop {
            match self.socket.read(&mut [0; 4096]) {
                Ok(1..) => {}
                Ok(0) => return,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
                Err(error) => panic!("no end: {error}"),
            }
        }
    }

    /// The response to a stream.
    pub fn response_to(&mut self, stream: u32) -> Result<Vec<u8>, Refusal> {
        let (of, response) = self.receive().expect("the shim is there");
        assert_eq!(of, stream, "responses to other calls come first");
        outcome(response)
    }

    /// Calls a method of a service.
    pub fn call_of<M: Message, R: Message>(
        &mut self,
        service: &str,
        method: &str,
        message: &M,
    ) -> Result<R, Refusal> {
        let stream = self.send(service, method, message);
        self.response_to(stream)
            .map(|payload| R::parse_from_bytes(&payload).unwrap())
    }

    /// Calls a method of the task service.
    pub fn call<M: Message, R: Message>(
        &mut self,
        method: &str,
        message: &M,
    ) -> Result<R, Refusal> {
        self.call_of(TASK, method, message)
    }

    pub fn start(&mut self, id: &str, exec: &str) -> Result<task::StartResponse, Refusal> {
        let request = task::StartRequest {
            id: id.to_owned(),
            exec_id: exec.to_owned(),
            ..Default::default()
        };
        self.call("Start", &request)
    }

    pub fn state(&mut self, id: &str, exec: &str) -> Result<task::StateResponse, Refusal> {
        let request = task::StateRequest {
            id: id.to_owned(),
            exec_id: exec.to_owned(),
            ..Default::default()
        };
        self.call("State", &request)
    }

    pub fn wait(&mut self, id: &str, exec: &str) -> Result<task::WaitResponse, Refusal> {
        self.call("Wait", &wait_request(id, exec))
    }

    pub fn kill(&mut self, id: &str, exec: &str, signal: u32) -> Result<task::Empty, Refusal> {
        let request = task::KillRequest {
            id: id.to_owned(),
            exec_id: exec.to_owned(),
            signal,
            ..Default::default()
        };
        self.call("Kill", &request)
    }

    pub fn delete(&mut self, id: &str, exec: &str) -> Result<task::DeleteResponse, Refusal> {
        let request = task::DeleteRequest {
            id: id.to_owned(),
            exec_id: exec.to_owned(),
            ..Default::default()
        };
        self.call("Delete", &request)
    }

    /// Describes a further process that runs a shell script.
    pub fn exec(&mut self, id: &str, exec: &str, script: &str) -> Result<task::Empty, Refusal> {
        self.exec_with(id, exec, script, task::ExecProcessRequest::default())
    }

    /// The same, with the standard streams of a request.
    pub fn exec_with(
        &mut self,
        id: &str,
        exec: &str,
        script: &str,
        stdio: task::ExecProcessRequest,
    ) -> Result<task::Empty, Refusal> {
        let document = serde_json::json!({
            "cwd": "/", "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh", "-c", script],
            "env": ["PATH=/bin"],
            "terminal": stdio.terminal,
        });
        let spec = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
            value: document.to_string().into_bytes(),
            ..Default::default()
        };
        let request = task::ExecProcessRequest {
            id: id.to_owned(),
            exec_id: exec.to_owned(),
            spec: Some(spec).into(),
            ..stdio
        };
        self.call("Exec", &request)
    }

    pub fn shutdown(&mut self) -> Result<task::Empty, Refusal> {
        self.call("Shutdown", &task::ShutdownRequest::default())
    }
}

pub fn wait_request(id: &str, exec: &str) -> task::WaitRequest {
    task::WaitRequest {
        id: id.to_owned(),
        exec_id: exec.to_owned(),
        ..Default::default()
    }
}

pub fn outcome(response: Response) -> Result<Vec<u8>, Refusal> {
    match response.status.into_option() {
        Some(status) if status.code.enum_value() != Ok(Code::OK) => Err(Refusal {
            code: status.code.enum_value().expect("a known code"),
            message: status.message,
        }),
        _ => Ok(response.payload),
    }
}

/// An event service that remembers what it is told.
pub struct Events {
    path: PathBuf,
    received: Mutex<Receiver<Envelope>>,
    is_over: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl Events {
    pub fn listen(path: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let (sender, received) = channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let listener = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (connection, sender) = (connection.unwrap(), sender.clone());
                std::thread::spawn(move || hear(connection, &sender));
            }
        });
        Self {
            path,
            received: Mutex::new(received),
            is_over,
            listener: Some(listener),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The topics until this one, which must come.
    pub fn topics_until(&self, last: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut topics = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let envelope = self.received.lock().unwrap().recv_timeout(left);
            let Ok(envelope) = envelope else {
                panic!("no {last}: {topics:?}");
            };
            topics.push(envelope.topic);
            if topics.last().is_some_and(|topic| topic == last) {
                return topics;
            }
        }
    }

    /// Everything that has been told since the last question.
    pub fn so_far(&self) -> Vec<Envelope> {
        self.received.lock().unwrap().try_iter().collect()
    }

    /// The next event of a topic; others are passed over.
    pub fn next<M: Message>(&self, topic: &str) -> M {
        loop {
            let envelope = self.received.lock().unwrap().recv_timeout(PATIENCE);
            let envelope = envelope.expect(topic);
            if envelope.topic == topic {
                return M::parse_from_bytes(&envelope.event.value).unwrap();
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        drop(UnixStream::connect(&self.path));
        if let Some(listener) = self.listener.take() {
            drop(listener.join());
        }
    }
}

fn hear(mut connection: UnixStream, sender: &Sender<Envelope>) {
    let mut decoder = Decoder::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = connection.read(&mut buffer) {
        let mut input = &buffer[..count];
        while let Some(Frame::Whole(header, payload)) = decoder.next(&mut input) {
            let request = Request::parse_from_bytes(&payload).unwrap();
            let forward = ForwardRequest::parse_from_bytes(&request.payload).unwrap();
            if sender.send(forward.envelope.unwrap()).is_err() {
                return;
            }
            let reply = Response::default().write_to_bytes().unwrap();
            let frame = frame::encode(Kind::Response, header.stream, 0, &reply).unwrap();
            if connection.write_all(&frame).is_err() {
                return;
            }
        }
    }
}

/// A server in a thread of the test's, with a bundle.
pub struct Shim {
    pub marker: Marker,
    pub bundle: TestBundle,
    pub socket: PathBuf,
    pub events: Events,
    pub directory: tempfile::TempDir,
    server: Option<JoinHandle<()>>,
}

impl Shim {
    pub fn serve(marker: &Marker, bundle: TestBundle) -> Self {
        let directory = marker.directory();
        let socket = directory.path().join("shim.sock");
        let events = Events::listen(directory.path().join("events.sock"));
        let listener = UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        bundle.save();
        let setting = Setting {
            listener: listener.into(),
            socket_path: socket.clone(),
            namespace: marker.to_string(),
            bundle: bundle.path().to_owned(),
            id: bundle.id().to_owned(),
            events_address: Some(events.path().to_owned()),
            environment: Vec::new(),
            log: Log::nowhere(),
            debug: false,
        };
        let server = std::thread::spawn(move || serve(setting).unwrap());
        Self {
            marker: marker.clone(),
            bundle,
            socket,
            events,
            directory,
            server: Some(server),
        }
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.socket)
    }

    pub fn create_request(&self) -> task::CreateTaskRequest {
        self.create_request_of(&self.bundle)
    }

    /// The request that makes a container of a bundle; its runtime root is in the test's
    /// directory.
    pub fn create_request_of(&self, bundle: &TestBundle) -> task::CreateTaskRequest {
        task::CreateTaskRequest {
            id: bundle.id().to_owned(),
            bundle: bundle.path().display().to_string(),
            options: Some(options(&self.directory.path().join("runtime"))).into(),
            ..Default::default()
        }
    }

    /// Creates the container, and gives its pid.
    pub fn create(&self, client: &mut Client) -> u32 {
        let response: task::CreateTaskResponse =
            client.call("Create", &self.create_request()).unwrap();
        response.pid
    }

    /// Waits until the server has ended.
    pub fn ended(mut self) {
        self.server.take().unwrap().join().unwrap();
    }
}

/// The runtime's options with this root.
pub fn options(root: &Path) -> Any {
    let options = containerd_shim_protos::shim::oci::Options {
        root: root.display().to_string(),
        ..Default::default()
    };
    Any {
        type_url: "containerd.runc.v1.Options".to_owned(),
        value: options.write_to_bytes().unwrap(),
        ..Default::default()
    }
}

/// Removes the cgroup that a pod's would be in; who asks for a pod owns it.
pub fn remove_pod_cgroup(marker: &Marker) {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap();
    let roots = hierarchies.map(|entry| entry.unwrap().path());
    for root in roots.chain([PathBuf::from("/sys/fs/cgroup")]) {
        let cgroup = root.join(format!("{marker}-parent"));
        if cgroup.is_dir() {
            std::fs::remove_dir(&cgroup).unwrap();
        }
    }
}
