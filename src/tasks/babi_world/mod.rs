//! The twenty bAbI tasks (Weston et al. 2015, arXiv 1502.05698) as simulations: endless stories in the words
//! of the published files, each with a question that its facts decide.
//!
//! Forms, words and lengths follow those files; a sample is one of a story's questions, drawn at random, with
//! the facts told before it. Two things differ on purpose. Task 16 never asks about an animal whose kind has
//! animals of two colours, which the files do in one story of twelve, and the rooms of task 19 never share a
//! spot on the map, which they do in one story of fourteen. As in the files, the facts that support an answer of
//! task 3 leave out the taking of an object that was left again.

mod belief;
mod groups;
mod holdings;
mod kinds;
mod motives;
mod positions;
mod relations;
mod rooms;
mod sizes;
mod story_builder;
mod time;
mod whereabouts;
mod words;

use std::{fmt, str::FromStr};

use rand_chacha::ChaCha8Rng;

use crate::{Error, Result};

/// A story with one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BabiSample {
    /// Sentences, in their order.
    pub facts: Vec<String>,
    /// The question.
    pub question: String,
    /// Its answer, in lower case but for names; several things are joined by commas.
    pub answer: String,
    /// Indices in `facts` of those that give the answer, each once, in the order of the reasoning.
    pub support: Vec<usize>,
}

/// One of the twenty tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BabiTask {
    /// Where a person is.
    Qa1 = 1,
    /// Where an object is.
    Qa2,
    /// Where an object was before a place.
    Qa3,
    /// What lies north of a place.
    Qa4,
    /// Who gave what to whom.
    Qa5,
    /// Whether a person is at a place.
    Qa6,
    /// How many objects a person carries.
    Qa7,
    /// Which objects a person carries.
    Qa8,
    /// Whether a person is at a place, with negations.
    Qa9,
    /// Whether a person is at a place, where two are possible.
    Qa10,
    /// Where a person is, with pronouns.
    Qa11,
    /// Where a person is, told of two at once.
    Qa12,
    /// Where a person is, told of two at once with pronouns.
    Qa13,
    /// Where a person was before a place, told in no order.
    Qa14,
    /// What an animal is afraid of.
    Qa15,
    /// What colour an animal has.
    Qa16,
    /// Where two shapes lie to each other.
    Qa17,
    /// Whether one thing fits in another.
    Qa18,
    /// The way from one room to another.
    Qa19,
    /// Why somebody does something.
    Qa20,
}

impl BabiTask {
    /// All, in their order.
    pub const ALL: [Self; 20] = [
        Self::Qa1,
        Self::Qa2,
        Self::Qa3,
        Self::Qa4,
        Self::Qa5,
        Self::Qa6,
        Self::Qa7,
        Self::Qa8,
        Self::Qa9,
        Self::Qa10,
        Self::Qa11,
        Self::Qa12,
        Self::Qa13,
        Self::Qa14,
        Self::Qa15,
        Self::Qa16,
        Self::Qa17,
        Self::Qa18,
        Self::Qa19,
        Self::Qa20,
    ];

    /// From 1.
    pub fn number(self) -> usize {
        self as usize
    }

    /// `qa1`.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 20] = [
            "qa1", "qa2", "qa3", "qa4", "qa5", "qa6", "qa7", "qa8", "qa9", "qa10", "qa11", "qa12", "qa13",
            "qa14", "qa15", "qa16", "qa17", "qa18", "qa19", "qa20",
        ];
        NAMES[self.number() - 1]
    }
}

impl fmt::Display for BabiTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BabiTask {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|task| task.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::Invalid(format!("bAbI task `{text}` is none of {names}"))
        })
    }
}

/// A story of the task with one question: a pure function of the random stream.
pub fn tell(task: BabiTask, rng: &mut ChaCha8Rng) -> BabiSample {
    match task {
        BabiTask::Qa1 => whereabouts::person(rng),
        BabiTask::Qa2 => whereabouts::object(rng),
        BabiTask::Qa3 => whereabouts::before(rng),
        BabiTask::Qa4 => relations::neighbour(rng),
        BabiTask::Qa5 => holdings::gifts(rng),
        BabiTask::Qa6 => whereabouts::yes_no(rng),
        BabiTask::Qa7 => holdings::count(rng),
        BabiTask::Qa8 => holdings::list(rng),
        BabiTask::Qa9 => belief::negation(rng),
        BabiTask::Qa10 => belief::indefinite(rng),
        BabiTask::Qa11 => groups::pronoun(rng),
        BabiTask::Qa12 => groups::conjunction(rng),
        BabiTask::Qa13 => groups::they(rng),
        BabiTask::Qa14 => time::before(rng),
        BabiTask::Qa15 => kinds::fear(rng),
        BabiTask::Qa16 => kinds::colour(rng),
        BabiTask::Qa17 => positions::shapes(rng),
        BabiTask::Qa18 => sizes::fit(rng),
        BabiTask::Qa19 => relations::path(rng),
        BabiTask::Qa20 => motives::why(rng),
    }
}
