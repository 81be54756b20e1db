//! Archives, made byte by byte.

/// An archive that grows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Archive {
    pub(crate) bytes: Vec<u8>,
}

/// A header's fields. All others are as GNU tar writes them in its ustar format.
#[derive(Clone)]
pub(crate) struct Header {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: u8,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: u64,
    pub(crate) link: Vec<u8>,
    pub(crate) device: (u32, u32),
    pub(crate) magic: [u8; 8],
    pub(crate) prefix: Vec<u8>,
}

pub(crate) const USTAR: [u8; 8] = *b"ustar\x0000";
pub(crate) const GNU: [u8; 8] = *b"ustar  \0";

impl Header {
    pub(crate) fn new(kind: u8, name: impl AsRef<[u8]>) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            kind,
            mode: if kind == b'5' { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 1_600_000_000,
            link: Vec::new(),
            device: (0, 0),
            magic: USTAR,
            prefix: Vec::new(),
        }
    }

    /// The block, with its checksum.
    pub(crate) fn block(&self) -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, format!("{:07o}\0", self.uid).as_bytes());
        put(116, format!("{:07o}\0", self.gid).as_bytes());
        put(124, format!("{:011o}\0", self.size).as_bytes());
        put(136, format!("{:011o}\0", self.mtime).as_bytes());
        put(156, &[self.kind]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, &self.magic);
        put(329, format!("{:07o}\0", self.device.0).as_bytes());
        put(337, format!("{:07o}\0", self.device.1).as_bytes());
        put(345, &self.prefix);
        sign(&mut block);
        block
    }
}

/// Sets a block's checksum.
pub(crate) fn sign(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Any bytes, filled up to whole blocks.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn header(self, header: &Header) -> Self {
        let block = header.block();
        self.raw(&block)
    }

    pub(crate) fn with(self, mut header: Header, content: &[u8]) -> Self {
        header.size = content.len() as u64;
        self.header(&header).raw(content)
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.with(Header::new(b'0', name), content.as_bytes())
    }

    pub(crate) fn directory(self, name: &str) -> Self {
        self.header(&Header::new(b'5', name))
    }

    pub(crate) fn directory_of_mode(self, name: &str, mode: u32) -> Self {
        self.header(&Header {
            mode,
            ..Header::new(b'5', name)
        })
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.header(&Header {
            link: target.into(),
            mode: 0o777,
            ..Header::new(b'2', name)
        })
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.header(&Header {
            link: target.into(),
            ..Header::new(b'1', name)
        })
    }

    pub(crate) fn device(self, name: &str, kind: u8, device: (u32, u32)) -> Self {
        self.header(&Header {
            device,
            ..Header::new(kind, name)
        })
    }

    pub(crate) fn fifo(self, name: &str) -> Self {
        self.header(&Header::new(b'6', name))
    }

    /// An extended header: of this kind, with these records.
    pub(crate) fn pax(self, kind: u8, records: &[(&str, &[u8])]) -> Self {
        let data = records
            .iter()
            .flat_map(|(key, value)| record(key, value))
            .collect::<Vec<_>>();
        self.with(Header::new(kind, "./PaxHeaders/x"), &data)
    }

    /// A long name of GNU's: `L` for the name, `K` for the link.
    pub(crate) fn long(self, kind: u8, name: &[u8]) -> Self {
        let header = Header {
            magic: GNU,
            ..Header::new(kind, "././@LongLink")
        };
        self.with(header, &[name, b"\0"].concat())
    }

    /// The end mark, and all bytes.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 1024]);
        self.bytes
    }
}

/// `LENGTH KEY=VALUE\n`.
pub(crate) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    [length.to_string().as_bytes(), &rest].concat()
}
