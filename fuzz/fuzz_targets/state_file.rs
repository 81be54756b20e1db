//! Any bytes as a state file: refused, or a record that comes back the same when it is written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime_core::spec::Spec;
use runtime_core::state::{Stored, VERSION};

fuzz_target!(|bytes: &[u8]| {
    let stored = match Stored::parse(bytes) {
        Ok(stored) => stored,
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty(), "refused without a reason");
            return;
        }
    };
    assert_eq!(stored.record.version, VERSION);
    let written = stored.record.to_bytes(&stored.config);
    let again = Stored::parse(&written).expect("what was written is a state file");
    assert_eq!(again.config, stored.config);
    assert_eq!(
        format!("{:?}", again.record),
        format!("{:?}", stored.record)
    );
    // What later operations do with it.
    let _spec = serde_json::from_slice::<Spec<'_>>(&stored.config);
});
