//! How the program ends.

/// What the caller learns from the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All done.
    Success,
    /// A command failed.
    Failed,
    /// `exec` itself failed: any smaller number could be the process's own status.
    ExecFailed,
    /// There is no such command.
    UnknownCommand,
    /// The status of the process in the foreground.
    Process(u8),
}

impl Exit {
    /// The exit status of a process that ended by itself.
    pub(crate) fn of_status(status: i32) -> Self {
        Self::Process(status.to_le_bytes()[0])
    }

    /// The exit status for a process that a signal ended, as a shell has it.
    pub(crate) fn of_signal(signal: i32) -> Self {
        Self::of_status(signal.saturating_add(128))
    }

    /// The number for exit(3).
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::ExecFailed => 255,
            Self::UnknownCommand => 3,
            Self::Process(status) => status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_counts_from_128() {
        assert_eq!(Exit::of_signal(9).code(), 137);
        assert_eq!(Exit::of_status(42).code(), 42);
        assert_eq!(Exit::of_status(0), Exit::Process(0));
    }
}
