//! What the filter answers to every system call number of every architecture.
//!
//! Several rules may name one call. As libseccomp, and so runc, has it:
//!
//! - A rule whose action is the default one says nothing.
//! - The first rule without conditions decides alone, wherever it stands.
//! - Otherwise each rule whose conditions hold speaks. libseccomp's answer then depends on
//!   how it has built its tree; here the strictest action wins, as the kernel lets the
//!   strictest of several filters win. The same conditions with two actions are refused, as
//!   libseccomp does.

use super::Action;
use super::architecture::{ARM_PRIVATE, Architecture, X32_BIT};
use super::profile::{Comparison, Operator, Profile, Rule};
use super::syscalls::{Call, Multiplexed};
use crate::violation::Violations;

/// The answers to all calls that share an AUDIT_ARCH_* value.
#[derive(Debug)]
pub(super) struct Table {
    /// `seccomp_data.arch`.
    pub(super) audit: u32,
    /// Sorted; the first one starts at 0, each one ends where the next one starts.
    pub(super) segments: Vec<Segment>,
}

/// Adjacent numbers with the same answer.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) start: u32,
    pub(super) answer: Answer,
}

/// What the filter answers.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Always(Action),
    /// The first alternative that holds counts.
    Depends {
        alternatives: Vec<Alternative>,
        otherwise: Action,
    },
}

/// Conditions that must all hold, and what is answered then.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Alternative {
    pub(super) conditions: Vec<Condition>,
    pub(super) action: Action,
    /// Index in `syscalls`; none where the rule's own conditions could not be kept.
    rule: Option<usize>,
}

/// A comparison as one architecture makes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Condition {
    pub(super) comparison: Comparison,
    /// Whether all 64 bits count, or the lower half of both sides.
    pub(super) wide: bool,
}

/// Decides for all architectures of a profile, the machine's own first.
pub(super) fn tables(profile: &Profile, violations: &mut Violations) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for architecture in &profile.architectures {
        let audit = architecture.audit();
        if tables.iter().all(|table| table.audit != audit) {
            tables.push(table(profile, audit, violations));
        }
    }
    tables
}

/// One rule's word on one number.
struct Word<'a> {
    number: u32,
    rule: &'a Rule,
    call: &'static Call,
    /// The multiplexer's first argument, when `number` is a multiplexer's.
    selector: Option<u32>,
    wide: bool,
}

