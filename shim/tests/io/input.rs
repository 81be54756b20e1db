//! Input by a FIFO to a pipe.

use std::fs::File;
use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use shim::failure::Code;

use crate::rig::{
    Ask, Rig, assert_same, collect, fifo, noise, open_reader, open_writer, shell, short,
};

fn ask(dir: &std::path::Path) -> Ask {
    Ask {
        stdin: fifo(dir, "in").to_str().unwrap().to_owned(),
        ..Ask::stdout(fifo(dir, "out").to_str().unwrap())
    }
}

#[test]
fn input_survives_its_clients_until_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut rig, pipes) = Rig::pipes(&ask(dir.path()), short());
    let out = collect(open_reader(&dir.path().join("out")));
    let mut child = shell("cat; echo end", pipes);
    for word in ["one ", "two "] {
        let mut client = open_writer(&dir.path().join("in"));
        client.write_all(word.as_bytes()).unwrap();
        drop(client);
        rig.run_for(Duration::from_millis(100));
        assert!(child.try_wait().unwrap().is_none(), "ended after a client");
    }
    let mut last = open_writer(&dir.path().join("in"));
    rig.streams.close_stdin(&rig.poller);
    last.write_all(b"three ").unwrap();
    rig.run_for(Duration::from_millis(200));
    assert!(
        child.try_wait().unwrap().is_none(),
        "ended before its client"
    );
    drop(last);
    assert_eq!(rig.finish(&mut child), Some(0));
    assert_eq!(out.join().unwrap(), b"one two three end\n");
}

#[test]
fn closing_input_that_nobody_has_opened_is_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let (mut rig, pipes) = Rig::pipes(&ask(dir.path()), short());
    let mut child = shell("cat", pipes);
    rig.run_for(Duration::from_millis(100));
    assert!(child.try_wait().unwrap().is_none());
    rig.streams.close_stdin(&rig.poller);
    assert_eq!(rig.finish(&mut child), Some(0));
}

#[test]
fn much_input_arrives_whole_at_a_process_that_is_slow() {
    let dir = tempfile::tempdir().unwrap();
    let (mut rig, [stdin, stdout, _]) = Rig::pipes(&ask(dir.path()), short());
    let sent = noise(8 << 20);
    let client = open_writer(&dir.path().join("in"));
    let writing = thread::spawn({
        let (mut client, sent) = (client, sent.clone());
        move || client.write_all(&sent).unwrap()
    });
    rig.streams.close_stdin(&rig.poller);
    let process = thread::spawn(move || {
        let (mut stdin, mut all, mut chunk) = (File::from(stdin), Vec::new(), [0; 40_000]);
        for turn in 0.. {
            match stdin.read(&mut chunk).unwrap() {
                0 => return all,
                count => all.extend_from_slice(&chunk[..count]),
            }
            if turn % 32 == 0 {
                thread::sleep(Duration::from_millis(5));
            }
        }
        all
    });
    rig.until("the process has all", |_| process.is_finished());
    writing.join().unwrap();
    assert_same(&process.join().unwrap(), &sent);
    drop(stdout);
}

#[test]
fn a_process_that_reads_no_input_costs_nothing_and_ends_its_client() {
    let dir = tempfile::tempdir().unwrap();
    let (mut rig, [stdin, _stdout, _]) = Rig::pipes(&ask(dir.path()), short());
    let mut client = open_writer(&dir.path().join("in"));
    let writing = thread::spawn(move || client.write_all(&noise(1 << 20)));
    rig.run_for(Duration::from_millis(200));
    rig.turns = 0;
    rig.run_for(Duration::from_millis(500));
    assert_eq!(rig.turns, 0, "the loop was woken");
    drop(stdin);
    rig.until("the client is told", |_| writing.is_finished());
    let met = writing.join().unwrap().unwrap_err();
    assert_eq!(met.raw_os_error(), Some(libc::EPIPE));
    assert_eq!(rig.streams.next_deadline(), None);
}

#[test]
fn input_is_not_delayed_by_a_flood_of_output() {
    let dir = tempfile::tempdir().unwrap();
    let (mut rig, pipes) = Rig::pipes(&ask(dir.path()), short());
    let mut out = open_reader(&dir.path().join("out"));
    let reader = thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()).unwrap());
    let mut child = shell("cat /dev/zero & read word; kill $!; exit 5", pipes);
    rig.run_for(Duration::from_millis(300));
    let mut client = open_writer(&dir.path().join("in"));
    client.write_all(b"stop\n").unwrap();
    assert_eq!(rig.finish(&mut child), Some(5));
    assert!(reader.join().unwrap() > 0);
}

#[test]
fn input_comes_from_a_fifo_only() {
    for text in ["file:///etc/hostname", "binary:///bin/cat", "http://x/"] {
        let ask = Ask {
            stdin: text.to_owned(),
            ..Ask::default()
        };
        let failure = ask.prepare(short()).unwrap_err();
        assert_eq!(failure.code, Code::INVALID_ARGUMENT);
        assert!(failure.message.starts_with("stdin "), "{failure}");
    }
}
