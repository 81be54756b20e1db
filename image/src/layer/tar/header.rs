//! One header block.

use super::{BLOCK, number};

/// Fields of a header, by place. POSIX, pax, "ustar Interchange Format"; GNU tar manual,
/// "Basic Tar Format".
pub(super) struct Header<'a> {
    block: &'a [u8; BLOCK],
    pub(super) format: Format,
}

/// Who wrote a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Before POSIX: no magic.
    V7,
    /// POSIX.
    Ustar,
    /// GNU tar, before it took to pax.
    Gnu,
}

/// Why a header is refused: a sentence's end.
pub(super) type Refusal = &'static str;

impl<'a> Header<'a> {
    /// Checks the checksum and who wrote it, and that no reader sees a longer name in it.
    pub(super) fn parse(block: &'a [u8; BLOCK]) -> Result<Self, Refusal> {
        let sum: i64 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| match at {
                148..156 => i64::from(b' '),
                _ => i64::from(*byte),
            })
            .sum();
        if number::field(&block[148..156]) != Some(sum) {
            return Err("its header's checksum is wrong");
        }
        let format = match &block[257..265] {
            b"ustar\x0000" => Format::Ustar,
            b"ustar  \0" => Format::Gnu,
            magic if magic.iter().all(|byte| *byte == 0) => Format::V7,
            _ => return Err("its header is of no format that is known"),
        };
        let header = Self { block, format };
        header.check_prefix()?;
        header.check_numbers()?;
        Ok(header)
    }

    /// Some readers stop at any malformed number, also of an extended header.
    fn check_numbers(&self) -> Result<(), Refusal> {
        self.mode()?;
        self.uid()?;
        self.gid()?;
        self.size()?;
        self.mtime()?;
        self.device().map(drop)
    }

    /// Some readers take the field for a name's begin in any format, and star keeps times there.
    fn check_prefix(&self) -> Result<(), Refusal> {
        let prefix = &self.block[345..500];
        let is_name = self.format == Format::Ustar && &self.block[508..512] != b"tar\0";
        if is_name || self.kind() == b'S' || prefix.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        Err("its header has times or other things where a name's begin may stand")
    }

    pub(super) fn kind(&self) -> u8 {
        self.block[156]
    }

    /// The name, with its begin from the prefix field.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = text(&self.block[0..100]);
        let prefix = match self.format {
            Format::Ustar => text(&self.block[345..500]),
            _ => b"",
        };
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.block[157..257]).to_vec()
    }

    pub(super) fn mode(&self) -> Result<u32, Refusal> {
        let mode = number::field(&self.block[100..108]).ok_or("its mode is no number")?;
        // The file's type may stand there, too: the kind says it.
        u32::try_from(mode)
            .map(|mode| mode & 0o7777)
            .map_err(|_| "its mode is out of range")
    }

    pub(super) fn uid(&self) -> Result<u32, Refusal> {
        id(number::field(&self.block[108..116]))
    }

    pub(super) fn gid(&self) -> Result<u32, Refusal> {
        id(number::field(&self.block[116..124]))
    }

    pub(super) fn size(&self) -> Result<u64, Refusal> {
        number::field(&self.block[124..136])
            .and_then(|size| u64::try_from(size).ok())
            .ok_or("its size is no number")
    }

    pub(super) fn mtime(&self) -> Result<i64, Refusal> {
        // The last one has no opposite, and no program writes it.
        number::field(&self.block[136..148])
            .filter(|seconds| *seconds > i64::MIN)
            .ok_or("its time is no number")
    }

    /// Major and minor number of a device. Checked for every file: some readers stop there.
    pub(super) fn device(&self) -> Result<(u32, u32), Refusal> {
        if self.format == Format::V7 {
            return Ok((0, 0));
        }
        let part = |bytes| number::field(bytes).and_then(|part| u32::try_from(part).ok());
        part(&self.block[329..337])
            .zip(part(&self.block[337..345]))
            .ok_or("its device number is no number")
    }

    /// The first parts of an old GNU sparse file, the file's size, and whether more parts follow.
    pub(super) fn old_sparse(&self) -> Result<(&'a [u8], u64, bool), Refusal> {
        let size = number::field(&self.block[483..495])
            .and_then(|size| u64::try_from(size).ok())
            .ok_or("its size with holes is no number")?;
        Ok((&self.block[386..482], size, self.block[482] != 0))
    }
}

/// The kernel's 32 bits, of which the last number means "leave as it is".
pub(super) fn id(value: Option<i64>) -> Result<u32, Refusal> {
    value
        .and_then(|value| u32::try_from(value).ok())
        .filter(|value| *value != u32::MAX)
        .ok_or("its owner's or group's id is no number below 4294967295")
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}
