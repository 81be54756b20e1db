//! Outputs to FIFOs: order, completeness, and readers that are slow, gone, or new.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use shim::failure::Code;
use shim::io::{Limits, Streams};

use crate::rig::{
    Ask, Rig, assert_same, collect, collect_blocking, fifo, noise, open_reader, shell, short,
};

const FIFO_BYTES: usize = 64 * 1024;

#[test]
fn outputs_reach_their_fifos_and_end_with_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let (out, err) = (fifo(dir.path(), "out"), fifo(dir.path(), "err"));
    let ask = Ask {
        stderr: format!("fifo://{}", err.display()),
        ..Ask::stdout(out.to_str().unwrap())
    };
    // One client opens its end before, in the way that waits; the other one after.
    let out = collect_blocking(&out);
    let (mut rig, pipes) = Rig::pipes(&ask, Limits::default());
    let err = collect(open_reader(&err));
    let mut child = shell("read x; echo to out; echo to err >&2; exit 3", pipes);
    rig.until("both outputs end", |_| {
        out.is_finished() && err.is_finished()
    });
    assert_eq!(rig.finish(&mut child), Some(3));
    assert_eq!(out.join().unwrap(), b"to out\n");
    assert_eq!(err.join().unwrap(), b"to err\n");
    assert_eq!(rig.streams.dropped(), 0);
}

#[test]
fn nothing_asked_for_is_the_null_device() {
    let (mut rig, pipes) = Rig::pipes(&Ask::default(), short());
    let script = "for n in 0 1 2; do [ /proc/self/fd/$n -ef /dev/null ] || exit 1$n; done; cat";
    let mut child = shell(script, pipes);
    assert_eq!(rig.finish(&mut child), Some(0));
}

#[test]
fn much_output_arrives_whole_through_a_slow_reader() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(dir.path(), "out");
    let (mut rig, [_, stdout, _]) = Rig::pipes(&Ask::stdout(path.to_str().unwrap()), short());
    let sent = noise(64 << 20);
    let writer = thread::spawn({
        let sent = sent.clone();
        move || File::from(stdout).write_all(&sent).unwrap()
    });
    let mut reader = open_reader(&path);
    let reader = thread::spawn(move || {
        let (mut all, mut chunk) = (Vec::new(), [0; 50_000]);
        for turn in 0.. {
            match reader.read(&mut chunk).unwrap() {
                0 => break,
                count => all.extend_from_slice(&chunk[..count]),
            }
            if turn % 64 == 0 {
                thread::sleep(Duration::from_millis(10));
            }
        }
        all
    });
    rig.until("the output is drained", Streams::is_drained);
    rig.close();
    writer.join().unwrap();
    assert_same(&reader.join().unwrap(), &sent);
    assert_eq!(rig.streams.dropped(), 0);
}

#[test]
fn both_outputs_in_one_fifo_keep_their_own_order_and_end_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(dir.path(), "both");
    let text = path.to_str().unwrap().to_owned();
    let ask = Ask {
        stderr: text.clone(),
        ..Ask::stdout(text)
    };
    let (mut rig, [_, stdout, stderr]) = Rig::pipes(&ask, short());
    // The high bit tells whose byte it is.
    let low: Vec<u8> = noise(3 << 20).into_iter().map(|b| b & 0x7f).collect();
    let high: Vec<u8> = noise(2 << 20).into_iter().map(|b| b | 0x80).collect();
    let write = |fd, bytes: &[u8]| {
        let bytes = bytes.to_vec();
        thread::spawn(move || File::from(fd).write_all(&bytes).unwrap())
    };
    let writers = [write(stdout, &low), write(stderr, &high)];
    let reader = collect(open_reader(&path));
    rig.until("the output is drained", Streams::is_drained);
    for writer in writers {
        writer.join().unwrap();
    }
    // The shim has closed its end by itself: the reader ends before the close.
    let got = reader.join().unwrap();
    let (first, second): (Vec<u8>, Vec<u8>) = got.into_iter().partition(|byte| byte & 0x80 == 0);
    assert_same(&first, &low);
    assert_same(&second, &high);
}

