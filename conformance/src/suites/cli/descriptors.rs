//! What goes over descriptors and environment: consoles, pidfds, preserved descriptors, socket
//! activation, readiness. And what else a caller has that a container has not: ignored signals.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::{Area, fails, is, report, running, text, with_descriptors};
use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, equal, failed, holds};
use crate::listener::{Listener, Message};
use crate::run::{Finished, LIMIT, finish};
use crate::scene::Scene;

const AREA: Area = Area("descriptors");
const TERMINALS: &str = "runc's docs/terminals.md";
const NOHUP: &str = "nohup(1) and sh(1)'s asynchronous lists, from which runc and crun are run";
const HEEDS: &str = "What the runtime's caller ignores, a container's process does not: no signal is ignored or blocked.";
const IGNORED: &str = "signals that the caller ignores";
const DETACHES: [&str; 2] = ["create", "run"];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for command in DETACHES {
        cases.extend([
            AREA.case(format!("{command}-console-socket"), TERMINALS, "--console-socket receives the master of the container's terminal in one message, with the terminal's name.", &[&format!("{command} --console-socket"), "descriptor console"], move |scene| console(scene, command)),
            AREA.case(format!("{command}-terminal-without-a-socket"), TERMINALS, "A detached container with a terminal needs a console socket.", &["text cannot allocate tty"], move |scene| {
                let bundle = scene.bundle().set("/process/terminal", true);
                fails(&detached(scene, command, &[], &bundle), 1, "will detach without setting console socket")
            }),
            AREA.case(format!("{command}-socket-without-a-terminal"), TERMINALS, "A console socket needs a terminal.", &["text cannot use console socket"], move |scene| {
                let bundle = scene.bundle();
                let listener = Listener::new(&scene.directory().join("socket"))?;
                let socket = text(listener.path());
                fails(&detached(scene, command, &["--console-socket", &socket], &bundle), 1, "will not detach or allocate tty")
            }),
            AREA.case(format!("{command}-pidfd-socket"), &format!("runc-{command}(8)"), "--pidfd-socket receives a pidfd of init, and the word \"standard\".", &[&format!("{command} --pidfd-socket"), "descriptor pidfd"], move |scene| {
                let bundle = scene.bundle().does(&["wait"]);
                let listener = Listener::new(&scene.directory().join("socket"))?;
                let socket = text(listener.path());
                let finished = detached(scene, command, &["--pidfd-socket", &socket], &bundle);
                holds(finished.code == 0, "exit 0", finished.brief())?;
                is_pidfd(&listener.receive()?, scene.runtime().pid(bundle.id()), "standard")
            }),
            AREA.case(format!("{command}-preserve-fds"), &format!("runc-{command}(8)"), "--preserve-fds N passes N additional descriptors, from 3 on.", &[&format!("{command} --preserve-fds"), "descriptor preserved"], move |scene| preserved(scene, command)),
            AREA.case(format!("{command}-preserve-fds-that-are-not-open"), &format!("runc-{command}(8)"), "A descriptor that is to be preserved has to be open.", &["text unable to stat preserved-fd"], move |scene| {
                let bundle = scene.bundle();
                bundle.save();
                let path = text(bundle.path());
                let command = scene.runtime().command(&[command, "--preserve-fds", "3", "--bundle", &path, bundle.id()]);
                let finished = finish(&mut with_descriptors(&command, "3</dev/null 4<&- 5<&-"), b"", LIMIT);
                fails(&finished, 1, "unable to stat preserved-fd")
            }),
        ]);
    }
    cases.extend([
        AREA.case("exec-console-socket", TERMINALS, "exec --tty --detach sends the master to --console-socket.", &["exec --console-socket", "exec --tty"], |scene| {
            let bundle = running(scene)?;
            let listener = Listener::new(&scene.directory().join("socket"))?;
            let socket = text(listener.path());
            let finished = scene.detached(&["exec", "--tty", "--detach", "--console-socket", &socket, bundle.id(), crate::bundle::PROBE, "inside", "report"]);
            holds(finished.code == 0, "exit 0", finished.brief())?;
            is_on_a_terminal(listener.receive()?)
        }),
        AREA.case("exec-tty-without-a-socket", TERMINALS, "A detached process with a terminal needs a console socket.", &["text cannot allocate tty"], |scene| {
            let bundle = running(scene)?;
            let finished = scene.detached(&["exec", "-t", "-d", bundle.id(), crate::bundle::PROBE, "inside", "report"]);
            fails(&finished, 255, "will detach without setting console socket")
        }),
        AREA.case("exec-pidfd-socket", "runc-exec(8)", "--pidfd-socket receives a pidfd of the process, and the word \"setns\".", &["exec --pidfd-socket"], |scene| {
            let bundle = running(scene)?;
            let listener = Listener::new(&scene.directory().join("socket"))?;
            let (socket, file) = (text(listener.path()), scene.directory().join("pid"));
            let finished = scene.detached(&["exec", "-d", "--pid-file", &text(&file), "--pidfd-socket", &socket, bundle.id(), crate::bundle::PROBE, "inside", "wait"]);
            holds(finished.code == 0, "exit 0", finished.brief())?;
            let pid = std::fs::read_to_string(file).ok().and_then(|text| text.parse().ok());
            is_pidfd(&listener.receive()?, pid.unwrap_or(-1), "setns")
        }),
        AREA.case("exec-preserve-fds", "runc-exec(8)", "--preserve-fds N passes N additional descriptors, from 3 on.", &["exec --preserve-fds", "descriptor preserved"], |scene| {
            let bundle = running(scene)?;
            let command = scene.runtime().command(&["exec", "--preserve-fds", "2", bundle.id(), crate::bundle::PROBE, "inside", "report"]);
            are_three_and_four(&finish(&mut with_two_files(scene, &command), b"", LIMIT))
        }),
        AREA.case("socket-activation", "sd_listen_fds(3), which runc passes on", "LISTEN_FDS descriptors reach the container, with LISTEN_FDS and LISTEN_PID=1.", &["descriptor socket activation"], socket_activation),
        AREA.case("run-by-a-caller-that-ignores-signals", NOHUP, HEEDS, &[IGNORED], |scene| {
            let bundle = scene.bundle();
            bundle.save();
            let path = text(bundle.path());
            heeds_all(scene, scene.runtime().command(&["run", "--bundle", &path, bundle.id()]))
        }),
        AREA.case("exec-by-a-caller-that-ignores-signals", NOHUP, HEEDS, &[IGNORED], |scene| {
            let bundle = running(scene)?;
            heeds_all(scene, scene.runtime().command(&["exec", bundle.id(), crate::bundle::PROBE, "inside", "report"]))
        }),
        AREA.case("readiness", "sd_notify(3), which runc passes on", "With NOTIFY_SOCKET the container's READY=1 reaches it, and the pid of init as MAINPID; nothing else does.", &["environment NOTIFY_SOCKET"], readiness),
    ]);
    cases
}

