//! From answers to classic BPF.
//!
//! The program is written from its end to its beginning: every jump goes forward, so its
//! target is already there and its distance known. A distance that does not fit into the
//! instruction's 8 bits goes over a jump with 32 bits, which is put right behind it.

use libc::sock_filter;

use super::Action;
use super::decide::{Alternative, Answer, Condition, Segment, Table};
use super::profile::Operator;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

// linux/bpf_common.h
pub(super) const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
pub(super) const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
pub(super) const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
pub(super) const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
pub(super) const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
pub(super) const JUMP_GREATER_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
pub(super) const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Makes the program that answers as the tables say, and FOREIGN to all other architectures.
pub(super) fn assemble(tables: &[Table]) -> Vec<sock_filter> {
    let mut program = Backwards::default();
    let mut next = program.answer(Action::FOREIGN);
    for table in tables.iter().rev() {
        let here = program.table(table);
        next = program.branch(JUMP_EQUAL, table.audit, here, next);
    }
    program.fall_into(next);
    program.put(LOAD, ARCHITECTURE);
    program.finish()
}

/// An instruction's place, counted from the program's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(usize);

/// A program whose last instruction is the first one here.
#[derive(Default)]
struct Backwards {
    instructions: Vec<sock_filter>,
    /// The most recent return of each action.
    returns: Vec<(Action, Place)>,
}

impl Backwards {
    /// Loads the number, and finds its segment.
    fn table(&mut self, table: &Table) -> Place {
        let root = self.search(&table.segments);
        self.fall_into(root);
        self.put(LOAD, NUMBER)
    }

    /// Halves the segments until one is left.
    fn search(&mut self, segments: &[Segment]) -> Place {
        match segments {
            [] => self.answer(Action::FOREIGN),
            [only] => self.segment(only),
            // One number between two ranges of the same answer: one comparison, not two.
            [before, one, after]
                if before.answer == after.answer && one.start + 1 == after.start =>
            {
                let outside = self.segment(before);
                let inside = self.segment(one);
                self.branch(JUMP_EQUAL, one.start, inside, outside)
            }
            _ => {
                let (lower, upper) = segments.split_at(segments.len() / 2);
                let start = upper[0].start;
                let upper = self.search(upper);
                let lower = self.search(lower);
                self.branch(JUMP_GREATER_EQUAL, start, upper, lower)
            }
        }
    }

    fn segment(&mut self, segment: &Segment) -> Place {
        match &segment.answer {
            Answer::Always(action) => self.answer(*action),
            Answer::Depends {
                alternatives,
                otherwise,
            } => {
                let otherwise = self.answer(*otherwise);
                alternatives
                    .iter()
                    .rev()
                    .fold(otherwise, |next, alternative| {
                        self.alternative(alternative, next)
                    })
            }
        }
    }

    fn alternative(&mut self, alternative: &Alternative, otherwise: Place) -> Place {
        let holds = self.answer(alternative.action);
        alternative
            .conditions
            .iter()
            .rev()
            .fold(holds, |holds, condition| {
                self.condition(condition, holds, otherwise)
            })
    }

    fn condition(&mut self, condition: &Condition, yes: Place, no: Place) -> Place {
        match condition.comparison.operator {
            Operator::Equal | Operator::MaskedEqual(_) => self.equal(condition, yes, no),
            Operator::NotEqual => self.equal(condition, no, yes),
            Operator::Greater => self.above(JUMP_GREATER, condition, yes, no),
            Operator::GreaterOrEqual => self.above(JUMP_GREATER_EQUAL, condition, yes, no),
            Operator::Less => self.above(JUMP_GREATER_EQUAL, condition, no, yes),
            Operator::LessOrEqual => self.above(JUMP_GREATER, condition, no, yes),
        }
    }

