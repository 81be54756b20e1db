//! The same conditions through seccompiler, a second library: for what it can say, which is one
//! architecture, one action for all rules and another one for everything else.

use std::collections::BTreeMap;

use libc::sock_filter;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use serde_json::json;

use super::super::*;
use super::interpret::{self, CallData};
use super::{AARCH64, X86_64};

const VALUES: [u64; 6] = [0, 1, 7, 0xffff_ffff, 0x1_0000_0007, u64::MAX];

/// The rule "mmap if argument 1 is so, and argument 4 is 7", by seccompiler.
fn theirs(operator: SeccompCmpOp, value: u64, target: TargetArch, mmap: i64) -> Vec<sock_filter> {
    let condition = |argument, operator, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value).unwrap()
    };
    let conditions = vec![
        condition(1, operator, value),
        condition(4, SeccompCmpOp::Eq, 7),
    ];
    let rules = BTreeMap::from([(mmap, vec![SeccompRule::new(conditions).unwrap()])]);
    let (default, matched) = (SeccompAction::Allow, SeccompAction::Errno(5));
    let filter = SeccompFilter::new(rules, default, matched, target).unwrap();
    let program = BpfProgram::try_from(filter).unwrap();
    let convert = |one: seccompiler::sock_filter| sock_filter {
        code: one.code,
        jt: one.jt,
        jf: one.jf,
        k: one.k,
    };
    program.into_iter().map(convert).collect()
}

fn ours(operator: &str, value: u64, mask: u64, machine: Machine) -> SeccompPlan {
    let (value, two) = if operator == "SCMP_CMP_MASKED_EQ" {
        (mask, value)
    } else {
        (value, 0)
    };
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mmap"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": [
            {"index": 1, "value": value, "valueTwo": two, "op": operator},
            {"index": 4, "value": 7, "op": "SCMP_CMP_EQ"},
        ]},
    ]});
    super::planned(&profile, machine).unwrap().unwrap()
}

/// Compares one condition for all argument values, and numbers around mmap's.
fn compare(name: &str, operator: &SeccompCmpOp, value: u64, mask: u64) {
    for (machine, target, audit, mmap) in [
        (Machine::X86_64, TargetArch::x86_64, X86_64, 9),
        (Machine::Aarch64, TargetArch::aarch64, AARCH64, 222),
    ] {
        let theirs = theirs(operator.clone(), value, target, i64::from(mmap));
        let ours = ours(name, value, mask, machine);
        for number in mmap - 1..=mmap + 1 {
            for (argument, last) in VALUES.into_iter().flat_map(|one| [(one, 7), (one, 8)]) {
                let arguments = [0, argument, 0, 0, last, 0];
                let call = CallData {
                    audit,
                    number,
                    arguments,
                };
                let found = interpret::run(&ours.program, &call).unwrap();
                let expected = interpret::run(&theirs, &call).unwrap();
                assert_eq!(found, expected, "{name} {value:#x} {mask:#x}: {call:x?}");
            }
        }
    }
}

#[test]
fn every_condition_means_what_seccompiler_makes_of_it() {
    for value in VALUES {
        compare("SCMP_CMP_EQ", &SeccompCmpOp::Eq, value, 0);
        compare("SCMP_CMP_NE", &SeccompCmpOp::Ne, value, 0);
        compare("SCMP_CMP_LT", &SeccompCmpOp::Lt, value, 0);
        compare("SCMP_CMP_LE", &SeccompCmpOp::Le, value, 0);
        compare("SCMP_CMP_GT", &SeccompCmpOp::Gt, value, 0);
        compare("SCMP_CMP_GE", &SeccompCmpOp::Ge, value, 0);
        for mask in VALUES {
            compare(
                "SCMP_CMP_MASKED_EQ",
                &SeccompCmpOp::MaskedEq(mask),
                value,
                mask,
            );
        }
    }
}
