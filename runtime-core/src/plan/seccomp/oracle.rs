//! What a profile means, said a second time and as plainly as possible, for tests and fuzz
//! targets only: one call is held against every rule, without tables, segments or jumps.
//!
//! Compiled for `cfg(test)` and `cfg(fuzzing)` alone, so that no product carries it.

#![expect(
    clippy::unwrap_used,
    reason = "test code, of profiles that have been checked"
)]

use std::collections::BTreeMap;

use super::architecture::{ARM_PRIVATE, Architecture, X32_BIT};
use super::interpret::{self, CallData};
use super::syscalls::{self, Call};
use super::{Action, plan};
use crate::host::Machine;
use crate::spec::{Seccomp, Syscall, SyscallArg};
use crate::violation::Violations;

/// SECCOMP_RET_* that a valid profile asks for.
#[must_use]
pub fn expected(seccomp: &Seccomp<'_>, machine: Machine, call: &CallData) -> u32 {
    let default = action(seccomp.default_action.as_deref(), seccomp.default_errno_ret);
    let listed = |architecture: Architecture| {
        architecture == Architecture::native(machine)
            || seccomp
                .architectures
                .iter()
                .flatten()
                .any(|name| Architecture::of(name, machine) == Some(architecture))
    };
    let architecture = match call.audit {
        0xc000_003e
            if call.number == u32::MAX
                && listed(Architecture::X86_64)
                && !listed(Architecture::X32) =>
        {
            return default.0;
        }
        0xc000_003e if call.number & X32_BIT != 0 || call.number > X32_BIT => Architecture::X32,
        0xc000_003e => Architecture::X86_64,
        0x4000_0003 => Architecture::X86,
        0xc000_00b7 => Architecture::Aarch64,
        0x4000_0028 => Architecture::Arm,
        _ => return Action::FOREIGN.0,
    };
    if !listed(architecture) {
        return Action::FOREIGN.0;
    }
    if is_newer(seccomp, architecture, call.number) && !default.lets_calls_happen() {
        return Action::errno(libc::ENOSYS.unsigned_abs()).0;
    }
    spoken(seccomp, architecture, call, default)
        .unwrap_or(default)
        .0
}

/// Whether the profile names calls of the architecture, and this one is above all of them.
fn is_newer(seccomp: &Seccomp<'_>, architecture: Architecture, number: u32) -> bool {
    let is_private = |number| architecture == Architecture::Arm && number >= ARM_PRIVATE;
    let newest = entries(seccomp)
        .flat_map(|(_, call)| {
            let multiplexed = call
                .multiplexed()
                .filter(|_| architecture == Architecture::X86);
            [
                call.number(architecture),
                multiplexed.map(|multiplexed| multiplexed.through),
            ]
        })
        .flatten()
        .filter(|&number| !is_private(number))
        .max();
    newest.is_some_and(|newest| number > newest) && !is_private(number)
}

fn entries<'a>(seccomp: &'a Seccomp<'_>) -> impl Iterator<Item = (&'a Syscall<'a>, &'static Call)> {
    seccomp.syscalls.iter().flatten().flat_map(|entry| {
        let names = entry.names.iter().flatten();
        names.filter_map(move |name| Some((entry, syscalls::find(name)?)))
    })
}

/// What the rules say about a call, if any does.
fn spoken(
    seccomp: &Seccomp<'_>,
    architecture: Architecture,
    data: &CallData,
    default: Action,
) -> Option<Action> {
    let mut strictest: Option<Action> = None;
    for (entry, call) in entries(seccomp) {
        let action = action(entry.action.as_deref(), entry.errno_ret);
        let args = entry.args.as_deref().unwrap_or_default();
        let (holds, always) = if call.number(architecture) == Some(data.number) {
            hold(args, call, architecture, data)
        } else if is_multiplexed(call, architecture, data)
            && (args.is_empty() || action.leniency() < default.leniency())
        {
            (true, false)
        } else {
            continue;
        };
        if action == default || !holds {
            continue;
        }
        if always {
            return Some(action);
        }
        if strictest.is_none_or(|known| action.leniency() < known.leniency()) {
            strictest = Some(action);
        }
    }
    // A later rule without conditions decides alone.
    let alone = entries(seccomp).find(|(entry, call)| {
        let args = entry.args.as_deref().unwrap_or_default();
        call.number(architecture) == Some(data.number)
            && action(entry.action.as_deref(), entry.errno_ret) != default
            && hold(args, call, architecture, data).1
    });
    match alone {
        Some((entry, _)) => Some(action(entry.action.as_deref(), entry.errno_ret)),
        None => strictest,
    }
}

fn is_multiplexed(call: &Call, architecture: Architecture, data: &CallData) -> bool {
    architecture == Architecture::X86
        && call.multiplexed().is_some_and(|multiplexed| {
            multiplexed.through == data.number
                && u64::from(multiplexed.selector) == data.arguments[0] & 0xffff_ffff
        })
}

