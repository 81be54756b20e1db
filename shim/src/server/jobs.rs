//! Work that may block, on threads that live as long as it does.
//!
//! A job owns what it needs, and hands back what is to be done with its result: a function that
//! the loop calls with its own state. So no state is shared by two threads.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// How many jobs run at once. A hook or a file system that hangs holds one of them.
const AT_ONCE: usize = 64;

/// How many more when a signal is to be sent: whoever hangs must be within its reach.
const URGENT: usize = 16;

/// Plans of large configurations need some; what is not touched costs nothing.
const STACK_BYTES: usize = 1 << 20;

/// What the loop does with a job's result.
pub type Sequel<S> = Box<dyn FnOnce(&mut S) + Send>;

type Work<S> = Box<dyn FnOnce() -> Sequel<S> + Send>;

/// The jobs of a loop whose state is `S`.
pub struct Jobs<S> {
    wake: Arc<EventFd>,
    sender: Sender<Sequel<S>>,
    receiver: Receiver<Sequel<S>>,
    waiting: VecDeque<Work<S>>,
    urgent: VecDeque<Work<S>>,
    running: usize,
}

impl<S: 'static> Jobs<S> {
    /// None yet.
    ///
    /// # Errors
    ///
    /// eventfd(2)'s.
    pub fn new() -> Result<Self, Errno> {
        let (sender, receiver) = channel();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self {
            wake: Arc::new(EventFd::from_value_and_flags(0, flags)?),
            sender,
            receiver,
            waiting: VecDeque::new(),
            urgent: VecDeque::new(),
            running: 0,
        })
    }

    /// Whether none runs or waits.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.running == 0 && self.waiting.is_empty() && self.urgent.is_empty()
    }

    /// Runs `work` as soon as there is room for it. Its sequel comes out of [`Jobs::finished`].
    pub fn run<Next>(&mut self, work: impl FnOnce() -> Next + Send + 'static)
    where
        Next: FnOnce(&mut S) + Send + 'static,
    {
        self.waiting.push_back(boxed(work));
        self.fill();
    }

    /// The same, before all others, and also while as many run as may: for what does not take
    /// long and puts an end to what does.
    pub fn run_urgently<Next>(&mut self, work: impl FnOnce() -> Next + Send + 'static)
    where
        Next: FnOnce(&mut S) + Send + 'static,
    {
        self.urgent.push_back(boxed(work));
        self.fill();
    }

    fn fill(&mut self) {
        while self.running < AT_ONCE + URGENT {
            let Some(work) = self.urgent.pop_front() else {
                break;
            };
            self.spawn(work);
        }
        while self.running < AT_ONCE {
            let Some(work) = self.waiting.pop_front() else {
                return;
            };
            self.spawn(work);
        }
    }

    fn spawn(&mut self, work: Work<S>) {
        let (sender, wake) = (self.sender.clone(), self.wake.clone());
        // In a box of its own, to get it back from a thread that could not be made.
        let work = Arc::new(std::sync::Mutex::new(Some(work)));
        let theirs = work.clone();
        let body = move || {
            if let Some(work) = take(&theirs) {
                finish(&sender, &wake, work());
            }
        };
        let thread = std::thread::Builder::new()
            .name("job".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(body);
        self.running += 1;
        // No thread to be had (EAGAIN, a pids limit): better late and here than never.
        if thread.is_err()
            && let Some(work) = take(&work)
        {
            finish(&self.sender, &self.wake, work());
        }
    }

    /// What is to be done with the results that have come in.
    pub fn finished(&mut self) -> Vec<Sequel<S>> {
        // EAGAIN: somebody has looked already.
        self.wake.read().ok();
        let finished: Vec<_> = self.receiver.try_iter().collect();
        self.running -= finished.len();
        self.fill();
        finished
    }
}

fn boxed<S: 'static, Next>(work: impl FnOnce() -> Next + Send + 'static) -> Work<S>
where
    Next: FnOnce(&mut S) + Send + 'static,
{
    Box::new(move || Box::new(work()) as Sequel<S>)
}

fn take<T>(cell: &std::sync::Mutex<Option<T>>) -> Option<T> {
    cell.lock().ok().and_then(|mut work| work.take())
}

fn finish<S>(sender: &Sender<Sequel<S>>, wake: &EventFd, sequel: Sequel<S>) {
    // Neither fails while the loop lives, and nobody is interested after that.
    sender.send(sequel).ok();
    wake.write(1).ok();
}

impl<S> AsFd for Jobs<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl<S> fmt::Debug for Jobs<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs")
            .field("running", &self.running)
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn every_job_has_its_sequel_and_no_more_run_at_once_than_may() {
        let mut jobs: Jobs<Vec<usize>> = Jobs::new().unwrap();
        let mut done = Vec::new();
        for number in 0..AT_ONCE * 3 {
            jobs.run(move || {
                std::thread::sleep(Duration::from_millis(1));
                move |done: &mut Vec<usize>| done.push(number)
            });
            assert!(jobs.running <= AT_ONCE);
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while !jobs.is_idle() && Instant::now() < deadline {
            for sequel in jobs.finished() {
                sequel(&mut done);
            }
        }
        done.sort_unstable();
        assert_eq!(done, (0..AT_ONCE * 3).collect::<Vec<_>>());
    }
}