fn table(profile: &Profile, audit: u32, violations: &mut Violations) -> Table {
    let mut words = Vec::with_capacity(1024);
    let mut zones = zones(profile, audit);
    for &architecture in &profile.architectures {
        if architecture.audit() == audit {
            collect(profile, architecture, &mut words, &mut zones);
        }
    }
    // Sorted by number, then as the profile has them; the words themselves are too big to move.
    let key = |(at, word): (usize, &Word<'_>)| (word.number, at);
    let mut order: Vec<(u32, usize)> = words.iter().enumerate().map(key).collect();
    order.sort_unstable();
    let mut order = order.chunk_by(|a, b| a.0 == b.0).peekable();
    let mut segments = Vec::with_capacity(256);
    for zone in zones {
        let mut next = zone.start;
        while let Some(same) = order.next_if(|same| same[0].0 <= zone.last) {
            let number = same[0].0;
            zone.fill(next, Some(number), &mut segments);
            let said = same.iter().map(|&(_, at)| &words[at]);
            push(
                &mut segments,
                number,
                answer(said, profile.default, violations),
            );
            next = number.saturating_add(1);
        }
        zone.fill(next, None, &mut segments);
    }
    Table { audit, segments }
}

/// A range of numbers with one answer to calls that no rule names.
struct Zone {
    start: u32,
    last: u32,
    unnamed: Action,
    /// The newest call that the profile names, if it names any.
    newest: Option<u32>,
    /// The answer to calls that are newer than that.
    newer: Action,
}

impl Zone {
    fn new(start: u32, last: u32, unnamed: Action) -> Self {
        Self {
            start,
            last,
            unnamed,
            newest: None,
            newer: unnamed,
        }
    }

    /// Answers for numbers of the zone from `from` up to, not including, `end` (or its end).
    fn fill(&self, from: u32, end: Option<u32>, segments: &mut Vec<Segment>) {
        let end = end.map_or(u64::from(self.last) + 1, u64::from);
        let newer = self
            .newest
            .map_or(end, |newest| u64::from(newest) + 1)
            .min(end);
        if u64::from(from) < newer {
            push(segments, from, Answer::Always(self.unnamed));
        }
        if let Ok(start) = u32::try_from(newer.max(u64::from(from)))
            && u64::from(start) < end
        {
            push(segments, start, Answer::Always(self.newer));
        }
    }
}

/// All numbers, in ranges. Without x32 in the profile its numbers get what a foreign
/// architecture gets: they must not pass for x86_64's.
///
/// A call that is newer than every one that the profile names gets ENOSYS, so that a C
/// library falls back to what it did before: with EPERM it would give up. This is runc's
/// rule: it holds unless the default action lets calls happen (allow, log, trace), and for
/// each architecture of which the profile names any call.
fn zones(profile: &Profile, audit: u32) -> Vec<Zone> {
    const X86_64: u32 = Architecture::X86_64.audit();
    const ARM: u32 = Architecture::Arm.audit();
    let default = profile.default;
    let mut zones = match audit {
        X86_64 if profile.architectures.contains(&Architecture::X32) => vec![
            Zone::new(0, X32_BIT - 1, default),
            Zone::new(X32_BIT, u32::MAX, default),
        ],
        X86_64 => vec![
            Zone::new(0, X32_BIT - 1, default),
            Zone::new(X32_BIT, u32::MAX - 1, Action::FOREIGN),
            // A tracer that cancels a call sets its number to -1.
            Zone::new(u32::MAX, u32::MAX, default),
        ],
        // Private calls are old, however high their numbers are.
        ARM => vec![
            Zone::new(0, ARM_PRIVATE - 1, default),
            Zone::new(ARM_PRIVATE, u32::MAX, default),
        ],
        _ => vec![Zone::new(0, u32::MAX, default)],
    };
    let last = if audit == ARM { 1 } else { zones.len() };
    for zone in &mut zones[..last] {
        if zone.unnamed == default && !default.lets_calls_happen() {
            zone.newer = Action::errno(libc::ENOSYS.unsigned_abs());
        }
    }
    zones
}

/// Gathers what all rules say, and moves the zones' `newest` on.
fn collect<'a>(
    profile: &'a Profile,
    architecture: Architecture,
    words: &mut Vec<Word<'a>>,
    zones: &mut [Zone],
) {
    for rule in &profile.rules {
        for &call in &rule.calls {
            if let Some(number) = call.number(architecture) {
                note_newest(number, zones);
                if rule.action != profile.default {
                    words.push(Word {
                        number,
                        rule,
                        call,
                        selector: None,
                        wide: architecture.is_wide(),
                    });
                }
            }
            if architecture == Architecture::X86
                && let Some(multiplexed) = call.multiplexed()
            {
                note_newest(multiplexed.through, zones);
                if rule.action != profile.default {
                    words.extend(through_multiplexer(
                        rule,
                        call,
                        multiplexed,
                        profile.default,
                    ));
                }
            }
        }
    }
}

fn note_newest(number: u32, zones: &mut [Zone]) {
    for zone in zones {
        if (zone.start..=zone.last).contains(&number) {
            zone.newest = zone.newest.max(Some(number));
        }
    }
}

/// What a rule says about the same call made through `socketcall` or `ipc`. Its arguments
/// are in memory or in other registers there, so conditions can't be looked at: such a rule
/// counts as a whole when it forbids something, and not at all when it permits something.
fn through_multiplexer<'a>(
    rule: &'a Rule,
    call: &'static Call,
    multiplexed: &Multiplexed,
    default: Action,
) -> Option<Word<'a>> {
    let counts = rule.alternatives.is_empty() || rule.action.is_stricter_than(default);
    counts.then_some(Word {
        number: multiplexed.through,
        rule,
        call,
        selector: Some(multiplexed.selector),
        wide: false,
    })
}

