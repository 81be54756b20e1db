//! From the texts of a request to open descriptors.

use std::os::fd::OwnedFd;

use super::destination::{Destination, LoggerCommand, parse};
use super::input::{Input, Parts};
use super::lane::Lane;
use super::logger::{Container, Logger};
use super::sink::{Fifo, Sink};
use super::source::Source;
use super::streams::{self, Streams};
use super::watch::Watch;
use super::{ChildStdio, Limits, Prepared, Request, console, open};
use crate::failure::Failure;

/// The destinations of a request, all of whose texts are well-formed.
struct Wanted {
    stdin: Destination,
    stdout: Destination,
    stderr: Destination,
}

pub(super) fn prepare(request: &Request<'_>, limits: Limits) -> Result<Prepared, Failure> {
    let work = || {
        let wanted = Wanted::new(request)?;
        if request.terminal {
            terminal(&wanted, request, limits)
        } else {
            pipes(&wanted, request, limits)
        }
    };
    work().map_err(|failure| {
        let bundle = request.bundle.display();
        Failure::new(
            failure.code,
            format!("{} (bundle {bundle})", failure.message),
        )
    })
}

impl Wanted {
    fn new(request: &Request<'_>) -> Result<Self, Failure> {
        let stdin = parse("stdin", request.stdin)?;
        if !matches!(stdin, Destination::Nothing | Destination::Fifo(_)) {
            let text = request.stdin;
            return Err(Failure::invalid(format!(
                "stdin {text:?}: input comes from a FIFO only"
            )));
        }
        let stdout = parse("stdout", request.stdout)?;
        let stderr = match request.terminal {
            true => Destination::Nothing,
            false => parse("stderr", request.stderr)?,
        };
        let is_logger = |destination| matches!(destination, &Destination::Logger(_));
        let leads_elsewhere = stderr != Destination::Nothing && stderr != stdout;
        if (is_logger(&stdout) || is_logger(&stderr)) && leads_elsewhere {
            return Err(Failure::invalid(format!(
                "stdout {:?}, stderr {:?}: a logger gets both outputs, so both have to name it in the same way, or stderr has to be empty",
                request.stdout, request.stderr
            )));
        }
        Ok(Self {
            stdin,
            stdout,
            stderr,
        })
    }
}

/// Pipes as standard streams.
fn pipes(wanted: &Wanted, request: &Request<'_>, limits: Limits) -> Result<Prepared, Failure> {
    let mut streams = Streams::new(limits);
    let stdin = input_pipe(wanted, request, &mut streams)?;
    let [stdout, stderr] = match &wanted.stdout {
        Destination::Logger(command) => logger_pipes(command, request, limits, &mut streams)?,
        _ => output_pipes(wanted, request, &mut streams)?,
    };
    Ok(Prepared {
        child: ChildStdio::Pipes([stdin, stdout, stderr]),
        streams,
    })
}

fn input_pipe(
    wanted: &Wanted,
    request: &Request<'_>,
    streams: &mut Streams,
) -> Result<OwnedFd, Failure> {
    let Destination::Fifo(path) = &wanted.stdin else {
        return open::null();
    };
    let ends = open::fifo("stdin", path)?;
    let (reader, writer) = open::pipe(request.owner)?;
    nonblocking(&writer)?;
    streams.set_input(Input::to_pipe(ends, writer, INPUT));
    Ok(reader)
}

/// A pipe for each output, whose other end is a source of a lane.
fn output_pipes(
    wanted: &Wanted,
    request: &Request<'_>,
    streams: &mut Streams,
) -> Result<[OwnedFd; 2], Failure> {
    let mut first = lane("stdout", &wanted.stdout, 0)?;
    let shared = wanted.stderr == wanted.stdout;
    let mut second = match shared {
        true => None,
        false => lane("stderr", &wanted.stderr, 1)?,
    };
    let stdout = output_pipe(request, first.as_mut(), 0, 0)?;
    let stderr = match shared {
        true => output_pipe(request, first.as_mut(), 0, 1)?,
        false => output_pipe(request, second.as_mut(), 1, 0)?,
    };
    streams.set_lanes([first, second]);
    Ok([stdout, stderr])
}

