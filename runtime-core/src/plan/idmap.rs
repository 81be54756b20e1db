//! Id mappings: of the container's user namespace and of single mounts.

use super::IdMapping;
use super::place::Place;
use crate::spec;
use crate::violation::Violations;

/// The kernel's limit of lines in `uid_map` (user_namespaces(7)).
const LINES_MAX: usize = 340;

/// Which ids exist in the container.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids<'a> {
    /// What config.json says of a user namespace, new or joined; empty when it says nothing.
    pub(super) uids: &'a [IdMapping],
    /// The same for groups.
    pub(super) gids: &'a [IdMapping],
}

impl Ids<'_> {
    /// Whether a user exists in the container, as far as config.json tells.
    pub(super) fn has_user(self, id: u32) -> bool {
        self.uids.is_empty() || contains(self.uids, id)
    }

    /// Whether a group exists in the container, as far as config.json tells.
    pub(super) fn has_group(self, id: u32) -> bool {
        self.gids.is_empty() || contains(self.gids, id)
    }
}

/// Whether an id inside is one of these.
pub(super) fn contains(mappings: &[IdMapping], id: u32) -> bool {
    mappings.iter().any(|mapping| {
        id.checked_sub(mapping.container_id)
            .is_some_and(|offset| offset < mapping.size)
    })
}

/// A list of mappings, checked as the kernel will: complete, not empty, nothing twice.
pub(super) fn mappings(
    list: &[spec::IdMapping<'_>],
    place: Place<'_>,
    violations: &mut Violations,
) -> Vec<IdMapping> {
    if list.len() > LINES_MAX {
        violations.add(
            place,
            format!("has {} mappings; the kernel takes {LINES_MAX}", list.len()),
        );
        return Vec::new();
    }
    let mut mappings = Vec::with_capacity(list.len());
    for (index, entry) in list.iter().enumerate() {
        mappings.extend(mapping(entry, place.index(index), violations));
    }
    overlaps(
        &mappings,
        "containerID",
        |mapping| mapping.container_id,
        place,
        violations,
    );
    overlaps(
        &mappings,
        "hostID",
        |mapping| mapping.host_id,
        place,
        violations,
    );
    mappings
}

fn mapping(
    entry: &spec::IdMapping<'_>,
    place: Place<'_>,
    violations: &mut Violations,
) -> Option<IdMapping> {
    let (Some(container_id), Some(host_id), Some(size)) =
        (entry.container_id, entry.host_id, entry.size)
    else {
        violations.add(place, "needs containerID, hostID and size");
        return None;
    };
    if size == 0 {
        violations.add(place.key("size"), "is 0; a mapping has at least one id");
        return None;
    }
    for (key, first) in [("containerID", container_id), ("hostID", host_id)] {
        if first.checked_add(size).is_none() {
            violations.add(
                place.key(key),
                format!(
                    "the range of {size} ids from {first} goes beyond the highest id, 4294967294"
                ),
            );
            return None;
        }
    }
    Some(IdMapping {
        container_id,
        host_id,
        size,
    })
}

fn overlaps(
    mappings: &[IdMapping],
    key: &str,
    first: impl Fn(&IdMapping) -> u32,
    place: Place<'_>,
    violations: &mut Violations,
) {
    if mappings.len() < 2 {
        return;
    }
    let mut ranges: Vec<(u32, u32)> = mappings
        .iter()
        .map(|mapping| (first(mapping), mapping.size))
        .collect();
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        if pair[1].0 - pair[0].0 < pair[0].1 {
            violations.add(place, format!("{key} {} is in two mappings", pair[1].0));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(list: &str) -> String {
        let list: Vec<spec::IdMapping<'_>> = serde_json::from_str(list).unwrap();
        let mut violations = Violations::default();
        mappings(&list, Place::ROOT, &mut violations);
        violations.to_string()
    }

    #[test]
    fn mappings_the_kernel_would_refuse_are_violations() {
        insta::assert_snapshot!(broken(r#"[{"containerID":0,"hostID":1}]"#), @"/0: needs containerID, hostID and size");
        insta::assert_snapshot!(broken(r#"[{"containerID":0,"hostID":1,"size":0}]"#), @"/0/size: is 0; a mapping has at least one id");
        insta::assert_snapshot!(broken(r#"[{"containerID":1,"hostID":1,"size":4294967295}]"#), @"/0/containerID: the range of 4294967295 ids from 1 goes beyond the highest id, 4294967294");
        insta::assert_snapshot!(broken(r#"[{"containerID":0,"hostID":10,"size":2},{"containerID":1,"hostID":20,"size":1}]"#), @"containerID 1 is in two mappings");
        insta::assert_snapshot!(broken(r#"[{"containerID":0,"hostID":10,"size":2},{"containerID":2,"hostID":11,"size":1}]"#), @"hostID 11 is in two mappings");
        assert_eq!(
            broken(
                r#"[{"containerID":1,"hostID":11,"size":9},{"containerID":0,"hostID":1000,"size":1}]"#
            ),
            ""
        );
    }

    #[test]
    fn ids_at_both_ends_of_a_range_are_mapped() {
        let mappings = [IdMapping {
            container_id: 10,
            host_id: 0,
            size: 5,
        }];
        let inside: Vec<u32> = (0..20).filter(|&id| contains(&mappings, id)).collect();
        assert_eq!(inside, [10, 11, 12, 13, 14]);
    }
}
