//! Parts of a blob: what is asked for, and what an answer has of it (RFC 9110, section 14).

use std::io::Read as _;

use ureq::http::Method;

use super::answer::{Answer, Stream};
use super::exchange::{Broken, Request};
use super::url::Url;
use crate::document::Descriptor;
use crate::error::{Error, ErrorKind};

/// What is asked for of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    /// Everything from this byte on.
    From(u64),
    /// From the first of these bytes up to, and without, the second.
    Between(u64, u64),
}

/// What of a blob an answer has.
#[derive(Debug)]
pub(super) enum Part {
    /// What was asked for.
    Asked,
    /// All of it, though only a part was asked for.
    Whole,
    /// There is no such part.
    Unsatisfiable,
    /// It is not the blob that the descriptor describes.
    Wrong(String),
    /// An error.
    Other,
}

impl Range {
    pub(super) fn start(self) -> u64 {
        match self {
            Self::From(start) | Self::Between(start, _) => start,
        }
    }

    /// The first byte that is not in it any more.
    pub(super) fn end(self, blob: &Descriptor) -> u64 {
        match self {
            Self::From(_) => blob.size,
            Self::Between(_, end) => end.min(blob.size),
        }
    }

    pub(super) fn request(self, url: &Url) -> Request<'static> {
        let request = Request::new(Method::GET, url.clone());
        match self {
            Self::From(0) => request,
            Self::From(start) => request.header("Range", format!("bytes={start}-")),
            Self::Between(start, end) => {
                request.header("Range", format!("bytes={start}-{}", end.saturating_sub(1)))
            }
        }
    }

    /// What an answer to [`Self::request`] has.
    pub(super) fn part(self, answer: &Answer, blob: &Descriptor) -> Part {
        let authority = answer.url.origin().authority();
        let (start, end) = (self.start(), self.end(blob));
        let (part, expected) = match answer.status {
            200 if self == Self::From(0) => (Part::Asked, blob.size),
            200 => (Part::Whole, blob.size),
            206 => match content_range(answer) {
                Some(said) if said.is(start, end, blob.size) => (Part::Asked, end - start),
                _ => {
                    let why = format!("{authority} sends another range than was asked for");
                    return Part::Wrong(why);
                }
            },
            416 => return Part::Unsatisfiable,
            _ => return Part::Other,
        };
        match answer.length() {
            Some(length) if length != expected => Part::Wrong(format!(
                "{authority} offers {length} bytes where {expected} were promised"
            )),
            _ => part,
        }
    }
}

/// `bytes 100-199/200`; of what is not known there is a `*`.
struct ContentRange {
    first: u64,
    last: u64,
    total: Option<u64>,
}

impl ContentRange {
    fn is(&self, start: u64, end: u64, size: u64) -> bool {
        self.first == start
            && self.last.checked_add(1) == Some(end)
            && self.total.is_none_or(|total| total == size)
    }
}

fn content_range(answer: &Answer) -> Option<ContentRange> {
    let range = answer.header("content-range")?.strip_prefix("bytes ")?;
    let (range, total) = range.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some(ContentRange {
        first: first.trim().parse().ok()?,
        last: last.trim().parse().ok()?,
        total: total.trim().parse().ok(),
    })
}

/// Reads what is there already, and forgets it.
pub(super) fn skip(mut stream: Stream, count: u64) -> std::result::Result<Stream, Broken> {
    let skipped = std::io::copy(&mut stream.by_ref().take(count), &mut std::io::sink());
    match skipped {
        Ok(skipped) if skipped == count => Ok(stream),
        Ok(skipped) => Err(ended_early(stream.authority(), count - skipped)),
        Err(error) => Err(stream.explain(error)),
    }
}

pub(super) fn ended_early(authority: &str, left: u64) -> Broken {
    let message = format!("{authority}: the connection ended {left} bytes early");
    Broken {
        may_pass: true,
        ..Broken::from(Error::new(ErrorKind::Unreachable, message))
    }
}

pub(super) fn wrong_size(blob: &Descriptor, why: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "content {} is not what its descriptor promises: {why}",
            blob.digest
        ),
    )
}

/// More comes than was promised.
pub(super) fn sends_more(blob: &Descriptor, authority: &str, promised: u64) -> Error {
    let why = format!("{authority} sends more than the {promised} bytes promised");
    wrong_size(blob, &why)
}
