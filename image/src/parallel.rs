//! Work on several things at once, until all are done or one has failed.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::registry::lock;

/// Does `work` for each of `items`, in their order, on `threads` threads; at least on one. The
/// first failure sets `stop`, which work under way should look at, and is the one that is told.
pub(crate) fn each<T: Send>(
    items: Vec<T>,
    threads: usize,
    stop: &AtomicBool,
    work: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let threads = threads.clamp(1, items.len().max(1));
    let queue = Mutex::new(VecDeque::from(items));
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let Some(item) = lock(&queue).pop_front() else {
                        return;
                    };
                    if let Err(error) = work(item) {
                        // Told before the others hear of it, and fail because of that.
                        lock(&failure).get_or_insert(error);
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    match failure.into_inner() {
        Ok(None) => Ok(()),
        Ok(Some(error)) => Err(error),
        Err(_) => Err(Error::new(
            ErrorKind::System,
            "a thread of this work has died",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_done_or_the_first_failure_is_told() {
        let done = Mutex::new(Vec::new());
        let stop = AtomicBool::new(false);
        let work = |item: u32| {
            lock(&done).push(item);
            Ok(())
        };
        each((0..100).collect(), 7, &stop, work).expect("nothing fails");
        let mut all = lock(&done).clone();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        each(Vec::new(), 0, &stop, work).expect("nothing to do");

        let fail = |item: u32| match item {
            3 => Err(Error::new(ErrorKind::Corrupt, "the third")),
            _ => Ok(()),
        };
        let error = each((0..100).collect(), 1, &stop, fail).expect_err("it fails");
        assert_eq!(error.to_string(), "the third");
        assert!(stop.load(Ordering::Relaxed));
    }
}
