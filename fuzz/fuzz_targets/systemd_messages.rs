//! Any bytes as what systemd, or whoever answers in its place, sends: messages or none, never a
//! panic, and never more messages than there is room for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime_core::cgroup::systemd::read_messages;

/// The fixed part of a header: no message is shorter.
const SHORTEST: usize = 16;

fuzz_target!(|bytes: &[u8]| {
    let count = read_messages(bytes);
    assert!(count <= bytes.len() / SHORTEST);
    // Messages stand on their own: what follows changes nothing of those before.
    let twice = [bytes, bytes].concat();
    assert!(read_messages(&twice) >= count);
});
