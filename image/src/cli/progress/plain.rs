//! A line when work on a blob begins and ends.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Mutex;
use std::time::Instant;

use image::Digest;
use image::progress::{Event, Progress, Work};

use super::{unit, word};
use crate::cli::output;

/// What has begun, when, and how many bytes have come.
type Begun = HashMap<(Digest, Work), (Instant, u64)>;

#[derive(Debug, Default)]
pub(crate) struct Plain(Mutex<Begun>);

impl Progress for Plain {
    fn report(&self, event: Event<'_>) {
        let Ok(mut begun) = self.0.lock() else {
            return;
        };
        let line = match event {
            Event::Began {
                digest,
                work,
                total,
                done,
            } => {
                begun.insert((digest.clone(), work), (Instant::now(), 0));
                let size = total.map(|total| format!(", {}", unit::bytes(total)));
                let resumed = (done > 0).then(|| format!(", {} are there", unit::bytes(done)));
                format!(
                    "{}: {}{}{}",
                    digest.short(),
                    word(work),
                    size.unwrap_or_default(),
                    resumed.unwrap_or_default()
                )
            }
            Event::Advanced {
                digest,
                work,
                bytes,
            } => {
                if let Some((_, count)) = begun.get_mut(&(digest.clone(), work)) {
                    *count += bytes;
                }
                return;
            }
            Event::Ended { digest, work } => match begun.remove(&(digest.clone(), work)) {
                Some((since, count)) if count > 0 => format!(
                    "{}: {} done, {} in {:.1} s",
                    digest.short(),
                    word(work),
                    unit::bytes(count),
                    since.elapsed().as_secs_f64()
                ),
                _ => format!("{}: {} done", digest.short(), word(work)),
            },
            Event::Existed { digest, work } => {
                format!("{}: {} not needed, it is there", digest.short(), word(work))
            }
            Event::Note(text) => output::harmless(text).into_owned(),
            _ => return,
        };
        // Nobody has to read it.
        writeln!(std::io::stderr(), "{line}").ok();
    }
}
