//! The parsers, on files of real kernels (v1: 6.18, v2: 6.1) and on anything else.

use proptest::prelude::*;

use super::v1::BlockIoEntry;
use super::v2::IoDevice;
use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("fixtures/", $name))
    };
}

#[test]
fn a_number_is_digits_and_nothing_else() {
    assert_eq!(parse::value(fixture!("v2/memory.current")), Some(290_816));
    assert_eq!(parse::value("18446744073709551615\n"), Some(u64::MAX));
    for bad in [
        "",
        "\n",
        "18446744073709551616",
        "-1",
        "+1",
        " 1",
        "1 2",
        "max",
        "0x1",
    ] {
        assert_eq!(parse::value(bad), None, "{bad:?}");
    }
    let level = fixture!("v1/cpuset.sched_relax_domain_level");
    assert_eq!(parse::signed(level), Some(-1));
    assert_eq!(parse::signed("9223372036854775808"), None);
    assert_eq!(parse::signed("+1"), None);
}

#[test]
fn a_limit_may_be_none() {
    assert_eq!(
        parse::limit(fixture!("v2/memory.max")),
        Some(Limit::At(20_971_520))
    );
    assert_eq!(
        parse::limit(fixture!("v2/memory.swap.max")),
        Some(Limit::Unlimited)
    );
    assert_eq!(parse::limit("maximum"), None);
    assert_eq!(Limit::Unlimited.value_or(7), 7);
    assert_eq!(Limit::At(3).value_or(7), 3);
}

#[test]
fn memory_is_counted_by_the_kernels_names() {
    let v2 = Counters::new(fixture!("v2/memory.stat"));
    assert_eq!(v2.get("anon"), Some(135_168));
    assert_eq!(v2.get("pgfault"), Some(5410));
    assert_eq!(
        v2.get("workingset_refault"),
        None,
        "a name of older kernels"
    );
    assert_eq!(v2.iter().count(), 47);
    let events = Counters::new(fixture!("v2/memory.events"));
    assert_eq!(
        (events.get("max"), events.get("oom_kill")),
        (Some(35), Some(1))
    );

    let v1 = Counters::new(fixture!("v1/memory.stat"));
    assert_eq!(v1.get("total_pgfault"), Some(8471));
    assert_eq!(
        v1.get("hierarchical_memsw_limit"),
        Some(9_223_372_036_854_771_712)
    );
    let control = Counters::new(fixture!("v1/memory.oom_control"));
    assert_eq!(control.get("oom_kill"), Some(1));
    assert_eq!(control.get("oom_kill_disable"), Some(0));
    assert!(Counters::default().is_empty() && Counters::new("text\n").is_empty());
}

#[test]
fn processors_are_told_apart() {
    let percpu = parse::numbers(fixture!("v1/cpuacct.usage_percpu"));
    assert_eq!(percpu, [7_543_586, 222_153_025]);
    let by_mode = parse::usage_by_mode(fixture!("v1/cpuacct.usage_all"));
    assert_eq!(by_mode, (vec![0, 203_987_481], vec![4_000_000, 16_000_000]));
    assert_eq!(parse::list(fixture!("v1/cpuset.cpus")), Some(vec![0, 1]));
    assert_eq!(parse::list("0-2,7,9-10\n"), Some(vec![0, 1, 2, 7, 9, 10]));
    assert_eq!(parse::list("\n"), Some(vec![]));
    for bad in [
        "2-1",
        "1,1",
        "3,1",
        "65536",
        "1-2-3",
        "-1",
        "a",
        "0-65535,0-65535",
    ] {
        assert_eq!(parse::list(bad), None, "{bad:?}");
    }
    assert_eq!(parse::list("0-65535").map(|all| all.len()), Some(65_536));
}

#[test]
fn pressure_has_shares_and_a_time() {
    let pressure = parse::pressure(fixture!("v2/cpu.pressure"));
    let some = pressure.some.expect("it was measured");
    assert!(some.percent_10s > 0.0 && some.total_us > 0);
    assert!(pressure.full.is_some());
    let old =
        parse::pressure("some avg10=0.00 avg60=1.50 avg300=0.26 total=18446744073709551615\n");
    assert_eq!(
        old,
        Pressure {
            some: Some(Stall {
                percent_10s: 0.0,
                percent_60s: 1.5,
                percent_300s: 0.26,
                total_us: u64::MAX,
            }),
            full: None,
        }
    );
    for bad in [
        "some avg10=inf avg60=0 avg300=0 total=0",
        "some avg10=NaN avg60=0 avg300=0 total=0",
        "some avg10=0 avg60=0 total=0",
        "some",
        "most avg10=0 avg60=0 avg300=0 total=0",
    ] {
        assert_eq!(parse::pressure(bad), Pressure::default(), "{bad:?}");
    }
}

