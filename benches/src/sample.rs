//! What is kept of many durations.

use std::time::Duration;

use serde::Serialize;

/// Durations of one thing, in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    micros: Vec<u64>,
}

/// The figures of a sample, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Figures {
    pub(crate) runs: usize,
    pub(crate) min_us: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

impl Sample {
    pub(crate) fn add(&mut self, duration: Duration) {
        self.micros
            .push(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// None of an empty sample.
    pub(crate) fn figures(&self) -> Option<Figures> {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        Some(Figures {
            runs: sorted.len(),
            min_us: *sorted.first()?,
            p50_us: percentile(&sorted, 50)?,
            p99_us: percentile(&sorted, 99)?,
        })
    }
}

/// The smallest value that at least `percent` of the sorted values do not exceed.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(micros: impl IntoIterator<Item = u64>) -> Option<(u64, u64, u64)> {
        let mut sample = Sample::default();
        micros
            .into_iter()
            .for_each(|micros| sample.add(Duration::from_micros(micros)));
        sample
            .figures()
            .map(|figures| (figures.min_us, figures.p50_us, figures.p99_us))
    }

    #[test]
    fn percentiles_are_values_of_the_sample() {
        assert_eq!(figures((1..=100).rev()), Some((1, 50, 99)));
        assert_eq!(figures([7]), Some((7, 7, 7)));
        assert_eq!(figures([3, 1]), Some((1, 1, 3)));
        assert_eq!(figures([]), None);
    }
}
