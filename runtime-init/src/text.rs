//! Text of a bounded length on the stack.

use core::ffi::CStr;

use crate::sys::Errno;

type Result<T> = core::result::Result<T, Errno>;

/// The kernel's limit for a path with its NUL.
pub(crate) const PATH_MAX: usize = 4096;

/// A C string of at most `N - 1` bytes that can grow.
pub(crate) struct Text<const N: usize> {
    // Every byte from `len` on that may be looked at is NUL: `bytes[len]` always is.
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    pub(crate) fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }

    /// # Errors
    ///
    /// ENAMETOOLONG if there is no room.
    pub(crate) fn of(parts: &[&[u8]]) -> Result<Self> {
        let mut text = Self::new();
        parts
            .iter()
            .try_for_each(|part| text.push(part))
            .map(|()| text)
    }

    pub(crate) fn push(&mut self, part: &[u8]) -> Result<()> {
        let end = self.len + part.len();
        if end >= N {
            return Err(Errno(libc::ENAMETOOLONG));
        }
        let room = self
            .bytes
            .get_mut(self.len..end)
            .ok_or(Errno(libc::ENAMETOOLONG))?;
        room.copy_from_slice(part);
        self.truncate(end);
        Ok(())
    }

    /// Appends a number in decimal.
    pub(crate) fn push_number(&mut self, number: u32) -> Result<()> {
        if number >= 10 {
            self.push_number(number / 10)?;
        }
        let digit = u8::try_from(number % 10).unwrap_or_default();
        self.push(&[b'0' + digit])
    }

    /// Sets the length, after bytes have been removed or written beyond it.
    pub(crate) fn truncate(&mut self, len: usize) {
        if let Some(end) = self.bytes.get_mut(len) {
            *end = 0;
            self.len = len;
        }
    }

    /// The whole room, for a system call to fill; [`Text::truncate`] says how far it did.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        // Ends at the first NUL, so what a buggy part may hide behind one is not seen.
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}
