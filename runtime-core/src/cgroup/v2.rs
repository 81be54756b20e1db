//! What cgroup v2's files take: pure, from limits in the specification's units to entries.

use super::apply::Entry;
use crate::plan::cgroup::convert::{cpu_weight_of_shares, io_weight_of_blkio_weight, swap_max};
use crate::plan::cgroup::{BlockIo, Cpu, HugepageLimit, Limit, Memory, RdmaLimit};

/// Swap first: while memory shrinks, the kernel may want to swap.
///
/// `beside_swap` is the memory limit that holds afterwards: swap is told without it.
pub(super) fn memory(memory: &Memory, beside_swap: Option<Limit>) -> Vec<Entry> {
    let limit = memory.limit_bytes;
    let swap = match memory.memory_and_swap_bytes {
        Some(sum) => swap_max(sum, beside_swap),
        // Memory without a limit has swap without one, as in v1.
        None => limit.filter(|limit| *limit == Limit::Unlimited),
    };
    let swap = swap.map(|swap| match swap {
        // A kernel without swap accounting does either anyway.
        Limit::Unlimited | Limit::At(0) => Entry::optional("memory.swap.max", swap),
        Limit::At(_) => Entry::new("memory.swap.max", swap),
    });
    [
        swap,
        limit.map(|limit| Entry::new("memory.max", limit)),
        memory
            .reservation_bytes
            .map(|low| Entry::new("memory.low", low)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What does not depend on quota and period.
pub(super) fn cpu_before_quota(cpu: &Cpu) -> Vec<Entry> {
    let awake = cpu.idle.filter(|idle| !*idle);
    let weight = cpu.shares.map(cpu_weight_of_shares);
    [
        awake.map(|_| Entry::new("cpu.idle", 0)),
        weight.map(|weight| Entry::new("cpu.weight", weight)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Quota and period in one file: a quota alone keeps the period, and for a period alone the
/// quota that is set now is asked for.
pub(super) fn cpu_max<E>(
    cpu: &Cpu,
    quota_now: impl FnOnce() -> Result<String, E>,
) -> Result<Option<Entry>, E> {
    let value = match (cpu.quota_us, cpu.period_us) {
        (None, None) => return Ok(None),
        (Some(quota), None) => quota.to_string(),
        (Some(quota), Some(period)) => format!("{quota} {period}"),
        (None, Some(period)) => format!("{} {period}", quota_now()?),
    };
    Ok(Some(Entry::new("cpu.max", value)))
}

/// A limit as a file says it; none if it says something else.
pub(super) fn limit(content: &str) -> Option<Limit> {
    match content.trim_end() {
        "max" => Some(Limit::Unlimited),
        number => number.parse().ok().map(Limit::At),
    }
}

/// `bfq`: the kernel has the BFQ scheduler's file, whose weights are the specification's.
pub(super) fn block_io(block_io: &BlockIo, bfq: bool) -> Vec<Entry> {
    let scale = |weight: u16| match bfq {
        true => u64::from(weight),
        false => io_weight_of_blkio_weight(weight),
    };
    let file = if bfq { "io.bfq.weight" } else { "io.weight" };
    let mut entries = Vec::new();
    entries.extend(
        block_io
            .weight
            .map(|weight| Entry::new(file, scale(weight))),
    );
    for of in &block_io.device_weights {
        let line = of
            .weight
            .map(|weight| format!("{} {}", of.device, scale(weight)));
        entries.extend(line.map(|line| Entry::new(file, line)));
    }
    for throttle in &block_io.throttles {
        let rate = match throttle.rate_per_second {
            0 => Limit::Unlimited,
            rate => Limit::At(rate),
        };
        let line = format!("{} {}={rate}", throttle.device, throttle.kind.key());
        entries.push(Entry::new("io.max", line));
    }
    entries
}

/// Pages in use, and pages reserved, where the kernel counts those too.
pub(super) fn hugepages(limits: &[HugepageLimit]) -> Vec<Entry> {
    let entries = |limit: &HugepageLimit| {
        let (size, bytes) = (&limit.page_size, limit.limit_bytes);
        [
            Entry::optional(format!("hugetlb.{size}.rsvd.max"), bytes),
            Entry::new(format!("hugetlb.{size}.max"), bytes),
        ]
    };
    limits.iter().flat_map(entries).collect()
}

/// The same in v1 and v2.
pub(super) fn rdma(limits: &[RdmaLimit]) -> Vec<Entry> {
    let line = |limit: &RdmaLimit| {
        let handles = limit.hca_handles.map(|n| format!(" hca_handle={n}"));
        let objects = limit.hca_objects.map(|n| format!(" hca_object={n}"));
        let (handles, objects) = (handles.unwrap_or_default(), objects.unwrap_or_default());
        Entry::new("rdma.max", format!("{}{handles}{objects}", limit.device))
    };
    limits.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cgroup::{DeviceNumber, DeviceWeight, Throttle, ThrottleKind};

    fn lines(entries: &[Entry]) -> Vec<String> {
        let line = |entry: &Entry| format!("{}={}", entry.file, entry.value);
        entries.iter().map(line).collect()
    }

    #[test]
    fn swap_is_told_without_the_memory_in_it_and_before_it() {
        let memory = |limit, sum| Memory {
            limit_bytes: limit,
            memory_and_swap_bytes: sum,
            ..Memory::default()
        };
        let at = |bytes| Some(Limit::At(bytes));
        for (limit, sum, said) in [
            (
                at(100),
                at(150),
                &["memory.swap.max=50", "memory.max=100"][..],
            ),
            (at(100), at(100), &["memory.swap.max=0", "memory.max=100"]),
            (
                at(100),
                Some(Limit::Unlimited),
                &["memory.swap.max=max", "memory.max=100"],
            ),
            (at(100), None, &["memory.max=100"]),
            (
                Some(Limit::Unlimited),
                None,
                &["memory.swap.max=max", "memory.max=max"],
            ),
            (None, None, &[]),
            (None, Some(Limit::Unlimited), &["memory.swap.max=max"]),
        ] {
            assert_eq!(lines(&super::memory(&memory(limit, sum), limit)), said);
        }
    }

    #[test]
    fn swap_alone_is_told_without_the_memory_limit_that_holds() {
        let memory = Memory {
            memory_and_swap_bytes: Some(Limit::At(150)),
            ..Memory::default()
        };
        let entries = super::memory(&memory, limit("100\n"));
        assert_eq!(lines(&entries), ["memory.swap.max=50"]);
        assert_eq!(limit("max\n"), Some(Limit::Unlimited));
        assert_eq!(limit("lots\n"), None);
    }

    #[test]
    fn a_period_alone_keeps_the_quota_and_a_quota_alone_the_period() {
        let cpu = |quota_us, period_us| Cpu {
            quota_us,
            period_us,
            ..Cpu::default()
        };
        let at = Some(Limit::At(5000));
        for (quota, period, said) in [
            (at, Some(10_000), "5000 10000"),
            (at, None, "5000"),
            (Some(Limit::Unlimited), None, "max"),
            (None, Some(10_000), "7000 10000"),
        ] {
            let entry = cpu_max(&cpu(quota, period), || Ok::<_, ()>("7000".into()));
            assert_eq!(entry, Ok(Some(Entry::new("cpu.max", said))));
        }
        assert_eq!(cpu_max(&cpu(None, None), || Err(())), Ok(None));
        // A limit that can't be read must not become none.
        assert_eq!(cpu_max(&cpu(None, Some(10_000)), || Err(())), Err(()));
    }

    #[test]
    fn block_io_weights_are_scaled_unless_bfq_takes_them() {
        let device = DeviceNumber { major: 8, minor: 0 };
        let block_io = BlockIo {
            weight: Some(100),
            leaf_weight: None,
            device_weights: vec![DeviceWeight {
                device,
                weight: Some(1000),
                leaf_weight: None,
            }],
            throttles: vec![
                Throttle {
                    device,
                    kind: ThrottleKind::ReadBytes,
                    rate_per_second: 5,
                },
                Throttle {
                    device,
                    kind: ThrottleKind::WriteOperations,
                    rate_per_second: 0,
                },
            ],
        };
        let throttles = ["io.max=8:0 rbps=5", "io.max=8:0 wiops=max"];
        let scaled = ["io.weight=910", "io.weight=8:0 10000"];
        let bfq = ["io.bfq.weight=100", "io.bfq.weight=8:0 1000"];
        assert_eq!(
            lines(&super::block_io(&block_io, false)),
            [scaled, throttles].concat()
        );
        assert_eq!(
            lines(&super::block_io(&block_io, true)),
            [bfq, throttles].concat()
        );
    }

    #[test]
    fn rdma_and_huge_pages_have_a_line_or_a_file_each() {
        let rdma = RdmaLimit {
            device: "mlx".into(),
            hca_handles: Some(1),
            hca_objects: None,
        };
        assert_eq!(lines(&super::rdma(&[rdma])), ["rdma.max=mlx hca_handle=1"]);
        let pages = HugepageLimit {
            page_size: "2MB".into(),
            limit_bytes: 7,
        };
        assert_eq!(
            lines(&hugepages(&[pages])),
            ["hugetlb.2MB.rsvd.max=7", "hugetlb.2MB.max=7"]
        );
    }
}
