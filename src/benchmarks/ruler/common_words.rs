//! Common words: the ten of a long list that appear more often than the others.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::job::{Job, Made};
use super::prompt::Prompt;
use super::words::{compound, compounds, single};
use crate::{Error, Result};

/// How many words are common.
const COMMON: usize = 10;
/// From this length on words are repeated more often.
const LONG_TOKENS: usize = 4096;

/// How often words stand in a list.
#[derive(Debug, Clone, Copy)]
struct Repeats {
    common: usize,
    uncommon: usize,
}

/// Words of one kind in a random order.
struct Vocabulary {
    /// The word of a number.
    word: fn(usize) -> String,
    numbers: Vec<usize>,
}

impl Vocabulary {
    /// Single words.
    fn single(rng: &mut ChaCha8Rng) -> Self {
        Self::shuffled(|number| single()[number].to_owned(), single().len(), rng)
    }

    /// Words of two, of which there are many more.
    fn compound(rng: &mut ChaCha8Rng) -> Self {
        Self::shuffled(compound, compounds(), rng)
    }

    fn shuffled(word: fn(usize) -> String, count: usize, rng: &mut ChaCha8Rng) -> Self {
        let mut numbers: Vec<usize> = (0..count).collect();
        numbers.shuffle(rng);
        Self { word, numbers }
    }

    fn first(&self, count: usize) -> Vec<String> {
        self.numbers[..count].iter().map(|&number| (self.word)(number)).collect()
    }
}

/// A list behind a solved example.
pub(super) fn make(job: &Job) -> Result<Made> {
    let is_long = job.length_tokens >= LONG_TOKENS;
    let (own, of_example, example_words) = match is_long {
        true => (Repeats { common: 30, uncommon: 3 }, Repeats { common: 10, uncommon: 3 }, 40),
        false => (Repeats { common: 6, uncommon: 1 }, Repeats { common: 3, uncommon: 1 }, 20),
    };
    let example = example(job, of_example, example_words);
    let fill = |vocabulary: &Vocabulary| {
        let make = |words: usize| {
            let mut prompt = prompt(&vocabulary.first(words), own, &mut job.streams.places());
            prompt.example = Some(example.clone());
            Ok(prompt)
        };
        let most = vocabulary.numbers.len();
        let (words, prompt) = job.room.fill(COMMON + 1..=most, make)?;
        // Where all words are in use, there may have been room for more.
        let made = Made { prompt, answers: vocabulary.first(COMMON), support: Vec::new() };
        Ok::<_, Error>((words < most).then_some(made))
    };
    if let Some(made) = fill(&Vocabulary::single(&mut job.streams.facts()))? {
        return Ok(made);
    }
    let made = fill(&Vocabulary::compound(&mut job.streams.facts()))?;
    made.ok_or_else(|| {
        let (name, words) = (&job.room.name, compounds());
        Error::Invalid(format!("{name}: {words} words do not fill so great a length: ask for a shorter one"))
    })
}

/// A short list with its answer.
fn example(job: &Job, repeats: Repeats, words: usize) -> String {
    let streams = job.streams.of_example();
    let words = Vocabulary::single(&mut streams.facts()).first(words);
    let prompt = prompt(&words, repeats, &mut streams.places());
    format!("{} {}", prompt.text(), numbered(&words[..COMMON]))
}

/// The prompt about a list of `words`, of which the first ones are common.
fn prompt(words: &[String], repeats: Repeats, rng: &mut ChaCha8Rng) -> Prompt {
    let (common, uncommon) = words.split_at(COMMON);
    let mut list: Vec<&String> = Vec::new();
    for (words, times) in [(common, repeats.common), (uncommon, repeats.uncommon)] {
        list.extend(words.iter().flat_map(|word| std::iter::repeat_n(word, times)));
    }
    list.shuffle(rng);
    Prompt {
        example: None,
        introduction:
            "Below is a numbered list of words. In these words, some appear more often than others. \
                       Memorize the ones that appear most often.\n"
                .to_owned(),
        context: numbered(&list),
        question:
            "Question: What are the 10 most common words in the above list? Answer: The top 10 words that \
                   appear most often in the list are:"
                .to_owned(),
    }
}

/// `1. lamp 2. river`
fn numbered(words: &[impl AsRef<str>]) -> String {
    let numbered = words.iter().enumerate().map(|(i, word)| format!("{}. {}", i + 1, word.as_ref()));
    numbered.collect::<Vec<_>>().join(" ")
}
