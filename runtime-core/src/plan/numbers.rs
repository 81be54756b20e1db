//! Lists of CPUs and memory nodes, such as `0-3,7`.

use std::fmt;

use super::place::Place;
use super::text::quoted;
use crate::violation::Violations;

/// A set of small numbers in the form of the kernel's masks: number n is bit n % 64 of word
/// n / 64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberSet {
    /// No longer than the highest number needs.
    pub words: Vec<u64>,
}

impl NumberSet {
    fn insert(&mut self, number: u32) {
        let word = number as usize / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (number % 64);
    }

    fn contains(&self, number: u32) -> bool {
        let word = self.words.get(number as usize / 64);
        word.is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    fn end(&self) -> u32 {
        u32::try_from(self.words.len()).unwrap_or(0) * 64
    }
}

/// As it is written, in order and without repetition.
impl fmt::Display for NumberSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut next = 0;
        while next < self.end() {
            let first = next;
            next += 1;
            if !self.contains(first) {
                continue;
            }
            while self.contains(next) {
                next += 1;
            }
            match next - 1 {
                last if last == first => write!(f, "{separator}{first}")?,
                last => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

/// Reads a list of numbers below `limit`; none when it is absent or empty, or broken.
///
/// Spaces around numbers and additional commas mean nothing, as in runc.
pub(super) fn number_set(
    list: Option<&str>,
    limit: u32,
    place: Place<'_>,
    violations: &mut Violations,
) -> Option<NumberSet> {
    let list = list.filter(|list| !list.trim().is_empty())?;
    let mut numbers = NumberSet::default();
    for part in list
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        match range(part) {
            Some((first, last)) if first <= last && last < limit => {
                (first..=last).for_each(|number| numbers.insert(number));
            }
            Some((first, last)) if first <= last => {
                violations.add(
                    place,
                    format!("{last} is above {}, the highest one", limit - 1),
                );
                return None;
            }
            _ => {
                let rule = format!(
                    "{} must be a list of numbers and ranges, such as 0-3,7",
                    quoted(list)
                );
                violations.add(place, rule);
                return None;
            }
        }
    }
    if numbers.words.is_empty() {
        violations.add(place, format!("{} has no number", quoted(list)));
        return None;
    }
    Some(numbers)
}

fn range(part: &str) -> Option<(u32, u32)> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    number(first).zip(number(last))
}

/// Digits alone: a sign is none.
fn number(digits: &str) -> Option<u32> {
    let digits = digits.trim();
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str) -> Result<String, String> {
        let mut violations = Violations::default();
        let set = number_set(Some(list), 8192, Place::ROOT, &mut violations);
        match violations.0.into_iter().next() {
            Some(violation) => Err(violation.to_string()),
            None => Ok(set.map(|set| set.to_string()).unwrap_or_default()),
        }
    }

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        for (list, seen) in [
            ("", ""),
            (" ", ""),
            ("0", "0"),
            ("0-3,7", "0-3,7"),
            (" 7 , 0 - 3 ,, 2", "0-3,7"),
            ("63-64", "63-64"),
            ("127,129,8191", "127,129,8191"),
        ] {
            assert_eq!(read(list).as_deref(), Ok(seen), "{list:?}");
        }
    }

    #[test]
    fn anything_else_is_no_list() {
        for list in [
            "x",
            "-1",
            "1-",
            "-",
            "3-1",
            "1-2-3",
            "+1",
            "0x1",
            "1;2",
            ",",
            "8192",
            "0-99999999999",
        ] {
            assert!(read(list).is_err(), "{list:?}: {:?}", read(list));
        }
    }

    #[test]
    fn a_number_is_its_bit() {
        let mut violations = Violations::default();
        let set = number_set(Some("0,63,65"), 100, Place::ROOT, &mut violations);
        assert_eq!(set.map(|set| set.words), Some(vec![1 | 1 << 63, 2]));
    }
}
