//! Any bytes as an answer of criu: refused, or read; never more work than there are bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    runtime_core::checkpoint::read_answer(bytes);
});
