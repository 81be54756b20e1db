//! A bundle: a directory with a config.json in it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::errno::{Words, of_io};
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
    #[error("read {path}: {}", Words(of_io(source)))]
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
    #[error("{pointer}{separator}{message} (line {line}, column {column})",
        separator = if pointer.is_empty() { "" } else { ": " })]
    Type {
        /// JSON pointer of the value; empty for the whole document.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Process;

    fn fault(document: &str) -> String {
        parse::<Spec<'_>>(document.as_bytes())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_fault_has_a_place() {
        insta::assert_snapshot!(fault("{\n \"root\": {,}\n}"));
        insta::assert_snapshot!(fault(""));
        insta::assert_snapshot!(fault("{} x"));
        insta::assert_snapshot!(fault("[]"));
        insta::assert_snapshot!(fault("{\"mounts\": [{\"options\": [\"ro\", 5]}]}"));
        insta::assert_snapshot!(fault("{\"linux\": {\"sysctl\": {\"a/b\": 1}}}"));
        insta::assert_snapshot!(fault("{\"process\": {\"user\": {\"uid\": 4294967296}}}"));
        insta::assert_snapshot!(fault("{\"process\": {\"user\": {\"uid\": -1}}}"));
        insta::assert_snapshot!(fault("{\"hostname\": \"a\", \"hostname\": \"b\"}"));
        insta::assert_snapshot!(fault("{\"hostname\": \"\\ud800\"}"));
    }

    #[test]
    fn deep_nesting_is_a_fault_or_ignored_and_never_a_crash() {
        let deep = "[".repeat(5 << 20);
        fault(&format!("{{\"mounts\": {deep}"));
        fault(&format!("{{\"unknown\": {deep}"));
        let closed = format!("{{\"unknown\": {deep}{}}}", "]".repeat(5 << 20));
        assert!(parse::<Spec<'_>>(closed.as_bytes()).is_ok());
    }

    #[test]
    fn unknown_properties_and_null_are_as_if_absent() {
        let spec: Spec<'_> = parse(br#"{"vm": {"x": [1]}, "root": null, "mounts": null}"#).unwrap();
        assert_eq!(spec, Spec::default());
    }

    #[test]
    fn a_document_of_exec_is_parsed_alike() {
        let process: Process<'_> = parse(br#"{"args": ["a\u0062"], "terminal": true}"#).unwrap();
        assert_eq!(&*process.args.unwrap()[0], "ab");
    }

    #[test]
    fn what_is_missing_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let text = |path: &Path| {
            let error = Bundle::open(path).unwrap_err();
            error
                .to_string()
                .replace(&directory.path().display().to_string(), "DIR")
        };
        insta::assert_snapshot!(text(Path::new("relative")));
        insta::assert_snapshot!(text(&path.join("none")));
        insta::assert_snapshot!(text(path));
        std::fs::create_dir(path.join("config.json")).unwrap();
        insta::assert_snapshot!(text(path));
    }

    #[test]
    fn a_document_beyond_the_limit_is_refused_unread() {
        let directory = tempfile::tempdir().unwrap();
        let file = File::create(directory.path().join("config.json")).unwrap();
        file.set_len(DOCUMENT_MAX_BYTES + 1).unwrap();
        let error = Bundle::open(directory.path()).unwrap_err();
        assert!(matches!(error, BundleError::TooLarge(_)), "{error}");
        assert!(
            error.to_string().ends_with("has more than 16 MiB"),
            "{error}"
        );
        file.set_len(0).unwrap();
        let bundle = Bundle::open(directory.path()).unwrap();
        insta::assert_snapshot!(bundle.spec().unwrap_err());
    }

    #[test]
    fn a_fifo_does_not_hold_the_runtime_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(
            Bundle::open(directory.path()),
            Err(BundleError::NotAFile(_))
        ));
    }
}