    /// Compares the halves whose bits count.
    fn equal(&mut self, condition: &Condition, yes: Place, no: Place) -> Place {
        let (value, mask) = condition.value_and_mask();
        let argument = condition.comparison.argument;
        let mut yes = yes;
        for upper in [false, true] {
            let half = Half::of(value, mask, upper);
            if half.mask == 0 {
                continue;
            }
            self.branch(JUMP_EQUAL, half.value, yes, no);
            if half.mask != u32::MAX {
                self.put(AND, half.mask);
            }
            yes = self.load(argument, upper);
        }
        yes
    }

    /// The upper halves decide unless they are equal.
    fn above(&mut self, lower_test: u16, condition: &Condition, yes: Place, no: Place) -> Place {
        let (value, mask) = condition.value_and_mask();
        let argument = condition.comparison.argument;
        self.branch(lower_test, Half::of(value, mask, false).value, yes, no);
        let lower = self.load(argument, false);
        if !condition.wide {
            return lower;
        }
        let upper = Half::of(value, mask, true).value;
        let not_above = self.branch(JUMP_EQUAL, upper, lower, no);
        self.branch(JUMP_GREATER, upper, yes, not_above);
        self.load(argument, true)
    }

    fn load(&mut self, argument: u8, upper: bool) -> Place {
        // Both machines are little-endian: the lower half comes first.
        let offset = ARGUMENTS + 8 * u32::from(argument) + if upper { 4 } else { 0 };
        self.put(LOAD, offset)
    }

    /// A return, shared with earlier users as long as a short jump reaches it.
    fn answer(&mut self, action: Action) -> Place {
        const NEAR: usize = 200;
        let length = self.instructions.len();
        let known = self.returns.iter_mut().find(|(known, _)| *known == action);
        if let Some((_, place)) = &known
            && length - place.0 < NEAR
        {
            return *place;
        }
        let new = Place(length);
        match known {
            Some((_, place)) => *place = new,
            None => self.returns.push((action, new)),
        }
        self.put(RETURN, action.0)
    }

    /// A comparison of the accumulator.
    fn branch(&mut self, code: u16, k: u32, yes: Place, no: Place) -> Place {
        // A trampoline for one way makes the other way longer: decide with room to spare.
        let yes = self.near(yes);
        let no = self.near(no);
        let (jt, jf) = (self.distance(yes), self.distance(no));
        let short = |distance| u8::try_from(distance).unwrap_or(u8::MAX);
        self.instructions.push(sock_filter {
            code,
            jt: short(jt),
            jf: short(jf),
            k,
        });
        Place(self.instructions.len() - 1)
    }

    /// The place itself, or one close by that is as good: a copy of a return, or a long jump.
    fn near(&mut self, place: Place) -> Place {
        const REACH: usize = u8::MAX as usize - 1;
        let distance = self.distance(place);
        match self.instructions[place.0] {
            _ if distance <= REACH => place,
            sock_filter {
                code: RETURN, k, ..
            } => self.put(RETURN, k),
            _ => self.put(JUMP, u32::try_from(distance).unwrap_or(u32::MAX)),
        }
    }

    /// What an instruction put now has to skip to get to `place`.
    fn distance(&self, place: Place) -> usize {
        self.instructions.len() - 1 - place.0
    }

    /// Makes sure that what is put next goes on at `place`.
    fn fall_into(&mut self, place: Place) {
        let distance = self.distance(place);
        if distance != 0 {
            self.put(JUMP, u32::try_from(distance).unwrap_or(u32::MAX));
        }
    }

    fn put(&mut self, code: u16, k: u32) -> Place {
        self.instructions.push(sock_filter {
            code,
            jt: 0,
            jf: 0,
            k,
        });
        Place(self.instructions.len() - 1)
    }

    fn finish(mut self) -> Vec<sock_filter> {
        self.instructions.reverse();
        self.instructions
    }
}

/// One half of a 64-bit comparison.
struct Half {
    value: u32,
    mask: u32,
}

impl Half {
    fn of(value: u64, mask: u64, upper: bool) -> Self {
        let shift = if upper { 32 } else { 0 };
        #[expect(clippy::cast_possible_truncation, reason = "one half at a time")]
        let half = |bits: u64| (bits >> shift) as u32;
        Self {
            value: half(value),
            mask: half(mask),
        }
    }
}
