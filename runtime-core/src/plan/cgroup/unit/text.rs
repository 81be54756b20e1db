//! GVariant text, as far as properties of a known type need it.
//!
//! <https://docs.gtk.org/glib/gvariant-text-format.html>: a type may stand in front of the
//! value, as a word (`uint64 5`) or as a signature (`@t 5`); strings are quoted by `'` or `"`,
//! and numbers are decimal, or hexadecimal after `0x`.

use super::Value;

/// The longest value, and the longest list: annotations may be megabytes.
const LONGEST_TEXT: usize = 4096;
const LONGEST_LIST: usize = 1024;

/// The type of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int32,
    Uint64,
    Text,
    Texts,
    Bytes,
}

impl Kind {
    /// The words that may stand in front of a value.
    fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::Bool => &["boolean ", "@b "],
            Self::Int32 => &["int32 ", "@i "],
            Self::Uint64 => &["uint64 ", "@t "],
            Self::Text => &["string ", "@s "],
            Self::Texts => &["@as "],
            Self::Bytes => &["@ay "],
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Int32 => "int32",
            Self::Uint64 => "uint64",
            Self::Text => "string",
            Self::Texts => "array of strings",
            Self::Bytes => "array of bytes",
        }
    }

    pub(super) fn example(self) -> &'static str {
        match self {
            Self::Bool => "true",
            Self::Int32 => "15",
            Self::Uint64 => "uint64 1000000",
            Self::Text => "'text'",
            Self::Texts => "['a.service', 'b.service']",
            Self::Bytes => "[byte 0x03]",
        }
    }
}

/// The value of that type; none if the text is none.
pub(super) fn parse(text: &str, kind: Kind) -> Option<Value> {
    if text.len() > LONGEST_TEXT {
        return None;
    }
    let mut rest = text.trim();
    if let Some(prefix) = kind.prefixes().iter().find(|p| rest.starts_with(**p)) {
        rest = rest[prefix.len()..].trim_start();
    }
    let (value, rest) = match kind {
        Kind::Bool => bool(rest),
        Kind::Int32 => Some((Value::Int32(signed(rest)?), "")),
        Kind::Uint64 => Some((Value::Uint64(unsigned(rest)?), "")),
        Kind::Text => string(rest).map(|(text, rest)| (Value::Text(text), rest)),
        Kind::Texts => list(rest, string).map(|(texts, rest)| (Value::Texts(texts), rest)),
        Kind::Bytes => list(rest, byte).map(|(bytes, rest)| (Value::Bytes(bytes), rest)),
    }?;
    rest.trim().is_empty().then_some(value)
}

fn bool(text: &str) -> Option<(Value, &str)> {
    match text {
        "true" => Some((Value::Bool(true), "")),
        "false" => Some((Value::Bool(false), "")),
        _ => None,
    }
}

fn signed(text: &str) -> Option<i32> {
    match text.strip_prefix('-') {
        Some(digits) => i32::try_from(-i64::try_from(unsigned(digits)?).ok()?).ok(),
        None => i32::try_from(unsigned(text)?).ok(),
    }
}

fn unsigned(text: &str) -> Option<u64> {
    let (digits, base) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // from_str_radix takes a sign, too.
    let all = !digits.is_empty() && digits.chars().all(|c| c.is_digit(base));
    all.then(|| u64::from_str_radix(digits, base).ok())?
}

/// A quoted string at the beginning, and what follows it.
fn string(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut string = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((index, letter)) = letters.next() {
        match letter {
            '\\' => string.push(escaped(letters.next()?.1)?),
            letter if letter == quote => return Some((string, &text[index + 1..])),
            letter if letter.is_control() => return None,
            letter => string.push(letter),
        }
    }
    None
}

/// No unit property has a use for control characters, so none of those can be escaped.
fn escaped(letter: char) -> Option<char> {
    matches!(letter, '\'' | '"' | '\\').then_some(letter)
}

fn byte(text: &str) -> Option<(u8, &str)> {
    let text = text.strip_prefix("byte ").unwrap_or(text);
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(text.len());
    let value = u8::try_from(unsigned(&text[..end])?).ok()?;
    Some((value, &text[end..]))
}

fn list<T>(text: &str, item: impl Fn(&str) -> Option<(T, &str)>) -> Option<(Vec<T>, &str)> {
    let mut rest = text.strip_prefix('[')?.trim_start();
    let mut items = Vec::new();
    if let Some(rest) = rest.strip_prefix(']') {
        return Some((items, rest));
    }
    loop {
        let (value, after) = item(rest)?;
        items.push(value);
        let after = after.trim_start();
        if let Some(rest) = after.strip_prefix(']') {
            return Some((items, rest));
        }
        rest = after.strip_prefix(',')?.trim_start();
        if items.len() == LONGEST_LIST {
            return None;
        }
    }
}
