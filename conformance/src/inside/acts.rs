//! What a process does for a case.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use serde_json::{Map, Value, json};

/// Waits to be killed; signals end it as they do by default. Init of a pid namespace, which has
/// no defaults, takes SIGTERM and SIGINT.
pub(super) fn wait() -> ExitCode {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(signal);
    }
    let signal = set.thread_block().and_then(|()| set.wait());
    ExitCode::from(signal.map_or(96, |signal| 128 + signal as u8))
}

/// Waits and hears no signal but SIGKILL.
pub(super) fn wait_deaf() -> ExitCode {
    if SigSet::all().thread_block().is_err() {
        return ExitCode::from(96);
    }
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

/// Writes the number of each signal that comes into a file, a line each.
pub(super) fn note_signals(path: &str) -> ExitCode {
    let set = SigSet::all();
    let Ok(mut file) = set
        .thread_block()
        .map_err(std::io::Error::from)
        .and_then(|()| File::options().append(true).create(true).open(path))
    else {
        return ExitCode::from(96);
    };
    if writeln!(file, "ready").is_err() {
        return ExitCode::from(96);
    }
    while let Ok(number) = crate::sys::wait_for_signal(&set) {
        if writeln!(file, "{number}").is_err() {
            break;
        }
    }
    ExitCode::from(96)
}

/// Leaves a child behind that waits, and ends.
pub(super) fn leave_an_orphan() -> ExitCode {
    let child = std::process::Command::new("/proc/self/exe")
        .args(["inside", "wait", "deaf"])
        .spawn();
    ExitCode::from(if child.is_ok() { 0 } else { 96 })
}

/// Waits, while a process that it is the grandparent of has lost its parent.
pub(super) fn leave_a_grandchild() -> ExitCode {
    let status = std::process::Command::new("/proc/self/exe")
        .args(["inside", "orphan"])
        .status();
    match status {
        Ok(status) if status.success() => wait(),
        _ => ExitCode::from(96),
    }
}

/// Ends by a signal of this number.
pub(super) fn die(number: &str) -> ExitCode {
    let signal = number
        .parse::<i32>()
        .ok()
        .and_then(|number| Signal::try_from(number).ok());
    if signal.is_some_and(|signal| nix::sys::signal::raise(signal).is_ok()) {
        std::thread::sleep(Duration::from_secs(5));
    }
    ExitCode::from(96)
}

/// Says these words to the socket of NOTIFY_SOCKET, a datagram each, and waits.
pub(super) fn notify(words: &[&str]) -> ExitCode {
    let path = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    let said = std::os::unix::net::UnixDatagram::unbound().and_then(|socket| {
        words
            .iter()
            .try_for_each(|word| socket.send_to(word.as_bytes(), &path).map(drop))
    });
    match said {
        Ok(()) => wait(),
        Err(_) => ExitCode::from(96),
    }
}

/// Tries things, each a word: `read:PATH`, `write:PATH`, `append:PATH`, `mkdir:PATH`, `stat:PATH`,
/// `mknod:PATH:KIND:MAJOR:MINOR`, `call:NUMBER`, `mount:TARGET`, `umount:TARGET`, `sethostname`,
/// `chroot`, `connect:@NAME`, `children:MOST`, `allocate:BYTES`. Gives for each "ok", what was read, or the errno's name.
pub(super) fn try_all(words: &[&str]) -> Value {
    let results: Map<String, Value> = words
        .iter()
        .map(|word| ((*word).to_owned(), try_one(word)))
        .collect();
    Value::Object(results)
}

fn try_one(word: &str) -> Value {
    let (verb, rest) = word.split_once(':').unwrap_or((word, ""));
    let path = Path::new(rest);
    let done = |result: std::io::Result<()>| match result {
        Ok(()) => json!("ok"),
        Err(error) => name(&error),
    };
    match verb {
        "read" => match read(path) {
            Ok(bytes) => json!(String::from_utf8_lossy(&bytes)),
            Err(error) => name(&error),
        },
        "list" => match std::fs::read_dir(path) {
            Ok(entries) => json!(
                entries
                    .flatten()
                    .map(|entry| entry.file_name().to_string_lossy().into_owned())
                    .collect::<Vec<_>>()
            ),
            Err(error) => name(&error),
        },
        "stat" => super::report::describe(path),
        "write" => done(
            File::options()
                .write(true)
                .create(true)
                .truncate(true)
                .open(path)
                .and_then(|mut file| file.write_all(b"x")),
        ),
        "overwrite" => done(
            File::options()
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(path)
                .and_then(|mut file| file.write_all(b"x")),
        ),
        "append" => done(
            File::options()
                .append(true)
                .open(path)
                .and_then(|mut file| file.write_all(b"x")),
        ),
        "open" => done(File::open(path).map(drop)),
        "mkdir" => done(std::fs::create_dir(path)),
        "remove" => done(std::fs::remove_file(path)),
        "link" => match rest.split_once(':') {
            Some((target, link)) => done(std::os::unix::fs::symlink(target, link)),
            None => json!("what?"),
        },
        "mknod" => mknod(rest),
        "call" => call(rest),
        "mount" => of(nix::mount::mount(
            Some("tmpfs"),
            path,
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            None::<&str>,
        )),
        "remount" => of(nix::mount::mount(
            None::<&str>,
            path,
            None::<&str>,
            nix::mount::MsFlags::MS_REMOUNT | nix::mount::MsFlags::MS_BIND,
            None::<&str>,
        )),
        "umount" => of(nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH)),
        "sethostname" => of(nix::unistd::sethostname("tried")),
        "cwd" => json!(
            std::env::current_dir()
                .map(|path| path.display().to_string())
                .ok()
        ),
        "chroot" => of(nix::unistd::chroot("/")),
        "execute" => match std::process::Command::new(path)
            .arg("inside")
            .arg("exit")
            .arg("0")
            .status()
        {
            Ok(status) if status.success() => json!("ok"),
            Ok(status) => json!(status.to_string()),
            Err(error) => name(&error),
        },
        "connect" => connect(rest),
        "allocate" => json!(vec![1_u8; rest.parse().unwrap_or(0)].len()),
        "children" => json!(children(rest.parse().unwrap_or(0))),
        _ => json!("what?"),
    }
}