/// A process that reports neither ignores nor blocks a signal, although the runtime is told to
/// ignore all. SIGPIPE aside, which this program ignores by itself, and 32 to 34, which C libraries
/// and Go keep for themselves.
fn heeds_all(scene: &Scene<'_>, mut command: Command) -> Verdict {
    const ASIDE: u64 = 0b111 << 31 | 1 << 12;
    crate::sys::ignore_all_signals(&mut command);
    let seen = report(
        &scene
            .runtime()
            .finish(&mut command, &["with signals ignored"]),
    )?;
    for what in ["SigIgn", "SigBlk"] {
        let text = seen["status"][what].as_str().unwrap_or_default();
        let Ok(mask) = u64::from_str_radix(text, 16) else {
            return failed(what, text);
        };
        holds(mask & !ASIDE == 0, &format!("{what} 0"), text)?;
    }
    Ok(())
}

fn detached(scene: &Scene<'_>, command: &str, flags: &[&str], bundle: &Bundle) -> Finished {
    bundle.save();
    let path = text(bundle.path());
    let mut words = vec![command];
    words.extend((command == "run").then_some("--detach"));
    words.extend(flags);
    words.extend(["--bundle", &path, bundle.id()]);
    scene.detached(&words)
}

fn console(scene: &Scene<'_>, command: &str) -> Verdict {
    let bundle = scene.bundle().set("/process/terminal", true);
    let listener = Listener::new(&scene.directory().join("socket"))?;
    let socket = text(listener.path());
    let finished = detached(scene, command, &["--console-socket", &socket], &bundle);
    holds(finished.code == 0, "exit 0", finished.brief())?;
    let message = listener.receive()?;
    holds(!listener.has_more(), "one connection", "another one")?;
    holds(
        message.text.contains("ptmx") || message.text.contains("pts/"),
        "the terminal's name",
        &message.text,
    )?;
    if command == "create" {
        scene.succeeds(&["start", bundle.id()])?;
    }
    is_on_a_terminal(message)
}

/// The one descriptor of a message is the master of the terminal on which a process reports.
fn is_on_a_terminal(mut message: Message) -> Verdict {
    equal("descriptors", &message.descriptors.len(), &1)?;
    let Some(terminal) = message.descriptors.pop() else {
        return failed("a descriptor", "none");
    };
    let said = crate::listener::read_terminal(terminal);
    let report: serde_json::Value = serde_json::from_str(said.trim()).unwrap_or_default();
    is(
        "streams are terminals",
        &report["terminal"]["is_terminal"],
        json!([true, true, true]),
    )
}

fn is_pidfd(message: &Message, pid: i32, word: &str) -> Verdict {
    use std::os::fd::AsRawFd;
    equal("the word", &message.text.as_str(), &word)?;
    let [descriptor] = message.descriptors.as_slice() else {
        return failed("one descriptor", message.descriptors.len().to_string());
    };
    let facts = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd()));
    let facts = facts.unwrap_or_default();
    let is_it = facts.lines().any(|line| line == format!("Pid:\t{pid}"));
    holds(is_it, &format!("a pidfd of {pid}"), facts)
}

