//! Calls, ends and results in any order, for a container's init and for a further process: one
//! call at a time, an end is told at most once and after its start, and what is deleted stays so.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use shim::task::machine::{Machine, Operation, Stage, Subject, Verdict};

#[derive(Arbitrary, Debug)]
enum Step {
    Created,
    End,
    Call(u8),
    Result(bool),
}

const OPERATIONS: [Operation; 7] = [
    Operation::Start,
    Operation::Pause,
    Operation::Resume,
    Operation::Update,
    Operation::Checkpoint,
    Operation::Exec,
    Operation::Delete,
];

fuzz_target!(|input: (bool, Vec<Step>)| {
    let (is_init, steps) = input;
    let subject = if is_init { Subject::Init } else { Subject::Exec };
    let mut machine = Machine::new(subject);
    let mut under_way = None;
    let mut told = false;
    for step in steps {
        let before = machine.stage();
        match step {
            Step::Created => machine.created(),
            Step::End => machine.end(),
            Step::Result(is_done) => {
                if let Some(operation) = under_way.take() {
                    machine.finish(operation, is_done);
                }
            }
            Step::Call(number) => {
                let operation = OPERATIONS[usize::from(number) % OPERATIONS.len()];
                match machine.ask(operation) {
                    // Of a further process init is only asked.
                    Verdict::Go if operation == Operation::Exec => {}
                    Verdict::Go => {
                        assert!(under_way.is_none());
                        machine.begin(operation);
                        under_way = Some(operation);
                    }
                    Verdict::Later => assert!(under_way.is_some()),
                    Verdict::Refused(failure) => assert!(!failure.message.is_empty()),
                }
            }
        }
        if machine.settle() {
            assert!(!told, "an end is told once");
            assert_ne!(under_way, Some(Operation::Start), "a start is told first");
            told = true;
        }
        if told {
            assert!(!machine.may_be_alive());
            assert!(matches!(machine.stage(), Stage::Stopped | Stage::Deleted));
        }
        if before == Stage::Deleted {
            assert_eq!(machine.stage(), Stage::Deleted);
        }
    }
});
