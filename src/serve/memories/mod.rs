//! Documents that wait to be memorised, and the thread that memorises them one after another.

mod history;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

pub use history::{Event, History};

use super::Shared;
use crate::checkpoint::Digest;
use crate::commands::encode::EncodeEvent;
use crate::error::{Error, Result};
use crate::panics::caught;
use crate::store::StoredAdapter;
use crate::tasks::Context;

/// Documents whose history is kept after their end.
const REMEMBERED: usize = 256;

/// A document on its way into a memory.
pub struct Work {
    /// The name of the memory, under which it can be asked.
    pub name: String,
    /// Which adapter comes of it.
    pub key: Digest,
    /// What happened so far.
    pub history: History,
    context: Mutex<Option<Context>>,
    is_unwanted: AtomicBool,
}

/// All documents that came, the oldest first, with the last of those that are done.
pub struct Memories {
    works: Mutex<Works>,
    comes: Condvar,
    most: usize,
}

#[derive(Default)]
struct Works {
    all: VecDeque<Arc<Work>>,
    is_closed: bool,
}

/// Too many documents wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Work {
    fn new(name: String, key: Digest, context: Context) -> Self {
        let context = Mutex::new(Some(context));
        Self { name, key, history: History::new(), context, is_unwanted: AtomicBool::new(false) }
    }

    /// Whether it waits or is worked on.
    pub fn goes_on(&self) -> bool {
        !self.history.last().is_last()
    }

    /// Stops it at the next micro-batch.
    pub fn cancel(&self) {
        self.is_unwanted.store(true, Ordering::Relaxed);
    }

    fn notice(&self, event: &EncodeEvent<'_>) -> Result<()> {
        if self.is_unwanted.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        self.history.add(match event {
            EncodeEvent::Begun { tokens, segments, steps, .. } => {
                Event::Begun { tokens: *tokens, segments: *segments, steps: *steps }
            }
            EncodeEvent::Progress { step, share } => Event::Progress { step: *step, share: *share },
            EncodeEvent::Step { step, before, tokens_per_sec } => Event::Step {
                step: *step,
                inner_loss: before.loss,
                next_token_loss: before.cross_entropy,
                tokens_per_sec: *tokens_per_sec,
            },
            EncodeEvent::Note(text) => Event::Note { text: text.clone() },
        });
        Ok(())
    }

    fn encode(&self, shared: &Shared) -> Result<StoredAdapter> {
        let context = self.context.lock().unwrap_or_else(PoisonError::into_inner).take();
        let context = context.ok_or(Error::Stopped)?;
        if self.is_unwanted.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        shared.start.encode(&context, &shared.destination(), &mut |event| self.notice(event))
    }
}

impl Memories {
    /// At most `most` documents wait.
    pub fn new(most: usize) -> Self {
        Self { works: Mutex::default(), comes: Condvar::new(), most }
    }

    /// Takes a document; the same one that is on its way already is not taken twice.
    ///
    /// # Errors
    /// Too many wait.
    pub fn put(&self, name: String, key: Digest, context: Context) -> std::result::Result<Arc<Work>, Full> {
        let mut works = self.works();
        if let Some(same) = works.all.iter().find(|work| work.key == key && work.goes_on()) {
            return Ok(Arc::clone(same));
        }
        if works.is_closed || works.all.iter().filter(|work| work.goes_on()).count() >= self.most {
            return Err(Full);
        }
        // Of documents of one name the last counts.
        works.all.retain(|work| work.name != name);
        let work = Arc::new(Work::new(name, key, context));
        works.all.push_back(Arc::clone(&work));
        let done = works.all.iter().filter(|work| !work.goes_on()).count();
        if done > REMEMBERED {
            let oldest = works.all.iter().position(|work| !work.goes_on());
            oldest.and_then(|oldest| works.all.remove(oldest));
        }
        drop(works);
        self.comes.notify_one();
        Ok(work)
    }

    /// The document of the memory called `name`.
    pub fn find(&self, name: &str) -> Option<Arc<Work>> {
        self.works().all.iter().find(|work| work.name == name).cloned()
    }

    /// All documents that are known.
    pub fn all(&self) -> Vec<Arc<Work>> {
        self.works().all.iter().cloned().collect()
    }

    /// Forgets the document of the memory called `name`.
    pub fn forget(&self, name: &str) {
        self.works().all.retain(|work| work.name != name);
    }

    /// Takes no more documents, stops the one that is worked on, and lets the thread go.
    pub fn close(&self) {
        let mut works = self.works();
        works.is_closed = true;
        works.all.iter().for_each(|work| work.cancel());
        drop(works);
        self.comes.notify_all();
    }

    /// Memorises documents until it is closed.
    pub fn work(&self, shared: &Shared) {
        while let Some(work) = self.next() {
            let outcome = caught(|| work.encode(shared))
                .unwrap_or_else(|panic| Err(Error::Invalid(format!("the inner loop failed: {panic}"))));
            work.history.add(match outcome {
                Ok(stored) => {
                    shared.metrics.memorised(&stored.record);
                    Event::Ready
                }
                Err(Error::Stopped) => Event::Cancelled,
                Err(fault) => Event::Failed { reason: fault.to_string() },
            });
        }
    }

    fn next(&self) -> Option<Arc<Work>> {
        let mut works = self.works();
        loop {
            if works.is_closed {
                return None;
            }
            if let Some(work) = works.all.iter().find(|work| work.goes_on()) {
                return Some(Arc::clone(work));
            }
            works = self.comes.wait(works).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn works(&self) -> MutexGuard<'_, Works> {
        self.works.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(memories: &Memories, text: &str) -> std::result::Result<Arc<Work>, Full> {
        let documents = vec![text.to_owned()];
        let key = Digest::of_texts(&documents);
        memories.put(format!("{text}-1"), key, Context { documents, sources: vec![] })
    }

    #[test]
    fn a_document_that_is_on_its_way_is_not_taken_twice() {
        let memories = Memories::new(2);
        let first = put(&memories, "a").unwrap();
        assert!(Arc::ptr_eq(&first, &put(&memories, "a").unwrap()));
        put(&memories, "b").unwrap();
        assert_eq!(put(&memories, "c").err(), Some(Full));
        assert_eq!(memories.next().unwrap().name, "a-1");
        first.history.add(Event::Ready);
        put(&memories, "c").unwrap();
        assert_eq!(memories.next().unwrap().name, "b-1");
        memories.close();
        assert!(memories.next().is_none());
        assert_eq!(put(&memories, "d").err(), Some(Full));
    }

    #[test]
    fn what_nobody_wants_any_more_stops_at_the_next_event() {
        let work = put(&Memories::new(1), "a").unwrap();
        assert!(work.notice(&EncodeEvent::Progress { step: 0, share: 0.5 }).is_ok());
        work.cancel();
        let stopped = work.notice(&EncodeEvent::Progress { step: 0, share: 0.6 });
        assert!(matches!(stopped, Err(Error::Stopped)));
    }

    #[test]
    fn only_the_last_documents_that_are_done_are_remembered() {
        let memories = Memories::new(1);
        for number in 0..REMEMBERED + 20 {
            put(&memories, &number.to_string()).unwrap().history.add(Event::Ready);
        }
        assert!((REMEMBERED..=REMEMBERED + 2).contains(&memories.all().len()));
        assert!(memories.find("0-1").is_none());
    }
}
