//! Which descriptors the process has, and what its standard streams are.

use crate::directory::for_each_entry;
use crate::failure::{At, refuse};
use crate::interpreter::Init;
use crate::masks::Masks;
use crate::paths;
use crate::program::{Call, Failure, RawFd};
use crate::sys::{self, Errno};

impl Init<'_> {
    /// Closes every descriptor but these, which are sorted.
    ///
    /// # Errors
    ///
    /// EINVAL after a step that has opened something to keep.
    pub(crate) fn close_all_but(&mut self, kept: &[RawFd]) -> Result<(), Failure> {
        if self.rootfs.is_some() || self.label.is_some() || self.connection.is_some() {
            return refuse(Call::CloseRange, libc::EINVAL);
        }
        close_around(kept)
    }

    /// Closes every descriptor but these, which are sorted, whoever has opened it.
    pub(crate) fn let_go(&mut self, kept: &[RawFd]) -> Result<(), Failure> {
        self.rootfs = None;
        self.masks = Masks::default();
        self.label = None;
        self.proc = -1;
        self.last_kept = Some(kept.last().copied().unwrap_or(-1));
        close_around(kept)
    }

    /// Makes these descriptors the standard streams.
    pub(crate) fn take_streams(&mut self, streams: [RawFd; 3]) -> Result<(), Failure> {
        // A source that is itself a stream would be overwritten before its turn.
        let [input, output, errors] = streams;
        let saved = [(input, 0), (output, 1), (errors, 2)].map(|(fd, stream)| {
            let is_in_the_way = fd < 3 && fd != stream;
            (
                fd,
                stream,
                is_in_the_way.then(|| sys::dup_above_streams(fd)),
            )
        });
        for (fd, stream, copy) in saved {
            match copy {
                Some(copy) => sys::dup_to(copy.at(Call::Dup)?.raw(), stream),
                None => sys::dup_to(fd, stream),
            }
            .at(Call::Dup)?;
        }
        Ok(())
    }

    /// Lets descriptors from `first` on close at execve(2).
    pub(crate) fn close_on_exec_from(&self, first: u32) -> Result<(), Failure> {
        match sys::close_range(first, u32::MAX, sys::CLOSE_RANGE_CLOEXEC) {
            // Before Linux 5.11 the flag is not known; a container's filter may hide the call.
            Err(Errno(libc::EINVAL | libc::ENOSYS | libc::EPERM)) => {
                self.mark_each_close_on_exec(first)
            }
            done => done.at(Call::CloseRange),
        }
    }

    fn mark_each_close_on_exec(&self, first: u32) -> Result<(), Failure> {
        if let Some(last) = self.last_kept {
            // What was opened since closes itself.
            return mark_range_close_on_exec(first, last);
        }
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let list = paths::open_in_proc(self.proc, c"self/fd", flags).at(Call::Open)?;
        for_each_entry(list.raw(), &mut |name| {
            let number = name
                .to_str()
                .ok()
                .and_then(|digits| digits.parse::<i32>().ok());
            match number {
                Some(fd) if fd.cast_unsigned() >= first => {
                    sys::fcntl_setfd(fd, libc::FD_CLOEXEC).at(Call::CloseRange)
                }
                _ => Ok(()),
            }
        })
    }
}

/// Lets these descriptors stay open over execve(2). Done here and not by the parent, whose other
/// threads may start programs that they are not meant for.
pub(crate) fn pass_on(passed: &[RawFd]) -> Result<(), Failure> {
    passed
        .iter()
        .try_for_each(|fd| sys::fcntl_setfd(*fd, 0).at(Call::Fcntl))
}

/// Closes what lies between, before and after these descriptors, which are sorted.
fn close_around(kept: &[RawFd]) -> Result<(), Failure> {
    let mut first = 0;
    for fd in kept.iter().map(|fd| fd.cast_unsigned()) {
        if first < fd {
            sys::close_range(first, fd - 1, 0).at(Call::CloseRange)?;
        }
        first = first.max(fd + 1);
    }
    sys::close_range(first, u32::MAX, 0).at(Call::CloseRange)
}

fn mark_range_close_on_exec(first: u32, last: RawFd) -> Result<(), Failure> {
    let first = RawFd::try_from(first).unwrap_or(RawFd::MAX);
    (first..=last).try_for_each(|fd| match sys::fcntl_setfd(fd, libc::FD_CLOEXEC) {
        Err(Errno(libc::EBADF)) => Ok(()),
        marked => marked.at(Call::CloseRange),
    })
}
