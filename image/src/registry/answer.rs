//! Answers: a head, and a body that is read piece by piece or up to a limit.

use std::io::{self, Read};
use std::time::Duration;

use ureq::http::HeaderMap;
use ureq::http::response::Parts;

use super::exchange::Broken;
use super::explain::explain;
use super::settings::Timeouts;
use super::url::Url;
use crate::error::{Error, ErrorKind};

/// The head of an answer, and its body to be read.
pub(super) struct Answer {
    pub(super) status: u16,
    headers: HeaderMap,
    /// Whose answer it is, redirects followed.
    pub(super) url: Url,
    body: ureq::Body,
    stall: Duration,
}

impl Answer {
    /// `stall` is how long its body may be silent.
    pub(super) fn new(parts: Parts, body: ureq::Body, url: Url, stall: Duration) -> Self {
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            url,
            body,
            stall,
        }
    }

    /// A header, if it is there and is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All headers of this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.headers.get_all(name).into_iter();
        values.filter_map(|value| value.to_str().ok())
    }

    /// How long the body is, if that is said.
    pub(super) fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// The whole body, which may have at most `limit` bytes.
    pub(super) fn document(self, what: &str, limit: u64) -> std::result::Result<Vec<u8>, Broken> {
        let url = self.url.clone();
        let promised = self.length();
        let too_long = || {
            let message = format!("{what}: {} sends more than {limit} bytes", url.origin());
            Broken::from(Error::new(ErrorKind::Corrupt, message))
        };
        if promised.is_some_and(|length| length > limit) {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        let mut reader = self.stream();
        reader
            .by_ref()
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| reader.explain(error))?;
        if bytes.len() as u64 > limit {
            return Err(too_long());
        }
        Ok(bytes)
    }

    /// As much of the body as there is, up to `limit` bytes.
    pub(super) fn beginning(self, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream().take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The body, to be read piece by piece.
    pub(super) fn stream(self) -> Stream {
        let authority = self.url.origin().authority();
        let reader = self.body.into_with_config().limit(u64::MAX).reader();
        Stream {
            reader,
            authority,
            stall: self.stall,
        }
    }
}

/// An answer's body.
pub(super) struct Stream {
    reader: ureq::BodyReader<'static>,
    authority: String,
    stall: Duration,
}

impl Stream {
    /// Who sends it.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// What an error of `read` means.
    pub(super) fn explain(&self, error: io::Error) -> Broken {
        let timeouts = Timeouts {
            stall: self.stall,
            ..Timeouts::default()
        };
        explain(error.into(), &self.authority, &timeouts)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}
