//! A JSON object a line, for programs.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use image::progress::{Event, Progress};
use serde_json::{Value, json};

use super::word;

/// Advances are gathered for so long.
const INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(crate) struct Json(Mutex<Gathered>);

/// Bytes by digest and word, since the last line of each.
#[derive(Debug, Default)]
struct Gathered(std::collections::HashMap<(String, &'static str), (u64, Option<Instant>)>);

impl Progress for Json {
    fn report(&self, event: Event<'_>) {
        let Ok(mut gathered) = self.0.lock() else {
            return;
        };
        for line in lines(&mut gathered, event) {
            writeln!(std::io::stderr(), "{line}").ok();
        }
    }
}

fn lines(gathered: &mut Gathered, event: Event<'_>) -> Vec<Value> {
    match event {
        Event::Began {
            digest,
            work,
            total,
            done,
        } => {
            vec![
                json!({"event": "began", "work": word(work), "digest": digest, "total": total, "done": done}),
            ]
        }
        Event::Advanced {
            digest,
            work,
            bytes,
        } => {
            let entry = gathered
                .0
                .entry((digest.to_string(), word(work)))
                .or_default();
            entry.0 += bytes;
            if entry.1.is_some_and(|last| last.elapsed() < INTERVAL) {
                return Vec::new();
            }
            entry.1 = Some(Instant::now());
            let bytes = std::mem::take(&mut entry.0);
            vec![json!({"event": "advanced", "work": word(work), "digest": digest, "bytes": bytes})]
        }
        Event::Ended { digest, work } => {
            let rest = gathered.0.remove(&(digest.to_string(), word(work)));
            let rest = rest.map_or(0, |(bytes, _)| bytes);
            let advanced = (rest > 0).then(|| {
                json!({"event": "advanced", "work": word(work), "digest": digest, "bytes": rest})
            });
            let ended = json!({"event": "ended", "work": word(work), "digest": digest});
            advanced.into_iter().chain([ended]).collect()
        }
        Event::Existed { digest, work } => {
            vec![json!({"event": "existed", "work": word(work), "digest": digest})]
        }
        Event::Note(text) => vec![json!({"event": "note", "text": text})],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use image::Digest;
    use image::progress::Work;

    use super::*;

    #[test]
    fn no_byte_is_lost_between_lines() {
        let (mut gathered, digest) = (Gathered::default(), Digest::of(b"x"));
        let work = Work::Download;
        let mut sum = 0;
        let mut count = |lines: Vec<Value>| {
            sum += lines
                .iter()
                .filter_map(|line| line["bytes"].as_u64())
                .sum::<u64>();
        };
        for _ in 0..1000 {
            count(lines(
                &mut gathered,
                Event::Advanced {
                    digest: &digest,
                    work,
                    bytes: 3,
                },
            ));
        }
        count(lines(
            &mut gathered,
            Event::Ended {
                digest: &digest,
                work,
            },
        ));
        assert_eq!(sum, 3000);
    }
}
