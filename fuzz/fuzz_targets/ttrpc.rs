//! Any bytes as what a client of the shim sends, in pieces of any size: frames come out whole or
//! as too long, the cut of the pieces changes nothing, and every call is decoded or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shim::frame::{Decoder, Frame, PAYLOAD_MAX_BYTES};
use shim::server::call::of_frame;

fn frames(bytes: &[u8], piece: usize) -> Vec<Frame> {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for mut input in bytes.chunks(piece) {
        while let Some(frame) = decoder.next(&mut input) {
            frames.push(frame);
        }
        assert!(input.is_empty());
    }
    frames
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let whole = frames(bytes, bytes.len().max(1));
    assert_eq!(frames(bytes, usize::from(piece).max(1)), whole);
    for frame in whole {
        if let Frame::Whole(header, payload) = &frame {
            assert!(payload.len() <= PAYLOAD_MAX_BYTES);
            assert_eq!(u32::try_from(payload.len()), Ok(header.length));
        }
        if let Some((_, Err(failure))) = of_frame(frame) {
            assert!(!failure.message.is_empty());
        }
    }
});
