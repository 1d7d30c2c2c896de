//! What happened to a document, for everybody who asks, now or later.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

/// A step on the way from a document to a memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It waits for others.
    Queued,
    /// The inner loop begins.
    Begun {
        /// Length of the segments, in tokens.
        tokens: usize,
        /// Number of segments.
        segments: usize,
        /// Inner steps to take.
        steps: usize,
    },
    /// Part of a step is done, or of the last loss where `step` is the number of steps.
    Progress {
        /// The step, from 0.
        step: usize,
        /// Share of it that is done, 0 to 1.
        share: f64,
    },
    /// An inner step is done.
    Step {
        /// The step, from 0.
        step: usize,
        /// The inner loss before it.
        inner_loss: f64,
        /// The plain next-token loss before it, in nats a token.
        next_token_loss: f64,
        /// Context tokens over the seconds that it took.
        tokens_per_sec: f64,
    },
    /// Anything else a person may want to know.
    Note {
        /// In words.
        text: String,
    },
    /// The memory can be asked.
    Ready,
    /// There is none.
    Failed {
        /// Why.
        reason: String,
    },
    /// Somebody wanted it no more.
    Cancelled,
}

impl Event {
    /// Whether nothing comes after it.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Ready | Self::Failed { .. } | Self::Cancelled)
    }

    /// What the memory is after it.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Ready => "ready",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
            Self::Begun { .. } | Self::Progress { .. } | Self::Step { .. } | Self::Note { .. } => "encoding",
        }
    }
}

/// Share of a step between two reports of progress: more would only fill the memory.
const REPORTED_SHARE: f64 = 0.01;

/// Everything that happened, in order.
pub struct History {
    events: Mutex<Vec<Event>>,
    count: watch::Sender<usize>,
}

impl History {
    /// A document that waits.
    pub fn new() -> Self {
        Self { events: Mutex::new(vec![Event::Queued]), count: watch::Sender::new(1) }
    }

    /// Adds an event, unless it is progress that is hardly any. Nothing comes after the last.
    pub fn add(&self, event: Event) {
        let mut events = self.events();
        let is_news = match (events.last(), &event) {
            (Some(last), _) if last.is_last() => false,
            (Some(Event::Progress { step, share }), Event::Progress { step: now_step, share: now }) => {
                step != now_step || now - share >= REPORTED_SHARE
            }
            _ => true,
        };
        if is_news {
            events.push(event);
            self.count.send_replace(events.len());
        }
    }

    /// The last event.
    pub fn last(&self) -> Event {
        self.events().last().cloned().expect("it began with one")
    }

    /// The events from number `from` on, from 0.
    pub fn since(&self, from: usize) -> Vec<Event> {
        self.events().iter().skip(from).cloned().collect()
    }

    /// Says how many events there are, each time that there are more.
    pub fn watch(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_kept_but_progress_that_is_hardly_any() {
        let history = History::new();
        let count = history.watch();
        (0..1000).for_each(|part| history.add(Event::Progress { step: 0, share: f64::from(part) / 1000.0 }));
        assert!((90..=101).contains(&history.since(1).len()), "{}", history.since(1).len());
        history.add(Event::Progress { step: 1, share: 0.0 });
        assert_eq!(history.last().status(), "encoding");
        history.add(Event::Ready);
        history.add(Event::Failed { reason: "late".to_owned() });
        assert_eq!(history.last(), Event::Ready);
        assert_eq!(*count.borrow(), history.since(0).len());
    }
}
