//! Facts hidden among background sentences, as BABILong does (Kuratov et al. 2024, arXiv 2406.10149).

use std::ops::RangeInclusive;
use std::sync::Arc;

use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use super::Position;
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
    /// The supply of sentences, which haystacks of other lengths may share.
    pub background: Arc<Background>,
    /// What tokens are counted with.
    pub tokenizer: Tokenizer,
    /// Tokens of a context: at most these, short of them by less than one sentence. Facts are all kept, also
    /// where they alone are more.
    pub context_tokens: usize,
    /// Background sentences of fewer tokens are not used.
    pub min_sentence_tokens: usize,
}

impl Haystack {
    /// The context as one text: the facts in their order among background sentences, anywhere or within the
    /// wanted third of the context's tokens. The sentences are the same ones at every position. Where the facts
    /// do not fit into the third they stay together, as near to it as whole sentences allow.
    ///
    /// # Errors
    /// If the background runs out of sentences.
    pub fn hide(&self, facts: &[String], position: Position, rng: &mut ChaCha8Rng) -> Result<String> {
        let mut facts_tokens = 0;
        for fact in facts {
            facts_tokens += self.count(fact)?;
        }
        let background = self.gather(self.context_tokens.saturating_sub(facts_tokens), rng)?;
        let gaps = gaps(position, &background, facts_tokens);
        let (first, between) = (*gaps.start(), gaps.end() - gaps.start());
        let mut places = sample(rng, between + facts.len(), facts.len()).into_vec();
        places.sort_unstable();
        let total = facts.len() + background.len();
        let (mut facts, mut background) = (facts.iter(), background.iter().map(|sentence| &sentence.text));
        let mut places = places.into_iter().map(|place| first + place).peekable();
        let mut lines: Vec<&str> = Vec::with_capacity(total);
        for i in 0..total {
            let line = if places.next_if_eq(&i).is_some() { facts.next() } else { background.next() };
            lines.extend(line.map(String::as_str));
        }
        Ok(lines.join(" "))
    }

