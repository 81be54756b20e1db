//! Tells containerd what has happened: `containerd.services.events.ttrpc.v1.Events/Forward`.
//!
//! ```text
//! publish ──▶ queue ──front──▶ link ──Forward──▶ containerd
//!               ▲                 │
//!               └── again, later ─┘ broken, silent for 5 s, or refused
//! ```
//!
//! Events arrive in the order in which they were published. containerd answers each call of a
//! connection in a thread of its own, so two calls at once might be carried out in either
//! order: the next event is sent when the one before it is answered.
//!
//! While nobody listens events wait, as many as the queue holds: an end that containerd has not
//! been there for is told when it is back.
//!
//! Nothing here blocks. The connection is made for the first event, and closed when there was
//! none for a while.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use protobuf::well_known_types::any::Any;
use protobuf::well_known_types::timestamp::Timestamp;
use protobuf::{Message, MessageField};
use ttrpc::Code;
use ttrpc::proto::{Request, Status};

use self::link::{Answer, Link};
use self::queue::{Event, Queue};
use crate::failure::Failure;
use crate::frame::PAYLOAD_MAX_BYTES;
use crate::poller::{Poller, Ready};

mod link;
mod queue;
#[cfg(test)]
mod tests;

/// How long containerd may take to answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// How often an event is tried. That nobody listens is no try: who waits for the end of a
/// container hears of it however long containerd was away, as long as the queue holds it.
const TRIES: u8 = 5;

/// How long to wait after a first failure; twice as long after each further one.
const FIRST_DELAY: Duration = Duration::from_millis(250);

/// How long to wait at most.
const LONGEST_DELAY: Duration = Duration::from_secs(8);

/// How long a connection that nobody uses stays open.
const IDLE: Duration = Duration::from_secs(10);

/// What is told of a lost event.
pub type Report = Box<dyn Fn(&dyn fmt::Display)>;

/// The events that containerd has yet to hear of.
pub struct Publisher {
    /// Without one, nobody listens.
    address: Option<PathBuf>,
    namespace: String,
    report: Report,
    queue: Queue,
    link: Option<Link>,
    /// Of the last link.
    serial: u64,
    /// In a row.
    failures: u32,
    /// Nothing is sent before.
    retry_at: Option<Instant>,
    /// The link has had nothing to do since.
    idle_since: Instant,
    refused: u64,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("address", &self.address)
            .field("queue", &self.queue)
            .field("link", &self.link)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

impl Publisher {
    /// One that tells the events of a namespace to whoever listens at `address`: containerd's
    /// TTRPC_ADDRESS, the absolute path of a unix socket, also with `unix://` before it. Without
    /// an address events are forgotten. `report` gets a line for every event that is lost.
    ///
    /// # Errors
    ///
    /// INVALID_ARGUMENT for an address of another kind, such as vsock's.
    pub fn new(
        address: Option<PathBuf>,
        namespace: String,
        report: Report,
    ) -> Result<Self, Failure> {
        let address = address.filter(|address| !address.as_os_str().is_empty());
        Ok(Self {
            address: address.as_deref().map(socket_path).transpose()?,
            namespace,
            report,
            queue: Queue::default(),
            link: None,
            serial: 0,
            failures: 0,
            retry_at: None,
            idle_since: Instant::now(),
            refused: 0,
        })
    }

    /// Tells containerd an event, now or when it listens again; never waits. `message` is the
    /// encoded event, whose name is `type_url`.
    pub fn publish(
        &mut self,
        poller: &Poller,
        topic: &'static str,
        type_url: &str,
        message: Vec<u8>,
    ) {
        if self.address.is_none() {
            return;
        }
        let request = match self.request(topic, type_url, message) {
            Ok(request) => request,
            Err(why) => {
                self.refused += 1;
                (self.report)(&format_args!("event {topic} is lost: {why}"));
                return;
            }
        };
        let pushed = self.queue.push(Event {
            topic,
            request,
            tries: 0,
        });
        if let Some(dropped) = pushed {
            (self.report)(&format_args!(
                "event {dropped} is lost: containerd has not listened, and the queue is full"
            ));
        }
        self.go_on(poller, Instant::now());
    }

    fn request(&self, topic: &str, type_url: &str, message: Vec<u8>) -> Result<Vec<u8>, String> {
        let event = Any {
            type_url: type_url.into(),
            value: message,
            ..Any::default()
        };
        let envelope = Envelope {
            timestamp: MessageField::some(Timestamp::now()),
            namespace: self.namespace.clone(),
            topic: topic.into(),
            event: MessageField::some(event),
            ..Envelope::default()
        };
        let forward = ForwardRequest {
            envelope: MessageField::some(envelope),
            ..ForwardRequest::default()
        };
        let request = Request {
            service: "containerd.services.events.ttrpc.v1.Events".into(),
            method: "Forward".into(),
            payload: forward.write_to_bytes().map_err(unencodable)?,
            timeout_nano: i64::try_from(CALL_TIMEOUT.as_nanos()).unwrap_or(0),
            ..Request::default()
        };
        let bytes = request.write_to_bytes().map_err(unencodable)?;
        if bytes.len() > PAYLOAD_MAX_BYTES {
            return Err(format!(
                "it has {} bytes, and a message at most {PAYLOAD_MAX_BYTES}",
                bytes.len()
            ));
        }
        Ok(bytes)
    }

