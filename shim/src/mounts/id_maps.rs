//! `uidmap=` and `gidmap=`: containerd's words for an idmapped rootfs.

use runtime_core::mount::{IdMapping, IdMappings, MountOptions};

use crate::failure::Failure;

/// Both mappings of a mount.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IdMaps {
    uids: Vec<IdMapping>,
    gids: Vec<IdMapping>,
}

impl IdMaps {
    /// Takes both words out of the options. One without the other is refused: files would keep
    /// the owner that was to be hidden.
    pub(super) fn take(options: &mut MountOptions<'_>) -> Result<Option<Self>, Failure> {
        let uids = take_word(options, "uidmap=");
        let gids = take_word(options, "gidmap=");
        match (uids, gids) {
            (None, None) => Ok(None),
            (Some(uids), Some(gids)) => Ok(Some(Self {
                uids: parse(uids)?,
                gids: parse(gids)?,
            })),
            _ => Err(Failure::invalid("uidmap= and gidmap= must both be there")),
        }
    }

    /// A user namespace that has them.
    pub(super) fn open(&self) -> Result<IdMappings, Failure> {
        IdMappings::new(&self.uids, &self.gids)
            .map_err(|errno| Failure::call("make a user namespace for uidmap= and gidmap=", errno))
    }
}

/// The last value of a word, which counts; all of them are taken out.
fn take_word<'a>(options: &mut MountOptions<'a>, start: &str) -> Option<&'a str> {
    let mut value = None;
    options
        .data
        .retain(|(_, word)| match word.strip_prefix(start) {
            Some(rest) => {
                value = Some(rest);
                false
            }
            None => true,
        });
    value
}

/// `CONTAINER:HOST:SIZE`, several after commas.
fn parse(text: &str) -> Result<Vec<IdMapping>, Failure> {
    let one = |range: &str| {
        let mut numbers = range.split(':').map(|number| number.parse().ok());
        let range = [(); 3].map(|()| numbers.next().flatten());
        match (range, numbers.next()) {
            ([Some(container_id), Some(host_id), Some(size @ 1..)], None) => Some(IdMapping {
                container_id,
                host_id,
                size,
            }),
            _ => None,
        }
    };
    let ranges: Option<Vec<_>> = text.split(',').map(one).collect();
    ranges.ok_or_else(|| {
        Failure::invalid(format!(
            "id mapping {text:?}: expected CONTAINER:HOST:SIZE, several after commas"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_words_are_taken_and_others_stay() {
        let words = ["index=off", "uidmap=0:1000:10,20:9:1", "gidmap=0:5:1"];
        let mut options = MountOptions::new(words);
        let maps = IdMaps::take(&mut options).unwrap().unwrap();
        let map = |container_id, host_id, size| IdMapping {
            container_id,
            host_id,
            size,
        };
        assert_eq!(maps.uids, [map(0, 1000, 10), map(20, 9, 1)]);
        assert_eq!(maps.gids, [map(0, 5, 1)]);
        assert_eq!(options.data, [(0, "index=off")]);
        assert_eq!(IdMaps::take(&mut options), Ok(None));
    }

    #[test]
    fn half_a_mapping_and_a_broken_one_are_refused() {
        let refused = |words: &[&'static str]| {
            let mut options = MountOptions::new(words.iter().copied());
            IdMaps::take(&mut options).unwrap_err().message
        };
        assert!(refused(&["uidmap=0:1:1"]).contains("both"));
        for bad in [
            "uidmap=",
            "uidmap=0:1",
            "uidmap=0:1:2:3",
            "uidmap=0:1:0",
            "uidmap=a:1:1",
            "uidmap=0:1:1,",
            "uidmap=-1:1:1",
        ] {
            assert!(
                refused(&[bad, "gidmap=0:1:1"]).contains("expected"),
                "{bad}"
            );
        }
    }
}
