//! Frequent words: the three that appear most often in a text of coded words, but for the dots.

use std::collections::HashSet;
use std::f64::consts::PI;

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::job::{Job, Made};
use super::prompt::Prompt;
use crate::Result;

/// Letters of a word.
const LETTERS: usize = 6;
/// There is a word in the vocabulary for so many tokens of the length.
const TOKENS_PER_WORD: usize = 50;
/// The most frequent word, which is not asked for.
const DOTS: &str = "...";
/// How many words are asked for.
const ASKED: usize = 3;
/// The least number of words from which the last one that is asked for is more frequent than the next.
const LEAST: usize = 27;

/// A text of words that are drawn as often as a zeta distribution says.
pub(super) fn make(job: &Job) -> Result<Made> {
    let words = (job.room.prompt_tokens() / TOKENS_PER_WORD).max(ASKED + 1);
    let vocabulary = vocabulary(words, &mut job.streams.facts());
    let make = |words: usize| Ok(prompt(&vocabulary, decided(words), &mut job.streams.places()));
    let (_, prompt) = job.room.fill(LEAST..=job.length_tokens.max(LEAST), make)?;
    Ok(Made { prompt, answers: vocabulary[1..=ASKED].to_vec(), support: Vec::new() })
}

/// Different words by their frequency.
fn vocabulary(count: usize, rng: &mut ChaCha8Rng) -> Vec<String> {
    let mut words = vec![DOTS.to_owned()];
    let mut known = HashSet::new();
    while words.len() < count {
        let word: String = (0..LETTERS).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect();
        if known.insert(word.clone()) {
            words.push(word);
        }
    }
    words
}

/// How often the word of this rank, from 1, stands in a text of `words` words.
///
/// ⌊words · rank^−α / ζ(α)⌋, where α = 2 and ζ(2) = π²/6
fn times(words: usize, rank: usize) -> usize {
    (words as f64 * (rank as f64).powi(-2) / (PI * PI / 6.0)) as usize
}

/// The largest size up to this one, which is at least [`LEAST`], of which it is decided which words are most frequent:
/// in short texts rounding makes some equal.
fn decided(words: usize) -> usize {
    let last = ASKED + 1;
    (LEAST..=words).rev().find(|&words| times(words, last) > times(words, last + 1)).unwrap_or(LEAST)
}

fn prompt(vocabulary: &[String], words: usize, rng: &mut ChaCha8Rng) -> Prompt {
    let ranked = vocabulary.iter().zip(1..);
    let repeated = ranked.flat_map(|(word, rank)| std::iter::repeat_n(word.as_str(), times(words, rank)));
    let mut text: Vec<&str> = repeated.collect();
    text.shuffle(rng);
    Prompt {
        example: None,
        introduction: "Read the following coded text and track the frequency of each coded word. Find the three most \
                       frequently appeared coded words. "
            .to_owned(),
        context: text.join(" "),
        question: "Question: Do not provide any explanation. Please ignore the dots '....'. What are the three most \
                   frequently appeared words in the above coded text? Answer: According to the coded text above, the \
                   three most frequently appeared words are:"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_as_frequent_as_the_zeta_distribution_says() {
        // Of scipy: (1000 * np.arange(1, 7) ** -2.0 / zeta(2.0)).astype(int).
        assert_eq!([1, 2, 3, 4, 5, 6].map(|rank| times(1_000, rank)), [607, 151, 67, 37, 24, 16]);
    }

    #[test]
    fn the_third_word_is_more_frequent_than_the_fourth_in_every_size() {
        assert!(times(LEAST, 4) > times(LEAST, 5) && times(LEAST - 1, 4) == times(LEAST - 1, 5));
        for words in LEAST..2_000 {
            let decided = decided(words);
            assert!(decided <= words && times(decided, 4) > times(decided, 5), "{words}");
            assert!(words - decided < 30, "{words}: {decided}");
        }
    }
}
