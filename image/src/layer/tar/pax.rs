//! pax records: `LENGTH KEY=VALUE\n`, before the entry that they speak of.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::header::{Refusal, id};
use super::{Segment, Time, Xattr, number};

/// What an extended header says, as far as it matters.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) sparse: Sparse,
}

/// GNU's sparse files in pax, versions 0.0, 0.1 and 1.0. GNU tar manual, "Sparse Formats".
#[derive(Debug, Default)]
pub(super) struct Sparse {
    pub(super) is_named: bool,
    pub(super) name: Option<Vec<u8>>,
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) size: Option<u64>,
    pub(super) count: Option<u64>,
    pub(super) map: Option<Vec<Segment>>,
    /// 0.0: an offset stands before each length.
    pub(super) pieces: Vec<Segment>,
    offset: Option<u64>,
}

/// Reads the records of one entry.
pub(super) fn parse(data: &[u8]) -> Result<Records, Refusal> {
    let mut records = Records::default();
    let mut seen = HashSet::new();
    for record in split(data) {
        let (key, value) = record?;
        let may_repeat = matches!(key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes");
        if !may_repeat && !seen.insert(key) {
            return Err("its extended header says the same thing twice");
        }
        records.take(key, value)?;
    }
    if records.sparse.offset.is_some() {
        return Err("its extended header has a hole without an end");
    }
    Ok(records)
}

/// Looks at records for all entries that follow. Those that change nothing (comments) are
/// passed over; readers differ on the others.
pub(super) fn check_global(data: &[u8]) -> Result<(), Refusal> {
    for record in split(data) {
        let (key, _) = record?;
        let changes = KEYS.contains(&key)
            || [&b"GNU.sparse."[..], b"SCHILY.", b"LIBARCHIVE."]
                .iter()
                .any(|prefix| key.starts_with(prefix));
        if changes {
            return Err("it has a global extended header that changes what follows");
        }
    }
    Ok(())
}

const KEYS: [&[u8]; 10] = [
    b"path",
    b"linkpath",
    b"size",
    b"uid",
    b"gid",
    b"uname",
    b"gname",
    b"mtime",
    b"hdrcharset",
    b"charset",
];

type Record<'a> = (&'a [u8], &'a [u8]);

/// The records of `data`, one after the other; nothing may stand between them.
fn split(mut data: &[u8]) -> impl Iterator<Item = Result<Record<'_>, Refusal>> {
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let Some((record, rest)) = first(data) else {
            data = &[];
            return Some(Err("its extended header is malformed"));
        };
        data = rest;
        Some(Ok(record))
    })
}

fn first(data: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = data.iter().take(20).position(|byte| *byte == b' ')?;
    let digits = &data[..space];
    if digits.first() == Some(&b'0') {
        return None;
    }
    let length = usize::try_from(number::decimal(digits)?).ok()?;
    let record = data.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let key = &record[..equals];
    let is_sound = !key.is_empty() && !key.contains(&0);
    is_sound.then(|| ((key, &record[equals + 1..]), &data[length..]))
}

impl Records {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refusal> {
        match key {
            b"path" => self.path = Some(name(value)?),
            b"linkpath" => self.link = Some(name(value)?),
            b"size" => self.size = Some(count(value)?),
            b"uid" => self.uid = Some(number_of_id(value)?),
            b"gid" => self.gid = Some(number_of_id(value)?),
            b"mtime" => {
                self.mtime =
                    Some(number::time(value).ok_or("its extended header has a malformed time")?);
            }
            b"hdrcharset" if !matches!(value, b"BINARY" | b"ISO-IR 10646 2000 UTF-8") => {
                return Err("its extended header is in another character set than UTF-8");
            }
            _ => return self.take_prefixed(key, value),
        }
        Ok(())
    }

    fn take_prefixed(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refusal> {
        if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            return self.sparse.take(key, value);
        }
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            return self.take_xattr(name.to_vec(), value.to_vec());
        }
        if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            let name = percent_decoded(name).ok_or("the name of an attribute is malformed")?;
            let value = STANDARD_NO_PAD
                .decode(value)
                .or_else(|_| STANDARD.decode(value))
                .map_err(|_| "the value of an attribute is not in base64")?;
            return self.take_xattr(name, value);
        }
        // atime, ctime, uname, gname, comment, and what vendors have: of no effect here.
        Ok(())
    }

    /// libarchive writes both forms: the first one counts, if they say the same.
    fn take_xattr(&mut self, name: Vec<u8>, value: Vec<u8>) -> Result<(), Refusal> {
        if name.is_empty() || name.contains(&0) {
            return Err("the name of an attribute is malformed");
        }
        match self.xattrs.iter().find(|xattr| xattr.name == name) {
            Some(known) if known.value == value => {}
            Some(_) => return Err("an attribute has two values"),
            None => self.xattrs.push(Xattr { name, value }),
        }
        Ok(())
    }
}

impl Sparse {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refusal> {
        self.is_named = true;
        match key {
            b"name" => self.name = Some(name(value)?),
            b"major" => self.major = Some(count(value)?),
            b"minor" => self.minor = Some(count(value)?),
            b"size" | b"realsize" if self.size.is_some() => {
                return Err("its extended header says the same thing twice");
            }
            b"size" | b"realsize" => self.size = Some(count(value)?),
            b"numblocks" => self.count = Some(count(value)?),
            b"offset" if self.offset.is_some() => {
                return Err("its extended header has a hole without an end");
            }
            b"offset" => self.offset = Some(count(value)?),
            b"numbytes" => {
                let offset = self
                    .offset
                    .take()
                    .ok_or("its extended header has a hole without a begin")?;
                let length = count(value)?;
                self.pieces.push(Segment { offset, length });
            }
            b"map" => self.map = Some(map(value)?),
            _ => return Err("its extended header has an unknown kind of holes"),
        }
        Ok(())
    }
}

/// `offset,length,offset,length…`
fn map(value: &[u8]) -> Result<Vec<Segment>, Refusal> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let numbers: Vec<u64> = value
        .split(|byte| *byte == b',')
        .map(count)
        .collect::<Result<_, _>>()?;
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("its extended header has a hole without an end");
    }
    let segment = |[offset, length]: &[u64; 2]| Segment {
        offset: *offset,
        length: *length,
    };
    Ok(pairs.iter().map(segment).collect())
}

fn name(value: &[u8]) -> Result<Vec<u8>, Refusal> {
    if value.is_empty() || value.contains(&0) {
        return Err("its extended header has an empty name, or one with a NUL");
    }
    Ok(value.to_vec())
}

fn count(value: &[u8]) -> Result<u64, Refusal> {
    number::decimal(value).ok_or("its extended header has a malformed number")
}

fn number_of_id(value: &[u8]) -> Result<u32, Refusal> {
    id(number::decimal(value).and_then(|value| i64::try_from(value).ok()))
}

/// libarchive's way to have `=` and other bytes in an attribute's name.
fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let mut digit = || char::from(*bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(decoded)
}