#[test]
fn a_reader_that_restarts_within_the_grace_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(dir.path(), "out");
    let (mut rig, [_, stdout, _]) =
        Rig::pipes(&Ask::stdout(path.to_str().unwrap()), Limits::default());
    let sent = noise(4 << 20);
    let writer = thread::spawn({
        let sent = sent.clone();
        move || File::from(stdout).write_all(&sent).unwrap()
    });
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        for _ in 0..3 {
            let taken = open_reader(&path).take(1 << 20).read_to_end(&mut got);
            assert_eq!(taken.unwrap(), 1 << 20);
            thread::sleep(Duration::from_millis(700));
        }
        open_reader(&path).read_to_end(&mut got).unwrap();
        got
    });
    rig.until("the output is drained", Streams::is_drained);
    rig.close();
    writer.join().unwrap();
    assert_same(&reader.join().unwrap(), &sent);
    assert_eq!(rig.streams.dropped(), 0);
}

#[test]
fn without_a_reader_a_process_waits_for_the_grace_and_then_never_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(dir.path(), "out");
    let (mut rig, pipes) = Rig::pipes(&Ask::stdout(path.to_str().unwrap()), short());
    let begun = Instant::now();
    let mut child = shell("head -c 20000000 /dev/zero; echo done >&2", pipes);
    rig.until("the process ends", |_| child.try_wait().unwrap().is_some());
    assert!(begun.elapsed() >= short().no_reader, "no grace");
    rig.until("the output is drained", Streams::is_drained);
    // A reader that comes now still finds what the FIFO and the shim have kept.
    let mut reader = open_reader(&path);
    let mut kept = vec![0; FIFO_BYTES];
    reader.read_exact(&mut kept).unwrap();
    rig.run_for(Duration::from_millis(100));
    let dropped = usize::try_from(rig.streams.dropped()).unwrap();
    rig.close();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest.len() <= 32 * 1024);
    assert_eq!(kept.len() + rest.len() + dropped, 20_000_000);
    let notices = rig.streams.take_notices().join("\n");
    assert!(notices.contains("has had no reader for 0.3 s"), "{notices}");
}

#[test]
fn output_to_nobody_is_there_for_a_reader_that_comes_late() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(dir.path(), "out");
    let (mut rig, pipes) = Rig::pipes(&Ask::stdout(path.to_str().unwrap()), short());
    let mut child = shell("echo early; exec sleep 3", pipes);
    rig.run_for(2 * short().slow_reader);
    let late = collect(open_reader(&path));
    assert_eq!(rig.finish(&mut child), Some(0));
    assert_eq!(late.join().unwrap(), b"early\n");
    assert_eq!(rig.streams.dropped(), 0);
}

#[test]
fn a_client_that_is_slower_than_the_process_gets_everything_and_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(dir.path(), "out");
    let ask = Ask::stdout(path.to_str().unwrap());
    let (mut rig, pipes) = Rig::pipes(&ask, Limits::default());
    let mut child = shell("echo quick", pipes);
    rig.until("the process ends", |_| child.try_wait().unwrap().is_some());
    rig.until("the output is drained", Streams::is_drained);
    rig.run_for(Duration::from_millis(300));
    let late = collect_blocking(&path);
    rig.until("the client meets the end", |_| late.is_finished());
    assert_eq!(late.join().unwrap(), b"quick\n");
    assert_eq!(rig.streams.next_deadline(), None);

    // Nobody is waited for beyond the grace.
    let (mut rig, pipes) = Rig::pipes(&ask, short());
    shell("echo quick", pipes).wait().unwrap();
    rig.until("the output is drained", Streams::is_drained);
    rig.run_for(Duration::from_millis(600));
    assert_eq!(rig.streams.next_deadline(), None);
}

