//! Background sentences from a small grammar of our own, of words that no fact uses.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::Split;
use super::stream::hash;

const WHO: [&str; 14] = [
    "farmer", "sailor", "teacher", "painter", "baker", "soldier", "singer", "clerk", "horse", "dog", "bird",
    "fox", "goat", "rabbit",
];
const KIND: [&str; 14] = [
    "old", "young", "quiet", "tall", "small", "bright", "kind", "busy", "tired", "brave", "gentle", "clever",
    "strange", "proud",
];
const DID: [&str; 12] = [
    "watched",
    "followed",
    "painted",
    "repaired",
    "admired",
    "counted",
    "cleaned",
    "washed",
    "described",
    "noticed",
    "remembered",
    "ignored",
];
const WHAT: [&str; 14] = [
    "boat", "clock", "letter", "window", "lamp", "chair", "bridge", "wagon", "basket", "blanket", "mirror",
    "hammer", "drum", "kite",
];
const HOW: [&str; 6] = ["slowly", "often", "gladly", "carefully", "suddenly", "calmly"];
const WHEN: [(&str, &str); 6] = [
    ("In spring", "in spring"),
    ("In winter", "in winter"),
    ("At night", "at night"),
    ("At noon", "at noon"),
    ("Every week", "every week"),
    ("After supper", "after supper"),
];
const WEATHER: [&str; 6] = ["rain", "wind", "snow", "storm", "mist", "thunder"];
const BLEW: [&str; 6] = ["fell", "rolled", "drifted", "settled", "passed", "gathered"];
const LAND: [&str; 8] = ["hills", "fields", "valley", "river", "village", "harbour", "forest", "meadow"];

/// One sentence in four is kept for evaluation.
const HELD_OUT_EVERY: u64 = 4;

/// Whether a sentence belongs to the split: its own hash decides, so no sentence is in both.
pub(crate) fn belongs(sentence: &str, split: Split) -> bool {
    // The low bits of FNV-1a mix the last letters badly; the high half is better.
    (hash(sentence) >> 32).is_multiple_of(HELD_OUT_EVERY) == (split == Split::HeldOut)
}

/// A sentence of the split, one of some hundred thousand.
pub(crate) fn sentence(split: Split, rng: &mut ChaCha8Rng) -> String {
    loop {
        let sentence = any_sentence(rng);
        if belongs(&sentence, split) {
            return sentence;
        }
    }
}

fn any_sentence(rng: &mut ChaCha8Rng) -> String {
    let form = rng.random_range(0..5);
    let mut pick = |words: &[&'static str]| words[rng.random_range(0..words.len())];
    let (who, kind, did, what) = (pick(&WHO), pick(&KIND), pick(&DID), pick(&WHAT));
    match form {
        0 => format!("The {kind} {who} {did} the {what} {}.", pick(&WHEN.map(|w| w.1))),
        1 => format!("{} the {kind} {who} {} {did} the {what}.", pick(&WHEN.map(|w| w.0)), pick(&HOW)),
        2 => format!("A {who} {} {did} the {kind} {what}.", pick(&HOW)),
        3 => format!("The {who} said that the {what} looked {kind}."),
        _ => format!("The {} {} over the {kind} {}.", pick(&WEATHER), pick(&BLEW), pick(&LAND)),
    }
}

/// Texts that hold every word of the grammar.
pub(crate) fn lexicon() -> Vec<String> {
    let lists: [&[&str]; 9] =
        [&WHO, &KIND, &DID, &WHAT, &HOW, &WEATHER, &BLEW, &LAND, &["The A the said that looked over ."]];
    let when = WHEN.iter().flat_map(|&(first, later)| [first.to_owned(), later.to_owned()]);
    lists.iter().map(|list| list.join(" ")).chain(when).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::stream::{Purpose, stream};
    use std::collections::HashSet;

    #[test]
    fn both_splits_have_many_sentences_and_share_none() {
        let draw = |split| -> HashSet<String> {
            let mut rng = stream(0, split, Purpose::Background, 0);
            (0..4_000).map(|_| sentence(split, &mut rng)).collect()
        };
        let (train, held_out) = (draw(Split::Train), draw(Split::HeldOut));
        assert!(train.is_disjoint(&held_out));
        assert!(train.len() > 3_000 && held_out.len() > 2_500, "{} {}", train.len(), held_out.len());
    }

    #[test]
    fn no_word_but_the_commonest_is_shared_with_facts() {
        use crate::tasks::world;
        let facts = [
            &world::ACTORS[..],
            &world::PLACES,
            &world::OBJECTS,
            &world::MOVES,
            &world::TAKES,
            &world::DROPS,
        ];
        let fact_words: HashSet<&str> = facts.into_iter().flatten().flat_map(|w| w.split(' ')).collect();
        let lexicon = lexicon();
        let ours: HashSet<&str> = lexicon.iter().flat_map(|t| t.split(' ')).collect();
        assert_eq!(fact_words.intersection(&ours).count(), 0, "{:?}", fact_words.intersection(&ours));
    }
}
