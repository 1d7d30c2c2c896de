//! The making of a tiny base: generated text, and next-token prediction on it.

mod corpus;
mod training;

pub use corpus::{Corpus, Piece};
pub use training::{Documents, PretrainObserver, PretrainStep, WeightedToken, pretrain, start};
