//! Blobs, uploaded: mounted from another repository if possible, else in one piece, else in
//! several.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};

use ureq::http::Method;

use super::answer::Answer;
use super::exchange::{Body, Broken, Request};
use super::problem;
use super::repository::Repository;
use super::retry::Attempts;
use super::send::Line;
use super::url::Url;
use crate::digest::Algorithm;
use crate::document::Descriptor;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Event, Progress, Work};

/// The size of pieces for a registry that takes no whole blob.
const PIECE: u64 = 16 << 20;

/// What an upload is read from, as often as it takes.
pub trait Source: Sync {
    /// The content from `offset` on.
    ///
    /// # Errors
    /// The kernel's refusals; for a registry, everything that a download fails with.
    fn open(&self, offset: u64) -> Result<Box<dyn Read + '_>>;
}

/// How a blob came to be in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uploaded {
    /// It was there.
    Existed,
    /// From another repository, without being sent.
    Mounted,
    /// It was sent.
    Sent,
}

/// How blobs are sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct UploadOptions<'a> {
    /// Another repository of the same registry that is likely to have it.
    pub mount_from: Option<&'a str>,
    /// Sent in pieces of this many bytes. Without it in one piece, which is what registries
    /// and what stands before them are made for, unless they refuse it for its size.
    pub piece: Option<u64>,
}

/// What a request to begin ended with.
enum Begun {
    Mounted,
    Session(Url),
}

/// Why an upload in one piece did not work.
enum Failed {
    TooLarge,
    Broken(Broken),
}

struct Upload<'b> {
    line: Line<'b>,
    name: &'b str,
    blob: &'b Descriptor,
    source: &'b dyn Source,
    progress: &'b dyn Progress,
    /// How much has been read, as far as whoever watches was told.
    told: AtomicU64,
    /// The registry takes no pieces with fewer bytes, but for the last.
    shortest: AtomicU64,
}

impl Repository<'_> {
    /// Sends a blob, unless the registry has it. Afterwards it has, and has verified it.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`], and whatever keeps failing. An unfinished upload is cancelled.
    pub fn upload(
        &self,
        blob: &Descriptor,
        source: &dyn Source,
        options: UploadOptions<'_>,
    ) -> Result<Uploaded> {
        if self.has_blob(&blob.digest)? {
            return Ok(Uploaded::Existed);
        }
        let upload = Upload {
            line: self.writer()?,
            name: self.name(),
            blob,
            source,
            progress: self.progress(),
            told: AtomicU64::new(0),
            shortest: AtomicU64::new(1),
        };
        upload
            .run(options)
            .map_err(|error| error.within(format_args!("upload {}", blob.digest)))
    }
}

