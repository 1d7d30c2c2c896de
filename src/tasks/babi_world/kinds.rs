//! Tasks 15 and 16: what kinds of animals tell of an animal.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::BabiSample;
use super::story_builder::StoryBuilder;
use super::words::{capital, other, pick, pick_some};

/// Kinds of task 15, and many of them.
const FEARFUL: [(&str, &str); 4] =
    [("mouse", "mice"), ("cat", "cats"), ("wolf", "wolves"), ("sheep", "sheep")];
const FEARFUL_NAMES: [&str; 4] = ["Gertrude", "Winona", "Emily", "Jessica"];

const COLOURED: [&str; 4] = ["frog", "lion", "swan", "rhino"];
const COLOURED_NAMES: [&str; 5] = ["Lily", "Bernhard", "Greg", "Julius", "Brian"];
const COLOURS: [&str; 4] = ["green", "white", "gray", "yellow"];

/// Task 15, `What is emily afraid of?`: her kind, and whom it fears.
pub(super) fn fear(rng: &mut ChaCha8Rng) -> BabiSample {
    let feared: [usize; 4] = std::array::from_fn(|kind| other(4, &[kind], rng));
    let kinds: [usize; 4] = std::array::from_fn(|_| rng.random_range(0..4));
    let order = after_each(kinds.map(Some), rng);
    let mut story = StoryBuilder::default();
    let (mut kind_fact, mut name_fact) = ([0; 4], [0; 4]);
    for item in order {
        match item {
            Item::First(kind) => {
                let (many, of) = (FEARFUL[kind].1, FEARFUL[feared[kind]].1);
                kind_fact[kind] = story.tell(format!("{} are afraid of {of}.", capital(many)));
            }
            Item::Then(name) => {
                let what = format!("{} is a {}.", FEARFUL_NAMES[name], FEARFUL[kinds[name]].0);
                name_fact[name] = story.tell(what);
            }
        }
    }
    let asked = rng.random_range(0..4);
    let kind = kinds[asked];
    let question = format!("What is {} afraid of?", FEARFUL_NAMES[asked].to_lowercase());
    story.ask(question, FEARFUL[feared[kind]].0, &[name_fact[asked], kind_fact[kind]]);
    story.one_question(rng)
}

/// Task 16, `What color is Greg?`: his kind, and the colour of another of this kind.
pub(super) fn colour(rng: &mut ChaCha8Rng) -> BabiSample {
    let Herd { kinds, colours, asked, mate } = Herd::new(rng);
    let mut story = StoryBuilder::default();
    let (mut kind_fact, mut colour_fact) = ([0; 5], [0; 5]);
    let coloured: [_; 5] = std::array::from_fn(|who| (who != asked).then_some(who));
    for item in after_each(coloured, rng) {
        match item {
            Item::First(who) => {
                let what = format!("{} is a {}.", COLOURED_NAMES[who], COLOURED[kinds[who]]);
                kind_fact[who] = story.tell(what);
            }
            Item::Then(who) => {
                colour_fact[who] = story.tell(format!("{} is {}.", COLOURED_NAMES[who], colours[who]));
            }
        }
    }
    let support = [kind_fact[asked], kind_fact[mate], colour_fact[mate]];
    story.ask(format!("What color is {}?", COLOURED_NAMES[asked]), colours[mate], &support);
    story.one_question(rng)
}

/// Animals of task 16: by number their kinds and colours, the one asked about, and another of its kind.
struct Herd {
    kinds: [usize; 5],
    colours: [&'static str; 5],
    asked: usize,
    mate: usize,
}

impl Herd {
    /// All others of the kind of the one asked about have one colour; in the files it is mostly one other.
    fn new(rng: &mut ChaCha8Rng) -> Self {
        loop {
            let kinds: [usize; 5] = std::array::from_fn(|_| rng.random_range(0..COLOURED.len()));
            let usual: [&str; 4] = std::array::from_fn(|_| pick(&COLOURS, rng));
            let colours =
                kinds.map(|kind| if rng.random_bool(0.25) { pick(&COLOURS, rng) } else { usual[kind] });
            let asked = rng.random_range(0..kinds.len());
            let same_kind = |who: &usize| *who != asked && kinds[*who] == kinds[asked];
            let mates: Vec<usize> = (0..kinds.len()).filter(same_kind).collect();
            let agreed = mates.windows(2).all(|pair| colours[pair[0]] == colours[pair[1]]);
            let wanted = agreed && (mates.len() == 1 || rng.random_bool(0.3));
            if let (true, Some(mate)) = (wanted, pick_some(&mates, rng)) {
                return Self { kinds, colours, asked, mate };
            }
        }
    }
}

/// A sentence of the first sort or of the second, about the animal or kind of this number.
#[derive(Clone, Copy)]
enum Item {
    First(usize),
    Then(usize),
}

/// All first sentences and the second ones in a random order, where the `i`-th second one, if any, comes after
/// the first one of number `needs[i]`.
fn after_each<const N: usize>(needs: [Option<usize>; N], rng: &mut ChaCha8Rng) -> Vec<Item> {
    let mut order: Vec<Item> = (0..N).map(Item::First).collect();
    order.shuffle(rng);
    let mut second: Vec<usize> = (0..N).collect();
    second.shuffle(rng);
    for then in second {
        let Some(needed) = needs[then] else { continue };
        let earliest = order.iter().position(|item| matches!(item, Item::First(number) if *number == needed));
        let earliest = earliest.map_or(0, |at| at + 1);
        order.insert(rng.random_range(earliest..=order.len()), Item::Then(then));
    }
    order
}
