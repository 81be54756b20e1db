//! Any bytes as a file of a cgroup, or as a table of network interfaces: read without a panic,
//! and what comes out holds what the types promise.

#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime_core::statistics::{Counters, Limit, parse};

fuzz_target!(|bytes: &[u8]| {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    let interfaces = parse::network_interfaces(bytes);
    assert!(interfaces.len() <= lines);

    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some(number) = parse::value(text) {
        assert_eq!(parse::limit(text), Some(Limit::At(number)));
        assert_eq!(parse::numbers(text), [number]);
    }
    if let Some(list) = parse::list(text) {
        assert!(list.windows(2).all(|pair| pair[0] < pair[1]));
    }
    let (user, system) = parse::usage_by_mode(text);
    assert_eq!(user.len(), system.len());
    let pressure = parse::pressure(text);
    for stall in [pressure.some, pressure.full].into_iter().flatten() {
        assert!(stall.percent_10s.is_finite() && stall.percent_60s.is_finite());
    }
    assert!(parse::block_io_entries(text).len() <= lines);
    assert!(parse::rdma_devices(text).len() <= lines);
    for device in parse::io_devices(text) {
        let counts = [
            device.read_bytes,
            device.written_bytes,
            device.reads,
            device.writes,
        ];
        let discards = [device.discarded_bytes, device.discards];
        assert!(counts.iter().chain(&discards).any(Option::is_some));
    }
    let counters = Counters::new(text);
    for (key, _) in counters.iter() {
        assert!(counters.get(key).is_some());
    }
    let _signed = parse::signed(text);
});
