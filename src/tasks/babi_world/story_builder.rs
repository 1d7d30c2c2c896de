//! Stories while they are told: facts, and questions between them.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::BabiSample;

/// Questions of one story.
const QUESTIONS: usize = 5;

/// Facts and the questions asked between them.
#[derive(Default)]
pub(super) struct StoryBuilder {
    facts: Vec<String>,
    asked: Vec<Asked>,
}

/// A question, asked after so many facts.
struct Asked {
    facts_before: usize,
    question: String,
    answer: String,
    support: Vec<usize>,
}

impl StoryBuilder {
    /// Adds a sentence and returns its index.
    pub(super) fn tell(&mut self, fact: String) -> usize {
        self.facts.push(fact);
        self.facts.len() - 1
    }

    /// Number of facts so far.
    pub(super) fn told(&self) -> usize {
        self.facts.len()
    }

    /// Asks about the facts told so far; the support in the order of the reasoning, a fact at its first mention.
    pub(super) fn ask(&mut self, question: String, answer: impl Into<String>, support: &[usize]) {
        let mut steps = Vec::new();
        for &fact in support {
            if !steps.contains(&fact) {
                steps.push(fact);
            }
        }
        let facts_before = self.facts.len();
        self.asked.push(Asked { facts_before, question, answer: answer.into(), support: steps });
    }

    /// One of the questions with the facts before it.
    pub(super) fn one_question(mut self, rng: &mut ChaCha8Rng) -> BabiSample {
        assert!(!self.asked.is_empty(), "a told story asks at least one question");
        let Asked { facts_before, question, answer, support } =
            self.asked.swap_remove(rng.random_range(0..self.asked.len()));
        self.facts.truncate(facts_before);
        BabiSample { facts: self.facts, question, answer, support }
    }
}

/// Who knows how a story goes on.
pub(super) trait Teller {
    /// Tells two more facts; false when there is nothing left to tell.
    fn tell_on(&mut self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) -> bool;

    /// Asks something that the facts decide, if the draw finds it.
    fn ask(&self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng);
}

/// Lets the teller tell, two facts and then perhaps a question, until all questions are asked; one of them.
pub(super) fn listen(mut teller: impl Teller, rng: &mut ChaCha8Rng) -> BabiSample {
    let mut story = StoryBuilder::default();
    while story.asked.len() < QUESTIONS && teller.tell_on(&mut story, rng) {
        teller.ask(&mut story, rng);
    }
    story.one_question(rng)
}
