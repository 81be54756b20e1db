//! D-Bus values as bytes: what systemd's manager is told and answers, in little endian.
//!
//! <https://dbus.freedesktop.org/doc/dbus-specification.html#message-protocol-marshaling>.
//! Whoever is at the other end may send anything: every length is checked against what is
//! there before it is believed.

use crate::plan::cgroup::{Property, Value};

/// The longest message that this side makes; the protocol allows 128 MiB.
pub(super) const LONGEST_MESSAGE: usize = 16 << 20;

/// Writes values behind one another, each at its alignment.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    pub(super) fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.raw(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.align(8);
        self.raw(&value.to_le_bytes());
    }

    /// A string or an object path. A NUL inside would end it early for the reader, so there it
    /// ends; names and texts of a plan have none.
    pub(super) fn string(&mut self, text: &str) {
        let text = text.split('\0').next().unwrap_or_default();
        self.length(text.len());
        self.raw(text.as_bytes());
        self.byte(0);
    }

    pub(super) fn signature(&mut self, signature: &str) {
        // Ours are a few letters long.
        self.byte(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.raw(signature.as_bytes());
        self.byte(0);
    }

    /// A length beyond the protocol's bounds is found when the message is: see
    /// [`LONGEST_MESSAGE`].
    fn length(&mut self, length: usize) {
        self.u32(u32::try_from(length).unwrap_or(u32::MAX));
    }

    /// An array whose elements have this alignment.
    pub(super) fn array<T>(
        &mut self,
        alignment: usize,
        items: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Self, T),
    ) {
        self.u32(0);
        let length_at = self.len() - 4;
        self.align(alignment);
        let start = self.len();
        for item in items {
            self.align(alignment);
            write(self, item);
        }
        let length = u32::try_from(self.len() - start).unwrap_or(u32::MAX);
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// `a(sv)`.
    pub(super) fn properties<'a>(&mut self, properties: impl IntoIterator<Item = &'a Property>) {
        self.array(8, properties, |to, property| {
            to.string(&property.name);
            to.variant(&property.value);
        });
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Bool(value) => self.u32(u32::from(*value)),
            Value::Int32(value) => {
                self.align(4);
                self.raw(&value.to_le_bytes());
            }
            Value::Uint64(value) => self.u64(*value),
            Value::Text(text) => self.string(text),
            Value::Texts(texts) => self.array(4, texts, |to, text| to.string(text)),
            Value::Bytes(bytes) => {
                self.length(bytes.len());
                self.raw(bytes);
            }
            Value::Numbers(numbers) => self.array(4, numbers, |to, number| to.u32(*number)),
            Value::Pairs(pairs) => self.array(8, pairs, |to, (one, other)| {
                to.string(one);
                to.string(other);
            }),
        }
    }
}

