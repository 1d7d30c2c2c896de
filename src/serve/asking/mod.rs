//! Requests that wait to be answered, and the thread that answers them: those of one model side by side.

mod batch;
mod row;

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::UnboundedSender;

use super::Shared;
use crate::model::Sampling;
use crate::panics::caught;

/// What a model is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// A question, which goes into the prompt of the model's training.
    Question(String),
    /// A text to go on with as it is.
    Text(String),
}

/// How a request is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Manner {
    /// Most tokens of the answer; `None` for as many as the model was trained on, within the server's limit.
    pub max_tokens: Option<usize>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts that end the answer.
    pub stop: Vec<String>,
}

/// A request.
#[derive(Debug)]
pub struct Request {
    /// Name of the model.
    pub model: String,
    /// What it is given.
    pub given: Given,
    /// How it answers.
    pub manner: Manner,
    /// Who is told of the answer; who listens no more wants no more of it.
    pub to: UnboundedSender<Said>,
}

impl Request {
    /// Tells the client, if it still listens.
    fn say(&self, said: Said) {
        drop(self.to.send(said));
    }
}

/// What a client is told, in order: a beginning, texts, an end; or at any time a fault.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// The request was understood, and its answer begins.
    Begun {
        /// Length of the prompt, in tokens.
        prompt_tokens: usize,
    },
    /// More of the answer.
    Text(String),
    /// The answer is whole.
    Ended(End),
    /// There is none.
    Fault(Fault),
}

/// The end of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Whether the model, or a stop string, ended it; not the limit of tokens.
    pub is_whole: bool,
    /// Tokens that the model wrote.
    pub tokens: usize,
    /// The facts that it recalled, where it was trained to name them.
    pub support: Option<Vec<String>>,
}

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No model has this name.
    UnknownModel,
    /// The model is damaged, or of another base.
    UnusableModel(String),
    /// The request cannot be met as it is.
    Refused(String),
    /// The server's own.
    Internal(String),
}

/// The requests that wait.
pub struct Desk {
    waiting: Mutex<Waiting>,
    comes: Condvar,
    most: usize,
    together: usize,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    is_closed: bool,
}

impl Desk {
    /// At most `most` requests wait, and `together` of one model are answered side by side.
    pub fn new(most: usize, together: usize) -> Self {
        Self { waiting: Mutex::default(), comes: Condvar::new(), most, together }
    }

    /// Takes a request, unless too many wait.
    ///
    /// # Errors
    /// The request, which was not taken.
    pub fn put(&self, request: Request) -> Result<(), Box<Request>> {
        let mut waiting = self.waiting();
        // Who has left makes room.
        waiting.requests.retain(|request| !request.to.is_closed());
        if waiting.is_closed || waiting.requests.len() >= self.most {
            return Err(Box::new(request));
        }
        waiting.requests.push_back(request);
        drop(waiting);
        self.comes.notify_one();
        Ok(())
    }

    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.waiting().requests.len()
    }

    /// Takes no more requests, and lets the thread go.
    pub fn close(&self) {
        let mut waiting = self.waiting();
        waiting.is_closed = true;
        waiting.requests.clear();
        drop(waiting);
        self.comes.notify_all();
    }

    /// Answers requests until the desk is closed.
    pub fn work(&self, shared: &Shared) {
        while let Some(requests) = self.next() {
            shared.metrics.batch(requests.len());
            if let Err(panic) = caught(|| batch::answer(shared, &requests)) {
                let fault = Fault::Internal(format!("the model failed: {panic}"));
                requests.iter().for_each(|request| request.say(Said::Fault(fault.clone())));
            }
        }
    }

    /// The request that has waited longest, and those of the same model.
    fn next(&self) -> Option<Vec<Request>> {
        let mut waiting = self.waiting();
        loop {
            waiting.requests.retain(|request| !request.to.is_closed());
            if let Some(first) = waiting.requests.pop_front() {
                let mut batch = vec![first];
                for request in std::mem::take(&mut waiting.requests) {
                    match batch.len() < self.together && request.model == batch[0].model {
                        true => batch.push(request),
                        false => waiting.requests.push_back(request),
                    }
                }
                return Some(batch);
            }
            if waiting.is_closed {
                return None;
            }
            waiting = self.comes.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    fn request(model: &str, text: &str) -> (Request, UnboundedReceiver<Said>) {
        let (to, from) = unbounded_channel();
        let manner = Manner { max_tokens: None, sampling: Sampling::Greedy, stop: vec![] };
        (Request { model: model.to_owned(), given: Given::Text(text.to_owned()), manner, to }, from)
    }

    fn texts(batch: &[Request]) -> Vec<String> {
        let text = |request: &Request| match &request.given {
            Given::Text(text) | Given::Question(text) => text.clone(),
        };
        batch.iter().map(text).collect()
    }

    #[test]
    fn requests_of_one_model_go_together_and_nobody_is_passed_over() {
        let desk = Desk::new(10, 2);
        let mut listeners = vec![];
        for (model, text) in [("a", "1"), ("b", "2"), ("a", "3"), ("a", "4"), ("b", "5")] {
            let (request, listener) = request(model, text);
            desk.put(request).unwrap();
            listeners.push(listener);
        }
        let batches: Vec<_> = (0..3).map(|_| texts(&desk.next().unwrap())).collect();
        assert_eq!(batches, [vec!["1", "3"], vec!["2", "5"], vec!["4"]]);
        desk.close();
        assert!(desk.next().is_none());
    }

    #[test]
    fn a_full_desk_takes_no_more_until_somebody_leaves() {
        let desk = Desk::new(2, 4);
        let [(first, gone), (second, _stays), (third, _waits)] = [(); 3].map(|()| request("a", "x"));
        desk.put(first).unwrap();
        desk.put(second).unwrap();
        let third = desk.put(third).unwrap_err();
        drop(gone);
        desk.put(*third).unwrap();
        assert_eq!(desk.len(), 2);
        desk.close();
        assert!(desk.put(request("a", "late").0).is_err());
    }
}
