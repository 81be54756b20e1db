//! Frames of ttrpc, which is what containerd and its shims talk: a header of ten bytes, then a
//! message.
//!
//! ```text
//! 0        4        8      9       10
//! | length | stream | kind | flags | payload of that length
//! ```
//!
//! Numbers are big-endian. A client's streams have odd numbers; a response has its request's.

/// How long a header is.
pub const HEADER_BYTES: usize = 10;

/// The longest payload that anybody takes, in bytes.
pub const PAYLOAD_MAX_BYTES: usize = 4 << 20;

/// What is set aside for a payload before any of it has come, in bytes: what was announced may
/// never be sent.
const FIRST_RESERVE_BYTES: usize = 4 << 10;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call.
    Request,
    /// What a call has come to.
    Response,
    /// A part of a stream.
    Data,
    /// Nothing that this version of the protocol knows.
    Unknown(u8),
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Response => 2,
            Self::Data => 3,
            Self::Unknown(number) => number,
        }
    }

    const fn of(number: u8) -> Self {
        match number {
            1 => Self::Request,
            2 => Self::Response,
            3 => Self::Data,
            _ => Self::Unknown(number),
        }
    }
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Of the payload, in bytes.
    pub length: u32,
    /// The call that it belongs to.
    pub stream: u32,
    /// What it carries.
    pub kind: Kind,
    /// 1: the sender has closed its half of the stream; 2: it goes on sending; 4: no data.
    pub flags: u8,
}

impl Header {
    fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.length.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.stream.to_be_bytes());
        bytes[8] = self.kind.number();
        bytes[9] = self.flags;
        bytes
    }

    fn decode(bytes: [u8; HEADER_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, kind, flags] = bytes;
        Self {
            length: u32::from_be_bytes([a, b, c, d]),
            stream: u32::from_be_bytes([e, f, g, h]),
            kind: Kind::of(kind),
            flags,
        }
    }

    /// The payload's length, if anybody takes that much.
    fn acceptable(self) -> Option<usize> {
        let length = usize::try_from(self.length).ok()?;
        (length <= PAYLOAD_MAX_BYTES).then_some(length)
    }
}

/// The bytes of one frame; none when the payload is longer than [`PAYLOAD_MAX_BYTES`].
#[must_use]
pub fn encode(kind: Kind, stream: u32, flags: u8, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(payload.len()).ok()?;
    let header = Header {
        length,
        stream,
        kind,
        flags,
    };
    header.acceptable()?;
    let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
    frame.extend_from_slice(&header.encode());
    frame.extend_from_slice(payload);
    Some(frame)
}

/// What has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A frame, whole.
    Whole(Header, Vec<u8>),
    /// The header of one whose payload is longer than [`PAYLOAD_MAX_BYTES`]. The payload is
    /// skipped as it comes.
    TooLong(Header),
}

/// Puts frames together from bytes as they come. It holds no memory between two frames, and
/// within one no more than twice what has come.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
}

#[derive(Debug)]
enum State {
    /// So many bytes of a header are here.
    Header([u8; HEADER_BYTES], usize),
    /// So many bytes of a payload are missing.
    Payload(Header, Vec<u8>, usize),
    /// So many bytes of a payload that nobody takes are missing.
    Skipping(u32),
}

impl Default for State {
    fn default() -> Self {
        Self::Header([0; HEADER_BYTES], 0)
    }
}

impl Decoder {
    /// One that waits for a header.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes off the front of `input` until a frame is whole; all of them are taken when
    /// there is none. To be called until it gives none.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Frame> {
        loop {
            self.state = match std::mem::take(&mut self.state) {
                State::Header(mut bytes, have) => {
                    let more = take(input, HEADER_BYTES - have);
                    let end = have + more.len();
                    bytes[have..end].copy_from_slice(more);
                    if end < HEADER_BYTES {
                        self.state = State::Header(bytes, end);
                        return None;
                    }
                    let header = Header::decode(bytes);
                    let Some(length) = header.acceptable() else {
                        self.state = State::Skipping(header.length);
                        return Some(Frame::TooLong(header));
                    };
                    let payload = Vec::with_capacity(length.min(FIRST_RESERVE_BYTES));
                    State::Payload(header, payload, length)
                }
                State::Payload(header, mut payload, missing) => {
                    let more = take(input, missing);
                    payload.extend_from_slice(more);
                    if more.len() == missing {
                        return Some(Frame::Whole(header, payload));
                    }
                    self.state = State::Payload(header, payload, missing - more.len());
                    return None;
                }
                State::Skipping(missing) => {
                    let skipped = take(input, usize::try_from(missing).unwrap_or(usize::MAX));
                    // No more than `missing`, which is one.
                    let missing = missing - u32::try_from(skipped.len()).unwrap_or(missing);
                    if missing > 0 {
                        self.state = State::Skipping(missing);
                        return None;
                    }
                    State::default()
                }
            }
        }
    }

    /// Whether the last frame has come whole: an end of the connection here breaks nothing off.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Header(_, 0))
    }
}

