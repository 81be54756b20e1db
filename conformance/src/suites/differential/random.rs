//! Numbers that look random and are the same for the same seed, everywhere.

/// A row of numbers: splitmix64.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number from `least` to `most`, both among them.
    pub(super) fn number(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    /// Whether something happens that happens so often in a hundred times.
    pub(super) fn percent(&mut self, often: u64) -> bool {
        self.number(1, 100) <= often
    }

    /// One of them.
    pub(super) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        let last = u64::try_from(of.len() - 1).unwrap_or(u64::MAX);
        let index = usize::try_from(self.number(0, last)).unwrap_or(0);
        of[index]
    }

    /// Some of them, in their order: each with this percentage.
    pub(super) fn some<T: Copy>(&mut self, of: &[T], often: u64) -> Vec<T> {
        of.iter().copied().filter(|_| self.percent(often)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_same_seed_gives_the_same_row_and_another_another() {
        let row = |seed| {
            let mut random = Random::new(seed);
            (0..8).map(|_| random.number(0, 999)).collect::<Vec<_>>()
        };
        assert_eq!(row(7), row(7));
        assert_ne!(row(7), row(8));
    }

    #[test]
    fn numbers_stay_between_their_ends_and_reach_them() {
        let mut random = Random::new(3);
        let row: Vec<u64> = (0..200).map(|_| random.number(2, 4)).collect();
        assert!(row.iter().all(|number| (2..=4).contains(number)));
        assert!(row.contains(&2) && row.contains(&4));
    }
}
