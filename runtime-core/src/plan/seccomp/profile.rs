//! `linux.seccomp` read and checked: names became numbers, and nothing is optional any more.

use super::architecture::{ARCHITECTURES, Architecture};
use super::syscalls::{self, Call};
use super::{Action, ListenerPlan};
use crate::host::Machine;
use crate::spec;
use crate::violation::Violations;

/// `linux.seccomp.defaultAction` and `syscalls[].action`: what this runtime can do, sorted.
pub const ACTIONS: &[&str] = &[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// `syscalls[].args[].op`, sorted.
pub const OPERATORS: &[&str] = &[
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// `linux.seccomp.flags`, sorted.
pub const FLAGS: &[&str] = &[
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

const NOTIFY: &str = "SCMP_ACT_NOTIFY";

/// Only with a listener (seccomp(2)).
const WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// The highest error number that the kernel answers with (MAX_ERRNO).
const HIGHEST_ERRNO: u32 = 4095;

/// A system call has no more arguments.
const ARGUMENTS: u32 = 6;

/// A checked profile.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) default: Action,
    /// The machine's own first; no duplicates.
    pub(super) architectures: Vec<Architecture>,
    /// SECCOMP_FILTER_FLAG_*.
    pub(super) flags: u32,
    /// Who is asked about calls with the action `notify`; none without such a call.
    pub(super) listener: Option<ListenerPlan>,
    /// As in config.json.
    pub(super) rules: Vec<Rule>,
    /// Names that are no system calls of any architecture in the filter.
    pub(super) skipped: Vec<String>,
}

/// One entry of `syscalls`.
#[derive(Debug)]
pub(super) struct Rule {
    /// Index in `syscalls`.
    pub(super) index: usize,
    pub(super) calls: Vec<&'static Call>,
    pub(super) action: Action,
    /// Any of these lists must hold as a whole; empty: always.
    pub(super) alternatives: Vec<Vec<Comparison>>,
}

/// A condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Comparison {
    pub(super) argument: u8,
    pub(super) operator: Operator,
    pub(super) value: u64,
}

/// How an argument is compared with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// Equal in the bits of this mask.
    MaskedEqual(u64),
}

/// Reads a profile; notes what is wrong with it. The result counts only if nothing is.
pub(super) fn read(
    seccomp: &spec::Seccomp<'_>,
    machine: Machine,
    violations: &mut Violations,
) -> Profile {
    check_listener(seccomp, violations);
    let default = action(
        seccomp.default_action.as_deref(),
        seccomp.default_errno_ret,
        [
            "/linux/seccomp/defaultAction",
            "/linux/seccomp/defaultErrnoRet",
        ],
        violations,
    );
    if default == Action::NOTIFY {
        let rule = format!(
            "{NOTIFY} cannot be used as default action: the runtime itself would wait for an answer"
        );
        violations.add("/linux/seccomp/defaultAction", rule);
    }
    let mut profile = Profile {
        default,
        architectures: architectures(seccomp, machine, violations),
        flags: flags(seccomp, violations),
        listener: None,
        rules: Vec::new(),
        skipped: Vec::new(),
    };
    for (index, entry) in seccomp.syscalls.iter().flatten().enumerate() {
        let rule = rule(index, entry, &mut profile, violations);
        profile.rules.push(rule);
    }
    profile.skipped.sort_unstable();
    profile.skipped.dedup();
    profile.listener = listener(seccomp, &profile, violations);
    if profile.listener.is_none() {
        profile.flags &= !WAIT_KILLABLE_RECV;
    }
    profile
}

fn check_listener(seccomp: &spec::Seccomp<'_>, violations: &mut Violations) {
    let is_set =
        |text: &Option<spec::Text<'_>>| text.as_deref().is_some_and(|text| !text.is_empty());
    if is_set(&seccomp.listener_metadata) && !is_set(&seccomp.listener_path) {
        let rule = "must not be set without listenerPath";
        violations.add("/linux/seccomp/listenerMetadata", rule);
    }
}

/// Who is asked; listenerPath is ignored when nobody is.
fn listener(
    seccomp: &spec::Seccomp<'_>,
    profile: &Profile,
    violations: &mut Violations,
) -> Option<ListenerPlan> {
    let notifies = |rule: &&Rule| rule.action == Action::NOTIFY && !rule.calls.is_empty();
    let mut rules = profile.rules.iter().filter(notifies).peekable();
    rules.peek()?;
    for rule in rules {
        check_hand_over(rule, violations);
    }
    let path = seccomp.listener_path.as_deref().unwrap_or_default();
    if !path.starts_with('/') || path.contains('\0') {
        let rule = if path.is_empty() {
            format!("is required with {NOTIFY}")
        } else {
            format!("{path:?} is not an absolute path")
        };
        violations.add("/linux/seccomp/listenerPath", rule);
    }
    Some(ListenerPlan {
        path: path.into(),
        metadata: seccomp.listener_metadata.as_deref().map(str::to_owned),
    })
}

