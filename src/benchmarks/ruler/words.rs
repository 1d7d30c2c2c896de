//! Words for keys and lists: adjectives, nouns and verbs of our own choice, where RULER has those of the package
//! wonderwords.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

static ADJECTIVES: LazyLock<Vec<&str>> = LazyLock::new(|| words(include_str!("words/adjectives.txt")));
static NOUNS: LazyLock<Vec<&str>> = LazyLock::new(|| words(include_str!("words/nouns.txt")));
static SINGLE: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let verbs = words(include_str!("words/verbs.txt"));
    let all: BTreeSet<&str> = ADJECTIVES.iter().chain(NOUNS.iter()).copied().chain(verbs).collect();
    all.into_iter().collect()
});

fn words(text: &'static str) -> Vec<&'static str> {
    text.split_whitespace().collect()
}

/// All words, each once.
pub(super) fn single() -> &'static [&'static str] {
    &SINGLE
}

/// Number of compounds.
pub(super) fn compounds() -> usize {
    ADJECTIVES.len() * NOUNS.len()
}

/// The compound of this number: an adjective and a noun, `quiet-harbor`.
pub(super) fn compound(number: usize) -> String {
    format!("{}-{}", ADJECTIVES[number / NOUNS.len()], NOUNS[number % NOUNS.len()])
}

/// Any compound.
pub(super) fn random_compound(rng: &mut ChaCha8Rng) -> String {
    compound(rng.random_range(0..compounds()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_lower_case_ascii_and_comes_once_in_its_list() {
        for list in [&ADJECTIVES, &NOUNS, &SINGLE] {
            assert!(list.iter().all(|word| word.len() > 1 && word.bytes().all(|b| b.is_ascii_lowercase())));
            assert!(list.is_sorted_by(|a, b| a < b));
        }
        assert!(single().len() > 1_500 && single().len() < ADJECTIVES.len() + NOUNS.len() + 500);
    }

    #[test]
    fn compounds_are_all_different() {
        let all: BTreeSet<String> = (0..compounds()).map(compound).collect();
        assert_eq!(all.len(), compounds());
        assert!(compounds() > 500_000);
    }
}
