//! Conversions between the specification's units, which are cgroup v1's, and cgroup v2's.

use super::Limit;

/// `cpu.weight` of `cpu.shares`: 2 is 1, 1024 is 100, 262144 is 10000, and what lies between
/// follows a quadratic curve in the logarithm; outside of 2 to 262144 the ends count.
#[must_use]
pub(crate) fn cpu_weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            #[expect(clippy::cast_precision_loss, reason = "below 2^18: exact")]
            let logarithm = (shares as f64).log2();
            let exponent = (logarithm * logarithm + 125.0 * logarithm) / 612.0 - 7.0 / 34.0;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 1 and 10000 by the bounds above"
            )]
            let weight = 10f64.powf(exponent).ceil() as u64;
            weight.clamp(1, 10_000)
        }
    }
}

/// `io.weight` (1 to 10000) of a block I/O weight (10 to 1000), linearly.
#[must_use]
pub(crate) fn io_weight_of_blkio_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

/// `memory.swap.max` of the specification's memory-plus-swap and its memory limit.
///
/// None where swap without the memory in it can't be told: then memory has no limit, or one
/// above the sum.
#[must_use]
pub(crate) fn swap_max(memory_and_swap: Limit, memory: Option<Limit>) -> Option<Limit> {
    match (memory_and_swap, memory) {
        (Limit::Unlimited, _) => Some(Limit::Unlimited),
        (Limit::At(sum), Some(Limit::At(memory))) => sum.checked_sub(memory).map(Limit::At),
        (Limit::At(_), _) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_fixed_points_of_the_weight_curve_are_met() {
        for (shares, weight) in [
            (0, 1),
            (2, 1),
            (1024, 100),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(cpu_weight_of_shares(shares), weight, "{shares} shares");
        }
    }

    #[test]
    fn the_ends_of_the_io_weight_line_are_met() {
        for (weight, io) in [(10, 1), (100, 910), (1000, 10_000)] {
            assert_eq!(io_weight_of_blkio_weight(weight), io);
        }
    }

    proptest! {
        #[test]
        fn a_cpu_weight_is_in_range_and_grows_with_the_shares(a in 0u64..300_000, b in 0u64..300_000) {
            let (less, more) = (a.min(b), a.max(b));
            let (low, high) = (cpu_weight_of_shares(less), cpu_weight_of_shares(more));
            prop_assert!((1..=10_000).contains(&low));
            prop_assert!((1..=10_000).contains(&high));
            prop_assert!(low <= high);
        }

        #[test]
        fn an_io_weight_is_in_range_and_grows_with_the_weight(a in 10u16..=1000, b in 10u16..=1000) {
            let (low, high) = (io_weight_of_blkio_weight(a.min(b)), io_weight_of_blkio_weight(a.max(b)));
            prop_assert!((1..=10_000).contains(&low));
            prop_assert!(low <= high && high <= 10_000);
        }

        #[test]
        fn memory_and_its_swap_add_up_to_what_was_asked(memory in 0u64..1 << 60, swap in 0u64..1 << 60) {
            let sum = Limit::At(memory + swap);
            prop_assert_eq!(swap_max(sum, Some(Limit::At(memory))), Some(Limit::At(swap)));
            prop_assert_eq!(swap_max(Limit::At(memory), Some(Limit::At(memory + swap + 1))), None);
            prop_assert_eq!(swap_max(sum, Some(Limit::Unlimited)), None);
            prop_assert_eq!(swap_max(Limit::Unlimited, None), Some(Limit::Unlimited));
        }
    }
}
