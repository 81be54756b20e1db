//! A bar a blob, drawn over and over on a terminal.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use image::Digest;
use image::progress::{Event, Progress, Work};

use super::{unit, word};
use crate::cli::output;

/// Between two drawings.
const INTERVAL: Duration = Duration::from_millis(80);
/// Cells of a bar.
const WIDTH: u64 = 30;

#[derive(Debug)]
pub(crate) struct Bars(Mutex<Screen>);

#[derive(Debug)]
struct Screen {
    bars: Vec<Bar>,
    /// How many lines the last drawing has.
    drawn: usize,
    last: Option<Instant>,
}

#[derive(Debug)]
struct Bar {
    digest: Digest,
    work: Work,
    total: Option<u64>,
    done: u64,
    /// Of these, how many were there before.
    resumed: u64,
    since: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Working,
    Done,
    Existed,
}

impl Bars {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Screen {
            bars: Vec::new(),
            drawn: 0,
            last: None,
        }))
    }
}

impl Progress for Bars {
    fn report(&self, event: Event<'_>) {
        if let Ok(mut screen) = self.0.lock() {
            screen.take(event);
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        if let Ok(mut screen) = self.0.lock() {
            screen.draw();
        }
    }
}

impl Screen {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Began {
                digest,
                work,
                total,
                done,
            } => {
                let bar = self.bar(digest, work);
                bar.total = total;
                bar.done = done;
                bar.resumed = done;
                bar.since = Instant::now();
                bar.state = State::Working;
            }
            Event::Advanced {
                digest,
                work,
                bytes,
            } => self.bar(digest, work).done += bytes,
            Event::Ended { digest, work } => self.bar(digest, work).state = State::Done,
            Event::Existed { digest, work } => self.bar(digest, work).state = State::Existed,
            Event::Note(text) => self.note(text),
            _ => {}
        }
        let is_advance = matches!(event, Event::Advanced { .. });
        if !is_advance || self.last.is_none_or(|last| last.elapsed() >= INTERVAL) {
            self.draw();
        }
    }

    /// The bar of a blob: one for all that is done with it, one after the other.
    fn bar(&mut self, digest: &Digest, work: Work) -> &mut Bar {
        let index = match self.bars.iter().position(|bar| bar.digest == *digest) {
            Some(index) => index,
            None => {
                self.bars.push(Bar {
                    digest: digest.clone(),
                    work,
                    total: None,
                    done: 0,
                    resumed: 0,
                    since: Instant::now(),
                    state: State::Working,
                });
                self.bars.len() - 1
            }
        };
        let bar = &mut self.bars[index];
        bar.work = work;
        bar
    }

    /// A sentence above the bars.
    fn note(&mut self, text: &str) {
        let erase = self.erase();
        self.drawn = 0;
        let text = output::harmless(text);
        write!(std::io::stderr(), "{erase}{text}\r\n").ok();
    }

    fn erase(&self) -> String {
        match self.drawn {
            0 => String::new(),
            lines => format!("\r\x1b[{lines}A\x1b[J"),
        }
    }

    fn draw(&mut self) {
        let mut text = self.erase();
        let (columns, rows) = size();
        // What has scrolled away can't be drawn over.
        let shown = self.bars.len().min(rows.saturating_sub(1).max(1));
        let hidden = self.bars.len() - shown;
        for bar in self.bars.iter().skip(hidden) {
            let line: String = bar.line().chars().take(columns.saturating_sub(1)).collect();
            text += &line;
            text += "\r\n";
        }
        self.drawn = shown;
        self.last = Some(Instant::now());
        let mut stderr = std::io::stderr().lock();
        stderr.write_all(text.as_bytes()).ok();
        stderr.flush().ok();
        // What is done stays as it is: below it there may be results from now on, which the next
        // drawing must not go over.
        if self.bars.iter().all(|bar| bar.state != State::Working) {
            self.bars.clear();
            self.drawn = 0;
        }
    }
}

impl Bar {
    fn line(&self) -> String {
        let name = self.digest.short();
        let word = word(self.work);
        match (self.state, self.total) {
            (State::Existed, _) => format!("{name} {word:<9} it is there"),
            (State::Done, Some(total)) => format!("{name} {word:<9} done  {}", unit::bytes(total)),
            (State::Done, None) => format!("{name} {word:<9} done  {}", unit::bytes(self.done)),
            (State::Working, Some(total)) => format!(
                "{name} {word:<9} {} {} / {}  {}/s",
                cells(self.done, total),
                unit::bytes(self.done),
                unit::bytes(total),
                unit::bytes(self.rate())
            ),
            (State::Working, None) => {
                let rate = unit::bytes(self.rate());
                format!("{name} {word:<9} {}  {rate}/s", unit::bytes(self.done))
            }
        }
    }

    /// Bytes a second, of what came in this attempt.
    fn rate(&self) -> u64 {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.done.saturating_sub(self.resumed).saturating_mul(1000) / millis.max(1)
    }
}

fn cells(done: u64, total: u64) -> String {
    let filled = (u128::from(done.min(total)) * u128::from(WIDTH)) / u128::from(total.max(1));
    let filled = usize::try_from(filled).unwrap_or_default();
    let empty = usize::try_from(WIDTH)
        .unwrap_or_default()
        .saturating_sub(filled);
    format!("[{}{}]", "#".repeat(filled), "-".repeat(empty))
}

/// The terminal's columns and rows.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fill_and_end() {
        assert_eq!(cells(0, 10), format!("[{}]", "-".repeat(30)));
        assert_eq!(cells(10, 10), format!("[{}]", "#".repeat(30)));
        assert_eq!(cells(20, 10), cells(10, 10));
        assert_eq!(cells(0, 0), cells(0, 10));
        let mut screen = Screen {
            bars: Vec::new(),
            drawn: 0,
            last: None,
        };
        let digest = Digest::of(b"x");
        let bar = screen.bar(&digest, Work::Download);
        bar.total = Some(1000);
        bar.done = 500;
        assert!(bar.line().contains("500 B / 1.0 kB"), "{}", bar.line());
        bar.state = State::Done;
        assert!(
            bar.line().ends_with("download  done  1.0 kB"),
            "{}",
            bar.line()
        );
        screen.bar(&digest, Work::Unpack);
        assert_eq!(screen.bars.len(), 1);
    }
}
