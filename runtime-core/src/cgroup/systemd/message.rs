//! Messages of D-Bus: calls as they are sent, and what comes back.

use super::wire::{Decoder, Encoder};

/// The part of a header that has a fixed size.
pub(super) const PROLOGUE: usize = 16;

/// The most bytes that the header's fields may have here; systemd's have a few hundred.
const LONGEST_FIELDS: usize = 64 << 10;

/// The longest body that is looked at. Longer ones are read past: on a direct connection
/// systemd tells everything that happens to any unit.
pub(super) const LONGEST_BODY: usize = 64 << 10;

/// The protocol's own bound of a message.
const LONGEST_MESSAGE: usize = 128 << 20;

const VERSION: u8 = 1;
const NO_REPLY_EXPECTED: u8 = 1;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Return,
    Error,
    Signal,
    /// One of a later version of the protocol, to be ignored.
    Other,
}

/// A call to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    /// None on a direct connection.
    pub(super) destination: Option<&'a str>,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) signature: &'a str,
    pub(super) wants_reply: bool,
}

impl Call<'_> {
    /// The whole message; `body` has the values of the signature.
    pub(super) fn to_bytes(self, serial: u32, body: &[u8]) -> Vec<u8> {
        let mut message = Encoder::default();
        let flags = if self.wants_reply {
            0
        } else {
            NO_REPLY_EXPECTED
        };
        message.raw(&[b'l', 1, flags, VERSION]);
        message.u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
        message.u32(serial);
        let texts = [
            (1, "o", Some(self.path)),
            (2, "s", Some(self.interface)),
            (3, "s", Some(self.member)),
            (6, "s", self.destination),
        ];
        let texts = texts
            .into_iter()
            .filter_map(|(code, kind, text)| Some((code, kind, text?)));
        let signature = Some((8, "g", self.signature)).filter(|(_, _, text)| !text.is_empty());
        message.array(8, texts.chain(signature), |to, (code, kind, text)| {
            to.byte(code);
            to.signature(kind);
            if kind == "g" {
                to.signature(text);
            } else {
                to.string(text);
            }
        });
        message.align(8);
        message.raw(body);
        message.into_bytes()
    }
}

/// What the first bytes of a message say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prologue {
    pub(super) kind: Kind,
    /// Bytes of the fields, padding included.
    pub(super) fields: usize,
    pub(super) body: usize,
}

impl Prologue {
    /// Reads them; none for what can't be the beginning of a message.
    pub(super) fn parse(bytes: &[u8; PROLOGUE]) -> Option<Self> {
        let [order, kind, _flags, version, ..] = *bytes;
        if order != b'l' || version != VERSION {
            return None;
        }
        let mut rest = Decoder::new(bytes);
        rest.u32()?;
        let body = usize::try_from(rest.u32()?).ok()?;
        let serial = rest.u32()?;
        let fields = usize::try_from(rest.u32()?).ok()?;
        let kind = match kind {
            0 => return None,
            1 => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => Kind::Other,
        };
        if serial == 0 || fields > LONGEST_FIELDS || body > LONGEST_MESSAGE {
            return None;
        }
        Some(Self {
            kind,
            fields: fields.next_multiple_of(8),
            body,
        })
    }
}

/// The fields of a header that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    pub(super) interface: Option<&'a str>,
    pub(super) member: Option<&'a str>,
    pub(super) error: Option<&'a str>,
    pub(super) reply_to: Option<u32>,
    pub(super) signature: &'a str,
}

impl<'a> Fields<'a> {
    /// Reads them, padding included; none where they break a rule.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = Self::default();
        let mut rest = Decoder::new(bytes);
        while !rest.is_empty() {
            rest.align(8)?;
            if rest.is_empty() {
                break;
            }
            let code = rest.byte()?;
            let kind = rest.signature()?;
            match (kind, code) {
                ("g", 8) => fields.signature = rest.signature()?,
                ("g", _) => {
                    rest.signature()?;
                }
                ("u", 5) => fields.reply_to = Some(rest.u32()?),
                ("u", _) => {
                    rest.u32()?;
                }
                ("s", 2) => fields.interface = Some(rest.string()?),
                ("s", 3) => fields.member = Some(rest.string()?),
                ("s", 4) => fields.error = Some(rest.string()?),
                ("s" | "o", _) => {
                    rest.string()?;
                }
                _ => return None,
            }
        }
        Some(fields)
    }
}

/// A message that concerns this side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A call was answered; with an object's path, if that is what the answer is.
    Returned { reply_to: u32, text: Option<String> },
    /// A call was refused.
    Refused {
        reply_to: u32,
        name: String,
        message: String,
    },
    /// A job is over: `JobRemoved`.
    JobRemoved {
        job: String,
        unit: String,
        result: String,
    },
    /// Anything else.
    Other,
}

impl Incoming {
    /// Understands a message; none where it breaks the rules of its kind.
    pub(super) fn parse(kind: Kind, fields: &[u8], body: &[u8]) -> Option<Self> {
        let fields = Fields::parse(fields)?;
        let mut values = Decoder::new(body);
        Some(match kind {
            Kind::Return => Self::Returned {
                reply_to: fields.reply_to?,
                text: returned_text(fields.signature, &mut values)?,
            },
            Kind::Error => Self::Refused {
                reply_to: fields.reply_to?,
                name: fields.error?.to_owned(),
                message: match fields.signature.starts_with('s') {
                    true => values.string()?.to_owned(),
                    false => String::new(),
                },
            },
            Kind::Signal if is_job_removed(&fields) => {
                values.u32()?;
                let mut text = || Some(values.string()?.to_owned());
                Self::JobRemoved {
                    job: text()?,
                    unit: text()?,
                    result: text()?,
                }
            }
            Kind::Call | Kind::Signal | Kind::Other => Self::Other,
        })
    }
}

fn is_job_removed(fields: &Fields<'_>) -> bool {
    fields.member == Some("JobRemoved")
        && fields.interface == Some(super::calls::MANAGER)
        && fields.signature == "uoss"
}

/// The one text that the answers have which are of interest: a job's path, a property.
#[expect(clippy::option_option, reason = "broken, and without a text")]
fn returned_text(signature: &str, values: &mut Decoder<'_>) -> Option<Option<String>> {
    let text = match signature {
        "o" | "s" => values.string()?,
        "v" => match values.signature()? {
            "o" | "s" => values.string()?,
            _ => return Some(None),
        },
        _ => return Some(None),
    };
    Some(Some(text.to_owned()))
}

/// How many messages stand in the bytes, up to the first that is broken.
pub(super) fn count(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some((head, rest)) = bytes.split_first_chunk::<PROLOGUE>() {
        let Some(prologue) = Prologue::parse(head) else {
            break;
        };
        let Some((fields, rest)) = rest.split_at_checked(prologue.fields) else {
            break;
        };
        let Some((body, rest)) = rest.split_at_checked(prologue.body) else {
            break;
        };
        if Incoming::parse(prologue.kind, fields, body).is_none() {
            break;
        }
        count += 1;
        bytes = rest;
    }
    count
}
