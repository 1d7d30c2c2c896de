//! Independent random streams, and a hash that stays the same over versions.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::Split;

/// What a stream of random numbers is for. Streams of different purposes are independent, so that, for
/// instance, a longer context keeps its facts.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Facts = 1,
    Background = 2,
    Order = 3,
    Segments = 4,
    Corpus = 5,
    Repeats = 6,
}

/// The stream of (seed, split, purpose, index): a ChaCha key of the first three, a stream number of the last.
pub(crate) fn stream(seed: u64, split: Split, purpose: Purpose, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8] = match split {
        Split::Train => 1,
        Split::HeldOut => 2,
    };
    key[9] = purpose as u8;
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(index);
    rng
}

/// FNV-1a, 64 bits.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::RngCore;

    #[test]
    fn streams_of_other_seeds_splits_purposes_and_indices_differ() {
        let first = |seed, split, purpose, index| stream(seed, split, purpose, index).next_u64();
        let base = first(1, Split::Train, Purpose::Facts, 0);
        assert_eq!(base, first(1, Split::Train, Purpose::Facts, 0));
        assert_ne!(base, first(2, Split::Train, Purpose::Facts, 0));
        assert_ne!(base, first(1, Split::HeldOut, Purpose::Facts, 0));
        assert_ne!(base, first(1, Split::Train, Purpose::Order, 0));
        assert_ne!(base, first(1, Split::Train, Purpose::Facts, 1));
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
    }
}
