//! `tare events`.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use runtime_core::{Container, ErrorKind, OomWatch, Process, Status};

use self::record::Record;
use super::container_id;
use crate::command_line::{Command, Count, Parsed};
use crate::exit::Exit;
use crate::failure::{Failure, While};
use crate::flags::{INTERVAL, STATS};
use crate::globals::Globals;

mod record;
mod schema;

pub(super) const COMMAND: Command = Command {
    name: "events",
    summary: "show what a container uses, and when it is out of memory",
    operands: "<container-id>",
    count: Count::Exactly(1),
    stops_at_first_operand: false,
    description: "One JSON object on each line: of type \"stats\" after every interval, and of type \"oom\" for\n\
                  every process that the kernel kills for want of memory. Ends when the container does.",
    enters_containers: false,
    flags: &[&INTERVAL, &STATS],
    run,
};

/// Between two looks at the statistics, unless the caller says otherwise.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

fn run(globals: &Globals, parsed: &Parsed<'_>) -> Result<Exit, Failure> {
    let container = globals.runtime()?.open(&container_id(parsed)?)?;
    let interval = interval(parsed)?;
    let init = running_init(&container)?;
    if parsed.is_on(&STATS) {
        write(&Record::statistics(&container, &container.statistics()?))?;
    } else {
        Follower::new(&container, &init, interval)?.follow()?;
    }
    Ok(Exit::Success)
}

fn interval(parsed: &Parsed<'_>) -> Result<Duration, Failure> {
    let Some(ns) = parsed.duration_ns(&INTERVAL) else {
        return Ok(DEFAULT_INTERVAL);
    };
    let positive = u64::try_from(ns).ok().filter(|ns| *ns > 0);
    let wrong = || Failure::invalid("duration interval must be greater than 0");
    positive.map(Duration::from_nanos).ok_or_else(wrong)
}

fn running_init(container: &Container) -> Result<Process, Failure> {
    let id = container.id();
    let (kind, text) = match (container.status()?, container.init_process()?) {
        (Status::Creating, _) => {
            let text = format!("container {id} is still being created");
            (ErrorKind::WrongStatus, text)
        }
        (Status::Stopped, _) | (_, None) => {
            let text = format!("container with id {id} is not running");
            (ErrorKind::NotRunning, text)
        }
        (_, Some(init)) => return Ok(init),
    };
    Err(Failure {
        kind: Some(kind),
        ..Failure::new(text)
    })
}

/// Whether anybody reads on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Reads,
    Gone,
}

/// Writes a line, at once. Without a reader there is nothing left to do, which is no failure.
fn write(record: &Record<'_>) -> Result<Reader, Failure> {
    let line = record.to_line();
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(line.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        written => written.doing("write to stdout").map(|()| Reader::Reads),
    }
}

/// Tells what happens to a container until its end.
struct Follower<'a> {
    container: &'a Container,
    init: &'a Process,
    oom: Option<OomWatch>,
    interval: Duration,
    next: Instant,
}

/// What a wait has ended with.
#[derive(Clone, Copy, Debug)]
struct Woken {
    init_has_ended: bool,
    reader: Reader,
}

impl<'a> Follower<'a> {
    fn new(
        container: &'a Container,
        init: &'a Process,
        interval: Duration,
    ) -> Result<Self, Failure> {
        Ok(Self {
            container,
            init,
            oom: container.watch_oom()?,
            interval,
            next: Instant::now() + interval,
        })
    }

    fn follow(mut self) -> Result<(), Failure> {
        loop {
            let woken = self.wait()?;
            if woken.reader == Reader::Gone || self.tell_kills()? == Reader::Gone {
                return Ok(());
            }
            if woken.init_has_ended {
                return Ok(());
            }
            if Instant::now() >= self.next && self.tell_statistics()? == Reader::Gone {
                return Ok(());
            }
        }
    }

    /// Waits for the next look at the statistics, or anything that happens before.
    fn wait(&self) -> Result<Woken, Failure> {
        let stdout = io::stdout();
        let mut fds = vec![
            PollFd::new(self.init.as_fd(), PollFlags::POLLIN),
            // Nothing is waited for but errors: a pipe that has lost its reader has one.
            PollFd::new(stdout.as_fd(), PollFlags::empty()),
        ];
        let oom = self.oom.iter().filter(|watch| !watch.is_gone());
        fds.extend(oom.map(|watch| PollFd::new(watch.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, self.time_left()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).doing("wait for the container"),
        }
        let happened = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        Ok(Woken {
            init_has_ended: happened(&fds[0]),
            reader: match happened(&fds[1]) {
                true => Reader::Gone,
                false => Reader::Reads,
            },
        })
    }

    /// Rounded up, so that the end of the wait is not a busy loop.
    fn time_left(&self) -> PollTimeout {
        let left = self.next.saturating_duration_since(Instant::now());
        let left = left + Duration::from_micros(999);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    }

    fn tell_kills(&mut self) -> Result<Reader, Failure> {
        let Some(oom) = &mut self.oom else {
            return Ok(Reader::Reads);
        };
        for _ in 0..oom.kills().doing("read the container's memory events")? {
            if write(&Record::out_of_memory(self.container))? == Reader::Gone {
                return Ok(Reader::Gone);
            }
        }
        Ok(Reader::Reads)
    }

    fn tell_statistics(&mut self) -> Result<Reader, Failure> {
        // What was missed while nobody read is not made up for.
        while self.next <= Instant::now() {
            self.next += self.interval;
        }
        match self.container.statistics() {
            Ok(statistics) => write(&Record::statistics(self.container, &statistics)),
            // It is ending: the next wait says so.
            Err(error) if matches!(error.kind(), ErrorKind::NotRunning | ErrorKind::NotFound) => {
                Ok(Reader::Reads)
            }
            Err(error) => Err(error.into()),
        }
    }
}
