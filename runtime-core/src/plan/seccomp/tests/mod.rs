//! What profiles mean.
//!
//! `docker.json` is `linux.seccomp` as Debian's dockerd 20.10 hands it to its runtime
//! (moby/moby, Apache-2.0). `podman.json` is the profile of Debian's
//! golang-github-containers-common 0.50 (containers/common, Apache-2.0), with what it says
//! for podman's default capabilities on x86_64.

use serde_json::{Value, json};

use super::interpret::{CallData, run};
use super::*;

mod kernel;
mod libseccomp;
mod random;
mod seccompiler;

const DOCKER: &str = include_str!("docker.json");
const PODMAN: &str = include_str!("podman.json");

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn planned(profile: &Value, machine: Machine) -> Result<Option<SeccompPlan>, Violations> {
    let text = profile.to_string();
    let seccomp: spec::Seccomp<'_> = serde_json::from_str(&text).unwrap();
    let mut violations = Violations::default();
    let plan = plan(Some(&seccomp), machine, &mut violations);
    if violations.is_empty() {
        Ok(plan)
    } else {
        assert!(plan.is_none(), "a plan in spite of {violations}");
        Err(violations)
    }
}

fn filter(profile: &Value) -> SeccompPlan {
    planned(profile, Machine::X86_64).unwrap().unwrap()
}

fn violations(profile: &Value) -> String {
    planned(profile, Machine::X86_64).unwrap_err().to_string()
}

fn answer(plan: &SeccompPlan, audit: u32, number: u32, arguments: &[u64]) -> u32 {
    let mut call = CallData {
        audit,
        number,
        arguments: [0; 6],
    };
    call.arguments[..arguments.len()].copy_from_slice(arguments);
    run(&plan.program, &call).unwrap()
}

fn deny_all_but(syscalls: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": syscalls})
}

#[test]
fn nothing_asked_for_is_no_filter() {
    for profile in [
        json!({}),
        json!({"defaultAction": "SCMP_ACT_ALLOW"}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [], "flags": []}),
        json!({"defaultAction": "", "architectures": ["SCMP_ARCH_X86_64"]}),
    ] {
        assert_eq!(planned(&profile, Machine::X86_64), Ok(None), "{profile}");
    }
    assert_eq!(
        plan(None, Machine::X86_64, &mut Violations::default()),
        None
    );
}

#[test]
fn a_call_that_no_rule_names_gets_the_default_action() {
    let plan = filter(&deny_all_but(json!([
        {"names": ["getpid", "bpf"], "action": "SCMP_ACT_ALLOW"},
    ])));
    assert_eq!(answer(&plan, X86_64, 39, &[]), ALLOW);
    assert_eq!(answer(&plan, X86_64, 38, &[]), EPERM);
    assert_eq!(answer(&plan, X86_64, 40, &[]), EPERM);
}

#[test]
fn a_call_newer_than_all_that_the_profile_names_is_unknown() {
    let plan = filter(&deny_all_but(json!([
        {"names": ["getpid"], "action": "SCMP_ACT_ALLOW"},
        // Even a rule that only repeats the default names a call.
        {"names": ["openat2"], "action": "SCMP_ACT_ERRNO"},
    ])));
    assert_eq!(answer(&plan, X86_64, 437, &[]), EPERM);
    assert_eq!(answer(&plan, X86_64, 438, &[]), ENOSYS);
    assert_eq!(answer(&plan, X86_64, 0x3fff_ffff, &[]), ENOSYS);
}

#[test]
fn newer_calls_are_killed_for_only_if_they_are_named() {
    let profile = |default: &str| {
        json!({"defaultAction": default, "syscalls": [
            {"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5},
        ]})
    };
    let newer = |default: &str| answer(&filter(&profile(default)), X86_64, 40, &[]);
    for strict in [
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_TRAP",
        "SCMP_ACT_ERRNO",
    ] {
        assert_eq!(newer(strict), ENOSYS, "{strict}");
    }
    assert_eq!(newer("SCMP_ACT_ALLOW"), ALLOW);
    assert_eq!(newer("SCMP_ACT_LOG"), 0x7ffc_0000);
    assert_eq!(newer("SCMP_ACT_TRACE"), 0x7ff0_0001);
}

#[test]
fn architectures_that_are_not_listed_are_killed() {
    let plan = filter(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["reboot"], "action": "SCMP_ACT_ERRNO"},
    ]}));
    assert_eq!(answer(&plan, X86_64, 39, &[]), ALLOW);
    for audit in [X86, AARCH64, ARM, 0, u32::MAX] {
        assert_eq!(answer(&plan, audit, 39, &[]), KILL, "{audit:#x}");
    }
}

