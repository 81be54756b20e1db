//! What the child tells its parent, and hears from it.
//!
//! ```text
//!  parent                                   child
//!  clone3                               -->
//!                                       <-- Respawned(pid)   only when it had to go on as another
//!                                       <-- Phase(NeedsIds)  only in a new user namespace
//!  Gate(IdsMapped)                      -->
//!                                       <-- Phase(Joined)
//!  Gate(HooksDone)                      -->
//!                                       <-- Phase(Filtered), with a descriptor, only when the
//!                                           filter has a listener
//!                                       <-- Phase(Ready)
//!  Gate(Committed)                      -->
//!  the parent leaves; `start` connects  -->
//!                                       <-- Phase(Executing), then end of file by execve(2)
//!  (any time)                           <-- Failure, then end of file
//! ```
//!
//! Messages are sent by write(2): a seccomp filter of the container, in force at the last of
//! them, seldom forbids it. SIGPIPE is ignored until execve(2).

use crate::failure::{At, refuse};
use crate::interpreter::Init;
use crate::program::{Call, Failure, Gate, Message, Phase};
use crate::sys::{self, Errno, Fd};

fn message_of(phase: Phase) -> Message {
    Message {
        kind: Message::PHASE,
        subject: phase as u16,
        call: 0,
        reserved: 0,
        code: 0,
    }
}

impl Init<'_> {
    /// Sends a phase. A parent that is gone is seen at the next [`Init::await_gate`]; after the
    /// start nobody need listen.
    pub(crate) fn tell(&self, phase: Phase) -> Result<(), Failure> {
        match self.send(message_of(phase)) {
            Err(Errno(libc::EPIPE | libc::ECONNRESET)) => Ok(()),
            sent => sent.at(Call::Send),
        }
    }

    /// Sends a phase with a descriptor.
    pub(crate) fn tell_with(&self, phase: Phase, descriptor: &Fd) -> Result<(), Failure> {
        let bytes = message_of(phase).to_bytes();
        sys::uninterrupted(|| sys::send_descriptor(self.listener, descriptor.raw(), &bytes))
            .at(Call::Send)
    }

    pub(crate) fn tell_respawned(&self, pid: i32) -> Result<(), Failure> {
        let kind = Message::RESPAWNED;
        let message = Message {
            kind,
            subject: 0,
            call: 0,
            reserved: 0,
            code: pid,
        };
        self.send(message).at(Call::Send)
    }

    /// Waits for a gate. When the parent is gone, the child ends without a word.
    pub(crate) fn await_gate(&self, gate: Gate) -> Result<(), Failure> {
        let mut bytes = [0; Message::SIZE];
        let received = sys::uninterrupted(|| sys::read(self.listener, &mut bytes));
        let length = match received {
            // Reset: the parent has closed its end with a message of ours unread.
            Ok(0) | Err(Errno(libc::ECONNRESET)) => sys::exit(1),
            received => received.at(Call::Receive)?,
        };
        let message = bytes.get(..length).and_then(Message::from_bytes);
        match message {
            Some(Message {
                kind: Message::GATE,
                subject,
                ..
            }) if subject == gate as u16 => Ok(()),
            _ => refuse(Call::Receive, libc::EPROTO),
        }
    }

    /// Waits for a connection; whoever made it hears of failures from now on.
    pub(crate) fn await_start(&mut self, socket: i32) -> Result<(), Failure> {
        let connection = loop {
            match sys::uninterrupted(|| sys::accept(socket)) {
                // It was given up before it was accepted: the next one counts.
                Err(Errno(libc::ECONNABORTED)) => {}
                done => break done.at(Call::Accept)?,
            }
        };
        self.listener = connection.raw();
        self.connection = Some(connection);
        Ok(())
    }

    /// Reports the failure of a step with the kernel's own words about it, if there are any.
    pub(crate) fn report(&self, step: usize, failure: Failure) {
        let message = Message {
            kind: Message::FAILURE,
            subject: u16::try_from(step).unwrap_or(u16::MAX),
            call: failure.call as u16,
            reserved: 0,
            code: failure.code,
        };
        let mut record = [0; Message::SIZE + Message::TEXT_MAX];
        let (head, text) = record.split_at_mut(Message::SIZE);
        head.copy_from_slice(&message.to_bytes());
        let words = self.explanation.as_bytes();
        let length = words.len().min(text.len());
        for (byte, word) in text.iter_mut().zip(words) {
            *byte = *word;
        }
        let record = record.get(..Message::SIZE + length).unwrap_or_default();
        // Nobody may be listening any more; the exit code says it too.
        sys::ignore(sys::uninterrupted(|| sys::write(self.listener, record)));
    }

    fn send(&self, message: Message) -> sys::Result<()> {
        let bytes = message.to_bytes();
        sys::uninterrupted(|| sys::write(self.listener, &bytes)).map(drop)
    }
}
