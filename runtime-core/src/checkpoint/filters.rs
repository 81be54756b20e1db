//! The seccomp filters of an image: whether they are the one that config.json asks for.
//!
//! A process tells only how many filters it has, so what they say is read from the image itself,
//! which nobody but root may change meanwhile (`images`). Every chain of filters has to begin
//! with config.json's; what a process has added on top forbids only more.

use libc::sock_filter;

use super::images::Directory;
use super::wire::{Fields, Malformed, Value};
use crate::error::{Error, ErrorKind};
use crate::plan::SeccompPlan;

const FILE: &str = "seccomp.img";

/// What every image begins with, and this one.
const MAGIC: [u32; 2] = [0x5456_4319, 0x6441_3049];

/// A filter has at most 32 KiB; a container hardly more than some hundred of them.
const LONGEST: u64 = 16 << 20;

/// Whether the images have config.json's filter below every other.
///
/// # Errors
///
/// [`ErrorKind::InvalidConfig`] when they have not.
pub(crate) fn check(images: &Directory, wanted: Option<&SeccompPlan>) -> Result<(), Error> {
    let Some(wanted) = wanted else {
        return Ok(());
    };
    let differ = |how: &str| {
        Error::text(
            ErrorKind::InvalidConfig,
            format!(
                "linux.seccomp: {how}: an image can't be restored under another seccomp filter than it was made with (or another version or runtime has compiled the same profile otherwise)"
            ),
        )
    };
    let Some(image) = images.read(FILE, LONGEST)? else {
        return Err(differ("the image has processes without a filter"));
    };
    match first_filters(&image) {
        Ok(filters) if filters.is_empty() => Err(differ("the image has no filter")),
        Ok(filters)
            if filters
                .iter()
                .all(|filter| is_same(filter, &wanted.program)) =>
        {
            Ok(())
        }
        Ok(_) => Err(differ(
            "the image has a filter that config.json does not have",
        )),
        Err(malformed) => Err(differ(&format!(
            "{FILE} of the image can't be read: {malformed}"
        ))),
    }
}

/// The filters that have no other below them.
fn first_filters(image: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let mut words = image.chunks_exact(4).map(|word| {
        let bytes = [word[0], word[1], word[2], word[3]];
        u32::from_le_bytes(bytes)
    });
    for magic in MAGIC {
        if words.next() != Some(magic) {
            return Err(Malformed::Missing("the beginning of such an image"));
        }
    }
    let length = words.next().ok_or(Malformed::CutOff)?;
    let length = usize::try_from(length).map_err(|_| Malformed::CutOff)?;
    let message = image
        .get(12..)
        .and_then(|rest| rest.get(..length))
        .ok_or(Malformed::CutOff)?;
    let mut first = Vec::new();
    for field in Fields::of(message) {
        if let (1, Value::Bytes(filter)) = field? {
            first.extend(filter_without_another(filter)?);
        }
    }
    Ok(first)
}

fn filter_without_another(message: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let (mut program, mut is_first) = (None, true);
    for field in Fields::of(message) {
        match field? {
            (1, Value::Bytes(bytes)) => program = Some(bytes),
            (2, _) => is_first = false,
            _ => {}
        }
    }
    let program = program.ok_or(Malformed::Missing("a filter's program"))?;
    Ok(is_first.then_some(program))
}

fn is_same(bytes: &[u8], program: &[sock_filter]) -> bool {
    let mut wanted = Vec::with_capacity(program.len() * 8);
    for one in program {
        wanted.extend(one.code.to_ne_bytes());
        wanted.extend([one.jt, one.jf]);
        wanted.extend(one.k.to_ne_bytes());
    }
    bytes == wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::wire::Writer;

    const ALLOW: sock_filter = sock_filter {
        code: 6,
        jt: 0,
        jf: 0,
        k: 0x7fff_0000,
    };
    const ALLOW_BYTES: [u8; 8] = [6, 0, 0, 0, 0, 0, 0xff, 0x7f];
    const OTHER_BYTES: [u8; 8] = [6, 0, 0, 0, 0, 0, 5, 0];

    /// An image with these programs, each with the index of the one below it.
    fn image(filters: &[(&[u8], Option<i64>)]) -> Vec<u8> {
        let mut writer = Writer::default();
        for (program, below) in filters {
            writer.message(1, |filter| {
                filter.bytes(1, program);
                if let Some(below) = below {
                    filter.number(2, *below);
                }
            });
        }
        let message = writer.into_bytes();
        let mut image = Vec::new();
        for word in [MAGIC[0], MAGIC[1], u32::try_from(message.len()).unwrap()] {
            image.extend(word.to_le_bytes());
        }
        image.extend(message);
        image
    }

    fn all_are_wanted(image: &[u8]) -> bool {
        let first = first_filters(image).unwrap();
        !first.is_empty() && first.iter().all(|filter| is_same(filter, &[ALLOW]))
    }

    #[test]
    fn the_lowest_filter_of_every_chain_counts() {
        assert!(all_are_wanted(&image(&[(&ALLOW_BYTES, None)])));
        assert!(all_are_wanted(&image(&[
            (&ALLOW_BYTES, None),
            (&OTHER_BYTES, Some(0))
        ])));
        assert!(!all_are_wanted(&image(&[
            (&ALLOW_BYTES, None),
            (&OTHER_BYTES, None)
        ])));
        assert!(!all_are_wanted(&image(&[
            (&OTHER_BYTES, None),
            (&ALLOW_BYTES, Some(0))
        ])));
        assert!(!all_are_wanted(&image(&[])));
    }

    #[test]
    fn every_cut_of_an_image_is_an_error() {
        let whole = image(&[(&ALLOW_BYTES, None)]);
        for length in 0..whole.len() {
            assert!(first_filters(&whole[..length]).is_err(), "{length}");
        }
        let mut other = whole;
        other[4] ^= 1;
        assert!(first_filters(&other).is_err());
    }
}
