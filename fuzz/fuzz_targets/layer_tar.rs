//! Any bytes as a layer's archive: refused, or read; and what is read can be written and read
//! again as the same.

#![no_main]

use image::layer::tar::{Entry, Reader, Writer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(entries) = read(bytes) else { return };
    let mut writer = Writer::new(Vec::new());
    for (entry, content) in &entries {
        writer.entry(entry).expect("what was read can be written");
        writer.content(content).expect("as much as was read");
    }
    let written = writer.finish().expect("memory takes it");
    assert_eq!(read(&written), Some(entries));
});

/// All entries with their content, or none if the archive is refused.
fn read(bytes: &[u8]) -> Option<Vec<(Entry, Vec<u8>)>> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().ok()? {
        let mut content = Vec::new();
        loop {
            let part = reader.content().ok()?;
            if part.is_empty() {
                break;
            }
            content.extend_from_slice(part);
            let length = part.len();
            reader.consume(length);
        }
        let stored = match &entry.segments {
            Some(segments) => segments.iter().map(|segment| segment.length).sum(),
            None => entry.size,
        };
        assert_eq!(stored, content.len() as u64);
        entries.push((entry, content));
    }
    Some(entries)
}
