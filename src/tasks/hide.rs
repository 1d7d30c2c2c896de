//! Facts hidden among background sentences, as BABILong does (Kuratov et al. 2024, arXiv 2406.10149).

use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use super::background::Background;
use crate::text::Tokenizer;
use crate::{Error, Result};

/// Sentences that would not fit may be passed over this often before a context counts as full.
const MISSES: usize = 32;
/// So many sentences in a row below the least length mean that there are no longer ones.
const SHORT: usize = 100_000;

/// Makes contexts of a given length around facts.
#[derive(Debug, Clone)]
pub struct Haystack {
    /// The supply of sentences.
    pub background: Background,
    /// What tokens are counted with.
    pub tokenizer: Tokenizer,
    /// Tokens of a context: at most these, short of them by less than one sentence. Facts are all kept, also
    /// where they alone are more.
    pub context_tokens: usize,
    /// Background sentences of fewer tokens are not used.
    pub min_sentence_tokens: usize,
}

impl Haystack {
    /// The context as one text: the facts in their order at random places among background sentences.
    ///
    /// # Errors
    /// If the background runs out of sentences.
    pub fn hide(&self, facts: &[String], rng: &mut ChaCha8Rng) -> Result<String> {
        let mut facts_tokens = 0;
        for fact in facts {
            facts_tokens += self.count(fact)?;
        }
        let background = self.gather(self.context_tokens.saturating_sub(facts_tokens), rng)?;
        let total = facts.len() + background.len();
        let mut places = sample(rng, total, facts.len()).into_vec();
        places.sort_unstable();
        let (mut facts, mut background) = (facts.iter(), background.iter());
        let mut places = places.into_iter().peekable();
        let mut lines: Vec<&str> = Vec::with_capacity(total);
        for i in 0..total {
            let line = if places.next_if_eq(&i).is_some() { facts.next() } else { background.next() };
            lines.extend(line.map(String::as_str));
        }
        Ok(lines.join(" "))
    }

    /// Sentences of at most `room` tokens together.
    fn gather(&self, mut room: usize, rng: &mut ChaCha8Rng) -> Result<Vec<String>> {
        let mut found = Vec::new();
        if matches!(self.background, Background::None) {
            return Ok(found);
        }
        let mut reader = self.background.reader(rng);
        let (mut misses, mut short) = (0, 0);
        while room > 0 && misses < MISSES {
            let Some(sentence) = reader.next(rng) else { return Err(self.too_short()) };
            let tokens = self.count(&sentence)?;
            if tokens < self.min_sentence_tokens {
                short += 1;
                if short > SHORT {
                    return Err(self.too_short());
                }
            } else if tokens > room {
                misses += 1;
            } else {
                room -= tokens;
                (misses, short) = (0, 0);
                found.push(sentence);
            }
        }
        Ok(found)
    }

    /// Tokens of a sentence that follows another.
    fn count(&self, sentence: &str) -> Result<usize> {
        Ok(self.tokenizer.encode(&format!(" {sentence}"))?.len())
    }

    fn too_short(&self) -> Error {
        self.background.too_short(self.context_tokens)
    }
}
