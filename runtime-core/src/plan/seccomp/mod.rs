//! `linux.seccomp`, assembled.
//!
//! ```text
//! config.json ──profile──▶ Profile ──decide──▶ Table ──assemble──▶ program
//!                names and            answers per           classic
//!                numbers checked      system call           BPF
//! ```
//!
//! What a profile means is what runc makes of it by libseccomp: `decide` has the rules, and
//! tests compare the result with libseccomp itself. Where the two differ, this one forbids
//! more: see `decide`, `syscalls::Call::takes_int` and `decide::through_multiplexer`.

use std::cmp::Reverse;
use std::fmt;
use std::path::PathBuf;

use libc::sock_filter;

pub use self::architecture::ARCHITECTURES;
use self::profile::Profile;
pub use self::profile::{ACTIONS, FLAGS, OPERATORS};
use crate::host::Machine;
use crate::spec;
use crate::violation::Violations;

mod architecture;
mod assemble;
mod decide;
mod profile;
mod syscalls;

#[cfg(any(test, fuzzing))]
pub mod interpret;
#[cfg(any(test, fuzzing))]
pub mod oracle;
#[cfg(test)]
mod tests;

/// The kernel takes no longer program (BPF_MAXINSNS).
const LONGEST: usize = 4096;

/// A seccomp filter, ready for seccomp(2).
#[derive(Clone, Debug)]
pub struct SeccompPlan {
    /// Classic BPF over `struct seccomp_data`; at most 4096 instructions.
    pub program: Vec<sock_filter>,
    /// SECCOMP_FILTER_FLAG_*.
    pub flags: u32,
    /// Who is asked about some of the calls.
    pub listener: Option<ListenerPlan>,
    /// Names in the profile that are no system calls of this machine, and so have no effect;
    /// sorted.
    pub skipped: Vec<String>,
    architectures: Vec<&'static str>,
    default: Action,
    /// System calls that have a rule with another action than the default one.
    named: Vec<(Action, &'static str)>,
}

/// The agent of seccomp's user notification: config-linux.md#seccomp, seccomp_unotify(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerPlan {
    /// An absolute path in the runtime's mount namespace, of a socket where the agent listens.
    pub path: PathBuf,
    /// Passed to it as it is.
    pub metadata: Option<String>,
}

impl PartialEq for SeccompPlan {
    fn eq(&self, other: &Self) -> bool {
        // `sock_filter` has no equality of its own.
        let words = |plan: &Self| -> Vec<_> {
            plan.program
                .iter()
                .map(|one| (one.code, one.jt, one.jf, one.k))
                .collect()
        };
        self.flags == other.flags
            && self.listener == other.listener
            && self.skipped == other.skipped
            && words(self) == words(other)
    }
}

/// Reads `linux.seccomp` and assembles its filter.
///
/// None without a filter: nothing is asked for, or only what happens anyway. None as well
/// after a violation.
pub(super) fn plan(
    seccomp: Option<&spec::Seccomp<'_>>,
    machine: Machine,
    violations: &mut Violations,
) -> Option<SeccompPlan> {
    let seccomp = seccomp.filter(|seccomp| !is_off(seccomp))?;
    let before = violations.0.len();
    let profile = profile::read(seccomp, machine, violations);
    let tables = decide::tables(&profile, violations);
    if violations.0.len() > before {
        return None;
    }
    let program = assemble::assemble(&tables);
    if program.len() > LONGEST {
        let rule = format!(
            "the filter has {} instructions; the kernel takes {LONGEST}",
            program.len()
        );
        violations.add("/linux/seccomp/syscalls", rule);
        return None;
    }
    Some(SeccompPlan {
        program,
        flags: profile.flags,
        listener: profile.listener.clone(),
        architectures: profile.architectures.iter().map(|one| one.name()).collect(),
        default: profile.default,
        named: named(&profile),
        skipped: profile.skipped,
    })
}

/// Whether the section asks for no filter: nothing in it, or everything allowed. (runc loads
/// a filter for the latter, which forbids nothing but other architectures.)
fn is_off(seccomp: &spec::Seccomp<'_>) -> bool {
    let none = |list: Option<usize>| list.is_none_or(|length| length == 0);
    let action = seccomp.default_action.as_deref().unwrap_or_default();
    none(seccomp.syscalls.as_ref().map(Vec::len))
        && (action.is_empty()
            || action == "SCMP_ACT_ALLOW"
                && seccomp.default_errno_ret.is_none()
                && none(seccomp.flags.as_ref().map(Vec::len)))
}

