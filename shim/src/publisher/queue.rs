//! Events in the order in which they happened, and not without end.

use std::collections::VecDeque;

/// How many events are kept for a containerd that does not listen.
const MOST: usize = 1024;

/// What containerd can least do without: it tells who waits for a process.
const EXIT: &str = "/tasks/exit";

/// One event.
#[derive(Debug)]
pub(super) struct Event {
    /// What kind of event.
    pub(super) topic: &'static str,
    /// The encoded call.
    pub(super) request: Vec<u8>,
    /// How often it has been tried in vain.
    pub(super) tries: u8,
}

/// The events that have not arrived. The first one may be on its way: it stays the first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    events: VecDeque<Event>,
    lost: u64,
}

impl Queue {
    /// Adds an event. When there are too many, the oldest that is no process's exit is given up
    /// for it, and its topic returned; among exits alone, the oldest.
    pub(super) fn push(&mut self, event: Event) -> Option<&'static str> {
        self.events.push_back(event);
        if self.events.len() <= MOST {
            return None;
        }
        let after_first = self.events.iter().skip(1);
        let index = after_first
            .take_while(|event| event.topic == EXIT)
            .count()
            .saturating_add(1);
        let index = if index < self.events.len() { index } else { 1 };
        self.lost += 1;
        self.events.remove(index).map(|event| event.topic)
    }

    pub(super) fn front(&mut self) -> Option<&mut Event> {
        self.events.front_mut()
    }

    /// The first has arrived.
    pub(super) fn pop(&mut self) {
        self.events.pop_front();
        self.release();
    }

    /// The first will not arrive.
    pub(super) fn lose_front(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.lost += 1;
        self.release();
        Some(event)
    }

    /// An empty queue holds no memory.
    fn release(&mut self) {
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// How many have not arrived and will not.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(topic: &'static str, number: usize) -> Event {
        Event {
            topic,
            request: number.to_be_bytes().to_vec(),
            tries: 0,
        }
    }

    fn numbers(queue: &Queue) -> Vec<usize> {
        let number = |event: &Event| usize::from_be_bytes(event.request[..].try_into().unwrap());
        queue.events.iter().map(number).collect()
    }

    #[test]
    fn too_many_events_cost_the_oldest_that_is_no_exit_and_not_on_its_way() {
        let mut queue = Queue::default();
        for number in 0..MOST {
            let topic = if number == 5 { "/tasks/start" } else { EXIT };
            assert_eq!(queue.push(event(topic, number)), None);
        }
        assert_eq!(queue.push(event(EXIT, MOST)), Some("/tasks/start"));
        assert_eq!(queue.push(event(EXIT, MOST + 1)), Some(EXIT));
        let kept = numbers(&queue);
        assert_eq!(kept.len(), MOST);
        assert_eq!(kept[..6], [0, 2, 3, 4, 6, 7]);
        assert!(kept.is_sorted());
        assert_eq!(queue.lost(), 2);
    }

    #[test]
    fn an_event_that_is_no_exit_gives_way_itself_among_exits() {
        let mut queue = Queue::default();
        for number in 0..MOST {
            queue.push(event(EXIT, number));
        }
        assert_eq!(queue.push(event("/tasks/oom", 9)), Some("/tasks/oom"));
        assert_eq!(numbers(&queue), (0..MOST).collect::<Vec<_>>());
    }

    #[test]
    fn an_empty_queue_holds_no_memory() {
        let mut queue = Queue::default();
        queue.push(event(EXIT, 1));
        queue.push(event(EXIT, 2));
        queue.pop();
        assert_eq!(queue.lose_front().map(|event| event.topic), Some(EXIT));
        assert!(queue.is_empty() && queue.lose_front().is_none());
        assert_eq!((queue.events.capacity(), queue.lost()), (0, 1));
    }
}