/// Starts children that wait until one can't be started: how many there were.
fn children(most: usize) -> usize {
    let start = |_| {
        std::process::Command::new("/proc/self/exe")
            .args(["inside", "wait"])
            .spawn()
            .ok()
    };
    let mut children: Vec<_> = (0..most).map_while(start).collect();
    for child in &mut children {
        // It may have ended by itself, at its limits.
        child.kill().ok();
        child.wait().ok();
    }
    children.len()
}

/// The first 4096 bytes of what may be endless, or a fifo that nobody writes to.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let mut bytes = Vec::new();
    file.take(4096).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn of(result: nix::Result<()>) -> Value {
    match result {
        Ok(()) => json!("ok"),
        Err(errno) => json!(format!("{errno:?}")),
    }
}

fn name(error: &std::io::Error) -> Value {
    json!(format!(
        "{:?}",
        error
            .raw_os_error()
            .map_or(Errno::UnknownErrno, Errno::from_raw)
    ))
}

fn mknod(rest: &str) -> Value {
    use nix::sys::stat::{Mode, SFlag};
    let parts: Vec<&str> = rest.split(':').collect();
    let [path, kind, major, minor] = parts.as_slice() else {
        return json!("what?");
    };
    let kind = match *kind {
        "b" => SFlag::S_IFBLK,
        "p" => SFlag::S_IFIFO,
        _ => SFlag::S_IFCHR,
    };
    let number = |text: &str| text.parse().unwrap_or(0);
    let device = libc::makedev(number(major), number(minor));
    let made = nix::sys::stat::mknod(*path, kind, Mode::S_IRUSR | Mode::S_IWUSR, device);
    match made {
        Ok(()) => match File::open(path) {
            Ok(_) => json!("ok"),
            Err(error) => json!({ "made": "ok", "open": name(&error) }),
        },
        Err(errno) => json!(format!("{errno:?}")),
    }
}

/// `NUMBER[:A[:B[:C]]]`: a system call with these numbers.
fn call(rest: &str) -> Value {
    let mut numbers = rest.split(':').map(|text| text.parse().unwrap_or(0));
    let number = numbers.next().unwrap_or(0);
    let arguments = std::array::from_fn(|_| numbers.next().unwrap_or(0));
    match crate::sys::plain_call(number, arguments) {
        Ok(value) => json!({ "value": value }),
        Err(errno) => json!(format!("{errno:?}")),
    }
}

fn connect(rest: &str) -> Value {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixStream};
    let address = match rest.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(rest),
    };
    match address.and_then(|address| UnixStream::connect_addr(&address)) {
        Ok(_) => json!("ok"),
        Err(error) => name(&error),
    }
}

/// ioprio_get(2); -1 when it can't be told.
pub(super) fn io_priority() -> i64 {
    crate::sys::io_priority().unwrap_or(-1)
}

/// Whether a descriptor is a terminal.
pub(super) fn is_terminal(number: i32) -> bool {
    use std::io::IsTerminal;
    match number {
        0 => std::io::stdin().is_terminal(),
        1 => std::io::stdout().is_terminal(),
        _ => std::io::stderr().is_terminal(),
    }
}

/// Rows and columns of the terminal on standard input.
pub(super) fn terminal_size() -> Option<(u16, u16)> {
    crate::sys::terminal_size().ok()
}

/// The description of the session keyring: `keyring;UID;GID;PERMISSIONS;NAME`.
pub(super) fn session_keyring() -> String {
    match crate::sys::describe_session_keyring() {
        Ok(bytes) => String::from_utf8_lossy(&bytes)
            .trim_end_matches('\0')
            .to_owned(),
        Err(errno) => format!("{errno:?}"),
    }
}