/// The first bytes of `input`, at most so many, which are taken off.
fn take<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(decoder: &mut Decoder, mut input: &[u8]) -> Vec<Frame> {
        let frames = std::iter::from_fn(|| decoder.next(&mut input)).collect();
        assert!(input.is_empty(), "bytes are left that nobody took");
        frames
    }

    #[test]
    fn a_frame_has_the_bytes_that_the_protocol_says() {
        let frame = encode(Kind::Request, 0x0102_0305, 4, b"ab").unwrap();
        assert_eq!(frame, b"\0\0\0\x02\x01\x02\x03\x05\x01\x04ab");
        assert_eq!(encode(Kind::Response, 1, 0, b"").unwrap()[8], 2);
        assert_eq!(encode(Kind::Data, 1, 0, b"").unwrap()[8], 3);
    }

    #[test]
    fn the_crate_that_others_use_reads_the_same_header() {
        let frame = encode(Kind::Response, 7, 1, b"abc").unwrap();
        let theirs = ttrpc::proto::MessageHeader::from(&frame[..HEADER_BYTES]);
        assert_eq!((theirs.length, theirs.stream_id), (3, 7));
        assert_eq!(theirs.type_, ttrpc::proto::MESSAGE_TYPE_RESPONSE);
        assert_eq!(theirs.flags, ttrpc::proto::FLAG_REMOTE_CLOSED);
    }

    #[test]
    fn the_longest_payload_passes_and_a_longer_one_does_not() {
        let longest = vec![7; PAYLOAD_MAX_BYTES];
        let frame = encode(Kind::Request, 1, 0, &longest).unwrap();
        let frames = all(&mut Decoder::new(), &frame);
        assert!(matches!(&frames[..], [Frame::Whole(_, payload)] if *payload == longest));
        assert_eq!(
            encode(Kind::Request, 1, 0, &vec![0; PAYLOAD_MAX_BYTES + 1]),
            None
        );
    }

    #[test]
    fn a_frame_that_is_too_long_is_told_at_once_and_skipped_and_what_follows_is_read() {
        let length = u32::try_from(PAYLOAD_MAX_BYTES + 1).unwrap();
        let header = Header {
            length,
            stream: 9,
            kind: Kind::Request,
            flags: 0,
        };
        let mut decoder = Decoder::new();
        assert_eq!(
            all(&mut decoder, &header.encode()),
            [Frame::TooLong(header)]
        );
        assert!(!decoder.is_between_frames());
        for _ in 0..4096 {
            assert_eq!(all(&mut decoder, &[1; 1024]), []);
        }
        let mut rest = vec![1];
        rest.extend(encode(Kind::Request, 11, 0, b"next").unwrap());
        let frames = all(&mut decoder, &rest);
        assert!(
            matches!(&frames[..], [Frame::Whole(header, payload)] if header.stream == 11 && payload == b"next")
        );
        assert!(decoder.is_between_frames());
    }

    #[test]
    fn what_is_announced_and_never_sent_takes_no_memory() {
        let header = Header {
            length: u32::try_from(PAYLOAD_MAX_BYTES).unwrap(),
            stream: 1,
            kind: Kind::Data,
            flags: 0,
        };
        let mut decoder = Decoder::new();
        assert_eq!(all(&mut decoder, &header.encode()), []);
        assert!(
            matches!(&decoder.state, State::Payload(_, payload, _) if payload.capacity() <= FIRST_RESERVE_BYTES)
        );
    }

    #[test]
    fn a_kind_that_nobody_knows_is_told_by_its_number() {
        let mut decoder = Decoder::new();
        let frames = all(&mut decoder, b"\0\0\0\x01\0\0\0\x01\xee\0x");
        assert!(
            matches!(&frames[..], [Frame::Whole(header, _)] if header.kind == Kind::Unknown(0xee))
        );
    }

    fn kind() -> impl Strategy<Value = Kind> {
        any::<u8>().prop_map(Kind::of)
    }

    type Content = (Kind, u32, u8, Vec<u8>);

    fn contents() -> impl Strategy<Value = Vec<Content>> {
        let payload = proptest::collection::vec(any::<u8>(), 0..40);
        let content = (kind(), any::<u32>(), any::<u8>(), payload);
        proptest::collection::vec(content, 0..6)
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            contents in contents(),
            cuts in proptest::collection::vec(1..30_usize, 1..40),
        ) {
            let bytes: Vec<u8> = contents
                .iter()
                .flat_map(|(kind, stream, flags, payload)| {
                    encode(*kind, *stream, *flags, payload).unwrap()
                })
                .collect();
            let mut decoder = Decoder::new();
            let mut frames = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let piece = take(&mut rest, *cut);
                frames.extend(all(&mut decoder, piece));
            }
            prop_assert!(decoder.is_between_frames());
            let got: Vec<Content> = frames
                .into_iter()
                .map(|frame| match frame {
                    Frame::Whole(header, payload) => {
                        assert_eq!(header.length as usize, payload.len());
                        (header.kind, header.stream, header.flags, payload)
                    }
                    Frame::TooLong(header) => panic!("{header:?}"),
                })
                .collect();
            prop_assert_eq!(got, contents);
        }

        #[test]
        fn no_bytes_are_too_wild(pieces in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..64), 0..20,
        )) {
            let mut decoder = Decoder::new();
            for piece in &pieces {
                for frame in all(&mut decoder, piece) {
                    let (Frame::Whole(header, _) | Frame::TooLong(header)) = &frame;
                    let long = header.length as usize > PAYLOAD_MAX_BYTES;
                    prop_assert_eq!(long, matches!(frame, Frame::TooLong(_)));
                }
            }
        }
    }
}