/// The process that loads the filter hands its descriptor over by sendmsg(2) and says by write(2)
/// how far it is: if these had to be answered, it would wait for who does not know of it yet.
fn check_hand_over(rule: &Rule, violations: &mut Violations) {
    let needed = rule
        .calls
        .iter()
        .find(|call| ["sendmsg", "write"].contains(&call.name));
    if let Some(call) = needed {
        let rule_text = format!(
            "{NOTIFY} cannot be used for the {} syscall: the runtime needs it to hand the descriptor over",
            call.name
        );
        violations.add(
            format!("/linux/seccomp/syscalls/{}/action", rule.index),
            rule_text,
        );
    }
}

fn architectures(
    seccomp: &spec::Seccomp<'_>,
    machine: Machine,
    violations: &mut Violations,
) -> Vec<Architecture> {
    let mut found = vec![Architecture::native(machine)];
    for (index, name) in seccomp.architectures.iter().flatten().enumerate() {
        match Architecture::of(name, machine) {
            Some(architecture) if found.contains(&architecture) => {}
            Some(architecture) => found.push(architecture),
            None if ARCHITECTURES.contains(&&**name) => {}
            None => violations.add(
                format!("/linux/seccomp/architectures/{index}"),
                unknown("architecture", name, ARCHITECTURES),
            ),
        }
    }
    found
}

/// SECCOMP_FILTER_FLAG_*. Absent flags mean SPEC_ALLOW, as in runc: the mitigation that it
/// turns off costs every program a lot, and the kernel itself stopped enforcing it.
fn flags(seccomp: &spec::Seccomp<'_>, violations: &mut Violations) -> u32 {
    const LOG: u32 = 1 << 1;
    const SPEC_ALLOW: u32 = 1 << 2;
    let Some(names) = &seccomp.flags else {
        return SPEC_ALLOW;
    };
    let mut flags = 0;
    for (index, name) in names.iter().enumerate() {
        flags |= match &**name {
            "SECCOMP_FILTER_FLAG_LOG" => LOG,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => SPEC_ALLOW,
            // The process that loads the filter has one thread: there is nothing to do.
            "SECCOMP_FILTER_FLAG_TSYNC" => 0,
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => WAIT_KILLABLE_RECV,
            _ => {
                let pointer = format!("/linux/seccomp/flags/{index}");
                violations.add(pointer, unknown("flag", name, FLAGS));
                0
            }
        };
    }
    flags
}

/// Reads an action and its error number; `pointers` are where the two stand.
fn action(
    name: Option<&str>,
    errno: Option<u32>,
    pointers: [&str; 2],
    violations: &mut Violations,
) -> Action {
    let [at_name, at_errno] = pointers;
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        violations.add(at_name, "an action is required");
        return Action::KILL_PROCESS;
    };
    let data_limit = match name {
        "SCMP_ACT_ERRNO" => HIGHEST_ERRNO,
        "SCMP_ACT_TRACE" => u32::from(u16::MAX),
        _ => 0,
    };
    match errno {
        Some(_) if data_limit == 0 => {
            violations.add(at_errno, format!("{name} answers with no error number"));
        }
        Some(errno) if errno > data_limit => {
            violations.add(
                at_errno,
                format!("{errno} is above {data_limit}, the highest one"),
            );
        }
        _ => {}
    }
    // Only the low bits: a number that is too high has been refused above.
    let data = errno.unwrap_or(libc::EPERM.unsigned_abs()) & u32::from(u16::MAX);
    match name {
        "SCMP_ACT_ALLOW" => Action::ALLOW,
        "SCMP_ACT_ERRNO" => Action::errno(data),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => Action::KILL_PROCESS,
        "SCMP_ACT_LOG" => Action::LOG,
        NOTIFY => Action::NOTIFY,
        "SCMP_ACT_TRACE" => Action::trace(data),
        "SCMP_ACT_TRAP" => Action::TRAP,
        _ => {
            violations.add(at_name, unknown("action", name, ACTIONS));
            Action::KILL_PROCESS
        }
    }
}

