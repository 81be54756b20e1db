//! Whose a file is: ids of the image, and ids of the host.

use crate::error::{Error, ErrorKind, Result};

/// Ids of an image that follow each other, and those of the host that stand for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first one in the image.
    pub container: u32,
    /// The first one on the host (or in the user namespace of this process).
    pub host: u32,
    /// How many.
    pub length: u32,
}

/// How owners and groups are translated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMaps {
    /// For users; empty: each is itself.
    pub users: Vec<IdRange>,
    /// For groups; empty: each is itself.
    pub groups: Vec<IdRange>,
    /// What becomes of ids that no range has.
    pub others: OtherIds,
}

/// What becomes of ids that can't be had here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtherIds {
    /// An error.
    #[default]
    Refuse,
    /// The file belongs to the image's root instead: for a user without subordinate ids, where
    /// no other owner is possible.
    Squash,
}

impl IdMaps {
    /// The host's user for the image's.
    pub(super) fn user(&self, id: u32) -> Result<u32> {
        self.translate(&self.users, id, "user")
    }

    /// The host's group for the image's.
    pub(super) fn group(&self, id: u32) -> Result<u32> {
        self.translate(&self.groups, id, "group")
    }

    /// The image's user and group for the host's.
    pub(super) fn reverse(&self, uid: u32, gid: u32) -> Result<(u32, u32)> {
        let back = |ranges: &[IdRange], id: u32, kind: &str| {
            if ranges.is_empty() {
                return Ok(id);
            }
            let place = |range: &IdRange| {
                let distance = id.checked_sub(range.host)?;
                (distance < range.length).then(|| range.container + distance)
            };
            match (ranges.iter().find_map(place), self.others) {
                (Some(id), _) => Ok(id),
                (None, OtherIds::Squash) => Ok(0),
                (None, OtherIds::Refuse) => Err(unmapped(kind, id, "host")),
            }
        };
        Ok((
            back(&self.users, uid, "user")?,
            back(&self.groups, gid, "group")?,
        ))
    }

    fn translate(&self, ranges: &[IdRange], id: u32, kind: &str) -> Result<u32> {
        if ranges.is_empty() {
            return Ok(id);
        }
        match (place(ranges, id), self.others) {
            (Some(id), _) => Ok(id),
            (None, OtherIds::Squash) => place(ranges, 0).ok_or_else(|| unmapped(kind, 0, "image")),
            (None, OtherIds::Refuse) => Err(unmapped(kind, id, "image")),
        }
    }
}

fn place(ranges: &[IdRange], id: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let distance = id.checked_sub(range.container)?;
        let is_inside = distance < range.length;
        is_inside.then(|| range.host.checked_add(distance))?
    })
}

fn unmapped(kind: &str, id: u32, whose: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "the {whose}'s {kind} {id} has no counterpart in the id maps (give the user more \
             subordinate ids in /etc/subuid and /etc/subgid, or let root own such files)"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_translated_refused_or_squashed() {
        let range = |container, host, length| IdRange {
            container,
            host,
            length,
        };
        let mut maps = IdMaps {
            users: vec![range(0, 1000, 1), range(1, 100_000, 65_535)],
            groups: vec![range(0, 1000, 1)],
            others: OtherIds::Refuse,
        };
        assert_eq!(maps.user(0).ok(), Some(1000));
        assert_eq!(maps.user(33).ok(), Some(100_032));
        assert_eq!(maps.reverse(100_032, 1000).ok(), Some((33, 0)));
        assert!(maps.reverse(5, 1000).is_err());
        assert!(maps.user(65_536).is_err());
        assert!(maps.group(1).is_err());
        maps.others = OtherIds::Squash;
        assert_eq!(maps.group(1).ok(), Some(1000));
        assert_eq!(IdMaps::default().user(7).ok(), Some(7));
    }
}
