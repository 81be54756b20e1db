use super::*;

/// A reader that gives a few bytes at a time.
struct Trickle<'a>(&'a [u8], usize);

impl Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.0.len().min(out.len()).min(self.1);
        let (now, later) = self.0.split_at(length);
        out[..length].copy_from_slice(now);
        self.0 = later;
        Ok(length)
    }
}

fn read(bytes: &[u8], compression: Compression) -> Result<Vec<u8>> {
    read_in_steps(bytes, 7, compression)
}

fn read_in_steps(bytes: &[u8], step: usize, compression: Compression) -> Result<Vec<u8>> {
    let mut decompressor = Decompressor::new(Trickle(bytes, step), compression, 1 << 20);
    let mut all = Vec::new();
    let mut buffer = [0; 1000];
    loop {
        let length = decompressor.fill(&mut buffer)?;
        if length == 0 {
            assert_eq!(decompressor.compressed_size(), bytes.len() as u64);
            return Ok(all);
        }
        all.extend_from_slice(&buffer[..length]);
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    io::Write::write_all(&mut encoder, content).expect("compressed");
    encoder.finish().expect("compressed")
}

fn zstd(content: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
}

fn content() -> Vec<u8> {
    (0..3_000_u32)
        .flat_map(|number| (number / 7).to_le_bytes())
        .collect()
}

#[test]
fn members_and_frames_follow_each_other() {
    let content = content();
    let twice = [&content[..], &content].concat();
    let skippable = b"\x5a\x2a\x4d\x18\x05\0\0\0table";
    let zeros = [0; 700];
    let gzipped = gzip(&content);
    let all = [&gzipped[..], &gzip(b""), &gzipped, &zeros].concat();
    assert_eq!(read(&all, Compression::Gzip).expect("members"), twice);
    let framed = zstd(&content);
    let all = [
        skippable,
        &framed[..],
        skippable,
        &framed,
        skippable,
        &zeros,
    ]
    .concat();
    for step in [1, 3, 7, 100_000] {
        assert_eq!(
            read_in_steps(&all, step, Compression::Zstd).expect("frames"),
            twice
        );
    }
}

#[test]
fn cut_off_damaged_and_followed_streams_are_errors() {
    let content = content();
    for (bytes, compression) in [
        (gzip(&content), Compression::Gzip),
        (zstd(&content), Compression::Zstd),
    ] {
        for length in 0..bytes.len() {
            let error = read(&bytes[..length], compression).expect_err("cut off");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{length}: {error}");
        }
        let mut damaged = bytes.clone();
        let last = damaged.len() - 14;
        damaged[last] ^= 0x10;
        assert!(read(&damaged, compression).is_err());
        for end in [&b"tail"[..], b"\0\0\x01", b"\x1f"] {
            let error = read(&[&bytes[..], end].concat(), compression).expect_err("followed");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
    }
}

#[test]
fn a_wrong_label_is_named() {
    let said = |bytes: &[u8], compression| {
        read(bytes, compression)
            .expect_err("mislabelled")
            .to_string()
    };
    assert!(said(&zstd(b"x"), Compression::Gzip).ends_with("its media type says gzip, it is zstd"));
    assert!(said(&gzip(b"x"), Compression::Zstd).ends_with("its media type says zstd, it is gzip"));
    assert!(said(b"plain", Compression::Gzip).contains("something else"));
    assert!(said(b"", Compression::Gzip).contains("nothing"));
}

#[test]
fn a_frame_that_wants_too_much_memory_is_refused() {
    // No single segment, a window of 2^41 bytes.
    let error = read(b"\x28\xb5\x2f\xfd\x00\xf8\x01\0\0", Compression::Zstd).expect_err("window");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    // A single segment of 2 GiB.
    let error = read(b"\x28\xb5\x2f\xfd\xa0\0\0\0\x80\x01\0\0", Compression::Zstd);
    assert_eq!(error.expect_err("segment").kind(), ErrorKind::Unsupported);
}
