//! What a process of a container may be asked for, and when: pure, without a process.
//!
//! ```text
//!   Creating ──▶ Created ──▶ Running ◀──▶ Paused        (only init is ever paused)
//!                   │           │           │
//!                   └───────────┴───────────┴──▶ Stopped ──▶ Deleted
//! ```
//!
//! Calls that change a process run one at a time: [`Machine::ask`] says whether one may begin,
//! must wait for its predecessor, or is refused; [`Machine::begin`] and [`Machine::finish`]
//! stand around it. The end of the process may come at any moment, also while a call is under
//! way; [`Machine::end`] takes note of it, and [`Machine::settle`] says when it may be told: a
//! start is told before its exit.

use crate::failure::Failure;

/// Whose machine it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The container's first process.
    Init,
    /// A further one.
    Exec,
}

/// Where a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its id is taken; there is nothing else yet.
    Creating,
    /// It waits for `Start`.
    Created,
    /// It runs.
    Running,
    /// It is frozen with its container.
    Paused,
    /// It has ended, and this has been told.
    Stopped,
    /// It is gone.
    Deleted,
}

/// What a call does to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Run the program.
    Start,
    /// Freeze the container.
    Pause,
    /// Thaw it.
    Resume,
    /// Change its limits.
    Update,
    /// Write it to disk.
    Checkpoint,
    /// Add a further process.
    Exec,
    /// Remove what is left.
    Delete,
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may begin.
    Go,
    /// Another is under way.
    Later,
    /// Not in this stage.
    Refused(Failure),
}

/// The stage of a process and what is being done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    subject: Subject,
    stage: Stage,
    under_way: Option<Operation>,
    has_ended: bool,
}

impl Machine {
    /// A process whose id has just been taken.
    #[must_use]
    pub const fn new(subject: Subject) -> Self {
        Self {
            subject,
            stage: Stage::Creating,
            under_way: None,
            has_ended: false,
        }
    }

    /// Where it stands.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether there is a process that has not ended, or may be one in a moment.
    #[must_use]
    pub fn may_be_alive(&self) -> bool {
        match self.stage {
            Stage::Running | Stage::Paused => !self.has_ended,
            Stage::Created => self.subject == Subject::Init || self.is_starting(),
            Stage::Creating => true,
            Stage::Stopped | Stage::Deleted => false,
        }
    }

    fn is_starting(&self) -> bool {
        self.under_way == Some(Operation::Start)
    }

    /// It has been created.
    pub fn created(&mut self) {
        if self.stage == Stage::Creating {
            self.stage = Stage::Created;
        }
    }

    /// Whether the operation may begin now.
    #[must_use]
    pub fn ask(&self, operation: Operation) -> Verdict {
        if self.under_way.is_some() && operation != Operation::Exec {
            return Verdict::Later;
        }
        if self.permits(operation) {
            return Verdict::Go;
        }
        Verdict::Refused(Failure::precondition(self.refusal(operation)))
    }

    fn permits(&self, operation: Operation) -> bool {
        match operation {
            Operation::Start => self.stage == Stage::Created,
            Operation::Pause => self.stage == Stage::Running,
            Operation::Resume => self.stage == Stage::Paused,
            Operation::Update => {
                matches!(self.stage, Stage::Created | Stage::Running | Stage::Paused)
            }
            Operation::Checkpoint => matches!(self.stage, Stage::Running | Stage::Paused),
            Operation::Exec => matches!(self.stage, Stage::Created | Stage::Running),
            Operation::Delete => matches!(self.stage, Stage::Created | Stage::Stopped),
        }
    }

    /// The operation begins: [`Machine::ask`] has said that it may.
    pub fn begin(&mut self, operation: Operation) {
        self.under_way = Some(operation);
    }

    /// The operation is over.
    pub fn finish(&mut self, operation: Operation, is_done: bool) {
        self.under_way = None;
        // It has ended meanwhile, and that has been told: nothing wakes it up again.
        if self.stage == Stage::Stopped && operation != Operation::Delete {
            return;
        }
        match operation {
            Operation::Start if is_done => self.stage = Stage::Running,
            // A further process that could not be started has never been.
            Operation::Start if self.subject == Subject::Exec => self.has_ended = true,
            Operation::Pause if is_done => self.stage = Stage::Paused,
            Operation::Resume if is_done => self.stage = Stage::Running,
            Operation::Delete if is_done => self.stage = Stage::Deleted,
            _ => {}
        }
    }

    /// The process has ended.
    pub fn end(&mut self) {
        self.has_ended = true;
    }

