//! Blobs, downloaded: from where an earlier attempt ended, as long as it gets further.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::answer::{Answer, Stream};
use super::exchange::{Broken, Request, from_io};
use super::pace::{Lent, Pace, Way};
use super::pieces::{Failed, Pieces, Talk};
use super::problem;
use super::range::{Part, Range, ended_early, sends_more, skip, wrong_size};
use super::repository::Repository;
use super::retry::Attempts;
use super::send::Line;
use super::settings::hosts::Capability;
use super::url::Url;
use crate::document::Descriptor;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Event, Progress, Work};

/// How much is read at once.
pub(super) const BUFFER: usize = 128 << 10;
/// A download that brought so much got further: what failed before it is forgotten.
pub(super) const PROGRESS: u64 = 1 << 20;

/// Where a download goes. It is verified there.
pub trait Sink: Write {
    /// How many bytes it has, also from earlier attempts.
    fn offset(&self) -> u64;
    /// Forgets what it has.
    ///
    /// # Errors
    /// The kernel's refusals.
    fn restart(&mut self) -> Result<()>;
    /// A file without a name, for what arrives before its turn when several connections are
    /// used. Without one there is one connection.
    ///
    /// # Errors
    /// The kernel's refusals.
    fn spool(&self) -> Result<Option<File>> {
        Ok(None)
    }
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
}

impl Download<'_> {
    fn run(&mut self, line: &Line<'_>, url: &Url) -> Result<()> {
        self.attempts(line, &|request| line.send_once(request), url)
    }

    fn anonymously(&mut self, repository: &Repository<'_>, url: &Url) -> Result<()> {
        let line = repository.readers(Capability::Pull)?.pop();
        let line = line.ok_or_else(|| Error::new(ErrorKind::NotFound, "no place to ask"))?;
        let client = repository.client();
        let home = client.home(url.origin())?;
        let send = |request: &Request<'_>| super::send::follow(client, &home, request, None);
        self.attempts(&line, &send, url)
    }

    fn attempts(&mut self, line: &Line<'_>, send: &Send<'_>, url: &Url) -> Result<()> {
        let mut attempts = Attempts::new(line.client.settings().retry);
        let mut pace = Pace::new(line.client);
        while self.sink.offset() < self.blob.size {
            let before = self.sink.offset();
            let outcome = match pace.next(before, self.blob.size) {
                Way::Rest => send(&Range::From(before).request(url)).and_then(|a| self.take(a)),
                Way::Piece(end) => self.piece(send, url, end, &mut pace),
                Way::Several(lent) => {
                    let outcome = self.several(line, send, url, &lent);
                    pace.one_answer();
                    outcome
                }
            };
            if self.sink.offset() >= before.saturating_add(PROGRESS) {
                attempts.got_further();
            }
            if let Err(broken) = outcome {
                attempts.pause(broken, self.progress)?;
            }
        }
        Ok(())
    }

    /// Takes what one answer brings of all that is missing.
    fn take(&mut self, answer: Answer) -> std::result::Result<(), Broken> {
        let offset = self.sink.offset();
        let authority = answer.url.origin().authority();
        match Range::From(offset).part(&answer, self.blob) {
            Part::Asked => self.copy(answer.stream(), &authority, self.blob.size),
            // It has ignored the range: what is there already comes again.
            Part::Whole => {
                let stream = skip(answer.stream(), offset)?;
                self.copy(stream, &authority, self.blob.size)
            }
            Part::Unsatisfiable => {
                self.restart()?;
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

    /// Takes one piece, and so finds out whether the registry has pieces, and how fast it is.
    /// Whatever it answers instead of one is no failure: it is asked for the rest then.
    fn piece(
        &mut self,
        send: &Send<'_>,
        url: &Url,
        end: u64,
        pace: &mut Pace<'_>,
    ) -> std::result::Result<(), Broken> {
        let offset = self.sink.offset();
        let range = Range::Between(offset, end);
        let began = Instant::now();
        let answer = send(&range.request(url)).inspect_err(|_| pace.one_answer())?;
        let authority = answer.url.origin().authority();
        match range.part(&answer, self.blob) {
            Part::Asked => {
                match self.copy(answer.stream(), &authority, end) {
                    Ok(()) => pace.learn(end - offset, began),
                    Err(broken) if broken.error.kind() == ErrorKind::Corrupt => pace.one_answer(),
                    Err(broken) => return Err(broken),
                }
                Ok(())
            }
            Part::Whole => {
                pace.one_answer();
                let stream = skip(answer.stream(), offset)?;
                self.copy(stream, &authority, self.blob.size)
            }
            Part::Wrong(_) | Part::Unsatisfiable | Part::Other => {
                pace.one_answer();
                Ok(())
            }
        }
    }

    /// Takes all that is missing over several connections. What those can't do may still be
    /// done by one, so that is told, and no failure.
    fn several(
        &mut self,
        line: &Line<'_>,
        send: &Send<'_>,
        url: &Url,
        lent: &Lent<'_>,
    ) -> std::result::Result<(), Broken> {
        let Some(spool) = self.sink.spool()? else {
            return Ok(());
        };
        let start = self.sink.offset();
        let settings = line.client.settings();
        let pieces = Pieces::new(self.blob, start, spool, lent.count, settings);
        let talk = Talk {
            send,
            url,
            stop: self.stop,
            progress: self.progress,
        };
        let error = match pieces.fetch(&talk, self.sink) {
            Ok(()) => return Ok(()),
            Err(Failed::Connections(error) | Failed::Sink(error))
                if self.stop.load(Ordering::Relaxed) =>
            {
                return Err(error.into());
            }
            Err(Failed::Connections(error)) => error,
            Err(Failed::Sink(error)) => {
                // What was ahead of its turn may have filled the disk.
                self.restart()?;
                error
            }
        };
        let note = format!("{error}; going on with one connection");
        self.progress.report(Event::Note(&note));
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.sink.restart()?;
        self.progress.report(Event::Began {
            digest: &self.blob.digest,
            work: Work::Download,
            total: Some(self.blob.size),
            done: 0,
        });
        Ok(())
    }

    /// Reads a stream up to the blob's byte `end`, which must be its end.
    fn copy(
        &mut self,
        mut stream: Stream,
        authority: &str,
        end: u64,
    ) -> std::result::Result<(), Broken> {
        let mut buffer = vec![0; BUFFER];
        let promised = end - self.sink.offset();
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(given_up().into());
            }
            let left = end - self.sink.offset();
            let count = match stream.read(&mut buffer) {
                Ok(0) if left == 0 => return Ok(()),
                Ok(0) => return Err(ended_early(authority, left)),
                Ok(count) => count,
                // All is there; how the connection ends doesn't matter any more.
                Err(_) if left == 0 => return Ok(()),
                Err(error) => return Err(stream.explain(error)),
            };
            if count as u64 > left {
                return Err(sends_more(self.blob, authority, promised).into());
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

/// Sends one request, once.
pub(super) type Send<'s> = dyn Fn(&Request<'_>) -> std::result::Result<Answer, Broken> + Sync + 's;

/// What a blob's threads end with when another blob has failed.
pub(super) fn given_up() -> Error {
    Error::new(
        ErrorKind::Unreachable,
        "given up, since another part has failed",
    )
}