/// Whether the conditions hold, and whether some can't but hold.
fn hold(
    args: &[SyscallArg<'_>],
    call: &Call,
    architecture: Architecture,
    data: &CallData,
) -> (bool, bool) {
    let test = |arg: &SyscallArg<'_>| holds(arg, call, architecture, data);
    let repeated = args.iter().enumerate().any(|(position, arg)| {
        args[..position]
            .iter()
            .any(|other| other.index == arg.index)
    });
    if args.is_empty() {
        (true, true)
    } else if repeated {
        (
            args.iter().any(|arg| test(arg).0),
            args.iter().any(|arg| test(arg).1),
        )
    } else {
        (
            args.iter().all(|arg| test(arg).0),
            args.iter().all(|arg| test(arg).1),
        )
    }
}

fn holds(
    arg: &SyscallArg<'_>,
    call: &Call,
    architecture: Architecture,
    data: &CallData,
) -> (bool, bool) {
    let index = arg.index.unwrap();
    let is_wide = matches!(architecture, Architecture::X86_64 | Architecture::Aarch64);
    let value = arg.value.unwrap();
    let is_masked = arg.op.as_deref() == Some("SCMP_CMP_MASKED_EQ");
    let is_int = |value: u64| value <= 0xffff_ffff || value >= 0xffff_ffff_0000_0000;
    let are_ints = is_int(value) && (!is_masked || is_int(arg.value_two.unwrap_or(0)));
    let takes_int = call.takes_int(u8::try_from(index).unwrap());
    let width = if is_wide && !(takes_int && are_ints) {
        u64::MAX
    } else {
        0xffff_ffff
    };
    let found = data.arguments[index as usize] & width;
    let wanted = value & width;
    match arg.op.as_deref().unwrap() {
        "SCMP_CMP_EQ" => (found == wanted, false),
        "SCMP_CMP_NE" => (found != wanted, false),
        "SCMP_CMP_LT" => (found < wanted, false),
        "SCMP_CMP_LE" => (found <= wanted, false),
        "SCMP_CMP_GT" => (found > wanted, false),
        "SCMP_CMP_GE" => (found >= wanted, false),
        _ => {
            let wanted = arg.value_two.unwrap_or(0) & value & width;
            (found & value == wanted, wanted == 0 && value & width == 0)
        }
    }
}

fn action(name: Option<&str>, errno: Option<u32>) -> Action {
    let errno = errno.unwrap_or(1);
    match name.unwrap() {
        "SCMP_ACT_ALLOW" => Action(0x7fff_0000),
        "SCMP_ACT_LOG" => Action(0x7ffc_0000),
        "SCMP_ACT_NOTIFY" => Action(0x7fc0_0000),
        "SCMP_ACT_TRACE" => Action(0x7ff0_0000 | errno),
        "SCMP_ACT_ERRNO" => Action(0x0005_0000 | errno),
        "SCMP_ACT_TRAP" => Action(0x0003_0000),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action(0),
        _ => Action(0x8000_0000),
    }
}

/// Plans a profile, and holds its program against [`expected`] for these calls.
///
/// # Errors
///
/// The first call that the program answers otherwise, in a person's words.
pub fn check(seccomp: &Seccomp<'_>, machine: Machine, calls: &[CallData]) -> Result<(), String> {
    let mut violations = Violations::default();
    let Some(plan) = plan(Some(seccomp), machine, &mut violations) else {
        return Ok(());
    };
    for call in calls {
        let answered = interpret::run(&plan.program, call)?;
        let expected = expected(seccomp, machine, call);
        if answered != expected {
            return Err(format!("{call:x?}: {answered:#x}, expected {expected:#x}"));
        }
    }
    Ok(())
}

/// Calls worth trying with a profile: each number that it names and its neighbours, on every
/// architecture, with arguments on and beside each value that it compares with.
#[must_use]
pub fn telling_calls(seccomp: &Seccomp<'_>) -> Vec<CallData> {
    const AUDITS: [u32; 5] = [0xc000_003e, 0x4000_0003, 0xc000_00b7, 0x4000_0028, 0];
    let values = telling_values(seccomp);
    let mut calls = Vec::new();
    for (number, has_conditions) in telling_numbers(seccomp) {
        let rounds = if has_conditions { values.len() } else { 1 };
        for (audit, at) in AUDITS
            .into_iter()
            .flat_map(|audit| (0..rounds).map(move |at| (audit, at)))
        {
            // Each argument walks through the values at its own pace.
            let value = |argument| values[(at * (argument + 1) + argument) % values.len()];
            calls.push(CallData {
                audit,
                number,
                arguments: std::array::from_fn(value),
            });
        }
    }
    calls
}

fn telling_values(seccomp: &Seccomp<'_>) -> Vec<u64> {
    let mut values = vec![0, 1, 1 << 32, u64::MAX];
    let entries = seccomp.syscalls.iter().flatten();
    for arg in entries.flat_map(|entry| entry.args.iter().flatten()) {
        for value in [arg.value, arg.value_two].into_iter().flatten() {
            let beside = [value.wrapping_sub(1), value.wrapping_add(1)];
            let upper_half = [value ^ 1 << 32, value & 0xffff_ffff];
            values.extend(beside.into_iter().chain(upper_half).chain([value]));
        }
    }
    values.sort_unstable();
    values.dedup();
    values
}

/// Numbers, and whether arguments may matter.
fn telling_numbers(seccomp: &Seccomp<'_>) -> BTreeMap<u32, bool> {
    const ALWAYS: [(u32, bool); 10] = [
        (0, false),
        (102, true), // x86's socketcall
        (117, true), // x86's ipc
        (500, false),
        (X32_BIT - 1, false),
        (X32_BIT, false),
        (X32_BIT + 600, false),
        (ARM_PRIVATE, false),
        (u32::MAX - 1, false),
        (u32::MAX, false),
    ];
    let mut numbers = BTreeMap::from(ALWAYS);
    for (entry, call) in entries(seccomp) {
        let has_conditions = entry.args.as_ref().is_some_and(|args| !args.is_empty());
        for number in call
            .numbers
            .into_iter()
            .filter(|&number| number != u32::MAX)
        {
            for near in [number.wrapping_sub(1), number, number + 1, number | X32_BIT] {
                *numbers.entry(near).or_default() |= has_conditions;
            }
        }
    }
    numbers
}