fn output_pipe(
    request: &Request<'_>,
    lane: Option<&mut Lane>,
    number: u8,
    source: u8,
) -> Result<OwnedFd, Failure> {
    let Some(lane) = lane else {
        return open::null();
    };
    let (reader, writer) = open::pipe(request.owner)?;
    nonblocking(&reader)?;
    let part = streams::source_part(number, source);
    lane.set_source(usize::from(source), Source::pipe(reader, part));
    Ok(writer)
}

/// The lane to a destination, without outputs yet; none to `/dev/null`.
fn lane(stream: &str, destination: &Destination, number: u8) -> Result<Option<Lane>, Failure> {
    let (path, sink) = match destination {
        Destination::Nothing | Destination::Logger(_) => return Ok(None),
        Destination::File(path) => (path, Sink::File(open::log_file(stream, path)?)),
        Destination::Fifo(path) => {
            let ends = open::fifo(stream, path)?;
            (
                path,
                Sink::Fifo(Fifo::new(ends, streams::sink_part(number))),
            )
        }
    };
    let name = format!("{stream} {}", path.display());
    Ok(Some(Lane::new(name, sink)))
}

/// The pipes of a logger: their ends go to it and to the process, and none stays here.
fn logger_pipes(
    command: &LoggerCommand,
    request: &Request<'_>,
    limits: Limits,
    streams: &mut Streams,
) -> Result<[OwnedFd; 2], Failure> {
    let (out_reader, out_writer) = open::pipe(request.owner)?;
    let (err_reader, err_writer) = open::pipe(request.owner)?;
    let logger = start_logger(command, request, limits, [out_reader, err_reader])?;
    streams.set_logger(logger);
    Ok([out_writer, err_writer])
}

fn start_logger(
    command: &LoggerCommand,
    request: &Request<'_>,
    limits: Limits,
    outputs: [OwnedFd; 2],
) -> Result<Logger, Failure> {
    let container = Container {
        id: request.id,
        namespace: request.namespace,
    };
    Logger::start(
        command,
        container,
        outputs,
        limits.logger_ready,
        streams::LOGGER_PART,
    )
}

/// A terminal, which arrives later.
fn terminal(wanted: &Wanted, request: &Request<'_>, limits: Limits) -> Result<Prepared, Failure> {
    let mut streams = Streams::new(limits);
    if let Destination::Fifo(path) = &wanted.stdin {
        let ends = open::fifo("stdin", path)?;
        streams.set_input(Input::to_terminal(ends, INPUT));
    }
    let (ours, theirs) = console::socket_pair()?;
    streams.set_console(ours);
    let lane = match &wanted.stdout {
        Destination::Logger(command) => logger_lane(command, request, limits, &mut streams)?,
        destination => lane("stdout", destination, 0)?
            .unwrap_or_else(|| Lane::new("stdout".to_owned(), Sink::Nothing)),
    };
    streams.set_lanes([Some(lane), None]);
    Ok(Prepared {
        child: ChildStdio::Console(theirs),
        streams,
    })
}

/// A terminal's output to a logger passes through here; its standard error is at its end.
fn logger_lane(
    command: &LoggerCommand,
    request: &Request<'_>,
    limits: Limits,
    streams: &mut Streams,
) -> Result<Lane, Failure> {
    let (reader, writer) = open::pipe((0, 0))?;
    let (no_error, _) = open::pipe((0, 0))?;
    nonblocking(&writer)?;
    let logger = start_logger(command, request, limits, [reader, no_error])?;
    streams.set_logger(logger);
    let sink = Sink::Logger(Watch::new(writer, streams::sink_part(0)));
    let program = command.program.to_string_lossy();
    Ok(Lane::new(format!("stdout: the logger {program}"), sink))
}

const INPUT: Parts = Parts {
    reader: streams::INPUT_PART,
    writer: streams::INPUT_PART + 1,
};

fn nonblocking(fd: &OwnedFd) -> Result<(), Failure> {
    open::set_nonblocking(fd)
        .map_err(|errno| Failure::call("make an end of a pipe not wait", errno))
}
