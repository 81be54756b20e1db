//! When something is tried again: pauses that double, and what `Retry-After` asks for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::answer::Answer;
use super::exchange::Broken;
use super::settings::Retry;
use crate::error::{Error, ErrorKind};
use crate::progress::{Event, Progress};

/// Counts the attempts at one thing.
#[derive(Debug)]
pub(super) struct Attempts {
    retry: Retry,
    failed: u32,
}

impl Attempts {
    pub(super) fn new(retry: Retry) -> Self {
        Self { retry, failed: 0 }
    }

    /// It has got further, so what failed before doesn't count any more.
    pub(super) fn got_further(&mut self) {
        self.failed = 0;
    }

    /// Waits before the next attempt, or says that there is none.
    pub(super) fn pause(&mut self, broken: Broken, progress: &dyn Progress) -> Result<(), Error> {
        self.failed += 1;
        if !broken.may_pass {
            return Err(broken.error);
        }
        if self.failed >= self.retry.attempts {
            let error = broken.error;
            return Err(match self.failed {
                0 | 1 => error,
                times => error.advise(format_args!("tried {times} times")),
            });
        }
        let pause = match broken.after {
            Some(after) if after > self.retry.longest_pause => {
                let error = broken.error;
                let message = format!("{error}; it asks to come back in {} s", after.as_secs());
                return Err(Error::with_source(ErrorKind::RateLimited, message, error));
            }
            Some(after) => after,
            None => self.next_pause(),
        };
        let note = format!(
            "{}; trying again in {:.1} s ({} of {})",
            broken.error,
            pause.as_secs_f32(),
            self.failed + 1,
            self.retry.attempts
        );
        progress.report(Event::Note(&note));
        std::thread::sleep(pause);
        Ok(())
    }

    /// Doubled each time, and up to a quarter longer: many clients that were refused at once
    /// should not all come back at once.
    fn next_pause(&self) -> Duration {
        let doubled = self
            .retry
            .first_pause
            .saturating_mul(1 << (self.failed - 1).min(16));
        let pause = doubled.min(self.retry.longest_pause);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let quarter = now.map_or(0, |now| now.subsec_nanos() % 1000);
        pause + pause / 4 * quarter / 1000
    }
}

/// An answer that asks to be tried again.
pub(super) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// What `Retry-After` says (RFC 9110, 10.2.3): seconds or a date.
pub(super) fn retry_after(answer: &Answer) -> Option<Duration> {
    parse_retry_after(answer.header("retry-after")?, SystemTime::now())
}

fn parse_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = UNIX_EPOCH + Duration::from_secs(parse_date(text)?);
    Some(then.duration_since(now).unwrap_or_default())
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, in seconds since 1970.
fn parse_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, text) = text.split_once(", ")?;
    let mut words = text.strip_suffix(" GMT")?.split(' ');
    let day: u64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|known| *known == month)? as u64 + 1;
    let year: u64 = words.next()?.parse().ok()?;
    let mut time = words
        .next()?
        .split(':')
        .map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let is_valid = (1970..=9999).contains(&year)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !is_valid {
        return None;
    }
    // Days since 1970 in a calendar whose years begin with March.
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777 - 30);
        let parse = |text| parse_retry_after(text, now);
        assert_eq!(parse("7"), Some(Duration::from_secs(7)));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(parse(date), Some(Duration::from_secs(30)));
        let past = "Thu, 01 Jan 1970 00:00:00 GMT";
        assert_eq!(parse(past), Some(Duration::ZERO));
        assert_eq!(
            parse_date("Thu, 29 Feb 2024 12:00:00 GMT"),
            Some(1_709_208_000)
        );
        for text in [
            "",
            "soon",
            "-1",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 99 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn there_is_an_end_to_trying() {
        let retry = Retry {
            attempts: 3,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_secs(1),
        };
        let broken = |may_pass, after| Broken {
            error: Error::new(ErrorKind::Unreachable, "r.io: reset"),
            may_pass,
            after,
        };
        let mut attempts = Attempts::new(retry);
        assert!(attempts.pause(broken(true, None), &Silent).is_ok());
        assert!(attempts.pause(broken(true, None), &Silent).is_ok());
        let error = attempts
            .pause(broken(true, None), &Silent)
            .expect_err("the third");
        assert_eq!(error.to_string(), "r.io: reset (tried 3 times)");

        let mut attempts = Attempts::new(retry);
        let error = attempts
            .pause(broken(false, None), &Silent)
            .expect_err("hopeless");
        assert_eq!(error.to_string(), "r.io: reset");
        let late = Some(Duration::from_secs(3600));
        let error = attempts
            .pause(broken(true, late), &Silent)
            .expect_err("too late");
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert!(error.to_string().contains("in 3600 s"), "{error}");
    }
}
