//! A bundle: a directory with a config.json in it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::spec::Spec;
use crate::violation::pointer_token;

/// The largest document that is read, in bytes.
pub const DOCUMENT_MAX_BYTES: u64 = 16 << 20;

/// A bundle's path and the bytes of its config.json, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    path: PathBuf,
    config: Vec<u8>,
}

/// Why a bundle or another document can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The caller knows what a relative path is relative to; this library does not.
    #[error("the bundle's path {0:?} is not absolute")]
    NotAbsolute(PathBuf),
    /// The bundle's directory is not there.
    #[error("the bundle {0} does not exist")]
    NoBundle(PathBuf),
    /// The directory has no config.json. The first words are what runc's callers know.
    #[error("JSON specification file config.json not found in {0} (`spec` writes one)")]
    NoConfig(PathBuf),
    /// Neither a file nor a link to one.
    #[error("{0} is not a regular file")]
    NotAFile(PathBuf),
    /// Longer than [`DOCUMENT_MAX_BYTES`].
    #[error("{0} has more than {limit} MiB", limit = DOCUMENT_MAX_BYTES >> 20)]
    TooLarge(PathBuf),
    /// It can't be opened or read.
    #[error("reading {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no JSON, or not what the specification says.
    #[error("{name}: {fault}")]
    Parse {
        /// The document's file name.
        name: String,
        /// What and where.
        fault: ParseError,
    },
}

/// What is wrong with a document's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// No JSON.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
        /// The parser's words.
        message: String,
    },
    /// JSON, but a value of another type than the specification says.
    #[error("{pointer}: {message} (line {line}, column {column})")]
    Type {
        /// JSON pointer of the value.
        pointer: String,
        /// What was found and what was expected.
        message: String,
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
}

impl Bundle {
    /// Reads the config.json of the bundle at `path`, which is absolute.
    ///
    /// # Errors
    ///
    /// The path is relative, the bundle or its config.json is missing, unreadable, no
    /// regular file or longer than [`DOCUMENT_MAX_BYTES`].
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        if !path.is_absolute() {
            return Err(BundleError::NotAbsolute(path.to_path_buf()));
        }
        let config = match read_document(&path.join("config.json")) {
            Err(BundleError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(missing(path));
            }
            result => result?,
        };
        Ok(Self::from_parts(path.to_path_buf(), config))
    }

    /// A bundle whose config.json has been read before.
    #[must_use]
    pub fn from_parts(path: PathBuf, config: Vec<u8>) -> Self {
        Self { path, config }
    }

    /// Absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// config.json as it was read.
    #[must_use]
    pub fn config(&self) -> &[u8] {
        &self.config
    }

    /// What config.json says; borrows from it.
    ///
    /// # Errors
    ///
    /// [`BundleError::Parse`]: no JSON, or a value of the wrong type.
    pub fn spec(&self) -> Result<Spec<'_>, BundleError> {
        parse(&self.config).map_err(|fault| BundleError::Parse {
            name: "config.json".into(),
            fault,
        })
    }
}

fn missing(bundle: &Path) -> BundleError {
    if bundle.is_dir() {
        BundleError::NoConfig(bundle.to_path_buf())
    } else {
        BundleError::NoBundle(bundle.to_path_buf())
    }
}

/// Reads a JSON document, such as exec's process.json, into memory.
///
/// # Errors
///
/// It is missing, unreadable, no regular file or longer than [`DOCUMENT_MAX_BYTES`].
pub fn read_document(path: &Path) -> Result<Vec<u8>, BundleError> {
    let unreadable = |source| BundleError::Read {
        path: path.to_path_buf(),
        source,
    };
    // Non-blocking, so that a FIFO can't hold the runtime up.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(BundleError::NotAFile(path.to_path_buf()));
    }
    let document = read_bounded(&file, metadata.len()).map_err(unreadable)?;
    document.ok_or_else(|| BundleError::TooLarge(path.to_path_buf()))
}

fn read_bounded(file: &File, expected: u64) -> io::Result<Option<Vec<u8>>> {
    if expected > DOCUMENT_MAX_BYTES {
        return Ok(None);
    }
    let mut document = Vec::with_capacity(usize::try_from(expected).unwrap_or(0) + 1);
    file.take(DOCUMENT_MAX_BYTES + 1)
        .read_to_end(&mut document)?;
    let fits = document.len() as u64 <= DOCUMENT_MAX_BYTES;
    Ok(fits.then_some(document))
}

/// Parses a document of the specification: [`Spec`], [`crate::spec::Process`],
/// [`crate::spec::Resources`].
///
/// # Errors
///
/// It is no JSON, or a value has the wrong type.
pub fn parse<'a, T: Deserialize<'a>>(document: &'a [u8]) -> Result<T, ParseError> {
    serde_json::from_slice(document).map_err(|error| explain::<T>(document, &error))
}

/// Finds the place of a fault, which the fast parser does not keep.
fn explain<'a, T: Deserialize<'a>>(document: &'a [u8], error: &serde_json::Error) -> ParseError {
    let (line, column, message) = parts(error);
    if !error.is_data() {
        return ParseError::Syntax {
            line,
            column,
            message,
        };
    }
    let mut parser = serde_json::Deserializer::from_slice(document);
    match serde_path_to_error::deserialize::<_, T>(&mut parser) {
        Err(error) => ParseError::Type {
            pointer: pointer(error.path()),
            message,
            line,
            column,
        },
        Ok(_) => ParseError::Syntax {
            line,
            column,
            message,
        },
    }
}

/// Line, column, and the message without them.
fn parts(error: &serde_json::Error) -> (usize, usize, String) {
    let (line, column) = (error.line(), error.column());
    let mut message = error.to_string();
    let suffix = format!(" at line {line} column {column}");
    if let Some(bare) = message.strip_suffix(&suffix) {
        message.truncate(bare.len());
    }
    (line, column, message)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        pointer.push('/');
        match segment {
            Segment::Seq { index } => pointer.push_str(&index.to_string()),
            Segment::Map { key } => pointer.push_str(&pointer_token(key)),
            Segment::Enum { variant } => pointer.push_str(variant),
            Segment::Unknown => pointer.push('?'),
        }
    }
    pointer
}