#[test]
fn x32_calls_do_not_pass_for_others() {
    let rules = json!([{"names": ["getpid"], "action": "SCMP_ACT_ERRNO"}]);
    let without = filter(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    for number in [0x4000_0000, 0x4000_0027, 0x7fff_ffff, 0xffff_fffe] {
        assert_eq!(answer(&without, X86_64, number, &[]), KILL, "{number:#x}");
    }
    let with = filter(&json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X32"],
        "syscalls": rules,
    }));
    assert_eq!(answer(&with, X86_64, 39, &[]), EPERM);
    assert_eq!(answer(&with, X86_64, 0x4000_0027, &[]), EPERM);
    assert_eq!(answer(&with, X86_64, 0x4000_0028, &[]), ALLOW);
}

#[test]
fn a_cancelled_call_gets_the_default_action() {
    let plan = filter(&deny_all_but(json!([
        {"names": ["getpid"], "action": "SCMP_ACT_ALLOW"},
    ])));
    assert_eq!(answer(&plan, X86_64, u32::MAX, &[]), EPERM);
}

#[test]
fn all_64_bits_of_an_argument_count() {
    let with = |op: &str, value: u64| {
        filter(&deny_all_but(json!([
            {"names": ["mmap"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 1, "value": value, "op": op}]},
        ])))
    };
    const VALUE: u64 = 0x8000_0001_0000_0005;
    let samples = [
        0,
        5,
        VALUE - 1,
        VALUE,
        VALUE + 1,
        VALUE - (1 << 32),
        VALUE + (1 << 32),
        u64::MAX,
    ];
    type Test = fn(&u64, &u64) -> bool;
    let operators: [(&str, Test); 6] = [
        ("SCMP_CMP_EQ", u64::eq),
        ("SCMP_CMP_NE", u64::ne),
        ("SCMP_CMP_LT", u64::lt),
        ("SCMP_CMP_LE", u64::le),
        ("SCMP_CMP_GT", u64::gt),
        ("SCMP_CMP_GE", u64::ge),
    ];
    for (name, holds) in operators {
        let plan = with(name, VALUE);
        for sample in samples {
            let expected = if holds(&sample, &VALUE) { ALLOW } else { EPERM };
            assert_eq!(
                answer(&plan, X86_64, 9, &[7, sample]),
                expected,
                "{sample:#x} {name}"
            );
        }
    }
}

#[test]
fn a_masked_argument_is_compared_in_the_bits_of_the_mask() {
    let plan = filter(&deny_all_but(json!([
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 0, "value": 0x1_0000_00f0_u64, "valueTwo": 0xff30, "op": "SCMP_CMP_MASKED_EQ"}]},
    ])));
    assert_eq!(answer(&plan, X86_64, 56, &[0x30]), ALLOW);
    assert_eq!(answer(&plan, X86_64, 56, &[0xdead_0e00_dead_0e3f]), ALLOW);
    assert_eq!(answer(&plan, X86_64, 56, &[0x1_0000_0030]), EPERM);
    assert_eq!(answer(&plan, X86_64, 56, &[0x70]), EPERM);
}

#[test]
fn conditions_on_several_arguments_must_all_hold() {
    let plan = filter(&deny_all_but(json!([
        {"names": ["mmap"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 2, "value": 1, "op": "SCMP_CMP_EQ"},
            {"index": 0, "value": 5, "op": "SCMP_CMP_GT"},
        ]},
    ])));
    assert_eq!(answer(&plan, X86_64, 9, &[6, 0, 1]), ALLOW);
    assert_eq!(answer(&plan, X86_64, 9, &[5, 0, 1]), EPERM);
    assert_eq!(answer(&plan, X86_64, 9, &[6, 0, 2]), EPERM);
}

