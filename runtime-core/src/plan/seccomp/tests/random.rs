//! Random profiles, and every call that might tell a wrong filter from a right one.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;

const NAMES: &[&str] = &[
    "accept",
    "bind",
    "clone",
    "clone3",
    "execve",
    "getpid",
    "ioctl",
    "ipc",
    "mmap",
    "msgctl",
    "no_such_call",
    "open",
    "openat",
    "openat2",
    "personality",
    "read",
    "recv",
    "set_tls",
    "shmget",
    "socket",
    "socketcall",
    "write",
];

pub(super) fn profile() -> impl Strategy<Value = Value> {
    let architectures = proptest::sample::subsequence(ARCHITECTURES, 0..=ARCHITECTURES.len());
    let rules = proptest::collection::vec(rule(), 0..8);
    (action(), architectures, rules).prop_map(|(default, architectures, rules)| {
        json!({"defaultAction": default, "architectures": architectures, "syscalls": rules})
    })
}

fn action() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(ACTIONS)
}

fn rule() -> impl Strategy<Value = Value> {
    let names = proptest::collection::vec(proptest::sample::select(NAMES), 1..5);
    let args = proptest::collection::vec(argument(), 0..3);
    (names, action(), 0..4095_u32, args).prop_map(|(names, action, errno, args)| {
        let errno = matches!(action, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE").then_some(errno % 3);
        json!({"names": names, "action": action, "errnoRet": errno, "args": args})
    })
}

fn argument() -> impl Strategy<Value = Value> {
    let value = || {
        prop_oneof![
            0..4_u64,
            Just(0xffff_ffff),
            Just(0x1_0000_0000),
            Just(0x1_0000_0002),
            Just(u64::MAX),
            any::<u64>(),
        ]
    };
    (0..6_u32, value(), value(), proptest::sample::select(OPERATORS)).prop_map(
        |(index, value, two, op)| json!({"index": index, "value": value, "valueTwo": two, "op": op}),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_program_answers_as_its_profile_says(profile in profile()) {
        let text = profile.to_string();
        let seccomp: spec::Seccomp<'_> = serde_json::from_str(&text).unwrap();
        let calls = oracle::telling_calls(&seccomp);
        for machine in [Machine::X86_64, Machine::Aarch64] {
            oracle::check(&seccomp, machine, &calls).map_err(TestCaseError::fail)?;
        }
    }

    #[test]
    fn a_profile_is_planned_the_same_twice(profile in profile()) {
        let text = profile.to_string();
        let seccomp: spec::Seccomp<'_> = serde_json::from_str(&text).unwrap();
        let once = |violations: &mut Violations| plan(Some(&seccomp), Machine::X86_64, violations);
        let (mut first, mut second) = (Violations::default(), Violations::default());
        prop_assert_eq!(once(&mut first), once(&mut second));
        prop_assert_eq!(first, second);
    }
}
