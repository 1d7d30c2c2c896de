//! Needles in a haystack: values of keys, hidden in noise, in a running text, or among the values of other keys.

use std::borrow::Cow;

use rand::Rng;
use rand::seq::SliceRandom;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use super::haystack::{Supply, weave};
use super::job::{Job, Made};
use super::prompt::Prompt;
use super::words::random_compound;
use crate::Result;

/// Needles in a text lie at some of so many depths, which part it evenly.
const DEPTHS: usize = 40;

/// The settings of a task.
#[derive(Debug)]
pub(super) struct Niah {
    pub(super) filler: Filler,
    pub(super) key: Token,
    pub(super) value: Token,
    /// How many keys have needles.
    pub(super) keys: usize,
    /// How many values, and so needles, a key has.
    pub(super) values: usize,
    /// How many keys are asked for.
    pub(super) queries: usize,
}

/// What needles are hidden in.
#[derive(Debug)]
pub(super) enum Filler {
    /// Sentences that are always the same.
    Noise,
    /// A running text.
    Essay,
    /// Needles of other keys.
    Needles,
}

/// What keys and values are made of.
#[derive(Debug)]
pub(super) enum Token {
    Words,
    Numbers,
    Uuids,
}

impl Token {
    /// One and many of it, in prompts.
    fn names(&self) -> (&'static str, &'static str) {
        match self {
            Self::Words => ("word", "words"),
            Self::Numbers => ("number", "numbers"),
            Self::Uuids => ("uuid", "uuids"),
        }
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> String {
        match self {
            Self::Words => random_compound(rng),
            Self::Numbers => rng.random_range(1_000_000..=9_999_999).to_string(),
            Self::Uuids => uuid(rng.random()),
        }
    }

    /// So many that differ.
    fn draw_several(&self, count: usize, rng: &mut ChaCha8Rng) -> Vec<String> {
        let mut drawn: Vec<String> = Vec::with_capacity(count);
        while drawn.len() < count {
            let next = self.draw(rng);
            if !drawn.contains(&next) {
                drawn.push(next);
            }
        }
        drawn
    }
}

/// A random UUID (RFC 9562, version 4) of 128 random bits.
fn uuid(bits: u128) -> String {
    let version = (bits & !(0xf << 76)) | (4 << 76);
    let hex = format!("{:032x}", (version & !(0x3 << 62)) | (0x2 << 62));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

impl Niah {
    /// Tells the values of each key, hides them, and asks for those of some.
    pub(super) fn make(&self, job: &Job) -> Result<Made> {
        let mut rng = job.streams.facts();
        let keys = self.key.draw_several(self.keys, &mut rng);
        let values = self.value.draw_several(self.keys * self.values, &mut rng);
        let told: Vec<(&str, &[String])> =
            keys.iter().map(String::as_str).zip(values.chunks(self.values)).collect();
        let mut needles = self.needles(&told);
        needles.shuffle(&mut rng);
        let asked: Vec<(&str, &[String])> =
            sample(&mut rng, self.keys, self.queries).iter().map(|key| told[key]).collect();
        let prompt = self.hide(job, &keys, &needles, self.places(&mut rng), self.question(&asked))?;
        let answers = asked.iter().flat_map(|(_, values)| *values).cloned().collect();
        Ok(Made { prompt, answers, support: self.needles(&asked) })
    }

    /// The prompt with the most haystack around the needles.
    fn hide(
        &self,
        job: &Job,
        keys: &[String],
        needles: &[String],
        depths: Vec<usize>,
        question: String,
    ) -> Result<Prompt> {
        let mut supply = match self.filler {
            Filler::Noise => Supply::noise(),
            Filler::Essay => Supply::essay(job)?,
            Filler::Needles => {
                let (mut rng, keys) = (job.streams.haystack(), keys.to_vec());
                Supply::new(move || Some(Cow::Owned(self.other_needle(&keys, &mut rng))))
            }
        };
        let make = |pieces: usize| {
            let (gaps, between) = match self.filler {
                Filler::Essay => (depths.iter().map(|depth| pieces * depth / 100).collect(), " "),
                Filler::Noise | Filler::Needles => {
                    let mut gaps = sample(&mut job.streams.places(), pieces, needles.len()).into_vec();
                    gaps.sort_unstable();
                    (gaps, "\n")
                }
            };
            let context = weave(&supply.first(pieces), needles, &gaps).join(between);
            Ok(Prompt {
                example: None,
                introduction: self.introduction(),
                context,
                question: question.clone(),
            })
        };
        // A gap before a line holds one needle.
        let most = job.length_tokens.max(needles.len());
        Ok(job.room.fill(needles.len()..=most, make)?.1)
    }

    /// Depths in a text in percent, of which needles have one each, from shallow to deep.
    fn places(&self, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let mut depths = sample(rng, DEPTHS, self.keys * self.values).into_vec();
        depths.sort_unstable();
        depths.into_iter().map(|i| (100 * i + (DEPTHS - 1) / 2) / (DEPTHS - 1)).collect()
    }

    fn needles(&self, told: &[(&str, &[String])]) -> Vec<String> {
        told.iter().flat_map(|(key, values)| values.iter().map(|value| self.needle(key, value))).collect()
    }

    fn needle(&self, key: &str, value: &str) -> String {
        format!("One of the special magic {} for {key} is: {value}.", self.value.names().1)
    }

    /// A needle of a key that is none of `keys`.
    fn other_needle(&self, keys: &[String], rng: &mut ChaCha8Rng) -> String {
        let key = loop {
            let key = self.key.draw(rng);
            if !keys.contains(&key) {
                break key;
            }
        };
        self.needle(&key, &self.value.draw(rng))
    }

    /// Whether one value is asked for, which changes the words of the prompt.
    fn asks_for_one(&self) -> bool {
        self.queries * self.values == 1
    }

    fn introduction(&self) -> String {
        let (one, many) = self.value.names();
        let (some, what, are) = if self.asks_for_one() { ("A", one, "is") } else { ("Some", many, "are") };
        format!(
            "{some} special magic {what} {are} hidden within the following text. Make sure to memorize it. I will quiz \
             you about the {what} afterwards.\n"
        )
    }

    fn question(&self, asked: &[(&str, &[String])]) -> String {
        let (one, many) = self.value.names();
        let (are_all, what, are) =
            if self.asks_for_one() { ("is", one, "is") } else { ("are all", many, "are") };
        let keys: Vec<&str> = asked.iter().map(|(key, _)| *key).collect();
        let query = match keys.as_slice() {
            [others @ .., last] if !others.is_empty() => format!("{}, and {last}", others.join(", ")),
            _ => keys.concat(),
        };
        format!(
            "What {are_all} the special magic {what} for {query} mentioned in the provided text? The special magic \
             {what} for {query} mentioned in the provided text {are}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_its_version_and_variant() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        // Of Python: uuid.UUID(int=0x0123456789abcdef_0123456789abcdef, version=4).
        assert_eq!(uuid(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef), "01234567-89ab-4def-8123-456789abcdef");
    }
}