#[test]
fn a_new_reader_ends_the_dropping() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(dir.path(), "out");
    let (mut rig, [_, stdout, _]) = Rig::pipes(&Ask::stdout(path.to_str().unwrap()), short());
    drop(open_reader(&path));
    let mut writer = File::from(stdout);
    let sent = noise(5 << 20);
    let writing = thread::spawn({
        let sent = sent.clone();
        move || {
            writer.write_all(&sent).unwrap();
            writer
        }
    });
    rig.until("output is dropped", |_| writing.is_finished());
    let mut writer = writing.join().unwrap();
    rig.until("all of it is read", |streams| streams.dropped() > 4 << 20);
    rig.run_for(Duration::from_millis(50));
    let reader = collect(open_reader(&path));
    rig.run_for(Duration::from_millis(100));
    writer.write_all(b"after the gap").unwrap();
    drop(writer);
    rig.until("the output is drained", Streams::is_drained);
    let got = reader.join().unwrap();
    let dropped = usize::try_from(rig.streams.dropped()).unwrap();
    let (before, after) = got.split_at(got.len() - b"after the gap".len());
    assert_eq!(after, b"after the gap");
    assert_same(before, &sent[..before.len()]);
    assert_eq!(before.len() + dropped, sent.len());
    let notices = rig.streams.take_notices().join("\n");
    assert!(notices.contains("takes output again"), "{notices}");
}

#[test]
fn a_reader_that_reads_nothing_holds_a_process_up_for_its_grace_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(dir.path(), "out");
    let reader = open_reader(&path);
    let (mut rig, pipes) = Rig::pipes(&Ask::stdout(path.to_str().unwrap()), short());
    let begun = Instant::now();
    let mut child = shell("head -c 3000000 /dev/zero", pipes);
    assert_eq!(rig.finish(&mut child), Some(0));
    assert!(begun.elapsed() >= short().slow_reader, "no grace");
    assert!(rig.streams.dropped() > 2_000_000);
    let notices = rig.streams.take_notices().join("\n");
    assert!(
        notices.contains("has not been read from for 0.9 s"),
        "{notices}"
    );
    drop(reader);
}

#[test]
fn readers_that_come_and_go_without_reading_do_not_prolong_the_grace() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(dir.path(), "out");
    let (mut rig, pipes) = Rig::pipes(&Ask::stdout(path.to_str().unwrap()), short());
    let mut child = shell("head -c 3000000 /dev/zero", pipes);
    let begun = Instant::now();
    let mut reader = None;
    rig.until("the process ends", |_| {
        // Present for 200 of every 400 ms: never gone for the whole grace of 300 ms.
        match begun.elapsed().as_millis() % 400 < 200 {
            true if reader.is_none() => reader = Some(open_reader(&path)),
            true => {}
            false => reader = None,
        }
        child.try_wait().unwrap().is_some()
    });
    assert!(begun.elapsed() < 4 * short().slow_reader);
}

#[test]
fn idle_streams_with_a_dead_reader_cost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(dir.path(), "out");
    let (mut rig, pipes) = Rig::pipes(&Ask::stdout(path.to_str().unwrap()), short());
    drop(open_reader(&path));
    let mut child = shell("head -c 1000000 /dev/zero; exec sleep 100", pipes);
    rig.until("output is dropped", |streams| streams.dropped() > 800_000);
    rig.run_for(Duration::from_millis(200));
    rig.turns = 0;
    rig.run_for(Duration::from_secs(1));
    assert_eq!(rig.turns, 0, "the loop was woken");
    assert_eq!(rig.streams.next_deadline(), None);
    child.kill().unwrap();
    child.wait().unwrap();
    rig.close();
}

