//! Device rules as an eBPF program of type BPF_PROG_TYPE_CGROUP_DEVICE.
//!
//! The kernel runs it for every mknod(2) and open(2) of a device by a process of the cgroup.
//! It looks at the rules from last to first and keeps the accesses that no rule has spoken of
//! yet: a denying rule that speaks of one of them ends in "no", and when allowing rules have
//! spoken of all of them the answer is "yes".

use super::{DeviceKind, DeviceRule, DeviceRules};

/// One instruction (linux/bpf.h, `struct bpf_insn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u8,
    /// Destination in the lower half, source in the upper one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const ANSWER: u8 = 0;

const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const MOVE: u8 = 0xb7;
const JUMP: u8 = 0x05;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const JUMP_IF_ANY_BIT: u8 = 0x45;
const EXIT: u8 = 0x95;

/// BPF_DEVCG_DEV_*.
const KIND_BLOCK: i32 = 1;
const KIND_CHARACTER: i32 = 2;

fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers,
        offset,
        immediate,
    }
}

/// Assembles the rules.
pub(crate) fn assemble(rules: &DeviceRules) -> Vec<Instruction> {
    let load = |to: u8, offset: i16| instruction(LOAD_WORD, CONTEXT << 4 | to, offset, 0);
    let mut program = vec![
        load(KIND, 0),
        instruction(AND, KIND, 0, 0xffff),
        load(ACCESS, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in rules.as_slice().iter().rev() {
        if rule.is_total() {
            // Nothing gets past it, and the kernel refuses code that is never reached.
            program.extend(answer(rule.allow));
            return program;
        }
        push_rule(&mut program, rule);
    }
    program.extend(answer(false));
    program
}

/// The conditions of a rule, each of which jumps behind it, and then its act.
fn push_rule(program: &mut Vec<Instruction>, rule: &DeviceRule) {
    let act = act(rule);
    let kind = match rule.kind {
        DeviceKind::Any => None,
        DeviceKind::Block => Some(KIND_BLOCK),
        DeviceKind::Character => Some(KIND_CHARACTER),
    };
    let conditions: Vec<(u8, i32)> = [
        (KIND, kind),
        (MAJOR, rule.major.map(u32::cast_signed)),
        (MINOR, rule.minor.map(u32::cast_signed)),
    ]
    .into_iter()
    .filter_map(|(register, value)| Some((register, value?)))
    .collect();
    for (index, (register, value)) in conditions.iter().enumerate() {
        let behind = conditions.len() - index - 1 + act.len();
        let behind = i16::try_from(behind).expect("two conditions and five instructions at most");
        program.push(instruction(JUMP_UNLESS_EQUAL, *register, behind, *value));
    }
    program.extend(act);
}

/// What a rule does about the accesses that are still open.
fn act(rule: &DeviceRule) -> Vec<Instruction> {
    let bits = i32::from(rule.access.bits());
    let mut act = if rule.allow {
        vec![
            instruction(AND, ACCESS, 0, !bits),
            instruction(JUMP_UNLESS_EQUAL, ACCESS, 2, 0),
        ]
    } else {
        vec![
            instruction(JUMP_IF_ANY_BIT, ACCESS, 1, bits),
            instruction(JUMP, 0, 2, 0),
        ]
    };
    act.extend(answer(rule.allow));
    act
}

fn answer(allow: bool) -> [Instruction; 2] {
    [
        instruction(MOVE, ANSWER, 0, i32::from(allow)),
        instruction(EXIT, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Access, DeviceList};
    use super::*;

    /// What a process wants to do.
    #[derive(Clone, Copy, Debug)]
    struct Request {
        kind: DeviceKind,
        major: u32,
        minor: u32,
        access: u8,
    }

    /// Runs a program as the kernel does, for the few instructions that it may have.
    fn run(program: &[Instruction], request: Request) -> bool {
        let kind = if request.kind == DeviceKind::Block {
            1
        } else {
            2
        };
        let context = [
            kind | u32::from(request.access) << 16,
            request.major,
            request.minor,
        ];
        let mut registers = [0u64; 11];
        let mut next = 0usize;
        loop {
            let i = program[next];
            let to = usize::from(i.registers & 0xf);
            let immediate = i64::from(i.immediate).cast_unsigned();
            let jump = next.wrapping_add_signed(isize::from(i.offset)) + 1;
            next += 1;
            match i.code {
                LOAD_WORD => {
                    registers[to] = u64::from(context[usize::try_from(i.offset / 4).unwrap()]);
                }
                AND => registers[to] &= immediate,
                SHIFT_RIGHT => registers[to] >>= immediate,
                MOVE => registers[to] = immediate,
                JUMP => next = jump,
                JUMP_UNLESS_EQUAL if registers[to] != immediate => next = jump,
                JUMP_IF_ANY_BIT if registers[to] & immediate != 0 => next = jump,
                JUMP_UNLESS_EQUAL | JUMP_IF_ANY_BIT => {}
                EXIT => return registers[0] == 1,
                code => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    /// The rules' meaning, by its definition: for each access, the last rule that speaks of it.
    fn meaning(rules: &[DeviceRule], request: Request) -> bool {
        (0..3)
            .map(|n| 1u8 << n)
            .filter(|bit| request.access & bit != 0)
            .all(|bit| {
                let speaks = |rule: &&DeviceRule| {
                    (rule.kind == DeviceKind::Any || rule.kind == request.kind)
                        && rule.major.is_none_or(|major| major == request.major)
                        && rule.minor.is_none_or(|minor| minor == request.minor)
                        && rule.access.bits() & bit != 0
                };
                rules.iter().rfind(speaks).is_some_and(|rule| rule.allow)
            })
    }

    /// What cgroup v1 says with its list, for one kind of access.
    fn listed(list: &DeviceList, request: Request) -> bool {
        let hit = list.exceptions.iter().any(|rule| {
            rule.kind == request.kind
                && rule.major.is_none_or(|major| major == request.major)
                && rule.minor.is_none_or(|minor| minor == request.minor)
                && rule.access.bits() & request.access != 0
        });
        hit != list.default_allow
    }

    fn kinds() -> impl Strategy<Value = DeviceKind> {
        prop_oneof![Just(DeviceKind::Block), Just(DeviceKind::Character)]
    }

    fn rules() -> impl Strategy<Value = Vec<DeviceRule>> {
        let kind = prop_oneof![Just(DeviceKind::Any), kinds()];
        let number = prop_oneof![Just(None), (0u32..3).prop_map(Some)];
        let rule = (any::<bool>(), kind, number.clone(), number, 1u8..8);
        let rule = rule.prop_map(|(allow, kind, major, minor, access)| DeviceRule {
            allow,
            kind,
            major,
            minor,
            access: Access::from_bits(access),
        });
        prop::collection::vec(rule, 0..8)
    }

    fn requests() -> impl Strategy<Value = Request> {
        (kinds(), 0u32..4, 0u32..4, 1u8..8).prop_map(|(kind, major, minor, access)| Request {
            kind,
            major,
            minor,
            access,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn the_program_says_what_the_rules_mean(rules in rules(), request in requests()) {
            let rules = DeviceRules::new(rules);
            let said = run(&assemble(&rules), request);
            prop_assert_eq!(said, meaning(rules.as_slice(), request));
        }

        #[test]
        fn a_v1_list_says_what_the_rules_mean(rules in rules(), request in requests(), bit in 0u8..3) {
            let request = Request { access: 1 << bit, ..request };
            let rules = DeviceRules::new(rules);
            if let Ok(list) = rules.list() {
                prop_assert_eq!(listed(&list, request), meaning(rules.as_slice(), request));
            }
        }
    }

    #[test]
    fn an_instruction_is_as_large_as_the_kernels() {
        assert_eq!(size_of::<Instruction>(), 8);
    }
}