    /// Whether the end is to be told now: true once.
    pub fn settle(&mut self) -> bool {
        let is_known = matches!(self.stage, Stage::Created | Stage::Running | Stage::Paused);
        let may_be_told = !matches!(self.under_way, Some(Operation::Start | Operation::Delete));
        if !(self.has_ended && is_known && may_be_told) {
            return false;
        }
        self.stage = Stage::Stopped;
        true
    }

    /// containerd's texts.
    fn refusal(&self, operation: Operation) -> String {
        let verb = match operation {
            Operation::Start => "start",
            Operation::Pause => "pause",
            Operation::Resume => "resume",
            Operation::Update => "update",
            Operation::Checkpoint => "checkpoint",
            Operation::Exec => "exec in",
            Operation::Delete => "delete",
        };
        let stage = match self.stage {
            Stage::Creating => "creating",
            Stage::Created => "created",
            Stage::Running => "running",
            Stage::Paused => "paused",
            Stage::Stopped => "stopped",
            Stage::Deleted => "deleted",
        };
        let noun = match operation {
            Operation::Exec => "state",
            Operation::Start | Operation::Delete => "process",
            _ => "container",
        };
        format!("cannot {verb} a {stage} {noun}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPERATIONS: [Operation; 7] = [
        Operation::Start,
        Operation::Pause,
        Operation::Resume,
        Operation::Update,
        Operation::Checkpoint,
        Operation::Exec,
        Operation::Delete,
    ];

    fn refused(machine: &Machine, operation: Operation) -> String {
        match machine.ask(operation) {
            Verdict::Refused(failure) => failure.message,
            verdict => panic!("{operation:?}: {verdict:?}"),
        }
    }

    fn running(subject: Subject) -> Machine {
        let mut machine = Machine::new(subject);
        machine.created();
        machine.begin(Operation::Start);
        machine.finish(Operation::Start, true);
        machine
    }

    #[test]
    fn refusals_have_the_texts_that_callers_know() {
        let mut machine = running(Subject::Init);
        assert_eq!(
            refused(&machine, Operation::Start),
            "cannot start a running process"
        );
        assert_eq!(
            refused(&machine, Operation::Delete),
            "cannot delete a running process"
        );
        machine.begin(Operation::Pause);
        machine.finish(Operation::Pause, true);
        assert_eq!(
            refused(&machine, Operation::Exec),
            "cannot exec in a paused state"
        );
        assert_eq!(
            refused(&machine, Operation::Pause),
            "cannot pause a paused container"
        );
        machine.end();
        assert!(machine.settle());
        assert_eq!(
            refused(&machine, Operation::Exec),
            "cannot exec in a stopped state"
        );
    }

    #[test]
    fn an_end_before_the_start_is_known_is_told_after_it() {
        let mut machine = Machine::new(Subject::Init);
        machine.created();
        machine.begin(Operation::Start);
        machine.end();
        assert!(!machine.settle());
        assert_eq!(machine.ask(Operation::Delete), Verdict::Later);
        machine.finish(Operation::Start, true);
        assert!(machine.settle());
        assert!(!machine.settle(), "an end is told once");
        assert_eq!(machine.ask(Operation::Delete), Verdict::Go);
    }

    #[test]
    fn a_created_process_can_be_deleted_and_its_end_is_not_told() {
        let mut machine = Machine::new(Subject::Init);
        machine.created();
        assert_eq!(machine.ask(Operation::Delete), Verdict::Go);
        machine.begin(Operation::Delete);
        machine.end();
        assert!(!machine.settle());
        machine.finish(Operation::Delete, true);
        assert!(!machine.settle());
        assert_eq!(machine.stage(), Stage::Deleted);
    }

    proptest! {
        /// Whatever is asked in whatever order: one call at a time, an end is told at most
        /// once, and nothing happens to what is deleted.
        #[test]
        fn any_order_of_calls_is_met(steps in prop::collection::vec((0usize..10, any::<bool>()), 0..60)) {
            let mut machine = Machine::new(Subject::Init);
            let mut under_way = None;
            let mut told = 0;
            for (step, flag) in steps {
                match (step, under_way) {
                    (7, _) => machine.created(),
                    (8, _) => machine.end(),
                    (9, Some(operation)) => {
                        machine.finish(operation, flag);
                        under_way = None;
                    }
                    (9, None) => {}
                    (step, _) => {
                        let operation = OPERATIONS[step];
                        match machine.ask(operation) {
                            Verdict::Go if operation != Operation::Exec => {
                                prop_assert!(under_way.is_none());
                                machine.begin(operation);
                                under_way = Some(operation);
                            }
                            Verdict::Later => prop_assert!(under_way.is_some()),
                            _ => {}
                        }
                    }
                }
                told += u32::from(machine.settle());
                prop_assert!(told <= 1);
                if machine.stage() == Stage::Deleted {
                    prop_assert!(!machine.may_be_alive());
                }
            }
        }
    }
}
