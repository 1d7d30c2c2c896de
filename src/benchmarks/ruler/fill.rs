//! The most haystack that fits into a length.

use std::ops::RangeInclusive;

use super::prompt::Prompt;
use crate::text::Tokenizer;
use crate::{Error, Result};

/// Until a size is found that is too large, sizes grow by so much at most: small prompts are cheap, and tell better how
/// large the next one may be.
const GROWTH: usize = 16;
/// So many sizes are guessed along a line through two known ones; then the range is halved, which always ends.
const GUESSES: usize = 12;

/// Room for a prompt.
pub(super) struct Room<'a> {
    /// Whose prompt, for messages.
    pub(super) name: String,
    pub(super) tokenizer: &'a Tokenizer,
    /// Tokens of prompt and answer.
    pub(super) tokens: usize,
    /// Tokens of them that are kept for the answer.
    pub(super) answer_tokens: usize,
}

/// A haystack of so many pieces makes a prompt of so many tokens.
#[derive(Debug, Clone, Copy)]
struct Probe {
    size: usize,
    tokens: usize,
}

impl Room<'_> {
    /// Tokens of the prompt.
    pub(super) fn prompt_tokens(&self) -> usize {
        self.tokens.saturating_sub(self.answer_tokens)
    }

    /// The error of a length that is too short for the task, and how long it would have to be.
    fn too_short(&self, needed_tokens: usize) -> Error {
        let Self { name, tokens, answer_tokens, .. } = self;
        Error::Invalid(format!(
            "{name}: a length of {tokens} tokens is too short: prompt and answer need {} or more, {answer_tokens} of \
             them for the answer",
            needed_tokens + answer_tokens
        ))
    }

    /// The largest of `sizes` whose prompt, which `make` makes, fits; and that prompt.
    ///
    /// Tokens are taken to grow with the size. Where they do not quite, as a shuffled list changes them by a few, the
    /// prompt fits all the same, and one piece more does not.
    ///
    /// # Errors
    /// If not even the smallest fits; errors of `make` and of the tokenizer.
    pub(super) fn fill(
        &self,
        sizes: RangeInclusive<usize>,
        mut make: impl FnMut(usize) -> Result<Prompt>,
    ) -> Result<(usize, Prompt)> {
        let mut probe = |size: usize| {
            let prompt = make(size)?;
            let tokens = self.tokenizer.encode(&prompt.text())?.len();
            Ok::<_, Error>((Probe { size, tokens }, prompt))
        };
        let (mut fits, mut best) = probe(*sizes.start())?;
        if fits.tokens > self.prompt_tokens() {
            return Err(self.too_short(fits.tokens));
        }
        let (mut smaller, mut too_large) = (None, None::<Probe>);
        for guesses in 0.. {
            let end = too_large.map_or(sizes.end() + 1, |probe| probe.size);
            if end <= fits.size + 1 {
                break;
            }
            let guess = match too_large.or(smaller) {
                _ if guesses > GUESSES => fits.size + (end - fits.size) / 2,
                Some(other) => fits.reaching(self.prompt_tokens(), other),
                None => usize::MAX,
            };
            let most = if too_large.is_some() {
                end - 1
            } else {
                (fits.size + 1).saturating_mul(GROWTH).min(end - 1)
            };
            let (found, prompt) = probe(guess.clamp(fits.size + 1, most))?;
            if found.tokens > self.prompt_tokens() {
                too_large = Some(found);
            } else {
                smaller = Some(fits);
                (fits, best) = (found, prompt);
            }
        }
        Ok((fits.size, best))
    }
}

impl Probe {
    /// The size at which the line through this probe and the other one reaches `tokens`, which are no fewer than this
    /// one's; this size where the line does not rise.
    fn reaching(self, tokens: usize, other: Self) -> usize {
        let rise = other.tokens as f64 - self.tokens as f64;
        let pieces_per_token = (other.size as f64 - self.size as f64) / rise;
        let pieces = (tokens - self.tokens) as f64 * pieces_per_token;
        // Not a number becomes 0, and what is too large the largest there is.
        self.size.saturating_add(pieces as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::text::word_level;

    fn tokenizer() -> Tokenizer {
        let folder = tempfile::tempdir().unwrap();
        word_level::save(folder.path(), ["unknown words are one token each"]).unwrap();
        Tokenizer::from_folder(folder.path(), None).unwrap()
    }

    fn prompt(words: usize) -> Prompt {
        Prompt {
            example: None,
            introduction: String::new(),
            context: vec!["word"; words].join(" "),
            question: "why".into(),
        }
    }

    /// The size that is found where a size makes so many words, and how many sizes are tried.
    fn filled(
        tokens: usize,
        sizes: RangeInclusive<usize>,
        words: impl Fn(usize) -> usize,
    ) -> (Result<usize>, usize) {
        let tokenizer = tokenizer();
        let room = Room { name: "x".into(), tokenizer: &tokenizer, tokens, answer_tokens: 10 };
        let tried = Cell::new(0);
        let found = room.fill(sizes, |size| {
            tried.set(tried.get() + 1);
            Ok(prompt(words(size)))
        });
        (found.map(|(size, _)| size), tried.get())
    }

    #[test]
    fn the_largest_size_that_fits_is_found_in_few_tries() {
        for tokens in [30, 31, 100, 5_003, 20_000] {
            // 7 n + 2 words and one of the question.
            let (found, tried) = filled(tokens, 1..=tokens, |size| 7 * size + 2);
            assert_eq!(found.unwrap(), (tokens - 10 - 3) / 7);
            assert!(tried <= 6, "{tokens}: {tried}");
        }
    }

    #[test]
    fn the_largest_size_is_found_where_tokens_do_not_grow_evenly() {
        for (tokens, words) in [
            (900, (|size| size * size / 50) as fn(usize) -> usize),
            (900, |size| 4 * (size as f64).sqrt() as usize),
            (2_000, |size| size / 100 * 100),
            (2_000, |size| if size < 300 { 5 } else { 5_000 }),
        ] {
            let (found, tried) = filled(tokens, 1..=60_000, words);
            let found = found.unwrap();
            // One word is the question's.
            let fits = |size| words(size) < tokens - 10;
            assert!(fits(found) && !fits(found + 1), "{found}");
            assert!(tried < 40, "{tried}");
        }
    }

    #[test]
    fn no_size_beyond_the_last_is_tried() {
        let (found, _) = filled(1_000, 1..=20, |size| size);
        assert_eq!(found.unwrap(), 20);
        let (found, tried) = filled(1_000, 7..=7, |size| size);
        assert_eq!((found.unwrap(), tried), (7, 1));
    }

    #[test]
    fn what_does_not_fit_at_all_says_what_it_needs() {
        let error = filled(30, 25..=40, |size| size).0.unwrap_err().to_string();
        assert!(
            error.contains("x: a length of 30 tokens is too short") && error.contains("need 36"),
            "{error}"
        );
    }
}
