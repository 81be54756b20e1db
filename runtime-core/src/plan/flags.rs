//! Lists of flags by their names, as one number.

use std::ops::BitOrAssign;

use super::place::Place;
use super::text::unknown;
use crate::spec::Text;
use crate::violation::Violations;

/// The flags of a list, by a table of those that there are; unknown ones are violations at their
/// places.
pub(super) fn flags<F>(
    names: Option<&[Text<'_>]>,
    table: &[(&'static str, F)],
    place: Place<'_>,
    violations: &mut Violations,
) -> F
where
    F: BitOrAssign + Copy + Default,
{
    let mut flags = F::default();
    for (index, name) in names.into_iter().flatten().enumerate() {
        if violations.is_full() {
            break;
        }
        let name: &str = name;
        match table.iter().find(|(known, _)| *known == name) {
            Some((_, flag)) => flags |= *flag,
            None => {
                let known = table.iter().map(|(name, _)| *name);
                violations.add(place.index(index), unknown("flag", name, known));
            }
        }
    }
    flags
}
