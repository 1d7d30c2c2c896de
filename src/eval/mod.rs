//! Scoring a memory: held-out episodes answered with and without adaptation, and outputs of benchmarks
//! against their answers.

mod answers;
mod asker;
mod babilong;
mod cell_score;
mod interval;
mod record;
mod row;
mod score;
mod scores;
mod support;

pub use answers::{contains, exact_match, f1, normalise};
pub use asker::{Asker, EncodedContext, EpisodeReplies, EpisodeReply};
pub use babilong::babilong_is_right;
pub use cell_score::CellScore;
pub use interval::wilson;
pub use record::{SampleRecord, cell_score};
pub use row::{Method, Row, Tally, chance};
pub use score::{Scorer, is_right};
pub use scores::{Scores, scores};
pub use support::{Reasoning, SupportScore, SupportSummary};