#[test]
fn one_of_two_conditions_on_the_same_argument_is_enough() {
    let plan = filter(&deny_all_but(json!([
        {"names": ["mmap"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"},
            {"index": 0, "value": 9, "op": "SCMP_CMP_EQ"},
            {"index": 1, "value": 1, "op": "SCMP_CMP_EQ"},
        ]},
    ])));
    for arguments in [[8, 0], [9, 0], [0, 1]] {
        assert_eq!(answer(&plan, X86_64, 9, &arguments), ALLOW, "{arguments:?}");
    }
    assert_eq!(answer(&plan, X86_64, 9, &[0, 0]), EPERM);
}

#[test]
fn the_first_rule_without_conditions_decides_alone() {
    let plan = filter(&deny_all_but(json!([
        {"names": ["getpid"], "action": "SCMP_ACT_KILL", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
        {"names": ["getpid"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["getpid"], "action": "SCMP_ACT_LOG"},
    ])));
    assert_eq!(answer(&plan, X86_64, 39, &[1]), ALLOW);
}

#[test]
fn the_strictest_of_several_rules_that_hold_wins() {
    let plan = filter(&json!({"defaultAction": "SCMP_ACT_KILL", "syscalls": [
        {"names": ["mmap"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_GT"}]},
        {"names": ["mmap"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": [{"index": 0, "value": 7, "op": "SCMP_CMP_EQ"}]},
    ]}));
    assert_eq!(answer(&plan, X86_64, 9, &[6]), ALLOW);
    assert_eq!(answer(&plan, X86_64, 9, &[7]), 0x0005_0005);
    assert_eq!(answer(&plan, X86_64, 9, &[1]), KILL);
}

#[test]
fn the_kernels_own_width_of_an_argument_counts() {
    // socket(2) takes an int: the kernel drops the upper half, so it must not hide the lower.
    let plan = filter(&deny_all_but(json!([
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]},
    ])));
    assert_eq!(answer(&plan, X86_64, 41, &[2]), ALLOW);
    assert_eq!(answer(&plan, X86_64, 41, &[40]), EPERM);
    assert_eq!(answer(&plan, X86_64, 41, &[0x1_0000_0028]), EPERM);
}

#[test]
fn socketcall_opens_no_way_around_a_condition() {
    let x86 = |default: &str, action: &str| {
        filter(&json!({
            "defaultAction": default,
            "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [
                {"names": ["connect"], "action": action},
                {"names": ["socket"], "action": action,
                 "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]},
            ],
        }))
    };
    let (socket, connect, bind) = ([1], [3], [2]);
    let denies = x86("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO");
    assert_eq!(answer(&denies, X86, 102, &socket), EPERM);
    assert_eq!(answer(&denies, X86, 102, &connect), EPERM);
    assert_eq!(answer(&denies, X86, 102, &bind), ALLOW);
    let permits = x86("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW");
    assert_eq!(answer(&permits, X86, 102, &socket), EPERM);
    assert_eq!(answer(&permits, X86, 102, &connect), ALLOW);
    assert_eq!(answer(&permits, X86, 359, &[40]), ALLOW);
}

#[test]
fn arms_private_calls_are_not_newer_than_all_others() {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_ARM"],
        "syscalls": [{"names": ["set_tls", "getpid", "openat2"], "action": "SCMP_ACT_ALLOW"}],
    });
    let plan = planned(&profile, Machine::Aarch64).unwrap().unwrap();
    assert_eq!(answer(&plan, ARM, 0x000f_0005, &[]), ALLOW);
    assert_eq!(answer(&plan, ARM, 0x000f_0002, &[]), EPERM);
    assert_eq!(answer(&plan, ARM, 438, &[]), ENOSYS);
    assert_eq!(answer(&plan, AARCH64, 172, &[]), ALLOW);
    assert_eq!(answer(&plan, X86_64, 39, &[]), KILL);
}

#[test]
fn flags_are_those_of_the_profile_or_spec_allow() {
    let flags =
        |flags: Value| filter(&json!({"defaultAction": "SCMP_ACT_ERRNO", "flags": flags})).flags;
    assert_eq!(flags(Value::Null), 4);
    assert_eq!(flags(json!([])), 0);
    assert_eq!(flags(json!(FLAGS)), 2 | 4);
}

#[test]
fn unknown_names_are_skipped_and_told() {
    let plan = filter(&deny_all_but(json!([
        {"names": ["getpid", "opena", "s390_pci_mmio_read", "opena"], "action": "SCMP_ACT_ALLOW"},
    ])));
    assert_eq!(plan.skipped, ["opena", "s390_pci_mmio_read"]);
    insta::assert_snapshot!(plan.words().join("\n"), @r"
    allow 1 system call, answer all others with EPERM (architecture x86_64; 11 instructions)
    skipped, as no system calls of this machine: opena, s390_pci_mmio_read
    ");
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALOW",
        "defaultErrnoRet": 3,
        "architectures": ["SCMP_ARCH_S390X", "x86_64"],
        "flags": ["SECCOMP_FILTER_FLAG_NEW_LISTENER"],
        "listenerMetadata": "for nobody",
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_NOTIFY"},
            {"names": [], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096},
            {"names": ["", "mmap"], "action": "SCMP_ACT_LOG", "errnoRet": 1},
            {"names": ["mmap"], "args": [
                {"index": 6, "value": 1, "op": "SCMP_CMP_EQUAL"},
                {"op": "="},
                {},
            ]},
        ],
    });
    insta::assert_snapshot!(violations(&profile).replace("; /", "\n/"));
}