#[test]
fn devices_of_cgroup_v2_are_told_apart() {
    let disk = |minor, read_bytes, written_bytes, reads, writes| IoDevice {
        major: 254,
        minor,
        read_bytes: Some(read_bytes),
        written_bytes: Some(written_bytes),
        reads: Some(reads),
        writes: Some(writes),
        discarded_bytes: Some(0),
        discards: Some(0),
    };
    let devices = parse::io_devices(fixture!("v2/io.stat"));
    assert_eq!(
        devices,
        [disk(0, 8192, 0, 2, 0), disk(16, 0, 4_194_304, 0, 64)]
    );
    // Linux 5.10 may leave the end of a line out when there is nothing to say.
    let joined = parse::io_devices("7:0 7:1 254:0 rbytes=5 cost.usage=x rios=\n");
    assert_eq!(joined.len(), 1);
    assert_eq!((joined[0].read_bytes, joined[0].reads), (Some(5), None));
}

#[test]
fn devices_of_cgroup_v1_are_told_apart_without_their_sum() {
    let text = fixture!("v1/blkio.throttle.io_serviced_recursive");
    let entries = parse::block_io_entries(text);
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry.operation.as_deref().unwrap_or(""), entry.value))
        .collect();
    assert_eq!(
        told,
        [
            ("Read", 66),
            ("Write", 64),
            ("Sync", 130),
            ("Async", 0),
            ("Discard", 0),
            ("Total", 130)
        ]
    );
    let unused = fixture!("v1/blkio.bfq.io_serviced_recursive");
    assert_eq!(parse::block_io_entries(unused), []);
    assert_eq!(
        parse::block_io_entries("8:0 6792\nTotal 6792\n8:x 1\n8:0 Read -1\n8:0 a b 1\n"),
        [BlockIoEntry {
            major: 8,
            value: 6792,
            ..BlockIoEntry::default()
        }]
    );
}

#[test]
fn rdma_devices_have_numbers_or_none() {
    let devices = parse::rdma_devices("mlx4_0 hca_handle=2 hca_object=max\nocrdma1\n\n");
    assert_eq!(devices.len(), 2);
    assert_eq!(devices[0].device, "mlx4_0");
    assert_eq!(devices[0].hca_handles, Some(Limit::At(2)));
    assert_eq!(devices[0].hca_objects, Some(Limit::Unlimited));
    assert_eq!(devices[1].hca_handles, None);
}

#[test]
fn interfaces_are_read_whatever_their_names() {
    let all = parse::network_interfaces(fixture!("net-dev").as_bytes());
    let names: Vec<_> = all.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["lo", "ifb0", "ifb1", "eth0"]);
    assert!(all[3].rx_bytes > all[3].tx_bytes && all[3].tx_packets > 0);

    let odd = b"1\n2\n\xff:a\"1: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n cut: 1 2 3\n";
    let odd = parse::network_interfaces(odd);
    assert_eq!(odd.len(), 1);
    assert_eq!(odd[0].name, "\u{fffd}:a\"1");
    assert_eq!(
        (odd[0].rx_dropped, odd[0].tx_bytes, odd[0].tx_dropped),
        (4, 5, 8)
    );
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in "(?s).{0,200}") {
        parse_as_everything(&text);
    }

    #[test]
    fn no_text_of_the_kernels_words_does_either(
        words in proptest::collection::vec(
            prop_oneof![
                "[0-9]{1,22}", "[0-9]{1,6}[:-][0-9]{1,6}", "[a-z_]{1,9}=[0-9.]{1,22}",
                Just("max".to_owned()), Just("some".to_owned()), Just("Total".to_owned()),
                Just("\n".to_owned()), Just("lo:".to_owned()), Just(",".to_owned()),
            ],
            0..40,
        ),
    ) {
        parse_as_everything(&words.join(" "));
        parse_as_everything(&words.concat());
    }

    #[test]
    fn a_number_comes_back(number: u64) {
        prop_assert_eq!(parse::value(&format!("{number}\n")), Some(number));
        prop_assert_eq!(parse::limit(&number.to_string()), Some(Limit::At(number)));
        prop_assert_eq!(Counters::new(&format!("a 1\nb {number}\n")).get("b"), Some(number));
    }

    #[test]
    fn a_list_of_processors_comes_back(set in proptest::collection::btree_set(0u16.., 0..50)) {
        let text = set.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        prop_assert_eq!(parse::list(&text), Some(set.into_iter().collect()));
    }
}

/// Every parser on the same text; what it gives holds what the types promise.
fn parse_as_everything(text: &str) {
    let pressure = parse::pressure(text);
    for stall in [pressure.some, pressure.full].into_iter().flatten() {
        assert!(stall.percent_10s.is_finite() && stall.percent_300s.is_finite());
    }
    let list = parse::list(text).unwrap_or_default();
    assert!(list.is_sorted() && list.len() <= 1 << 16);
    let (user, system) = parse::usage_by_mode(text);
    assert_eq!(user.len(), system.len());
    let lines = text.lines().count();
    assert!(parse::block_io_entries(text).len() <= lines);
    assert!(parse::rdma_devices(text).len() <= lines);
    assert!(parse::network_interfaces(text.as_bytes()).len() <= lines);
    assert!(
        parse::io_devices(text)
            .iter()
            .all(|device| !device.is_empty())
    );
    let counters = Counters::new(text);
    assert_eq!(counters.is_empty(), counters.iter().count() == 0);
    let _numbers = (
        parse::value(text),
        parse::signed(text),
        parse::limit(text),
        parse::numbers(text),
    );
}
