//! Scoring a memory: held-out episodes answered with and without adaptation.

mod row;
mod score;

pub use row::{Method, Row, Tally, chance};
pub use score::{Scorer, is_right};
