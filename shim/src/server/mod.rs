//! The long-running server: one loop that owns everything.
//!
//! ```text
//!   containerd ──connection──▶ Call ──▶ task/ ──▶ reply at once
//!                                        │
//!                                        └──▶ job (a thread) ──▶ sequel, in the loop ──▶ reply
//!   pidfd of a process ────────────────▶ its end: event, waiters
//!   pipes, terminals ──────────────────▶ io::Streams
//! ```
//!
//! Nothing in the loop blocks; what could is a job. A call holds no lock, and one that takes
//! long keeps no other from being answered.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use containerd_shim_protos::protobuf::Message;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::failure::{Code, Failure};
use crate::frame::Frame;
use crate::log::Log;
use crate::poller::{Interest, Owner, Poller, Ready, Token};
use crate::publisher::Publisher;
use crate::sandbox::{Sandbox, Stop};
use crate::task::{Containers, Drain, Name};

pub mod call;
mod connection;
pub mod jobs;
mod peer;

use call::Call;
use connection::{Connection, Reply};
use jobs::Jobs;

/// How long the shim stays without a container when nobody is connected.
const PATIENCE_WITH_NOBODY: Duration = Duration::from_secs(10);

/// How long it stays without a container while somebody is connected: a containerd that was killed
/// between `start` and `Create` has forgotten, after its restart, what it wanted of this shim.
const PATIENCE_WITHOUT_CONTAINER: Duration = Duration::from_secs(30);

/// How long it stays after `Shutdown` to hand on its last events.
const LAST_EVENTS: Duration = Duration::from_secs(2);

/// After how long without anything to do the program's pages are given back.
const IDLE: Duration = Duration::from_secs(1);

/// How long no connection is taken when there is no descriptor for one.
const SHORT_OF_DESCRIPTORS: Duration = Duration::from_millis(200);

/// Connections at once; containerd has one.
const CONNECTIONS: usize = 64;

/// Calls of one connection that have not been answered, besides those that wait for an end.
const CALLS: usize = 4096;

/// What the server is started with.
#[derive(Debug)]
pub struct Setting {
    /// The socket that containerd connects to; it listens.
    pub listener: OwnedFd,
    /// Where it is.
    pub socket_path: PathBuf,
    /// containerd's namespace.
    pub namespace: String,
    /// The first container's bundle.
    pub bundle: PathBuf,
    /// The first container's id.
    pub id: String,
    /// containerd's event service.
    pub events_address: Option<PathBuf>,
    /// `NAME=value` of the shim's environment: what hooks without one get.
    pub environment: Vec<std::ffi::CString>,
    /// Where the shim speaks.
    pub log: Log,
    /// Whether it says what it does.
    pub debug: bool,
}

/// Who asked, and is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) connection: u64,
    stream: u32,
}

/// The loop's state.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) setting: Setting,
    pub(crate) poller: Poller,
    pub(crate) jobs: Jobs<Self>,
    pub(crate) publisher: Publisher,
    pub(crate) containers: Containers,
    pub(crate) drains: Vec<Drain>,
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) stops: Vec<Stop>,
    connections: BTreeMap<u64, Connection>,
    signals: SignalFd,
    /// Of connections.
    last_serial: u64,
    /// Until when it stays without a container.
    stays_until: Option<Instant>,
    /// Whether that was for somebody who is connected.
    was_connected: bool,
    /// Until when its last events may take.
    ends_by: Option<Instant>,
    /// When it takes connections again; none while it does.
    listens_at: Option<Instant>,
    /// When it will have been idle for a while; none when it has been.
    idle_at: Option<Instant>,
}

/// Serves until there is nothing left to serve; the socket is gone then.
///
/// # Errors
///
/// When the loop can't be set up or the kernel refuses to wait.
pub fn serve(setting: Setting) -> Result<(), Failure> {
    let socket_path = setting.socket_path.clone();
    let mut server = Server::new(setting).inspect_err(|_| remove_socket(&socket_path))?;
    let run = server.run();
    // One that has said that it ends has removed it: what is there now is its successor's.
    if server.ends_by.is_none() {
        remove_socket(&socket_path);
    }
    run.map_err(|errno| Failure::call("wait for what happens: epoll_wait(2)", errno))
}

