//! What the texts of a request mean: shim.md's `STDIO` URIs, as containerd's clients write them.
//!
//! A text comes from the request of the task API and from nowhere else: not from an annotation,
//! a label or the environment. It is checked as a whole before anything is opened or started.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use crate::failure::Failure;

/// Where a stream leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// Nowhere: `/dev/null`.
    Nothing,
    /// A FIFO of the client's.
    Fifo(PathBuf),
    /// A log file that is appended to.
    File(PathBuf),
    /// A program of the host that reads the output.
    Logger(LoggerCommand),
}

/// How a logger is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoggerCommand {
    /// Its executable; an absolute path.
    pub(super) program: CString,
    /// Its arguments after the name: each key and value of the query, in the order of the text.
    pub(super) arguments: Vec<CString>,
    /// Whether it has to say that it is ready (`binary-v2`): its end of file alone is none.
    pub(super) says_ready: bool,
}

/// What the text of a stream means; `stream` names it in failures.
///
/// # Errors
///
/// `InvalidArgument` for a scheme that nobody knows, for paths that are relative or contain
/// `..` or NUL, and for URIs that are not well-formed.
pub(super) fn parse(stream: &str, text: &str) -> Result<Destination, Failure> {
    let refuse = |why: &str| Failure::invalid(format!("{stream} {text:?}: {why}"));
    if text.is_empty() {
        return Ok(Destination::Nothing);
    }
    if text.starts_with('/') {
        // No URI: its bytes are the path's.
        let path = path(text.as_bytes().to_vec()).map_err(refuse)?;
        return Ok(Destination::Fifo(path));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(refuse(
            "neither an absolute path nor a URI: give /path, fifo:///path, file:///path or binary:///path",
        ));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "fifo" => uri_path(rest).map(Destination::Fifo).map_err(refuse),
        "file" => uri_path(rest).map(Destination::File).map_err(refuse),
        "binary" => logger(rest, false).map_err(refuse),
        "binary-v2" => logger(rest, true).map_err(refuse),
        _ => Err(refuse(&format!(
            "unknown scheme {scheme}: the known ones are fifo, file, binary and binary-v2"
        ))),
    }
}

fn logger(rest: &str, says_ready: bool) -> Result<Destination, &'static str> {
    let (file, query) = rest.split_once('?').unwrap_or((rest, ""));
    if query.contains(['#', ';']) {
        return Err("# and ; in a query are written %23 and %3B");
    }
    let program = uri_path(file)?.into_os_string().into_vec();
    Ok(Destination::Logger(LoggerCommand {
        program: CString::new(program).map_err(|_| NUL)?,
        arguments: arguments(query)?,
        says_ready,
    }))
}

/// `k=v&l` as `k v l ""`. Of a key that is repeated the first value counts, as for every caller
/// that asks Go's `url.Values` for one value.
fn arguments(query: &str) -> Result<Vec<CString>, &'static str> {
    let mut keys: Vec<CString> = Vec::new();
    let mut arguments = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = CString::new(decoded(key, true)?).map_err(|_| NUL)?;
        if keys.contains(&key) {
            continue;
        }
        keys.push(key.clone());
        arguments.push(key);
        arguments.push(CString::new(decoded(value, true)?).map_err(|_| NUL)?);
    }
    Ok(arguments)
}

/// The path of a URI without host, query and fragment.
fn uri_path(rest: &str) -> Result<PathBuf, &'static str> {
    if !rest.starts_with('/') {
        return Err("the URI has a host or a relative path: three slashes, as in file:///path");
    }
    if rest.contains(['?', '#']) {
        return Err("? and # in a path are written %3F and %23");
    }
    path(decoded(rest, false)?)
}

const NUL: &str = "it contains a NUL byte";

fn path(bytes: Vec<u8>) -> Result<PathBuf, &'static str> {
    if bytes.contains(&0) {
        return Err(NUL);
    }
    let path = PathBuf::from(OsString::from_vec(bytes));
    if path.components().any(|part| part == Component::ParentDir) {
        return Err("the path contains `..`: give the path that is meant");
    }
    if path == Path::new("/") || path.as_os_str().as_bytes().ends_with(b"/") {
        return Err("the path names a directory");
    }
    Ok(path)
}

