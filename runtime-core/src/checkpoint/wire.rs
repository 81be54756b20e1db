//! Protocol Buffers' wire format, as far as criu's messages need it: numbers and byte strings.
//!
//! See "Encoding" in the Protocol Buffers documentation. Written and read by hand: criu's
//! interface is six messages, and whatever answers may be anything but criu.

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// The bytes end in the middle of a field.
    #[error("it is cut off")]
    CutOff,
    /// A number of more than 64 bits.
    #[error("a number in it has more than 64 bits")]
    LongNumber,
    /// A field of a kind that does not exist, or with the number 0.
    #[error("it has a field of an unknown kind")]
    Kind,
    /// A field that has to be there is missing, or has a value of another kind.
    #[error("{0} is missing")]
    Missing(&'static str),
}

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

/// A message on its way to bytes.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// A number; negative ones of the 32-bit types are written as their 64-bit value.
    pub(crate) fn number(&mut self, field: u32, value: i64) {
        self.key(field, VARINT);
        self.varint(value.cast_unsigned());
    }

    /// A bool, only if it is true: false is what criu takes a missing one for.
    pub(crate) fn switch(&mut self, field: u32, on: bool) {
        if on {
            self.number(field, 1);
        }
    }

    /// A string or bytes.
    pub(crate) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A message inside of this one.
    pub(crate) fn message(&mut self, field: u32, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }

    fn key(&mut self, field: u32, kind: u64) {
        self.varint(u64::from(field) << 3 | kind);
    }

    fn varint(&mut self, mut value: u64) {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                self.0.push(low & 0x7f);
                return;
            }
            self.0.push(low | 0x80);
        }
    }
}

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A number, a bool or an enum's value.
    Number(u64),
    /// A string, bytes or a message.
    Bytes(&'a [u8]),
    /// Of a kind that no message here has.
    Other,
}

impl<'a> Value<'a> {
    /// The number as a 32-bit one; what does not fit is cut, as every decoder does.
    pub(crate) fn int32(self) -> Option<i32> {
        match self {
            #[allow(clippy::cast_possible_truncation, reason = "the format says so")]
            Self::Number(number) => Some(number as i32),
            _ => None,
        }
    }

    pub(crate) fn is_true(self) -> bool {
        matches!(self, Self::Number(number) if number != 0)
    }

    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// The fields of a message, in order. After an error there are no more.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| Malformed::Kind)?;
        if number == 0 {
            return Err(Malformed::Kind);
        }
        let value = match key & 7 {
            VARINT => Value::Number(self.varint()?),
            FIXED_64 => self.take(8).map(|_| Value::Other)?,
            BYTES => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed::CutOff)?;
                Value::Bytes(self.take(length)?)
            }
            FIXED_32 => self.take(4).map(|_| Value::Other)?,
            _ => return Err(Malformed::Kind),
        };
        Ok((number, value))
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first().ok_or(Malformed::CutOff)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed::LongNumber);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::LongNumber)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed::CutOff)?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::default();
        write(&mut writer);
        writer.into_bytes()
    }

    #[test]
    fn fields_are_written_as_the_format_says() {
        // The examples of the format's own documentation.
        assert_eq!(written(|w| w.number(1, 150)), [0x08, 0x96, 0x01]);
        assert_eq!(
            written(|w| w.bytes(2, b"testing")),
            [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]
        );
        assert_eq!(
            written(|w| w.message(3, |inner| inner.number(1, 150))),
            [0x1a, 0x03, 0x08, 0x96, 0x01]
        );
        assert_eq!(
            written(|w| w.number(1, -2)),
            [
                0x08, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01
            ]
        );
        assert_eq!(written(|w| w.switch(37, true)), [0xa8, 0x02, 0x01]);
        assert!(written(|w| w.switch(1, false)).is_empty());
    }

    #[test]
    fn what_is_no_message_is_said_to_be_none() {
        fn first(bytes: &[u8]) -> Result<(u32, Value<'_>), Malformed> {
            Fields::of(bytes).next().unwrap()
        }
        assert_eq!(first(&[0x08]), Err(Malformed::CutOff));
        assert_eq!(first(&[0x12, 0x05, b'a']), Err(Malformed::CutOff));
        assert_eq!(first(&[0x00, 0x00]), Err(Malformed::Kind));
        assert_eq!(first(&[0x0b]), Err(Malformed::Kind));
        let mut long = vec![0x08];
        long.extend([0xff; 10]);
        assert_eq!(first(&long), Err(Malformed::LongNumber));
        // A length beyond all memory.
        let mut huge = vec![0x12];
        huge.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
        assert_eq!(first(&huge), Err(Malformed::CutOff));
    }

    #[test]
    fn nothing_comes_after_an_error() {
        let mut fields = Fields::of(&[0x0b, 0x08, 0x01]);
        assert!(fields.next().unwrap().is_err());
        assert!(fields.next().is_none());
    }

    #[test]
    fn fields_of_kinds_that_are_not_used_are_stepped_over() {
        let bytes = [0x0d, 1, 2, 3, 4, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x18, 7];
        let fields: Vec<_> = Fields::of(&bytes).map(Result::unwrap).collect();
        assert_eq!(
            fields,
            [(1, Value::Other), (2, Value::Other), (3, Value::Number(7)),]
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number in any::<i64>(), field in 1_u32..1 << 29, text in any::<Vec<u8>>()) {
            let bytes = written(|w| {
                w.number(field, number);
                w.bytes(field, &text);
            });
            let fields: Vec<_> = Fields::of(&bytes).map(Result::unwrap).collect();
            prop_assert_eq!(
                fields,
                [(field, Value::Number(number.cast_unsigned())), (field, Value::Bytes(&text))]
            );
        }

        #[test]
        fn any_bytes_are_read_to_an_end(bytes in any::<Vec<u8>>()) {
            prop_assert!(Fields::of(&bytes).count() <= bytes.len());
        }
    }
}