/// What the loop waits for from its beginning.
fn watched(listener: &OwnedFd) -> Result<(Poller, Jobs<Server>, SignalFd), Errno> {
    let poller = Poller::new()?;
    let jobs = Jobs::new()?;
    let signals = watch_signals()?;
    poller.add(listener, Interest::READ, Token::of(Owner::Listener))?;
    poller.add(&jobs, Interest::READ, Token::of(Owner::Jobs))?;
    poller.add(&signals, Interest::READ, Token::of(Owner::Signals))?;
    Ok((poller, jobs, signals))
}

fn remove_socket(path: &Path) {
    // Somebody has removed it already: that is what is wanted.
    std::fs::remove_file(path).ok();
}

impl Server {
    fn new(setting: Setting) -> Result<Self, Failure> {
        let (poller, jobs, signals) =
            watched(&setting.listener).map_err(|errno| Failure::call("set up the loop", errno))?;
        let publisher = publisher(&setting)?;
        Ok(Self {
            setting,
            poller,
            jobs,
            publisher,
            containers: Containers::default(),
            drains: Vec::new(),
            sandbox: None,
            stops: Vec::new(),
            connections: BTreeMap::new(),
            signals,
            last_serial: 0,
            stays_until: Some(Instant::now() + PATIENCE_WITH_NOBODY),
            was_connected: false,
            ends_by: None,
            listens_at: None,
            idle_at: Some(Instant::now() + IDLE),
        })
    }

    fn run(&mut self) -> Result<(), Errno> {
        while !self.is_over() {
            let work_at = self.next_work();
            let wakes_at = work_at.into_iter().chain(self.idle_at).min();
            let ready = self.poller.next(wakes_at)?;
            let is_due = work_at.is_some_and(|at| at <= Instant::now());
            match ready {
                Some(ready) => {
                    self.meet(ready);
                    self.idle_at = Some(Instant::now() + IDLE);
                }
                None if !is_due => self.rest(),
                None => {}
            }
            if is_due {
                self.tick(Instant::now());
                // What is looked at every second does not keep the pages for that.
                self.idle_at.get_or_insert(Instant::now() + IDLE);
            }
            self.continue_drains();
            self.continue_stops();
            self.log_notices();
            self.note_company();
        }
        Ok(())
    }

    /// Gives memory back after a while without anything to do: a host has many shims, which
    /// wait most of the time.
    fn rest(&mut self) {
        if self.idle_at.is_some_and(|at| at <= Instant::now()) {
            self.idle_at = None;
            crate::sys::give_program_pages_back();
        }
    }

    fn is_over(&self) -> bool {
        let now = Instant::now();
        match self.ends_by {
            Some(by) => self.has_nothing_to_do() || by <= now,
            None => self.stays_until.is_some_and(|until| until <= now),
        }
    }

    fn has_nothing_to_do(&self) -> bool {
        self.publisher.is_idle() && self.jobs.is_idle() && !self.containers.has_retired()
    }

    /// Notes whether there is anything to be there for; if not, it stays for a while, which
    /// begins anew when somebody comes or goes.
    fn note_company(&mut self) {
        if !self.containers.is_empty() || !self.jobs.is_idle() {
            self.stays_until = None;
            return;
        }
        let is_connected = !self.connections.is_empty();
        if self.stays_until.is_none() || is_connected != self.was_connected {
            let patience = match is_connected {
                true => PATIENCE_WITHOUT_CONTAINER,
                false => PATIENCE_WITH_NOBODY,
            };
            self.stays_until = Some(Instant::now() + patience);
            self.was_connected = is_connected;
        }
    }

    /// When there is something to do, if nothing happens before.
    fn next_work(&self) -> Option<Instant> {
        let own = [
            self.ends_by,
            self.stays_until,
            self.publisher.next_deadline(),
            self.listens_at,
        ];
        let drains = self.drains.iter().map(|drain| drain.deadline);
        let stops = self.stops.iter().map(|stop| stop.deadline);
        own.into_iter()
            .flatten()
            .chain(drains)
            .chain(stops)
            .chain(self.containers.next_deadline())
            .min()
    }