    /// Something has happened to the connection.
    pub fn ready(&mut self, poller: &Poller, ready: Ready) {
        let Some(link) = &mut self.link else { return };
        if ready.token != link.token() {
            return;
        }
        let now = Instant::now();
        match link.proceed(poller, ready) {
            Ok(None) => {}
            Ok(Some(answer)) => self.answered(answer, now),
            Err(why) if link.is_busy() => self.failed(poller, &why, now),
            // containerd restarts, and no event was on its way.
            Err(_) => self.close(poller),
        }
        self.go_on(poller, now);
    }

    /// Time has passed.
    pub fn tick(&mut self, poller: &Poller, now: Instant) {
        if self.retry_at.is_some_and(|then| then <= now) {
            self.retry_at = None;
        }
        let silent = |link: &Link| link.deadline().is_some_and(|deadline| deadline <= now);
        if self.link.as_ref().is_some_and(silent) {
            let why = format!("no answer within {} s", CALL_TIMEOUT.as_secs());
            self.failed(poller, &why, now);
        }
        if self.closes_at().is_some_and(|then| then <= now) {
            self.close(poller);
        }
        self.go_on(poller, now);
    }

    /// When [`Publisher::tick`] has something to do, if nothing else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let answer = self.link.as_ref().and_then(Link::deadline);
        [answer, self.retry_at, self.closes_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether containerd has heard of everything, or will not.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many events are lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.queue.lost() + self.refused
    }

    /// When the unused connection is closed.
    fn closes_at(&self) -> Option<Instant> {
        let unused = self.queue.is_empty() && self.link.is_some();
        unused.then(|| self.idle_since + IDLE)
    }

    /// Sends the front of the queue if it can be sent now.
    fn go_on(&mut self, poller: &Poller, now: Instant) {
        while self.retry_at.is_none() {
            let busy = self.link.as_ref().is_some_and(Link::is_busy);
            let Some(event) = self.queue.front().filter(|_| !busy) else {
                return;
            };
            match connect(&mut self.link, &mut self.serial, &self.address, poller) {
                // Nobody listens: containerd restarts, perhaps for long. Nothing was tried.
                Err(_) => self.wait(now),
                Ok(link) => {
                    if let Err(why) = link.call(poller, &event.request, now + CALL_TIMEOUT) {
                        self.failed(poller, &why, now);
                    }
                }
            }
        }
    }

    /// containerd has answered for the front of the queue.
    fn answered(&mut self, answer: Answer, now: Instant) {
        self.idle_since = now;
        match answer {
            Ok(()) => {
                self.queue.pop();
                self.failures = 0;
            }
            Err(status) if is_final(&status) => {
                self.lose(&status.message);
                self.failures = 0;
            }
            Err(status) => self.try_again(&status.message, now),
        }
    }

    /// The connection is of no use any more.
    fn failed(&mut self, poller: &Poller, why: &str, now: Instant) {
        self.close(poller);
        self.try_again(why, now);
    }

    /// Leaves the front of the queue for later, or for good.
    fn try_again(&mut self, why: &str, now: Instant) {
        let Some(event) = self.queue.front() else {
            return;
        };
        event.tries += 1;
        if event.tries >= TRIES {
            self.lose(why);
        }
        self.wait(now);
    }

    /// Sends nothing for a while, which is longer after each failure.
    fn wait(&mut self, now: Instant) {
        let delay = FIRST_DELAY * 2_u32.saturating_pow(self.failures.min(16));
        self.failures += 1;
        self.retry_at = (!self.queue.is_empty()).then(|| now + delay.min(LONGEST_DELAY));
    }

    fn lose(&mut self, why: &str) {
        if let Some(event) = self.queue.lose_front() {
            (self.report)(&format_args!(
                "event {} is lost after {} tries: {why}",
                event.topic,
                event.tries.max(1)
            ));
        }
    }

    fn close(&mut self, poller: &Poller) {
        if let Some(link) = self.link.take() {
            link.close(poller);
        }
    }
}

fn unencodable(error: protobuf::Error) -> String {
    format!("it can't be encoded: {error}")
}

/// The link, made now if there is none.
fn connect<'a>(
    link: &'a mut Option<Link>,
    serial: &mut u64,
    address: &Option<PathBuf>,
    poller: &Poller,
) -> Result<&'a mut Link, String> {
    if link.is_none() {
        let address = address.as_deref().unwrap_or(Path::new(""));
        *serial += 1;
        *link = Some(Link::open(poller, address, *serial)?);
    }
    link.as_mut().ok_or_else(String::new)
}

/// Whether another try would end alike.
fn is_final(status: &Status) -> bool {
    matches!(
        status.code.enum_value(),
        Ok(Code::INVALID_ARGUMENT | Code::UNIMPLEMENTED | Code::OUT_OF_RANGE)
    )
}

/// The path in an address.
fn socket_path(address: &Path) -> Result<PathBuf, Failure> {
    let text = address.as_os_str().to_string_lossy();
    let path = match text.strip_prefix("unix://") {
        Some(path) => Path::new(path),
        None => address,
    };
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    Err(Failure::invalid(format!(
        "address {text:?} of containerd's event service (TTRPC_ADDRESS): it must be the absolute path of a unix socket"
    )))
}