/// Reads values from bytes that nobody has checked; none where they end or break a rule.
#[derive(Clone, Debug)]
pub(super) struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    /// `bytes` begin at a multiple of eight in their message.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn align(&mut self, to: usize) -> Option<()> {
        let next = self.at.checked_next_multiple_of(to)?;
        let padding = self.bytes.get(self.at..next)?;
        self.at = next;
        padding.iter().all(|byte| *byte == 0).then_some(())
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.align(4)?;
        let bytes = self.take(4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// A string or an object path.
    pub(super) fn string(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.text(length)
    }

    pub(super) fn signature(&mut self) -> Option<&'a str> {
        let length = usize::from(self.byte()?);
        self.text(length)
    }

    fn text(&mut self, length: usize) -> Option<&'a str> {
        let text = self.take(length)?;
        let ends = self.byte()? == 0 && !text.contains(&0);
        ends.then(|| std::str::from_utf8(text).ok())?
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn property(name: &str, value: Value) -> Property {
        Property {
            name: name.to_owned().into(),
            value,
        }
    }

    fn bytes_of(value: Value) -> Vec<u8> {
        let mut encoder = Encoder::default();
        encoder.properties([&property("N", value)]);
        encoder.into_bytes()
    }

    /// `a(sv)` with the one property "N": length, padding, name, signature, padding, value.
    fn expected(signature: &str, alignment: usize, value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'N', 0];
        bytes.push(u8::try_from(signature.len()).unwrap());
        bytes.extend_from_slice(signature.as_bytes());
        bytes.push(0);
        while bytes.len() % alignment != 0 {
            bytes.push(0);
        }
        bytes.extend_from_slice(value);
        bytes[0] = u8::try_from(bytes.len() - 8).unwrap();
        bytes
    }

    #[test]
    fn values_are_where_the_specification_has_them() {
        let strings = Value::Texts(vec!["x".into(), "yz".into()]);
        for (value, alignment, bytes) in [
            (Value::Bool(true), 4, &[1, 0, 0, 0][..]),
            (Value::Int32(-2), 4, &[0xfe, 0xff, 0xff, 0xff]),
            (Value::Uint64(258), 8, &[2, 1, 0, 0, 0, 0, 0, 0]),
            (Value::Text("ab".into()), 4, b"\x02\0\0\0ab\0"),
            (Value::Bytes(vec![7, 8]), 4, &[2, 0, 0, 0, 7, 8]),
            (Value::Numbers(vec![5]), 4, &[4, 0, 0, 0, 5, 0, 0, 0]),
            (strings, 4, b"\x0f\0\0\0\x01\0\0\0x\0\0\0\x02\0\0\0yz\0"),
        ] {
            let wanted = expected(value.signature(), alignment, bytes);
            assert_eq!(bytes_of(value.clone()), wanted, "{value}");
        }
    }

    #[test]
    fn eight_byte_values_and_structures_are_aligned() {
        let number = bytes_of(Value::Uint64(0x0102_0304_0506_0708));
        assert_eq!(number[24..32], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(number.len(), 32);
        let pairs = bytes_of(Value::Pairs(vec![("a".into(), "b".into())]));
        // signature "a(ss)" from 14 to 21, the array's length at 24, its structure at 32
        assert_eq!(&pairs[14..21], b"\x05a(ss)\0");
        assert_eq!(pairs[24..28], [14, 0, 0, 0]);
        assert_eq!(&pairs[32..46], b"\x01\0\0\0a\0\0\0\x01\0\0\0b\0");
        let none = bytes_of(Value::Pairs(Vec::new()));
        assert_eq!(none[24..28], [0; 4]);
        assert_eq!(
            none.len(),
            32,
            "an empty array is padded to its elements' alignment"
        );
    }

    #[test]
    fn lengths_beyond_the_end_and_strings_that_are_none_are_no_values() {
        for bytes in [
            &[0xff, 0xff, 0xff, 0xff][..],
            &[0xff, 0xff, 0xff, 0xff, b'a', 0],
            &[2, 0, 0, 0, b'a', 0],
            &[1, 0, 0, 0, b'a'],
            &[1, 0, 0, 0, b'a', b'b'],
            &[1, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, 0xff, 0],
            &[1, 0, 0],
        ] {
            assert_eq!(Decoder::new(bytes).string(), None, "{bytes:?}");
        }
        assert_eq!(Decoder::new(&[5, b'a', 0]).signature(), None);
    }

    proptest! {
        #[test]
        fn strings_and_numbers_come_back(texts in proptest::collection::vec("[^\0]{0,20}", 0..8), number in any::<u32>()) {
            let mut encoder = Encoder::default();
            for text in &texts {
                encoder.string(text);
                encoder.u32(number);
            }
            let bytes = encoder.into_bytes();
            let mut decoder = Decoder::new(&bytes);
            for text in &texts {
                prop_assert_eq!(decoder.string(), Some(text.as_str()));
                prop_assert_eq!(decoder.u32(), Some(number));
            }
            prop_assert!(decoder.is_empty());
        }
    }
}
