//! Words that several tasks share, and ways to draw them.

use rand::Rng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

/// People.
pub(super) const PEOPLE: [&str; 4] = ["Mary", "John", "Sandra", "Daniel"];
/// Places of the same house.
pub(super) const ROOMS: [&str; 6] = ["kitchen", "garden", "hallway", "bathroom", "office", "bedroom"];
/// People of tasks 10 and 14.
pub(super) const TOWN_PEOPLE: [&str; 4] = ["Mary", "Bill", "Fred", "Julie"];
/// Places of tasks 10 and 14.
pub(super) const TOWN_PLACES: [&str; 6] = ["kitchen", "bedroom", "office", "school", "park", "cinema"];
/// Ways to go somewhere, before `the kitchen`.
pub(super) const MOVES: [&str; 5] = ["moved to", "went to", "journeyed to", "travelled to", "went back to"];
/// Ways to take an object, before `the apple`.
pub(super) const TAKES: [&str; 4] = ["picked up", "got", "took", "grabbed"];

/// One of the items, all alike.
pub(super) fn pick<T: Copy>(items: &[T], rng: &mut ChaCha8Rng) -> T {
    items[rng.random_range(0..items.len())]
}

/// One of the items; `None` if there is none.
pub(super) fn pick_some<T: Copy>(items: &[T], rng: &mut ChaCha8Rng) -> Option<T> {
    (!items.is_empty()).then(|| pick(items, rng))
}

/// One of the items, the first one more often than the others; `None` if there is none.
pub(super) fn pick_early<T: Copy>(items: &[T], rng: &mut ChaCha8Rng) -> Option<T> {
    if rng.random_bool(0.25) { items.first().copied() } else { pick_some(items, rng) }
}

/// A number below `count` that is none of `taken`.
pub(super) fn other(count: usize, taken: &[usize], rng: &mut ChaCha8Rng) -> usize {
    let free: Vec<usize> = (0..count).filter(|number| !taken.contains(number)).collect();
    pick(&free, rng)
}

/// So many different numbers below `count`, in a random order.
pub(super) fn distinct<const N: usize>(count: usize, rng: &mut ChaCha8Rng) -> [usize; N] {
    let drawn = sample(rng, count, N);
    std::array::from_fn(|i| drawn.index(i))
}

/// `went to the garden`
pub(super) fn went(place: &str, rng: &mut ChaCha8Rng) -> String {
    format!("{} the {place}", pick(&MOVES, rng))
}

/// `yes` or `no`.
pub(super) fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// With a capital letter: `This morning`.
pub(super) fn capital(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    first.to_uppercase() + rest
}
