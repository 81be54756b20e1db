//! One request and its answer: no redirect is followed here, nothing is tried twice.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ureq::http::request::Builder;
use ureq::http::{Method, Request as HttpRequest, Response};
use ureq::{Agent, SendBody};

use super::answer::Answer;
use super::explain::explain;
use super::settings::{Settings, Timeouts, hosts::TlsFiles};
use super::url::{Origin, Url};
use crate::error::{Error, ErrorKind, Result};

/// Connections to one host that are kept for the next request, at least.
const IDLE: usize = 3;

/// Whom one talks to: connections, with the encryption that was configured for it.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) origin: Origin,
    agent: Agent,
    /// What only this origin may see.
    pub(super) headers: Vec<(String, String)>,
    /// Whether anything ever came from it: then a refused connection is a restart, not a typo.
    has_answered: AtomicBool,
    timeouts: Timeouts,
}

/// A request, which can be sent again.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    /// Everything but who one is.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body<'a>,
}

/// Opens a request's body anew, from its beginning.
pub(super) type Opener<'a> = dyn Fn() -> Result<Box<dyn Read + 'a>> + Sync + 'a;

/// What a request carries.
#[derive(Clone, Copy)]
pub(super) enum Body<'a> {
    None,
    Bytes(&'a [u8]),
    Stream { length: u64, open: &'a Opener<'a> },
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) error: Error,
    /// Whether the next attempt may end better.
    pub(super) may_pass: bool,
    /// How long the registry asks to wait before it.
    pub(super) after: Option<Duration>,
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self {
            error,
            may_pass: false,
            after: None,
        }
    }
}

impl<'a> Request<'a> {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            body: Body::None,
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn body(mut self, body: Body<'a>) -> Self {
        self.body = body;
        self
    }
}

impl Home {
    pub(super) fn new(
        settings: &Settings,
        origin: Origin,
        tls: &TlsFiles,
        headers: Vec<(String, String)>,
        connect_timeout: Option<Duration>,
    ) -> Result<Self> {
        let timeouts = settings.timeouts;
        let connect = connect_timeout.unwrap_or(timeouts.connect);
        let config = Agent::config_builder()
            // Set even if it is none: ureq would look into the environment.
            .proxy(settings.proxies.on_the_way_to(&origin)?)
            .user_agent(&settings.user_agent)
            .accept_encoding("identity")
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections_per_host(settings.ranges.connections.max(IDLE))
            .timeout_resolve(Some(timeouts.connect))
            .timeout_connect(Some(connect))
            .timeout_send_request(Some(timeouts.stall))
            .timeout_recv_response(Some(timeouts.answer))
            .timeout_per_read(Some(timeouts.stall))
            .timeout_per_write(Some(timeouts.stall));
        let agent = match origin.is_secure() {
            true => super::tls::agent(config, settings, tls)?,
            false => config.build().new_agent(),
        };
        Ok(Self {
            agent,
            origin,
            headers,
            has_answered: AtomicBool::new(false),
            timeouts,
        })
    }

    /// Sends a request to this home. `authorization` is who one is.
    pub(super) fn exchange(
        &self,
        request: &Request<'_>,
        url: &Url,
        authorization: Option<&str>,
    ) -> std::result::Result<Answer, Broken> {
        debug_assert_eq!(*url.origin(), self.origin);
        let mut head = HttpRequest::builder()
            .method(request.method.clone())
            .uri(url.to_string());
        for (name, value) in &request.headers {
            head = head.header(*name, value);
        }
        if let Some(authorization) = authorization {
            head = head.header("Authorization", authorization);
        }
        for (name, value) in &self.headers {
            head = head.header(name, value);
        }
        if let Some(length) = request.content_length() {
            head = head.header("Content-Length", length.to_string());
        }
        let mut source = Source::open(request)?;
        let outcome = match &mut source {
            Source::None => self.run(request, head, SendBody::none()),
            Source::Some { .. } => self.run(request, head, SendBody::from_reader(&mut source)),
        };
        if let Some(error) = source.failure() {
            return Err(Broken {
                // What it was read from has its own attempts.
                may_pass: false,
                ..Broken::from(error)
            });
        }
        let (parts, body) = outcome?.into_parts();
        self.has_answered.store(true, Ordering::Relaxed);
        Ok(Answer::new(parts, body, url.clone(), self.timeouts.stall))
    }

    fn run(
        &self,
        request: &Request<'_>,
        head: Builder,
        body: SendBody<'_>,
    ) -> std::result::Result<Response<ureq::Body>, Broken> {
        let built = head.body(body).map_err(|error| {
            let message = format!("request to {}: {error}", self.origin);
            Error::with_source(ErrorKind::InvalidInput, message, error)
        })?;
        // A registry may be silent while it puts a large blob together.
        let built = match request.method {
            Method::PUT => self
                .agent
                .configure_request(built)
                .timeout_per_read(Some(self.timeouts.answer))
                .build(),
            _ => built,
        };
        self.agent.run(built).map_err(|error| self.broken(error))
    }

    fn broken(&self, error: ureq::Error) -> Broken {
        let is_first = !self.has_answered.load(Ordering::Relaxed);
        let mut broken = explain(error, &self.origin.authority(), &self.timeouts);
        // Nobody wants to wait for the fifth time to read that a name is misspelt.
        broken.may_pass &= !(is_first && broken.error.kind() == ErrorKind::Unreachable);
        broken
    }
}

impl Request<'_> {
    fn content_length(&self) -> Option<u64> {
        match self.body {
            Body::Bytes(bytes) => Some(bytes.len() as u64),
            Body::Stream { length, .. } => Some(length),
            Body::None if matches!(self.method, Method::POST | Method::PUT | Method::PATCH) => {
                Some(0)
            }
            Body::None => None,
        }
    }
}

/// A body that is being sent. It keeps its own failure apart from the connection's.
enum Source<'a> {
    None,
    Some {
        reader: Box<dyn Read + 'a>,
        failure: Option<io::Error>,
    },
}

impl<'a> Source<'a> {
    fn open(request: &Request<'a>) -> Result<Self> {
        let reader: Box<dyn Read + 'a> = match request.body {
            Body::None if request.content_length().is_none() => return Ok(Self::None),
            Body::None => Box::new(io::empty()),
            Body::Bytes(bytes) => Box::new(bytes),
            Body::Stream { length, open } => Box::new(open()?.take(length)),
        };
        Ok(Self::Some {
            reader,
            failure: None,
        })
    }

    fn failure(&mut self) -> Option<Error> {
        match self {
            Self::Some { failure, .. } => failure.take().map(from_io),
            Self::None => None,
        }
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self::Some { reader, failure } = self else {
            return Ok(0);
        };
        reader.read(buffer).map_err(|error| {
            let copy = io::Error::new(error.kind(), "the body's source broke");
            *failure = Some(error);
            copy
        })
    }
}

/// An error of this crate that travelled through `Read`, or one of the kernel's.
pub(super) fn from_io(error: io::Error) -> Error {
    if error.get_ref().is_some_and(|inner| inner.is::<Error>()) {
        if let Some(Ok(inner)) = error.into_inner().map(|inner| inner.downcast::<Error>()) {
            return *inner;
        }
        return Error::new(ErrorKind::System, "read");
    }
    Error::system("read", error)
}
