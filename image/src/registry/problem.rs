//! What a registry says when it says no: the status, and distribution-spec's list of errors.

use serde::Deserialize;

use super::answer::Answer;
use crate::error::{Error, ErrorKind};

/// The most that is read of an error's body.
const MAX_BODY: u64 = 64 << 10;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    errors: Vec<Entry>,
    /// What token services say (OAuth 2).
    error: String,
    error_description: String,
    /// What some registries say besides.
    details: String,
    message: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    code: String,
    message: String,
}

/// An answer that is not what was hoped for, as an error. `step` names the act and its object.
pub(super) fn error(step: &str, answer: Answer) -> Error {
    let status = answer.status;
    let authority = answer.url.origin().authority();
    let words = words(answer);
    let kind = kind(status, &words);
    let said = if words.is_empty() {
        String::new()
    } else {
        format!(": {words}")
    };
    let message = format!("{step}: {authority} answers {}{said}", status_words(status));
    let error = Error::new(kind, message);
    match kind {
        ErrorKind::Denied => {
            error.advise("it does not exist, or needs other credentials: see `tare image login`")
        }
        ErrorKind::RateLimited => {
            error.advise("it limits how much may be fetched; credentials often raise the limit")
        }
        _ => error,
    }
}

fn kind(status: u16, words: &str) -> ErrorKind {
    match status {
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        429 => ErrorKind::RateLimited,
        // Some registries refuse with 400, and say the reason as a code only.
        _ if words.contains("DENIED") || words.contains("UNAUTHORIZED") => ErrorKind::Denied,
        _ if words.contains("TOOMANYREQUESTS") => ErrorKind::RateLimited,
        _ => ErrorKind::Registry,
    }
}

/// The registry's own words, made safe for a terminal.
fn words(answer: Answer) -> String {
    let is_json = answer
        .header("content-type")
        .is_some_and(|name| name.contains("json"));
    let Ok(bytes) = answer.beginning(MAX_BODY) else {
        return String::new();
    };
    if let Ok(body) = serde_json::from_slice::<Body>(&bytes) {
        let listed = body.errors.iter().take(5).map(|entry| {
            let joint = if entry.message.is_empty() { "" } else { ": " };
            format!("{}{joint}{}", entry.code, entry.message)
        });
        let oauth = [
            body.error,
            body.error_description,
            body.details,
            body.message,
        ];
        let told: Vec<String> = listed
            .chain(oauth)
            .filter(|text| !text.is_empty())
            .collect();
        return printable(&told.join("; "), 400);
    }
    // A page of HTML from a proxy helps nobody.
    let text = String::from_utf8_lossy(&bytes);
    if is_json || text.trim_start().starts_with('<') {
        return String::new();
    }
    printable(text.trim(), 200)
}

/// Text from outside: no control characters (which could rewrite a terminal), and not too long.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let mut shown: String = text
        .chars()
        .map(|letter| match letter {
            letter if letter.is_control() => ' ',
            // Letters that change the direction of others.
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => ' ',
            letter => letter,
        })
        .take(limit)
        .collect();
    if text.chars().nth(limit).is_some() {
        shown.push('…');
    }
    shown
}

fn status_words(status: u16) -> String {
    let reason = ureq::http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    match reason {
        Some(reason) => format!("{status} ({reason})"),
        None => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_at_the_registrys_mercy() {
        assert_eq!(printable("a\x1b[2Jb\nc\u{202e}d", 9), "a [2Jb c …");
        assert_eq!(printable("short", 9), "short");
    }

    #[test]
    fn the_status_and_the_code_say_what_kind_it_is() {
        assert_eq!(kind(403, ""), ErrorKind::Denied);
        assert_eq!(kind(400, "DENIED: no"), ErrorKind::Denied);
        assert_eq!(kind(404, "x"), ErrorKind::NotFound);
        assert_eq!(kind(429, ""), ErrorKind::RateLimited);
        assert_eq!(kind(503, "x"), ErrorKind::Registry);
        assert_eq!(status_words(418), "418 (I'm a teapot)");
        assert_eq!(status_words(299), "299");
    }
}
