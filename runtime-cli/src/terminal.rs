//! The caller's own terminal while a container's process uses it.

use std::io::{self, Stdin};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::termios::{self, SetArg, SpecialCharacterIndices, Termios};
use runtime_core::spec::ConsoleSize;

use crate::failure::{Failure, While};
use crate::sys::{self, WindowSize};

/// Our stdin in raw mode; dropping it brings the old mode back.
#[derive(Debug)]
pub(crate) struct RawMode {
    stdin: Stdin,
    before: Termios,
}

impl RawMode {
    /// Enters raw mode if stdin is a terminal. Output is not processed either: the process's
    /// own terminal has done that.
    pub(crate) fn enter() -> Result<Option<Self>, Failure> {
        let stdin = io::stdin();
        let Ok(before) = termios::tcgetattr(&stdin) else {
            return Ok(None);
        };
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
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

/// Gives a terminal the size of the caller's window, if that has one.
pub(crate) fn resize(master: BorrowedFd<'_>) {
    if let Some(size) = callers_window() {
        // A wrong size is a blemish, no reason to end the process.
        sys::set_window_size(master, &size).ok();
    }
}

/// The window's size in config.json's form.
pub(crate) fn console_size(window: &WindowSize) -> ConsoleSize<'static> {
    ConsoleSize {
        height: Some(window.ws_row.into()),
        width: Some(window.ws_col.into()),
        ..ConsoleSize::default()
    }
}

/// The byte that means the end of input when it is typed at a terminal.
pub(crate) fn end_of_input(terminal: BorrowedFd<'_>) -> u8 {
    const CONTROL_D: u8 = 4;
    let mode = termios::tcgetattr(terminal);
    mode.map_or(CONTROL_D, |mode| {
        mode.control_chars[SpecialCharacterIndices::VEOF as usize]
    })
}