fn named(profile: &Profile) -> Vec<(Action, &'static str)> {
    let rules = profile
        .rules
        .iter()
        .filter(|rule| rule.action != profile.default);
    let calls = rules.flat_map(|rule| rule.calls.iter().map(|call| (rule.action, call.name)));
    calls.collect()
}

impl SeccompPlan {
    /// What the filter does, in a person's words: one line, and one more for names that were
    /// skipped.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let counts = self.counts();
        let named = counts.iter().map(|(action, count)| {
            let calls = if *count == 1 {
                "system call"
            } else {
                "system calls"
            };
            action.sentence(&format!("{count} {calls}"))
        });
        let others = if counts.is_empty() {
            "all system calls"
        } else {
            "all others"
        };
        let clauses: Vec<String> = named.chain([self.default.sentence(others)]).collect();
        let mut words = vec![format!(
            "{} ({} {}; {} instructions)",
            clauses.join(", "),
            if self.architectures.len() == 1 {
                "architecture"
            } else {
                "architectures"
            },
            self.architectures.join(", "),
            self.program.len(),
        )];
        words.extend(
            self.listener
                .as_ref()
                .map(|listener| format!("the listener is at {}", listener.path.display())),
        );
        if !self.skipped.is_empty() {
            let names = self.skipped.join(", ");
            words.push(format!(
                "skipped, as no system calls of this machine: {names}"
            ));
        }
        words
    }

    /// How many system calls have a rule with the action; the most lenient one first.
    fn counts(&self) -> Vec<(Action, usize)> {
        let mut named = self.named.clone();
        named.sort_unstable_by_key(|(action, name)| (Reverse(action.leniency()), action.0, *name));
        named.dedup();
        let same_action = named.chunk_by(|a, b| a.0 == b.0);
        same_action.map(|same| (same[0].0, same.len())).collect()
    }
}

/// What happens to a system call: SECCOMP_RET_* with its data.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Action(u32);

impl Action {
    const KILL_PROCESS: Self = Self(0x8000_0000);
    const KILL_THREAD: Self = Self(0);
    const TRAP: Self = Self(0x0003_0000);
    const NOTIFY: Self = Self(0x7fc0_0000);
    const LOG: Self = Self(0x7ffc_0000);
    const ALLOW: Self = Self(0x7fff_0000);
    /// For architectures that are not in the filter; libseccomp's choice.
    const FOREIGN: Self = Self::KILL_THREAD;

    const ERRNO: u32 = 0x0005_0000;
    const TRACE: u32 = 0x7ff0_0000;
    const DATA: u32 = 0x0000_ffff;

    const fn errno(errno: u32) -> Self {
        Self(Self::ERRNO | errno & Self::DATA)
    }

    const fn trace(data: u32) -> Self {
        Self(Self::TRACE | data & Self::DATA)
    }

    /// Sorts from the strictest action to `allow`, as the kernel does between filters.
    const fn leniency(self) -> i32 {
        (self.0 & !Self::DATA).cast_signed()
    }

    const fn is_stricter_than(self, other: Self) -> bool {
        self.leniency() < other.leniency()
    }

    /// Whether a call with this action is made, as far as the filter can tell.
    const fn lets_calls_happen(self) -> bool {
        self.leniency() >= Self::trace(0).leniency()
    }

    /// Such as `answer 3 system calls with EPERM`.
    fn sentence(self, object: &str) -> String {
        match self {
            Self::ALLOW => format!("allow {object}"),
            Self::LOG => format!("allow and log {object}"),
            Self::NOTIFY => format!("ask the listener about {object}"),
            Self::TRAP => format!("send SIGSYS for {object}"),
            Self::KILL_PROCESS => format!("kill the process for {object}"),
            Self::KILL_THREAD => format!("kill the thread for {object}"),
            Self(value) if value & !Self::DATA == Self::TRACE => {
                format!("ask the tracer ({}) about {object}", value & Self::DATA)
            }
            Self(value) => format!("answer {object} with {}", errno_name(value & Self::DATA)),
        }
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence("it"))
    }
}

fn errno_name(errno: u32) -> String {
    let known = i32::try_from(errno).map(nix::errno::Errno::from_raw);
    match known {
        Ok(known) if known != nix::errno::Errno::UnknownErrno => format!("{known:?}"),
        _ => format!("error number {errno}"),
    }
}