/// RFC 3986's percent-encoding; in a query, `+` is a space.
fn decoded(text: &str, in_query: bool) -> Result<Vec<u8>, &'static str> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(hex).ok_or(NO_ESCAPE);
                digit()? << 4 | digit()?
            }
            b'+' if in_query => b' ',
            byte => byte,
        });
    }
    Ok(decoded)
}

const NO_ESCAPE: &str = "a % that two hexadecimal digits don't follow: a % itself is written %25";

fn hex(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Code;

    fn meant(text: &str) -> Destination {
        parse("stdout", text).unwrap()
    }

    fn refused(text: &str) -> String {
        let failure = parse("stdout", text).unwrap_err();
        assert_eq!(failure.code, Code::INVALID_ARGUMENT);
        failure.message
    }

    fn command(text: &str) -> (String, Vec<String>, bool) {
        let Destination::Logger(command) = meant(text) else {
            panic!("{text} is no logger");
        };
        let words = command.arguments.iter();
        (
            command.program.into_string().unwrap(),
            words.map(|w| w.to_str().unwrap().to_owned()).collect(),
            command.says_ready,
        )
    }

    #[test]
    fn a_text_leads_where_it_says() {
        assert_eq!(meant(""), Destination::Nothing);
        assert_eq!(meant("/a/b%20c"), Destination::Fifo("/a/b%20c".into()));
        assert_eq!(meant("/a://b"), Destination::Fifo("/a://b".into()));
        assert_eq!(meant("fifo:///a/b%20c"), Destination::Fifo("/a/b c".into()));
        assert_eq!(meant("file:///log%3f"), Destination::File("/log?".into()));
        assert_eq!(meant("FILE:///log"), Destination::File("/log".into()));
        assert_eq!(meant("file:///a/..b"), Destination::File("/a/..b".into()));
    }

    #[test]
    fn a_query_is_arguments_in_its_order() {
        let text = "binary:///bin/log?z=1&a=x%20y+z&flag&z=2&%2d-k=%26";
        let words = ["z", "1", "a", "x y z", "flag", "", "--k", "&"];
        assert_eq!(
            command(text),
            ("/bin/log".into(), words.map(String::from).into(), false)
        );
        assert_eq!(
            command("binary-v2:///bin/log"),
            ("/bin/log".into(), vec![], true)
        );
    }

    #[test]
    fn what_is_no_destination_is_refused_with_the_reason() {
        for (text, why) in [
            ("relative", "neither an absolute path nor a URI"),
            ("file:relative", "neither an absolute path nor a URI"),
            ("http://host/x", "unknown scheme http"),
            ("attachablebinary:///x", "unknown scheme attachablebinary"),
            ("://x", "unknown scheme "),
            ("file://host/x", "has a host"),
            ("file://", "has a host or a relative path"),
            ("file:///a/../b", "`..`"),
            ("file:///a/%2e%2e/b", "`..`"),
            ("/a/..", "`..`"),
            ("binary:///../bin/x", "`..`"),
            ("/a\0b", "NUL"),
            ("file:///a%00b", "NUL"),
            ("binary:///a?k=%00", "NUL"),
            ("file:///a?b", "%3F"),
            ("file:///a#b", "%23"),
            ("binary:///a?b;c", "%3B"),
            ("file:///a%2", "two hexadecimal digits"),
            ("file:///a%+2", "two hexadecimal digits"),
            ("file:///", "directory"),
            ("/a/", "directory"),
        ] {
            let said = refused(text);
            assert!(said.contains(why), "{text:?}: {said}");
            assert!(said.starts_with("stdout "), "{said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_leads_out_of_its_path(text in "(fifo|file|binary)://(/|%2e|[.]|%|2|[a?&=;#]|%2f|%00){0,12}") {
            let path = match parse("stdout", &text) {
                Ok(Destination::Fifo(path) | Destination::File(path)) => path,
                Ok(Destination::Logger(command)) => {
                    PathBuf::from(command.program.into_string().unwrap())
                }
                Ok(Destination::Nothing) => panic!("{text:?} is something"),
                Err(_) => return Ok(()),
            };
            assert!(path.is_absolute());
            assert!(path.components().all(|part| part != Component::ParentDir));
            assert!(!path.as_os_str().as_bytes().contains(&0));
        }
    }
}
