//! What a container is doing now, and which operations that permits.

use std::fmt;

/// The status of a container: runtime.md "State", and runc's `paused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// `create` has begun and not ended.
    Creating,
    /// Everything is made; the user's program has not run.
    Created,
    /// The user's program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// The init process has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// What a caller wants to do with a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Run the user's program.
    Start,
    /// Send a signal to init.
    Kill,
    /// Start another process inside.
    Exec,
    /// Forget it.
    Delete,
    /// Freeze it.
    Pause,
    /// Thaw it.
    Resume,
    /// Change its limits.
    Update,
    /// Save its processes as images.
    Checkpoint,
}

impl Status {
    /// The lifecycle table: runtime.md "Operations", plus runc's pause, resume, exec and
    /// update, and its delete of a created container.
    #[must_use]
    pub const fn permits(self, operation: Operation) -> bool {
        use {Operation as O, Status as S};
        match operation {
            O::Start => matches!(self, S::Created),
            O::Kill | O::Update => matches!(self, S::Created | S::Running | S::Paused),
            O::Checkpoint => matches!(self, S::Running | S::Paused),
            O::Exec | O::Pause => matches!(self, S::Created | S::Running),
            O::Delete => matches!(self, S::Created | S::Stopped),
            O::Resume => matches!(self, S::Paused),
        }
    }

    /// Why an operation is refused: the texts that containerd, CRI-O and people know.
    #[must_use]
    pub fn refusal(self, operation: Operation, id: &str) -> String {
        use {Operation as O, Status as S};
        match (operation, self) {
            (_, S::Creating) if !matches!(operation, O::Delete) => {
                format!("container {id} is still being created")
            }
            (O::Start, S::Stopped) => "cannot start a container that has stopped".into(),
            (O::Start, S::Paused) => "cannot start a paused container (resume it first)".into(),
            (O::Start, _) => "cannot start an already running container".into(),
            (O::Kill | O::Pause | O::Update, _) => format!("container not running: {id} is {self}"),
            (O::Exec, S::Paused) => {
                "cannot exec in a paused container (use --ignore-paused to override)".into()
            }
            (O::Exec, _) => format!("cannot exec in a {self} container"),
            (O::Delete, _) => {
                format!(
                    "cannot delete container {id} that is not stopped: {self} (kill it first, or use --force)"
                )
            }
            (O::Resume, _) => format!("container not paused: {id} is {self}"),
            (O::Checkpoint, S::Created) => {
                format!("container {id} cannot be checkpointed in created state (start it first)")
            }
            (O::Checkpoint, _) => format!("container not running: {id} is {self}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Status; 5] = [
        Status::Creating,
        Status::Created,
        Status::Running,
        Status::Paused,
        Status::Stopped,
    ];

    #[test]
    fn each_operation_has_its_states() {
        let permitted = |operation| ALL.map(|status| status.permits(operation));
        assert_eq!(
            permitted(Operation::Start),
            [false, true, false, false, false]
        );
        assert_eq!(permitted(Operation::Kill), [false, true, true, true, false]);
        assert_eq!(
            permitted(Operation::Exec),
            [false, true, true, false, false]
        );
        assert_eq!(
            permitted(Operation::Delete),
            [false, true, false, false, true]
        );
        assert_eq!(
            permitted(Operation::Pause),
            [false, true, true, false, false]
        );
        assert_eq!(
            permitted(Operation::Resume),
            [false, false, false, true, false]
        );
        assert_eq!(
            permitted(Operation::Update),
            [false, true, true, true, false]
        );
        assert_eq!(
            permitted(Operation::Checkpoint),
            [false, false, true, true, false]
        );
    }

    #[test]
    fn refusals_carry_the_texts_that_callers_match() {
        let text = |status: Status, operation| status.refusal(operation, "x");
        assert_eq!(
            text(Status::Running, Operation::Start),
            "cannot start an already running container"
        );
        assert_eq!(
            text(Status::Stopped, Operation::Start),
            "cannot start a container that has stopped"
        );
        assert!(text(Status::Stopped, Operation::Kill).contains("container not running"));
        assert_eq!(
            text(Status::Stopped, Operation::Update),
            "container not running: x is stopped"
        );
        assert_eq!(
            text(Status::Stopped, Operation::Exec),
            "cannot exec in a stopped container"
        );
        assert_eq!(
            text(Status::Running, Operation::Delete),
            "cannot delete container x that is not stopped: running (kill it first, or use --force)"
        );
        assert!(text(Status::Running, Operation::Resume).contains("container not paused"));
    }
}