    fn tick(&mut self, now: Instant) {
        self.listen_again(now);
        self.publisher.tick(&self.poller, now);
        self.containers.tick(&self.poller, now);
    }

    /// Does what a ready descriptor asks for.
    fn meet(&mut self, ready: Ready) {
        let serial = ready.token.serial;
        match ready.token.owner {
            Owner::Listener => self.accept(),
            Owner::Connection => self.hear(serial, ready),
            Owner::Signals => self.signalled(),
            Owner::Jobs => {
                for sequel in self.jobs.finished() {
                    sequel(self);
                }
            }
            Owner::Process => self.process_ended(serial),
            Owner::Streams => self.containers.streams_ready(&self.poller, ready),
            Owner::Memory => self.memory_met(serial),
            Owner::Publisher => self.publisher.ready(&self.poller, ready),
        }
    }

    /// A signal that asks the shim to end: it does when it has no container. One that has is
    /// the only one who knows how it will end.
    fn signalled(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if self.containers.is_empty() {
                self.end();
            } else {
                let number = signal.ssi_signo;
                let text = format!("signal {number} ignored: containers are still there");
                self.setting.log.warn(text);
            }
        }
    }

    /// Ends the loop, after the last events.
    pub(crate) fn end(&mut self) {
        if self.ends_by.is_some() {
            return;
        }
        remove_socket(&self.setting.socket_path);
        for (_, connection) in std::mem::take(&mut self.connections) {
            // Closing does what removing does.
            self.poller.remove(&connection).ok();
        }
        self.poller.remove(&self.setting.listener).ok();
        self.ends_by = Some(Instant::now() + LAST_EVENTS);
    }

    fn accept(&mut self) {
        let accepted = peer::accept(&self.setting.listener);
        let socket = match accepted {
            Ok(socket) => socket,
            Err(refused) => {
                self.setting.log.warn(&refused);
                // Somebody else's connection is gone; what else fails would fail again at once.
                if refused.code != Code::PERMISSION_DENIED {
                    self.listen_later();
                }
                return;
            }
        };
        let Some(socket) = socket else { return };
        if self.connections.len() >= CONNECTIONS {
            return self
                .setting
                .log
                .warn("too many connections: one is refused");
        }
        self.last_serial += 1;
        let token = Token {
            owner: Owner::Connection,
            part: 0,
            serial: self.last_serial,
        };
        match Connection::new(socket, &self.poller, token) {
            Ok(connection) => drop(self.connections.insert(token.serial, connection)),
            Err(errno) => self
                .setting
                .log
                .warn(Failure::call("watch a connection", errno)),
        }
    }

    /// Takes no connection for a moment: descriptors are short.
    fn listen_later(&mut self) {
        let token = Token::of(Owner::Listener);
        let listener = &self.setting.listener;
        if self.poller.modify(listener, Interest::NONE, token).is_ok() {
            self.listens_at = Some(Instant::now() + SHORT_OF_DESCRIPTORS);
        }
    }

    fn listen_again(&mut self, now: Instant) {
        if self.listens_at.is_some_and(|at| at <= now) {
            let token = Token::of(Owner::Listener);
            let listener = &self.setting.listener;
            let listens = self.poller.modify(listener, Interest::READ, token);
            self.listens_at = listens.is_err().then(|| now + SHORT_OF_DESCRIPTORS);
        }
    }

    fn hear(&mut self, serial: u64, ready: Ready) {
        let Some(connection) = self.connections.get_mut(&serial) else {
            return;
        };
        let flushed = match ready.write {
            true => connection.flush(&self.poller),
            false => Ok(()),
        };
        let heard = match ready.read || ready.hangup {
            true => connection.receive(),
            false => Ok(Vec::new()),
        };
        let (Ok(()), Ok(frames)) = (flushed, heard) else {
            return self.disconnect(serial);
        };
        for frame in frames {
            self.frame(serial, frame);
        }
    }

    fn disconnect(&mut self, serial: u64) {
        if let Some(connection) = self.connections.remove(&serial) {
            // Closing does what removing does.
            self.poller.remove(&connection).ok();
        }
        self.containers.forget_waiters(serial);
    }

    fn frame(&mut self, connection: u64, frame: Frame) {
        let Some((stream, call)) = call::of_frame(frame) else {
            return;
        };
        let caller = Caller { connection, stream };
        if self.count_call(connection) > CALLS {
            let text = format!("more than {CALLS} calls have not been answered");
            return self.reply(caller, Err(Failure::new(Code::RESOURCE_EXHAUSTED, text)));
        }
        match call {
            Ok(Call::Task(call)) => self.task_call(caller, call),
            Ok(Call::Sandbox(call)) => self.sandbox_call(caller, call),
            Err(failure) => self.reply(caller, Err(failure)),
        }
    }

    /// Counts a call that is to be answered; gives how many of its connection there are.
    fn count_call(&mut self, connection: u64) -> usize {
        let connection = self.connections.get_mut(&connection);
        connection.map_or(0, |connection| {
            connection.unanswered += 1;
            connection.unanswered
        })
    }

    /// A call will be answered some time, perhaps never, and keeps nobody from calling. False if
    /// who has made it is gone.
    pub(crate) fn park(&mut self, caller: Caller) -> bool {
        let connection = self.connections.get_mut(&caller.connection);
        connection.is_some_and(|connection| {
            connection.unanswered = connection.unanswered.saturating_sub(1);
            true
        })
    }

    /// Answers a call that was parked.
    pub(crate) fn answer_parked<M: Message>(&mut self, caller: Caller, answer: Result<M, Failure>) {
        self.count_call(caller.connection);
        self.answer(caller, answer);
    }

    /// Answers a call with a message or a failure.
    pub(crate) fn answer<M: Message>(&mut self, caller: Caller, answer: Result<M, Failure>) {
        let encoded = answer.and_then(|message| {
            message
                .write_to_bytes()
                .map_err(|error| Failure::unknown(format!("encode the reply: {error}")))
        });
        self.reply(caller, encoded);
    }

    fn reply(&mut self, caller: Caller, reply: Reply) {
        if let Err(failure) = &reply {
            self.setting.log.debug(failure);
        }
        let Some(connection) = self.connections.get_mut(&caller.connection) else {
            return;
        };
        connection.unanswered = connection.unanswered.saturating_sub(1);
        if connection
            .reply(&self.poller, caller.stream, reply)
            .is_err()
        {
            self.disconnect(caller.connection);
        }
    }

    /// Has an event published.
    pub(crate) fn publish<M: Message>(&mut self, topic: &'static str, event: &M) {
        let kind = topic_type(topic);
        match event.write_to_bytes() {
            Ok(bytes) => self.publisher.publish(&self.poller, topic, kind, bytes),
            Err(error) => self.setting.log.error(format!("encode {topic}: {error}")),
        }
    }

    /// A process by its serial number.
    pub(crate) fn name_of(&self, serial: u64) -> Option<Name> {
        self.containers.name_of(serial)
    }
}

/// The type of a topic's message.
fn topic_type(topic: &str) -> &'static str {
    match topic {
        "/tasks/create" => "containerd.events.TaskCreate",
        "/tasks/start" => "containerd.events.TaskStart",
        "/tasks/oom" => "containerd.events.TaskOOM",
        "/tasks/exit" => "containerd.events.TaskExit",
        "/tasks/delete" => "containerd.events.TaskDelete",
        "/tasks/exec-added" => "containerd.events.TaskExecAdded",
        "/tasks/exec-started" => "containerd.events.TaskExecStarted",
        "/tasks/paused" => "containerd.events.TaskPaused",
        "/tasks/resumed" => "containerd.events.TaskResumed",
        _ => "containerd.events.TaskCheckpointed",
    }
}

fn publisher(setting: &Setting) -> Result<Publisher, Failure> {
    let log = setting.log.clone();
    let report = Box::new(move |lost: &dyn std::fmt::Display| log.error(lost));
    Publisher::new(
        setting.events_address.clone(),
        setting.namespace.clone(),
        report,
    )
}

fn watch_signals() -> Result<SignalFd, Errno> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}
