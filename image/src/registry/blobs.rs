//! Blobs, downloaded: from where an earlier attempt ended, as long as it gets further.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::http::Method;

use super::answer::{Answer, Stream};
use super::exchange::{Broken, Request, from_io};
use super::problem;
use super::repository::Repository;
use super::retry::Attempts;
use super::send::Line;
use super::settings::hosts::Capability;
use super::url::Url;
use crate::document::{Descriptor, MAX_DOCUMENT};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Event, Progress, Work};

/// How much is read at once.
const BUFFER: usize = 128 << 10;
/// A download that brought so much got further: what failed before it is forgotten.
const PROGRESS: u64 = 1 << 20;

/// Where a download goes. It is verified there.
pub trait Sink: Write {
    /// How many bytes it has, also from earlier attempts.
    fn offset(&self) -> u64;
    /// Forgets what it has.
    ///
    /// # Errors
    /// The kernel's refusals.
    fn restart(&mut self) -> Result<()>;
}

/// One blob on its way.
struct Download<'b> {
    blob: &'b Descriptor,
    sink: &'b mut dyn Sink,
    stop: &'b AtomicBool,
    progress: &'b dyn Progress,
}

impl Repository<'_> {
    /// Downloads a blob into `sink`, beginning with what it does not have yet. Afterwards it has
    /// as many bytes as the descriptor says; whether they are the right ones is the sink's to
    /// find out. Ends early when `stop` is set.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the registry offers another size, and whatever keeps failing.
    pub fn download(
        &self,
        blob: &Descriptor,
        sink: &mut dyn Sink,
        stop: &AtomicBool,
    ) -> Result<()> {
        let digest = &blob.digest;
        let mut download = Download {
            blob,
            sink,
            stop,
            progress: self.progress(),
        };
        let outcome = self.first(Capability::Pull, |line| {
            let url = line.endpoint.url(self.name(), &format!("blobs/{digest}"));
            let outcome = download.run(line, &url);
            if matches!(&outcome, Err(error) if error.kind() == ErrorKind::Corrupt) {
                // Nobody else has the rest of what is not the beginning of it.
                download.sink.restart()?;
            }
            outcome
        });
        let outcome = match outcome {
            Err(error) if error.kind() == ErrorKind::NotFound && !blob.urls.is_empty() => {
                self.download_elsewhere(&mut download, error)
            }
            outcome => outcome,
        };
        outcome.map_err(|error| error.within(format_args!("download {digest}")))
    }

    /// Layers that may not be in registries lie at the URLs of their descriptor. They are
    /// fetched encrypted only, and nobody there learns who one is.
    fn download_elsewhere(&self, download: &mut Download<'_>, missing: Error) -> Result<()> {
        let mut last = missing;
        for url in download.blob.urls.iter().take(4) {
            let Ok(url) = Url::parse(url) else { continue };
            if !url.origin().is_secure() {
                continue;
            }
            match download.anonymously(self, &url) {
                Err(error) => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    /// A small blob, such as a configuration, verified.
    ///
    /// # Errors
    /// As [`Self::download`]; [`ErrorKind::Corrupt`] when it is not what the descriptor says, or
    /// is larger than a document may be.
    pub fn document(&self, blob: &Descriptor) -> Result<Vec<u8>> {
        if let Some(embedded) = blob.embedded()? {
            return Ok(embedded);
        }
        if blob.size > MAX_DOCUMENT {
            let message = format!("document {}: more than {MAX_DOCUMENT} bytes", blob.digest);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let mut sink = Memory(Vec::new());
        self.download(blob, &mut sink, &AtomicBool::new(false))?;
        let mut verifier = crate::digest::Verifier::new(&blob.digest, blob.size);
        verifier.update(&sink.0)?;
        verifier.finish()?;
        Ok(sink.0)
    }

    /// Opens a blob for reading from `offset` on, for who verifies it himself.
    pub(crate) fn read_blob(
        &self,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<Box<dyn Read + 'static>> {
        let digest = &blob.digest;
        self.first(Capability::Pull, |line| {
            let url = line.endpoint.url(self.name(), &format!("blobs/{digest}"));
            let answer = line.send(&request(&url, offset))?;
            match part(&answer, blob, offset) {
                Part::Rest => Ok(Box::new(answer.stream()) as Box<dyn Read>),
                Part::Whole => match skip(answer.stream(), offset) {
                    Ok(stream) => Ok(Box::new(stream)),
                    Err(broken) => Err(broken.error),
                },
                Part::Unsatisfiable | Part::Other => {
                    Err(problem::error(&format!("read blob {digest}"), answer))
                }
                Part::Wrong(why) => Err(wrong_size(blob, &why)),
            }
        })
    }
}

impl Download<'_> {
    fn run(&mut self, line: &Line<'_>, url: &Url) -> Result<()> {
        self.attempts(line, |request| line.send_once(request), url)
    }

    fn anonymously(&mut self, repository: &Repository<'_>, url: &Url) -> Result<()> {
        let line = repository.readers(Capability::Pull)?.pop();
        let line = line.ok_or_else(|| Error::new(ErrorKind::NotFound, "no place to ask"))?;
        let client = repository.client();
        let home = client.home(url.origin())?;
        let send = |request: &Request<'_>| super::send::follow(client, &home, request, None);
        self.attempts(&line, send, url)
    }

    fn attempts(
        &mut self,
        line: &Line<'_>,
        send: impl Fn(&Request<'_>) -> std::result::Result<Answer, Broken>,
        url: &Url,
    ) -> Result<()> {
        let mut attempts = Attempts::new(line.client.settings().retry);
        while self.sink.offset() < self.blob.size {
            let before = self.sink.offset();
            let outcome = send(&request(url, before)).and_then(|answer| self.take(answer));
            if self.sink.offset() >= before.saturating_add(PROGRESS) {
                attempts.got_further();
            }
            if let Err(broken) = outcome {
                attempts.pause(broken, self.progress)?;
            }
        }
        Ok(())
    }

    /// Takes what one answer brings.
    fn take(&mut self, answer: Answer) -> std::result::Result<(), Broken> {
        let offset = self.sink.offset();
        let authority = answer.url.origin().authority();
        match part(&answer, self.blob, offset) {
            Part::Rest => self.copy(answer.stream(), &authority),
            // It has ignored the range: what is there already comes again.
            Part::Whole => {
                let stream = skip(answer.stream(), offset)?;
                self.copy(stream, &authority)
            }
            Part::Unsatisfiable => {
                self.sink.restart()?;
                self.progress.report(Event::Began {
                    digest: &self.blob.digest,
                    work: Work::Download,
                    total: Some(self.blob.size),
                    done: 0,
                });
                let message = format!("{authority} has no byte {offset} of it");
                Err(Broken {
                    may_pass: offset > 0,
                    ..Broken::from(Error::new(ErrorKind::Registry, message))
                })
            }
            Part::Wrong(why) => Err(wrong_size(self.blob, &why).into()),
            Part::Other => Err(problem::error("read it", answer).into()),
        }
    }

    fn copy(&mut self, mut stream: Stream, authority: &str) -> std::result::Result<(), Broken> {
        let mut buffer = vec![0; BUFFER];
        loop {
            if self.stop.load(Ordering::Relaxed) {
                let message = "given up, since another part has failed";
                return Err(Error::new(ErrorKind::Unreachable, message).into());
            }
            let left = self.blob.size - self.sink.offset();
            let count = match stream.read(&mut buffer) {
                Ok(0) if left == 0 => return Ok(()),
                Ok(0) => return Err(ended_early(authority, left)),
                Ok(count) => count,
                // All is there; how the connection ends doesn't matter any more.
                Err(_) if left == 0 => return Ok(()),
                Err(error) => return Err(stream.explain(error)),
            };
            if count as u64 > left {
                let why = format!(
                    "{authority} sends more than the {} bytes promised",
                    self.blob.size
                );
                return Err(wrong_size(self.blob, &why).into());
            }
            self.sink.write_all(&buffer[..count]).map_err(from_io)?;
            self.progress.report(Event::Advanced {
                digest: &self.blob.digest,
                work: Work::Download,
                bytes: count as u64,
            });
        }
    }
}

fn request(url: &Url, offset: u64) -> Request<'static> {
    let request = Request::new(Method::GET, url.clone());
    if offset == 0 {
        request
    } else {
        request.header("Range", format!("bytes={offset}-"))
    }
}

/// What of a blob an answer has.
enum Part {
    /// What was asked for.
    Rest,
    /// All of it, though only the rest was asked for.
    Whole,
    /// There is no such rest.
    Unsatisfiable,
    /// It is not the blob that the descriptor describes.
    Wrong(String),
    /// An error.
    Other,
}

fn part(answer: &Answer, blob: &Descriptor, offset: u64) -> Part {
    let authority = answer.url.origin().authority();
    let (part, expected) = match answer.status {
        200 if offset == 0 => (Part::Rest, blob.size),
        200 => (Part::Whole, blob.size),
        206 => match content_range(answer) {
            Some((start, total)) if start == offset && total.is_none_or(|t| t == blob.size) => {
                (Part::Rest, blob.size - offset)
            }
            _ => {
                return Part::Wrong(format!(
                    "{authority} sends another range than was asked for"
                ));
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

/// `bytes 100-199/200`: where it begins, and how long the whole is.
fn content_range(answer: &Answer) -> Option<(u64, Option<u64>)> {
    let range = answer.header("content-range")?.strip_prefix("bytes ")?;
    let (range, total) = range.split_once('/')?;
    let start = range.split_once('-')?.0.trim().parse().ok()?;
    Some((start, total.trim().parse().ok()))
}

fn skip(mut stream: Stream, count: u64) -> std::result::Result<Stream, Broken> {
    let skipped = std::io::copy(&mut stream.by_ref().take(count), &mut std::io::sink());
    match skipped {
        Ok(skipped) if skipped == count => Ok(stream),
        Ok(skipped) => Err(ended_early(stream.authority(), count - skipped)),
        Err(error) => Err(stream.explain(error)),
    }
}

fn ended_early(authority: &str, left: u64) -> Broken {
    let message = format!("{authority}: the connection ended {left} bytes early");
    Broken {
        may_pass: true,
        ..Broken::from(Error::new(ErrorKind::Unreachable, message))
    }
}

fn wrong_size(blob: &Descriptor, why: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "content {} is not what its descriptor promises: {why}",
            blob.digest
        ),
    )
}

struct Memory(Vec<u8>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink for Memory {
    fn offset(&self) -> u64 {
        self.0.len() as u64
    }

    fn restart(&mut self) -> Result<()> {
        self.0.clear();
        Ok(())
    }
}