    /// Sentences of at most `room` tokens together.
    fn gather(&self, mut room: usize, rng: &mut ChaCha8Rng) -> Result<Vec<Sentence>> {
        let mut found = Vec::new();
        if matches!(*self.background, Background::None) {
            return Ok(found);
        }
        let mut reader = self.background.reader(rng);
        let (mut misses, mut short) = (0, 0);
        while room > 0 && misses < MISSES {
            let Some(text) = reader.next(rng) else { return Err(self.too_short()) };
            let tokens = self.count(&text)?;
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
                found.push(Sentence { text, tokens });
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

/// A background sentence and its tokens.
struct Sentence {
    text: String,
    tokens: usize,
}

/// The gaps between background sentences that facts may go into: gap `i` is before sentence `i`, the last one
/// is behind all sentences.
fn gaps(position: Position, background: &[Sentence], facts_tokens: usize) -> RangeInclusive<usize> {
    let last = background.len();
    let third = match position {
        Position::Random => return 0..=last,
        Position::Pre => 0,
        Position::Mid => 1,
        Position::Post => 2,
    };
    let before: Vec<usize> = std::iter::once(0)
        .chain(background.iter().scan(0, |sum, sentence| {
            *sum += sentence.tokens;
            Some(*sum)
        }))
        .collect();
    let room = before[last];
    let total = room + facts_tokens;
    // In the gap g, facts begin at token before[g] at the earliest and end at before[g] + facts_tokens at the
    // latest; times 3, since a third of the tokens need not be a whole number.
    let fits =
        |&g: &usize| 3 * before[g] >= third * total && 3 * (before[g] + facts_tokens) <= (third + 1) * total;
    let mut fitting = (0..=last).filter(fits);
    match (fitting.next(), fitting.next_back()) {
        (Some(first), end) => first..=end.unwrap_or(first),
        (None, _) => {
            let nearest = (0..=last).min_by_key(|&g| (2 * before[g]).abs_diff(third * room)).unwrap_or(0);
            nearest..=nearest
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Split;
    use crate::tasks::stream::{Purpose, stream};
    use crate::text::word_level;

    fn haystack(context_tokens: usize) -> Haystack {
        let background = Arc::new(Background::BuiltIn(Split::HeldOut));
        let folder = tempfile::tempdir().unwrap();
        word_level::save(folder.path(), ["unknown words are one token each"]).unwrap();
        let tokenizer = Tokenizer::from_folder(folder.path(), None).unwrap();
        Haystack { background, tokenizer, context_tokens, min_sentence_tokens: 0 }
    }

    fn facts() -> Vec<String> {
        let names = ["Mary", "John", "Sandra", "Daniel"];
        names.iter().map(|name| format!("{name} moved to the kitchen.")).collect()
    }

    fn hide(context_tokens: usize, position: Position, index: u64) -> String {
        let mut rng = stream(5, Split::HeldOut, Purpose::Background, index);
        haystack(context_tokens).hide(&facts(), position, &mut rng).unwrap()
    }

    /// Tokens before each fact and behind the last one, and tokens of all.
    fn places(context: &str) -> (Vec<usize>, usize) {
        let count = |text: &str| haystack(0).tokenizer.encode(&format!(" {text}")).unwrap().len();
        let mut places: Vec<usize> = Vec::new();
        for fact in facts() {
            let start = context.find(&fact).unwrap_or_else(|| panic!("no `{fact}` in {context}"));
            places.push(if start == 0 { 0 } else { count(context[..start].trim_end()) });
            if fact.starts_with("Daniel") {
                places.push(count(&context[..start + fact.len()]));
            }
        }
        (places, count(context))
    }

    #[test]
    fn facts_keep_their_order_and_lie_in_the_wanted_third_of_a_full_context() {
        for index in 0..20 {
            for (third, position) in [Position::Pre, Position::Mid, Position::Post].into_iter().enumerate() {
                let (places, total) = places(&hide(600, position, index));
                assert!(places.is_sorted(), "{places:?}");
                assert!((560..=600).contains(&total), "{total}");
                assert!(places[0] * 3 >= third * total, "{position:?}: {places:?} of {total}");
                assert!(places[4] * 3 <= (third + 1) * total, "{position:?}: {places:?} of {total}");
            }
        }
    }

    #[test]
    fn random_positions_reach_every_third() {
        let mut thirds = [false; 3];
        for index in 0..20 {
            let (places, total) = places(&hide(600, Position::Random, index));
            assert!(places.is_sorted());
            for place in &places[..4] {
                thirds[place * 3 / total] = true;
            }
        }
        assert_eq!(thirds, [true; 3]);
    }

    #[test]
    fn every_position_has_the_same_sentences() {
        let sorted = |position| {
            let context = hide(300, position, 3);
            let mut sentences: Vec<String> = context.split_inclusive(". ").map(|s| s.trim().into()).collect();
            sentences.sort();
            sentences
        };
        let random = sorted(Position::Random);
        for position in Position::ALL {
            assert_eq!(sorted(position), random, "{position:?}");
        }
    }

    #[test]
    fn facts_longer_than_a_third_stay_together_at_the_wanted_end() {
        let together = facts().join(" ");
        for index in 0..10 {
            let context = |position| hide(50, position, index);
            assert!(context(Position::Pre).starts_with(&together));
            assert!(context(Position::Post).ends_with(&together));
            let mid = context(Position::Mid);
            assert!(mid.contains(&together), "{mid}");
            assert!(!mid.starts_with(&together) && !mid.ends_with(&together), "{mid}");
        }
        assert_eq!(hide(0, Position::Mid, 0), together);
    }

    /// Of this code as it was before there were positions: what has been trained depends on it.
    #[test]
    fn random_contexts_are_those_of_earlier_versions() {
        assert_eq!(crate::tasks::stream::hash(&hide(100, Position::Random, 7)), 0x548d_cf2d_dbcd_dcf4);
    }
}
