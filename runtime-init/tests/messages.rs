//! The record that crosses the socket: its layout, and the numbers of the calls.

#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

use runtime_init::{Call, Message};

#[test]
fn a_message_has_its_fields_where_the_other_end_looks_for_them() {
    let message = Message {
        kind: 0x0102,
        subject: 0x0304,
        call: 0x0506,
        reserved: 0,
        code: -7,
    };
    let bytes = message.to_bytes();
    assert_eq!(bytes[0..2], 0x0102_u16.to_ne_bytes());
    assert_eq!(bytes[2..4], 0x0304_u16.to_ne_bytes());
    assert_eq!(bytes[4..6], 0x0506_u16.to_ne_bytes());
    assert_eq!(bytes[6..8], [0, 0]);
    assert_eq!(bytes[8..12], (-7_i32).to_ne_bytes());
    assert_eq!(size_of::<Message>(), Message::SIZE);
}

#[test]
fn a_message_is_read_as_it_was_written_with_or_without_text() {
    let message = Message {
        kind: Message::FAILURE,
        subject: 3,
        call: 9,
        reserved: 0,
        code: 13,
    };
    let mut bytes = message.to_bytes().to_vec();
    assert_eq!(Message::from_bytes(&bytes), Some(message));
    bytes.extend_from_slice(b"the kernel's words");
    assert_eq!(Message::from_bytes(&bytes), Some(message));
}

#[test]
fn a_record_that_is_too_short_is_no_message() {
    let bytes = Message {
        kind: 1,
        subject: 1,
        call: 0,
        reserved: 0,
        code: 0,
    }
    .to_bytes();
    for length in 0..bytes.len() {
        assert_eq!(
            Message::from_bytes(&bytes[..length]),
            None,
            "{length} bytes"
        );
    }
}

#[test]
fn every_call_has_a_number_and_a_text_of_its_own() {
    let calls: Vec<Call> = (0..u16::MAX).map_while(Call::from_number).collect();
    assert_eq!(calls.last(), Some(&Call::OutsideRoot));
    for (number, call) in calls.iter().enumerate() {
        assert_eq!(*call as usize, number);
        assert!(!call.text().is_empty());
    }
    let mut texts: Vec<_> = calls.iter().map(|call| call.text()).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), calls.len());
}
