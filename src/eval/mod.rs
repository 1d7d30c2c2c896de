//! Scoring a memory: held-out episodes answered with and without adaptation.

mod asker;
mod row;
mod score;

pub use asker::{Asker, Replies, Reply};
pub use row::{Method, Row, Tally, chance};
pub use score::{Scorer, is_right};
