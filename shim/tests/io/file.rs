//! Outputs to log files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use shim::failure::Code;

use crate::rig::{Ask, Rig, fifo, shell, short};

fn ask(path: &Path) -> Ask {
    Ask::stdout(format!("file://{}", path.display()))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn both_outputs_are_appended_to_a_file_that_is_made_with_its_directories() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b c/log");
    let text = format!("file://{}", path.display()).replace(' ', "%20");
    let ask = Ask {
        stderr: text.clone(),
        ..Ask::stdout(text)
    };
    for round in 1..=2 {
        let (mut rig, pipes) = Rig::pipes(&ask, short());
        let script = format!("echo out {round}; sleep 0.2; echo err {round} >&2");
        let mut child = shell(&script, pipes);
        assert_eq!(rig.finish(&mut child), Some(0));
    }
    let written = fs::read_to_string(&path).unwrap();
    assert_eq!(written, "out 1\nerr 1\nout 2\nerr 2\n");
    assert_eq!(mode(&path), 0o644);
    assert_eq!(mode(path.parent().unwrap()), 0o755);
}

#[test]
fn an_output_to_a_file_leaves_the_other_to_its_own_destination() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let (mut rig, pipes) = Rig::pipes(&ask(&path), short());
    let mut child = shell("echo out; [ /proc/self/fd/2 -ef /dev/null ]", pipes);
    assert_eq!(rig.finish(&mut child), Some(0));
    assert_eq!(fs::read_to_string(&path).unwrap(), "out\n");
}

/// S02, for the streams alone; the whole way of a request is in `threats/logger.rs`.
#[test]
fn only_a_regular_file_that_is_no_link_is_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("canary"), "canary").unwrap();
    symlink(at("canary"), at("link")).unwrap();
    symlink(at("made by the link"), at("dangling")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    fifo(dir.path(), "fifo");
    for (path, why) in [
        (at("link"), "a symbolic link"),
        (at("dangling"), "a symbolic link"),
        (at("directory"), "a directory"),
        (at("fifo"), "a FIFO"),
        (PathBuf::from("/dev/null"), "a character device"),
    ] {
        let failure = ask(&path).prepare(short()).unwrap_err();
        assert_eq!(failure.code, Code::INVALID_ARGUMENT);
        let said = failure.message;
        assert!(said.contains(&format!("is {why}: a log is")), "{said}");
    }
    assert_eq!(fs::read_to_string(at("canary")).unwrap(), "canary");
    assert!(!at("made by the link").exists());
}

#[test]
fn a_directory_that_can_not_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let failure = ask(&dir.path().join("file/log")).prepare(short());
    let said = failure.unwrap_err().message;
    assert!(
        said.contains("make the directory of the log file"),
        "{said}"
    );
}

#[test]
fn a_full_disk_stops_nobody_and_the_log_goes_on_when_there_is_room() {
    testkit::needs!(Root, Program("unshare"));
    let disk = Disk::of_kilobytes(128);
    let (filler, path) = (disk.path.join("filler"), disk.path.join("log"));
    fs::write(&filler, vec![0; 64 << 10]).unwrap();
    let (mut rig, pipes) = Rig::pipes(&ask(&path), short());
    let signal = tempfile::tempdir().unwrap();
    let script = format!(
        "head -c 3000000 /dev/zero; echo; while [ ! -e {}/go ]; do sleep 0.05; done; echo last",
        signal.path().display()
    );
    let mut child = shell(&script, pipes);
    rig.until("output is dropped", |streams| streams.dropped() > 2_900_000);
    rig.run_for(Duration::from_millis(200));
    let notices = rig.streams.take_notices();
    assert_eq!(notices.len(), 1, "told once: {notices:?}");
    assert!(notices[0].contains("ENOSPC"), "{notices:?}");
    fs::remove_file(filler).unwrap();
    fs::write(signal.path().join("go"), "").unwrap();
    assert_eq!(rig.finish(&mut child), Some(0));
    let written = fs::read(&path).unwrap();
    assert!(written.ends_with(b"\0last\n"), "the log did not go on");
    let dropped = usize::try_from(rig.streams.dropped()).unwrap();
    assert_eq!(written.len() + dropped, 3_000_000 + "\nlast\n".len());
}

/// A small tmpfs in a mount namespace that is its own.
struct Disk {
    keeper: Child,
    path: PathBuf,
}

impl Disk {
    fn of_kilobytes(size: u32) -> Self {
        let script =
            format!("mount -t tmpfs -o size={size}k tare-io-disk /mnt && echo && exec cat");
        let mut keeper = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut mounted = [0];
        let stdout = keeper.stdout.as_mut().unwrap();
        std::io::Read::read_exact(stdout, &mut mounted).unwrap();
        let path = format!("/proc/{}/root/mnt", keeper.id()).into();
        Self { keeper, path }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.keeper.kill().ok();
        self.keeper.wait().ok();
    }
}
