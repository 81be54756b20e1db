//! What runtimes say when they fail, and what containerd makes of it.

use crate::failure::{Code, Failure};

/// What a failed call is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Start,
    Exec,
    Kill,
    KillAll,
    Delete,
    Pause,
    Resume,
    Processes,
    Update,
    Checkpoint,
    Restore,
    State,
    Features,
}

impl Operation {
    pub(super) const fn prefix(self) -> &'static str {
        match self {
            Self::Create => "OCI runtime create failed",
            Self::Start => "OCI runtime start failed",
            Self::Exec => "OCI runtime exec failed",
            Self::Kill => "OCI runtime kill failed",
            Self::KillAll => "OCI runtime killall failed",
            Self::Delete => "OCI runtime delete failed",
            Self::Pause => "OCI runtime pause failed",
            Self::Resume => "OCI runtime resume failed",
            Self::Processes => "OCI runtime ps failed",
            Self::Update => "OCI runtime update failed",
            Self::Checkpoint => "OCI runtime checkpoint failed",
            Self::Restore => "OCI runtime restore failed",
            Self::State => "OCI runtime state failed",
            Self::Features => "OCI runtime features failed",
        }
    }

    /// The failure that a runtime's words mean.
    pub(super) fn failure(self, words: &str) -> Failure {
        let lower = words.to_lowercase();
        let says = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
        let is_kill = matches!(self, Self::Kill | Self::KillAll);
        // What does not exist for these may be a file of the container.
        let launches = matches!(
            self,
            Self::Create | Self::Exec | Self::Restore | Self::Start
        );
        let is_missing = says(&NO_CONTAINER) || !launches && says(&["does not exist"]);
        if is_kill && says(&NOT_RUNNING) {
            return Failure::not_found(format!("process already finished: {words}"));
        }
        if is_kill && is_missing {
            return Failure::not_found(format!("no such container: {words}"));
        }
        let code = if is_missing || says(&["container not running"]) {
            Code::NOT_FOUND
        } else if says(&TAKEN) {
            Code::ALREADY_EXISTS
        } else if says(&WRONG_STATUS) {
            Code::FAILED_PRECONDITION
        } else {
            Code::UNKNOWN
        };
        Failure::new(code, format!("{}: {words}", self.prefix()))
    }
}

/// What kill says of a process that has ended, in small letters.
const NOT_RUNNING: [&str; 3] = ["process already finished", "not running", "no such process"];

/// What runtimes say of a container that is not there. crun has no words for it but open(2)'s.
const NO_CONTAINER: [&str; 3] = [
    "container does not exist",
    "/status`: no such file",
    "cannot open directory",
];

/// What they say of an id that is taken.
const TAKEN: [&str; 2] = ["given id already exists", "` already exists"];

/// What they say of a container that is not in the right state for it.
const WRONG_STATUS: [&str; 9] = [
    "cannot exec in a",
    "cannot start a",
    "cannot delete container",
    "invalid state transition",
    "container not paused",
    "container paused",
    "is not in `created`",
    "the container is not stopped",
    // crun's start of a container that has been started.
    "/exec.fifo`: no such file",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtimes_words_have_the_codes_that_containerd_decides_by() {
        use Operation::{Create, Delete, Exec, Kill, Processes, Start};
        let cases = [
            (Kill, "container not running", Code::NOT_FOUND),
            (Kill, "os: process already finished", Code::NOT_FOUND),
            (Kill, "kill container: No such process", Code::NOT_FOUND),
            (Kill, "container does not exist", Code::NOT_FOUND),
            (Kill, "invalid signal", Code::UNKNOWN),
            (Delete, "container x does not exist", Code::NOT_FOUND),
            (
                Delete,
                "cannot open directory '/run/x': No such file or directory",
                Code::NOT_FOUND,
            ),
            (
                Processes,
                "error opening file `/run/x/status`: No such file or directory",
                Code::NOT_FOUND,
            ),
            (
                Delete,
                "cannot delete container x that is not stopped: running",
                Code::FAILED_PRECONDITION,
            ),
            (Create, "bundle /b does not exist", Code::UNKNOWN),
            (
                Create,
                "container with given ID already exists",
                Code::ALREADY_EXISTS,
            ),
            (Create, "container `x` already exists", Code::ALREADY_EXISTS),
            (
                Create,
                "exec: \"x\": executable file not found in $PATH",
                Code::UNKNOWN,
            ),
            (
                Exec,
                "cannot exec in a stopped container",
                Code::FAILED_PRECONDITION,
            ),
            (
                Start,
                "cannot start an already running container",
                Code::FAILED_PRECONDITION,
            ),
        ];
        for (operation, words, code) in cases {
            let failure = operation.failure(words);
            assert_eq!(failure.code, code, "{operation:?}: {words}");
            assert!(failure.message.ends_with(words), "{failure}");
        }
        let message = |operation: Operation, words| operation.failure(words).message;
        assert_eq!(message(Create, "no"), "OCI runtime create failed: no");
        assert_eq!(
            message(Kill, "container not running"),
            "process already finished: container not running"
        );
    }
}
