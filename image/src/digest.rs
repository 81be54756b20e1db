//! Digests: the name of content, and the proof that bytes are that content.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

use crate::error::{Error, ErrorKind, Result};

/// A hash function of image-spec's registered algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// 64 hexadecimal digits. Every implementation has it.
    Sha256,
    /// 128 hexadecimal digits.
    Sha512,
}

impl Algorithm {
    /// All of them: the directories below `blobs` of an image layout.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The word before the colon.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A digest whose text was checked: a known algorithm, and exactly as many lower-case
/// hexadecimal digits as it has. So both parts are safe file names.
///
/// image-spec, descriptor.md, "Digests".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The word before the colon, as a value.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What follows the colon.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first twelve digits, as people know them from lists.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |why: &str| {
            let shown: String = text.chars().take(80).collect();
            Error::new(
                ErrorKind::InvalidInput,
                format!("invalid digest {shown:?}: {why}"),
            )
        };
        let (name, hex) = text.split_once(':').ok_or_else(|| {
            invalid("it has no colon between the algorithm and the hexadecimal digits")
        })?;
        let algorithm = Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| invalid("only sha256 and sha512 are supported"))?;
        if hex.len() != algorithm.hex_length() {
            return Err(invalid("it has not the algorithm's number of digits"));
        }
        if !hex
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(invalid("digits are 0-9 and a-f"));
        }
        Ok(Self {
            algorithm,
            hex: hex.into(),
        })
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// Hashes a stream.
#[derive(Clone, Debug)]
pub struct Hasher(State);

#[derive(Clone, Debug)]
enum State {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// Has seen nothing yet.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Box::new(Sha512::new())),
        })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(hasher) => hasher.update(bytes),
            State::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of everything that it has seen.
    #[must_use]
    pub fn finish(self) -> Digest {
        let (algorithm, bytes) = match self.0 {
            State::Sha256(hasher) => (Algorithm::Sha256, hasher.finalize().to_vec()),
            State::Sha512(hasher) => (Algorithm::Sha512, hasher.finalize().to_vec()),
        };
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            hex.push(char::from(HEX[usize::from(byte >> 4)]));
            hex.push(char::from(HEX[usize::from(byte & 15)]));
            hex
        });
        Digest {
            algorithm,
            hex: hex.into(),
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Checks a stream against the digest and the size that were promised.
#[derive(Debug)]
pub struct Verifier {
    expected: Digest,
    size: u64,
    seen: u64,
    hasher: Hasher,
}

impl Verifier {
    /// Expects `size` bytes with the digest `expected`.
    #[must_use]
    pub fn new(expected: &Digest, size: u64) -> Self {
        Self {
            expected: expected.clone(),
            size,
            seen: 0,
            hasher: Hasher::new(expected.algorithm()),
        }
    }

    /// How many bytes it has seen.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] as soon as there are more bytes than were promised.
    pub fn update(&mut self, bytes: &[u8]) -> Result<()> {
        self.seen = self.seen.saturating_add(bytes.len() as u64);
        if self.seen > self.size {
            return Err(self.corrupt(format!("more than the {} bytes promised", self.size)));
        }
        self.hasher.update(bytes);
        Ok(())
    }

    /// Whether all bytes came, and were the right ones.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the size or the digest is another one.
    pub fn finish(&self) -> Result<()> {
        if self.seen < self.size {
            let why = format!("only {} of {} bytes", self.seen, self.size);
            return Err(self.corrupt(why));
        }
        let found = self.hasher.clone().finish();
        if found != self.expected {
            return Err(self.corrupt(format!("its digest is {found}")));
        }
        Ok(())
    }

    fn corrupt(&self, why: String) -> Error {
        let message = format!(
            "content {} is not what its digest promises: {why}",
            self.expected
        );
        Error::new(ErrorKind::Corrupt, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_digest_of_nothing_is_known() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(Digest::of(b"").short(), "e3b0c44298fc");
        let sha512 = Hasher::new(Algorithm::Sha512).finish();
        assert!(sha512.to_string().starts_with("sha512:cf83e1357eefb8bd"));
        assert_eq!(sha512.to_string().parse::<Digest>().ok(), Some(sha512));
    }

    #[test]
    fn only_the_strict_grammar_is_a_digest() {
        let upper = EMPTY.to_uppercase();
        let long = format!("{EMPTY}0");
        let path = format!("sha256:../../{}", &EMPTY[13..]);
        let nul = format!("sha256:\0{}", &EMPTY[8..]);
        let md5 = "md5:d41d8cd98f00b204e9800998ecf8427e";
        let bad = [
            "",
            ":",
            "sha256:",
            "sha256",
            &upper,
            &long,
            &path,
            &nul,
            md5,
            &EMPTY[..70],
        ];
        for text in bad {
            let error = text.parse::<Digest>().expect_err(text);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
        }
        assert!(EMPTY.parse::<Digest>().is_ok());
    }

    #[test]
    fn other_bytes_fewer_bytes_and_more_bytes_are_told_apart() {
        let verify = |bytes: &[u8]| {
            let mut verifier = Verifier::new(&Digest::of(b"tare"), 4);
            verifier.update(bytes)?;
            verifier.finish()
        };
        assert!(verify(b"tare").is_ok());
        for (bytes, why) in [
            (&b"rate"[..], "its digest is"),
            (b"tar", "only 3 of 4"),
            (b"tare\0", "more than the 4"),
        ] {
            let error = verify(bytes).expect_err(why);
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
