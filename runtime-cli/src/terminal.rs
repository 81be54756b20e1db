//! The caller's own terminal while a container's process uses it.

use std::io::{self, Stdin};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::termios::{self, OutputFlags, SetArg, Termios};

use crate::failure::{Failure, While};
use crate::sys::{self, WindowSize};

/// Our stdin in raw mode; dropping it brings the old mode back.
#[derive(Debug)]
pub(crate) struct RawMode {
    stdin: Stdin,
    before: Termios,
}

impl RawMode {
    /// Enters raw mode if stdin is a terminal. Output processing stays on: others write to
    /// this terminal as well.
    pub(crate) fn enter() -> Result<Option<Self>, Failure> {
        let stdin = io::stdin();
        let Ok(before) = termios::tcgetattr(&stdin) else {
            return Ok(None);
        };
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        raw.output_flags |= OutputFlags::OPOST;
        termios::tcsetattr(&stdin, SetArg::TCSANOW, &raw).doing("set the terminal to raw mode")?;
        Ok(Some(Self { stdin, before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        termios::tcsetattr(&self.stdin, SetArg::TCSANOW, &self.before).ok();
    }
}

/// The size of the caller's window: that of the first stream that is a terminal.
pub(crate) fn callers_window() -> Option<WindowSize> {
    let size = |stream: BorrowedFd<'_>| sys::window_size(stream).ok();
    size(io::stdin().as_fd())
        .or_else(|| size(io::stdout().as_fd()))
        .or_else(|| size(io::stderr().as_fd()))
}

/// Leaves a line's end as the process writes it: the caller's terminal, which still
/// processes output, adds the carriage return.
pub(crate) fn keep_line_ends(master: BorrowedFd<'_>) -> Result<(), Failure> {
    let mut mode = termios::tcgetattr(master).doing("read the terminal's mode")?;
    mode.output_flags &= !OutputFlags::ONLCR;
    termios::tcsetattr(master, SetArg::TCSANOW, &mode).doing("set the terminal's mode")
}