impl Upload<'_> {
    fn run(&self, options: UploadOptions<'_>) -> Result<Uploaded> {
        let mut first = None;
        if let Some(from) = options.mount_from.filter(|from| *from != self.name) {
            match self.mount(from)? {
                Some(Begun::Mounted) => return Ok(Uploaded::Mounted),
                Some(Begun::Session(session)) => first = Some(session),
                None => {}
            }
        }
        let mut attempts = Attempts::new(self.line.client.settings().retry);
        let mut piece = options.piece;
        loop {
            let mut session = match first.take() {
                Some(session) => session,
                None => self.begin()?,
            };
            let outcome = match piece {
                None => self.send_whole(&session),
                Some(piece) => self.send_pieces(&mut session, piece),
            };
            if outcome.is_err() {
                self.cancel(&session);
            }
            match outcome {
                Ok(()) => return Ok(Uploaded::Sent),
                Err(Failed::TooLarge) if piece.is_none() && self.blob.size > PIECE => {
                    piece = Some(PIECE);
                }
                Err(Failed::TooLarge) => return Err(self.too_large()),
                Err(Failed::Broken(broken)) => {
                    // What stands before registries often cuts long requests off without a word.
                    if broken.error.kind() == ErrorKind::Unreachable && self.blob.size > PIECE {
                        piece = piece.or(Some(PIECE));
                    }
                    attempts.pause(broken, self.progress)?;
                }
            }
        }
    }

    /// Asks the registry to take the blob from another of its repositories. `None` when it does
    /// not even begin an upload because of that, such as for want of the right to read there.
    fn mount(&self, from: &str) -> Result<Option<Begun>> {
        let mut line = self.line.clone();
        line.scopes = line.scopes.and(format!("repository:{from}:pull"));
        let url = self
            .uploads()
            .with_query("mount", &self.blob.digest.to_string())
            .with_query("from", from);
        let answer = match line.send(&Request::new(Method::POST, url)) {
            Ok(answer) => answer,
            Err(error) if error.kind() == ErrorKind::Denied => return Ok(None),
            Err(error) => return Err(error),
        };
        match answer.status {
            201 => Ok(Some(Begun::Mounted)),
            202 => Ok(Some(Begun::Session(self.next(&answer)?))),
            _ => Ok(None),
        }
    }

    fn uploads(&self) -> Url {
        self.line.endpoint.url(self.name, "blobs/uploads/")
    }

    fn begin(&self) -> Result<Url> {
        let mut url = self.uploads();
        if self.blob.digest.algorithm() != Algorithm::Sha256 {
            let algorithm = self.blob.digest.algorithm().name();
            url = url.with_query("digest-algorithm", algorithm);
        }
        let answer = self.line.send(&Request::new(Method::POST, url))?;
        match answer.status {
            202 => self.next(&answer),
            _ => Err(problem::error("begin it", answer)),
        }
    }

    /// Where the upload goes on. It may be another host, which then gets no credentials.
    fn next(&self, answer: &Answer) -> Result<Url> {
        let shortest = answer.header("oci-chunk-min-length");
        if let Some(shortest) = shortest.and_then(|text| text.trim().parse().ok()) {
            self.shortest.fetch_max(shortest, Ordering::Relaxed);
        }
        let origin = &self.line.endpoint.home.origin;
        let location = answer.header("location").ok_or_else(|| {
            let message = format!("{origin} does not say where an upload goes on");
            Error::new(ErrorKind::Registry, message)
        })?;
        let next = answer.url.join(location)?;
        if answer.url.origin().is_secure() && !next.origin().is_secure() {
            let message = format!("{origin} wants the upload to go on unencrypted: refused");
            return Err(Error::new(ErrorKind::Registry, message).advise(
                "it stands behind a proxy that does not tell it X-Forwarded-Proto: https",
            ));
        }
        Ok(next)
    }

    /// PUT with everything in it.
    fn send_whole(&self, session: &Url) -> std::result::Result<(), Failed> {
        let open = || self.counted(0);
        let url = session.with_query("digest", &self.blob.digest.to_string());
        let request = Request::new(Method::PUT, url)
            .header("Content-Type", "application/octet-stream")
            .body(Body::Stream {
                length: self.blob.size,
                open: &open,
            });
        let answer = self.line.send_once(&request)?;
        self.finished(answer)
    }

    fn finished(&self, answer: Answer) -> std::result::Result<(), Failed> {
        match answer.status {
            201 | 204 => Ok(()),
            413 => Err(Failed::TooLarge),
            // The session is gone, or has another state than we think: begun anew it may work.
            404 | 416 => Err(Failed::Broken(Broken {
                may_pass: true,
                ..problem::error("finish it", answer).into()
            })),
            _ => Err(problem::error("finish it", answer).into()),
        }
    }

    /// PATCH by PATCH. One that broke goes on from where the registry says that it is.
    fn send_pieces(&self, session: &mut Url, piece: u64) -> std::result::Result<(), Failed> {
        let mut attempts = Attempts::new(self.line.client.settings().retry);
        let mut offset = 0;
        while offset < self.blob.size {
            let piece = piece.max(self.shortest.load(Ordering::Relaxed));
            let length = piece.min(self.blob.size - offset);
            match self.send_piece(session, offset, length) {
                Ok(next) => {
                    *session = next;
                    offset += length;
                    attempts.got_further();
                }
                Err(Failed::Broken(broken)) if broken.may_pass => {
                    attempts.pause(broken, self.progress)?;
                    (*session, offset) = self.reached(session)?;
                }
                Err(failed) => return Err(failed),
            }
        }
        let url = session.with_query("digest", &self.blob.digest.to_string());
        let answer = self.line.send_once(&Request::new(Method::PUT, url))?;
        self.finished(answer)
    }

    fn send_piece(
        &self,
        session: &Url,
        offset: u64,
        length: u64,
    ) -> std::result::Result<Url, Failed> {
        let open = || self.counted(offset);
        let request = Request::new(Method::PATCH, session.clone())
            .header("Content-Type", "application/octet-stream")
            .header("Content-Range", format!("{offset}-{}", offset + length - 1))
            .body(Body::Stream {
                length,
                open: &open,
            });
        let answer = self.line.send_once(&request)?;
        match answer.status {
            202 => Ok(self.next(&answer)?),
            413 => Err(Failed::TooLarge),
            416 => Err(Failed::Broken(Broken {
                may_pass: true,
                ..problem::error("send a piece of it", answer).into()
            })),
            _ => Err(problem::error("send a piece of it", answer).into()),
        }
    }

    /// Asks how much of an upload has arrived.
    fn reached(&self, session: &Url) -> std::result::Result<(Url, u64), Failed> {
        let answer = self
            .line
            .send(&Request::new(Method::GET, session.clone()))?;
        if answer.status != 204 {
            return Err(Failed::Broken(Broken {
                may_pass: answer.status == 404,
                ..problem::error("ask how much of it has arrived", answer).into()
            }));
        }
        let next = match answer.header("location") {
            Some(_) => self.next(&answer)?,
            None => session.clone(),
        };
        // "0-0" is one byte, or none at all: registries differ. The registry checks the next
        // piece's range and the whole's digest, so the worst is another attempt.
        let end = answer.header("range").and_then(|range| {
            range
                .trim_start_matches("bytes=")
                .split_once('-')?
                .1
                .parse()
                .ok()
        });
        let reached = match end {
            None | Some(0) => 0,
            Some(end) => u64::min(end + 1, self.blob.size),
        };
        Ok((next, reached))
    }

    /// What is left unfinished would lie in the registry until it tidies up. It does so anyway,
    /// and what is told is why the upload failed: that this failed, too, helps nobody.
    fn cancel(&self, session: &Url) {
        let request = Request::new(Method::DELETE, session.clone());
        drop(self.line.send_once(&request));
    }

    fn counted(&self, offset: u64) -> Result<Box<dyn Read + '_>> {
        if self.told.swap(offset, Ordering::Relaxed) != offset {
            self.progress.report(Event::Began {
                digest: &self.blob.digest,
                work: Work::Upload,
                total: Some(self.blob.size),
                done: offset,
            });
        }
        Ok(Box::new(Counted {
            inner: self.source.open(offset)?,
            upload: self,
        }))
    }

    fn too_large(&self) -> Error {
        let message = format!(
            "{} takes no blob of {} bytes, nor pieces of it",
            self.line.endpoint.name(),
            self.blob.size
        );
        Error::new(ErrorKind::Registry, message)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Broken(error.into())
    }
}

impl From<Broken> for Failed {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// Tells how much has been read.
struct Counted<'a> {
    inner: Box<dyn Read + 'a>,
    upload: &'a Upload<'a>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.upload.told.fetch_add(count as u64, Ordering::Relaxed);
        self.upload.progress.report(Event::Advanced {
            digest: &self.upload.blob.digest,
            work: Work::Upload,
            bytes: count as u64,
        });
        Ok(count)
    }
}
