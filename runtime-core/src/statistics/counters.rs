//! A file of lines `key value`, kept as the kernel has written it.

/// The numbers of a flat-keyed file such as `memory.stat`; none when there is no such file.
///
/// It is searched when asked: kernels have some fifty keys there, and a caller wants each of a
/// few once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(Box<str>);

impl Counters {
    /// The numbers of this text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The number of a key, if the kernel has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<u64> {
        self.iter().find(|(name, _)| *name == key).map(|(_, n)| n)
    }

    /// Every key and its number, in the kernel's order; a line that is anything else is passed
    /// over.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.lines().filter_map(|line| {
            let (key, text) = line.split_once(' ')?;
            Some((key, super::parse::number(text)?))
        })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}