/// A command with two files as descriptors 3 and 4.
fn with_two_files(scene: &Scene<'_>, command: &Command) -> Command {
    let [third, fourth] = ["third", "fourth"].map(|name| scene.directory().join(name));
    for file in [&third, &fourth] {
        std::fs::write(file, "").expect("a file can be written");
    }
    with_descriptors(
        command,
        &format!("3<{} 4<{} 5<&-", third.display(), fourth.display()),
    )
}

fn are_three_and_four(finished: &Finished) -> Verdict {
    let files = report(finished)?["files"].clone();
    let ends =
        |number: &str, name: &str| files[number].as_str().unwrap_or_default().ends_with(name);
    let is_it = ends("3", "third") && ends("4", "fourth") && files["5"].is_null();
    holds(is_it, "third as 3, fourth as 4, and no more", files)
}

fn preserved(scene: &Scene<'_>, command: &str) -> Verdict {
    let bundle = scene.bundle();
    bundle.save();
    let path = text(bundle.path());
    let words = [
        command,
        "--preserve-fds",
        "2",
        "--bundle",
        &path,
        bundle.id(),
    ];
    let mut command_line = with_two_files(scene, &scene.runtime().command(&words));
    if command == "run" {
        return are_three_and_four(&finish(&mut command_line, b"", LIMIT));
    }
    let output = scene.directory().join("output");
    let stdout = std::fs::File::create(&output).expect("a file can be made");
    command_line
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::null());
    let code = crate::run::status_within(&mut command_line, LIMIT).unwrap_or(-1);
    equal("exit status", &code, &0)?;
    scene.succeeds(&["start", bundle.id()])?;
    scene.until_status(&bundle, "stopped")?;
    let stdout = std::fs::read_to_string(output).unwrap_or_default();
    are_three_and_four(&Finished {
        code,
        stdout,
        stderr: String::new(),
        is_late: false,
    })
}

fn socket_activation(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle();
    bundle.save();
    let path = text(bundle.path());
    let command = scene
        .runtime()
        .command(&["run", "--bundle", &path, bundle.id()]);
    let mut command = with_two_files(scene, &command);
    command.env("LISTEN_FDS", "2");
    // The shell stays the same process: it executes the runtime.
    let script = "export LISTEN_PID=$$; ";
    let words: Vec<String> = command
        .get_args()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{script}{}", words[1])])
        .args(&words[2..])
        .env("LISTEN_FDS", "2");
    let finished = finish(&mut shell, b"", LIMIT);
    are_three_and_four(&finished)?;
    let environment = report(&finished)?["environment"].clone();
    is("LISTEN_FDS", &environment["LISTEN_FDS"], "2")?;
    is("LISTEN_PID", &environment["LISTEN_PID"], "1")
}

/// What a datagram socket has got, until nothing comes for a while.
fn received(socket: &UnixDatagram) -> Vec<String> {
    let mut lines = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length) = socket.recv(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        lines.extend(text.lines().map(str::to_owned));
        let has_all = lines.iter().any(|line| line.starts_with("MAINPID="))
            && lines.iter().any(|line| line == "READY=1");
        let limit = if has_all { 300 } else { 5000 };
        socket
            .set_read_timeout(Some(Duration::from_millis(limit)))
            .ok();
    }
    lines
}

fn readiness(scene: &Scene<'_>) -> Verdict {
    let bundle = scene
        .bundle()
        .does(&["notify", "STATUS=starting", "READY=1"]);
    bundle.save();
    let path = scene.directory().join("notify");
    let socket = UnixDatagram::bind(&path).map_err(|error| Trouble::Skipped(error.to_string()))?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok();
    let words = [
        "run",
        "--detach",
        "--bundle",
        &text(bundle.path()),
        bundle.id(),
    ];
    let mut command = scene.runtime().command(&words);
    command.env("NOTIFY_SOCKET", &path);
    let said = scene.directory().join("said");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&said).expect("a file can be made"));
    let mut run = command
        .spawn()
        .map_err(|error| Trouble::Skipped(error.to_string()))?;
    let lines = received(&socket);
    // `run --detach` may wait for a barrier's end, which nobody answers here.
    let pid = scene.runtime().pid(bundle.id());
    run.kill().ok();
    let status = run.wait();
    scene.runtime().note_end(&words, status.ok(), &said);
    holds(
        lines.iter().any(|line| line == "READY=1"),
        "READY=1",
        &lines,
    )?;
    let main = format!("MAINPID={pid}");
    holds(lines.contains(&main), &main, &lines)?;
    holds(
        !lines.iter().any(|line| line.starts_with("STATUS")),
        "nothing else",
        &lines,
    )
}
