//! What is seen of work that goes on: bars on a terminal, lines elsewhere, JSON for programs.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use testkit::{finish, needs, under_terminal};

use self::place::{DEADLINE, Place};

mod place;

/// An archive with an image, and a command that loads it into a new store in some style.
struct Loading {
    place: Place,
    archive: String,
}

impl Loading {
    fn new(topic: &str) -> Self {
        let place = Place::new(topic);
        place.import_busybox("b", &[]);
        let archive = place.path("saved.tar").display().to_string();
        place.must(&["save", "--output", &archive, "b"]);
        Self { place, archive }
    }

    fn command(&self, style: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tare-image"));
        command.arg("--root").arg(self.place.path("other"));
        command.args(style).args(["load", "--input", &self.archive]);
        command
    }
}

#[test]
fn programs_get_an_object_a_line_and_every_byte() {
    needs!(Program("busybox"));
    let loading = Loading::new("imgjson");
    let finished = finish(&mut loading.command(&["--progress", "json"]), DEADLINE).success();
    let mut totals: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut ended = Vec::new();
    for line in finished.stderr.lines() {
        let event: Value = serde_json::from_str(line).expect(line);
        let digest = event["digest"].as_str().expect(line).to_owned();
        assert_eq!(event["work"], "copy", "{line}");
        match event["event"].as_str().expect(line) {
            "began" => {
                let total = event["total"].as_u64().expect(line);
                assert!(totals.insert(digest, (total, 0)).is_none(), "{line}");
            }
            "advanced" => {
                let bytes = event["bytes"].as_u64().expect(line);
                totals.get_mut(&digest).expect(line).1 += bytes;
            }
            "ended" => ended.push(digest),
            other => panic!("{other}: {line}"),
        }
    }
    // A manifest, a configuration and a layer.
    assert_eq!((totals.len(), ended.len()), (3, 3), "{}", finished.stderr);
    for (digest, (total, seen)) in &totals {
        assert_eq!(total, seen, "{digest}");
    }
    let again = finish(&mut loading.command(&["--progress", "json"]), DEADLINE).success();
    for line in again.stderr.lines() {
        let event: Value = serde_json::from_str(line).expect(line);
        assert_eq!(event["event"], "existed", "{line}");
    }
    loading.place.finish();
}

#[test]
fn elsewhere_a_line_says_what_begins_and_what_is_done() {
    needs!(Program("busybox"));
    let loading = Loading::new("imgplain");
    let finished = finish(&mut loading.command(&[]), DEADLINE).success();
    let text = &finished.stderr;
    assert!(!text.contains(['\u{1b}', '\r']), "{text:?}");
    assert_eq!(text.matches(": copy, ").count(), 3, "{text}");
    assert_eq!(text.matches(": copy done, ").count(), 3, "{text}");
    assert_eq!(text.lines().count(), 6, "{text}");
    for style in [&["--quiet"][..], &["--progress", "none"]] {
        let silent = finish(&mut loading.command(style), DEADLINE).success();
        assert_eq!(silent.stderr, "", "{style:?}");
        assert!(silent.stdout.starts_with("loaded "), "{silent}");
    }
    loading.place.finish();
}

/// What a terminal shows in the end of text, carriage returns, and the two sequences that the
/// bars need: some lines up, and erase all that is below.
fn screen(output: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut row = 0;
    let mut rest = output;
    while let Some(letter) = rest.chars().next() {
        if let Some(sequence) = rest.strip_prefix("\u{1b}[") {
            let end = sequence
                .find(|letter: char| letter.is_ascii_alphabetic())
                .expect("a sequence ends");
            let number = sequence[..end].parse::<usize>().unwrap_or(1);
            match &sequence[end..=end] {
                "A" => row -= number.min(row),
                "J" => {
                    lines.truncate(row + 1);
                    lines[row].clear();
                }
                other => panic!("{other:?} is none of ours"),
            }
            rest = &sequence[end + 1..];
            continue;
        }
        match letter {
            '\n' => {
                row += 1;
                if lines.len() == row {
                    lines.push(String::new());
                }
            }
            '\r' => {}
            letter => lines[row].push(letter),
        }
        rest = &rest[letter.len_utf8()..];
    }
    lines.retain(|line| !line.is_empty());
    lines
}

#[test]
fn a_terminal_shows_a_bar_a_blob_and_in_the_end_what_is_done() {
    needs!(Program("busybox"), Program("script"));
    let loading = Loading::new("imgbars");
    let mut command = under_terminal(&loading.command(&[]));
    let finished = finish(&mut command, DEADLINE).success();
    let output = &finished.stdout;
    assert!(
        output.contains("\u{1b}[") && output.contains(" copy      ["),
        "{output:?}"
    );
    let shown = screen(output);
    let done = shown
        .iter()
        .filter(|line| line.contains(" copy      done  "));
    assert_eq!(done.count(), 3, "{shown:#?}");
    assert!(shown.iter().all(|line| line.len() < 100), "{shown:#?}");
    let loaded = shown.iter().filter(|line| line.starts_with("loaded "));
    assert_eq!((loaded.count(), shown.len()), (1, 4), "{shown:#?}");
    loading.place.finish();
}