fn rule(
    index: usize,
    entry: &spec::Syscall<'_>,
    profile: &mut Profile,
    violations: &mut Violations,
) -> Rule {
    let at = format!("/linux/seccomp/syscalls/{index}");
    let action = action(
        entry.action.as_deref(),
        entry.errno_ret,
        [&format!("{at}/action"), &format!("{at}/errnoRet")],
        violations,
    );
    if entry.names.as_ref().is_none_or(Vec::is_empty) {
        violations.add(
            format!("{at}/names"),
            "at least one system call is required",
        );
    }
    let mut calls = Vec::new();
    for (position, name) in entry.names.iter().flatten().enumerate() {
        match syscalls::find(name).filter(|call| exists(call, &profile.architectures)) {
            Some(call) => calls.push(call),
            None if name.is_empty() => {
                let pointer = format!("{at}/names/{position}");
                violations.add(pointer, "an empty name is no system call");
            }
            None => profile.skipped.push(name.to_string()),
        }
    }
    Rule {
        index,
        calls,
        action,
        alternatives: alternatives(&at, entry, violations),
    }
}

/// Whether any of the filter's architectures has the call.
fn exists(call: &Call, architectures: &[Architecture]) -> bool {
    architectures.iter().any(|&architecture| {
        call.number(architecture).is_some()
            || architecture == Architecture::X86 && call.multiplexed().is_some()
    })
}

/// Conditions on different arguments must all hold. As soon as one argument has two, any
/// single one of all of them is enough: that is what runc makes of such an entry.
fn alternatives(
    at: &str,
    entry: &spec::Syscall<'_>,
    violations: &mut Violations,
) -> Vec<Vec<Comparison>> {
    let mut comparisons = Vec::new();
    for (position, argument) in entry.args.iter().flatten().enumerate() {
        let at = format!("{at}/args/{position}");
        comparisons.extend(comparison(&at, argument, violations));
    }
    comparisons.sort_by_key(|comparison: &Comparison| comparison.argument);
    let repeated = comparisons
        .windows(2)
        .any(|pair| pair[0].argument == pair[1].argument);
    match comparisons.len() {
        0 => Vec::new(),
        _ if repeated => comparisons.into_iter().map(|single| vec![single]).collect(),
        _ => vec![comparisons],
    }
}

fn comparison(
    at: &str,
    argument: &spec::SyscallArg<'_>,
    violations: &mut Violations,
) -> Option<Comparison> {
    let index = argument.index.filter(|&index| index < ARGUMENTS);
    if index.is_none() {
        violations.add(
            format!("{at}/index"),
            "an argument's index, 0 to 5, is required",
        );
    }
    if argument.value.is_none() {
        violations.add(format!("{at}/value"), "a value is required");
    }
    let operator = operator(at, argument, violations);
    Some(Comparison {
        argument: u8::try_from(index?).ok()?,
        operator: operator?,
        value: match operator? {
            Operator::MaskedEqual(_) => argument.value_two.unwrap_or(0),
            _ => argument.value?,
        },
    })
}

fn operator(
    at: &str,
    argument: &spec::SyscallArg<'_>,
    violations: &mut Violations,
) -> Option<Operator> {
    let name = argument.op.as_deref().unwrap_or_default();
    Some(match name {
        "SCMP_CMP_EQ" => Operator::Equal,
        "SCMP_CMP_NE" => Operator::NotEqual,
        "SCMP_CMP_LT" => Operator::Less,
        "SCMP_CMP_LE" => Operator::LessOrEqual,
        "SCMP_CMP_GT" => Operator::Greater,
        "SCMP_CMP_GE" => Operator::GreaterOrEqual,
        "SCMP_CMP_MASKED_EQ" => Operator::MaskedEqual(argument.value?),
        "" => {
            violations.add(format!("{at}/op"), "an operator is required");
            return None;
        }
        _ => {
            violations.add(format!("{at}/op"), unknown("operator", name, OPERATORS));
            return None;
        }
    })
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .min_by_key(|candidate| distance(name, candidate));
    match nearest.filter(|candidate| distance(name, candidate) <= candidate.len() / 3) {
        Some(nearest) => format!("unknown {what} {name:?} (did you mean {nearest}?)"),
        None => format!("unknown {what} {name:?} (known: {})", known.join(", ")),
    }
}

/// Levenshtein's distance, of at most the first bytes: names come from outside.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let a = &a.as_bytes()[..a.len().min(LONGEST)];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