/// Puts one number's rules together; see the module's documentation.
fn answer<'a>(
    words: impl Iterator<Item = &'a Word<'a>>,
    default: Action,
    violations: &mut Violations,
) -> Answer {
    let mut alternatives: Vec<Alternative> = Vec::new();
    let mut call = "";
    for word in words {
        if word.selector.is_none() && word.rule.alternatives.is_empty() {
            return Answer::Always(word.rule.action);
        }
        call = word.call.name;
        for alternative in spoken(word) {
            if alternative.conditions.is_empty() {
                return Answer::Always(alternative.action);
            }
            alternatives.push(alternative);
        }
    }
    refuse_contradiction(call, &alternatives, violations);
    alternatives.sort_by_key(|alternative| alternative.action.leniency());
    Answer::Depends {
        alternatives,
        otherwise: default,
    }
}

/// The alternatives on one number, of a rule that has some; one without conditions left always
/// holds.
fn spoken(word: &Word<'_>) -> Vec<Alternative> {
    let action = word.rule.action;
    if let Some(selector) = word.selector {
        return vec![Alternative {
            conditions: vec![selected(selector)],
            action,
            rule: None,
        }];
    }
    let alternative = |conditions| Alternative {
        conditions,
        action,
        rule: Some(word.rule.index),
    };
    let conditions = |comparisons: &Vec<Comparison>| {
        comparisons
            .iter()
            .map(|&comparison| Condition {
                comparison,
                wide: word.wide
                    && !(word.call.takes_int(comparison.argument) && comparison.fits_int()),
            })
            .filter(|condition| !condition.always_holds())
            .collect()
    };
    word.rule
        .alternatives
        .iter()
        .map(conditions)
        .map(alternative)
        .collect()
}

fn selected(selector: u32) -> Condition {
    Condition {
        comparison: Comparison {
            argument: 0,
            operator: Operator::Equal,
            value: u64::from(selector),
        },
        wide: false,
    }
}

fn refuse_contradiction(call: &str, alternatives: &[Alternative], violations: &mut Violations) {
    // The program will be refused for its length, and a pair of them all takes its time.
    if alternatives.len() > super::LONGEST {
        return;
    }
    for (position, later) in alternatives.iter().enumerate() {
        let contradicted = alternatives[..position].iter().find(|earlier| {
            earlier.action != later.action && earlier.conditions == later.conditions
        });
        if let Some(earlier) = contradicted
            && let (Some(earlier), Some(later)) = (earlier.rule, later.rule)
        {
            let pointer = format!("/linux/seccomp/syscalls/{later}/action");
            let rule = format!(
                "{call} has the same conditions in /linux/seccomp/syscalls/{earlier}, with another action",
            );
            if violations.0.iter().all(|known| known.pointer != pointer) {
                violations.add(pointer, rule);
            }
        }
    }
}

impl Comparison {
    /// Whether value and mask are those of a 32-bit integer, with or without a sign.
    fn fits_int(&self) -> bool {
        let fits = |bits: u64| matches!(bits >> 32, 0 | 0xffff_ffff);
        match self.operator {
            Operator::MaskedEqual(mask) => fits(mask) && fits(self.value),
            _ => fits(self.value),
        }
    }
}

impl Condition {
    /// The value, and the mask of the bits that count.
    pub(super) fn value_and_mask(&self) -> (u64, u64) {
        let width = if self.wide {
            u64::MAX
        } else {
            u64::from(u32::MAX)
        };
        let mask = match self.comparison.operator {
            Operator::MaskedEqual(mask) => mask & width,
            _ => width,
        };
        (self.comparison.value & mask, mask)
    }

    /// A mask without bits is no condition.
    fn always_holds(&self) -> bool {
        self.value_and_mask().1 == 0
    }
}

fn push(segments: &mut Vec<Segment>, start: u32, answer: Answer) {
    if segments.last().is_none_or(|last| last.answer != answer) {
        segments.push(Segment { start, answer });
    }
}