#[test]
fn a_wait_for_a_reader_wakes_the_loop_a_few_times_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(dir.path(), "out");
    let (mut rig, pipes) = Rig::pipes(&Ask::stdout(path.to_str().unwrap()), Limits::default());
    let mut child = shell("exec head -c 1000000 /dev/zero", pipes);
    rig.run_for(Duration::from_millis(300));
    rig.turns = 0;
    rig.run_for(Duration::from_secs(2));
    assert!(rig.turns <= 4, "woken {} times in 2 s", rig.turns);
    child.kill().unwrap();
    child.wait().unwrap();
    rig.close();
}

#[test]
fn the_end_of_one_output_does_not_wait_for_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let (out, err) = (fifo(dir.path(), "out"), fifo(dir.path(), "err"));
    let ask = Ask {
        stderr: err.to_str().unwrap().to_owned(),
        ..Ask::stdout(out.to_str().unwrap())
    };
    let (mut rig, pipes) = Rig::pipes(&ask, short());
    let out = collect(open_reader(&out));
    let mut child = shell("echo x; exec >&-; exec sleep 100", pipes);
    rig.until("stdout ends", |_| out.is_finished());
    assert!(!rig.streams.is_drained());
    child.kill().unwrap();
    child.wait().unwrap();
    rig.until("the output is drained", Streams::is_drained);
}

#[test]
fn after_the_close_a_descendant_writes_to_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(dir.path(), "out");
    let (mut rig, [_, stdout, _]) = Rig::pipes(&Ask::stdout(path.to_str().unwrap()), short());
    let reader = collect(open_reader(&path));
    let mut descendant = File::from(stdout);
    descendant.write_all(b"before").unwrap();
    rig.run_for(Duration::from_millis(100));
    assert!(!rig.streams.is_drained());
    rig.close();
    assert_eq!(reader.join().unwrap(), b"before");
    let met = descendant.write_all(b"after").unwrap_err();
    assert_eq!(met.raw_os_error(), Some(libc::EPIPE));
}

#[test]
fn pipes_belong_to_the_owner_who_was_asked_for() {
    testkit::needs!(Root);
    let dir = tempfile::tempdir().unwrap();
    let ask = Ask {
        stdin: fifo(dir.path(), "in").to_str().unwrap().to_owned(),
        stderr: fifo(dir.path(), "err").to_str().unwrap().to_owned(),
        owner: (1234, 5678),
        ..Ask::stdout(fifo(dir.path(), "out").to_str().unwrap())
    };
    let (_rig, pipes) = Rig::pipes(&ask, short());
    for pipe in pipes {
        let meta = File::from(pipe).metadata().unwrap();
        assert_eq!((meta.uid(), meta.gid()), (1234, 5678));
    }
}

#[test]
fn what_is_no_fifo_is_refused_and_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fifo(dir.path(), "real");
    std::fs::write(at("file"), "").unwrap();
    std::os::unix::fs::symlink(at("real"), at("link")).unwrap();
    for (path, code, why) in [
        (
            at("file"),
            Code::INVALID_ARGUMENT,
            "a regular file, not a FIFO",
        ),
        (
            at("link"),
            Code::INVALID_ARGUMENT,
            "a symbolic link, not a FIFO",
        ),
        (
            "/dev/null".to_owned(),
            Code::INVALID_ARGUMENT,
            "a character device",
        ),
        (
            at("missing"),
            Code::UNKNOWN,
            "no such file or directory (ENOENT)",
        ),
    ] {
        let as_stdin = Ask {
            stdin: path.clone(),
            ..Ask::default()
        };
        for ask in [as_stdin, Ask::stdout(&path)] {
            let failure = ask.prepare(short()).unwrap_err();
            assert_eq!(failure.code, code, "{failure}");
            let said = failure.message;
            assert!(said.contains(why) && said.contains(&path), "{said}");
            assert!(said.contains("/bundle"), "{said}");
        }
    }
    assert!(!dir.path().join("missing").exists());
}