#[test]
fn the_same_conditions_with_two_actions_are_refused() {
    let args = json!([{"index": 0, "value": 7, "op": "SCMP_CMP_EQ"}]);
    let profile = deny_all_but(json!([
        {"names": ["mmap"], "action": "SCMP_ACT_ALLOW", "args": args},
        {"names": ["mmap"], "action": "SCMP_ACT_LOG", "args": args},
    ]));
    insta::assert_snapshot!(violations(&profile), @"/linux/seccomp/syscalls/1/action: mmap has the same conditions in /linux/seccomp/syscalls/0, with another action");
}

#[test]
fn a_filter_that_the_kernel_would_refuse_is_refused() {
    let rules: Vec<Value> = (0..2000_u64)
        .map(|value| {
            let args = json!([{"index": 0, "value": value << 20, "op": "SCMP_CMP_EQ"}]);
            json!({"names": ["mmap"], "action": "SCMP_ACT_ALLOW", "args": args})
        })
        .collect();
    insta::assert_snapshot!(violations(&deny_all_but(json!(rules))), @"/linux/seccomp/syscalls: the filter has 8053 instructions; the kernel takes 4096");
}

#[test]
fn far_answers_are_reached() {
    let rules: Vec<Value> = (0..900_u64)
        .map(|value| {
            let args = json!([{"index": 0, "value": value << 31, "op": "SCMP_CMP_EQ"}]);
            json!({"names": ["mmap"], "action": "SCMP_ACT_ALLOW", "args": args})
        })
        .collect();
    let plan = filter(&deny_all_but(json!(rules)));
    for value in [0, 1, 450, 898, 899] {
        assert_eq!(answer(&plan, X86_64, 9, &[value << 31]), ALLOW, "{value}");
    }
    assert_eq!(answer(&plan, X86_64, 9, &[900 << 31]), EPERM);
    assert_eq!(answer(&plan, X86_64, 8, &[]), EPERM);
    assert_eq!(answer(&plan, X86_64, 10, &[]), ENOSYS);
}

#[test]
fn docker_and_podman_profiles_are_small_and_mean_what_they_say() {
    let mut words = Vec::new();
    for text in [DOCKER, PODMAN] {
        let profile: Value = serde_json::from_str(text).unwrap();
        words.extend(filter(&profile).words());
        let seccomp: spec::Seccomp<'_> = serde_json::from_str(text).unwrap();
        let calls = oracle::telling_calls(&seccomp);
        oracle::check(&seccomp, Machine::X86_64, &calls).unwrap();
        oracle::check(&seccomp, Machine::Aarch64, &calls).unwrap();
    }
    insta::assert_snapshot!(words.join("\n"));
}
