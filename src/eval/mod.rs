//! Evaluation: the evaluator that asks models about episodes, the methods by which they get at a context, and outputs
//! against their answers.

mod answers;
mod asker;
mod babilong;
mod cell_score;
mod evaluator;
mod growing;
mod interval;
mod method;
mod paired;
mod record;
mod reply;
mod retrieval;
mod ruler;
mod scores;
mod support;

pub use answers::{contains, exact_match, f1, normalise};
pub use asker::Asker;
pub use babilong::babilong_is_right;
pub use cell_score::CellScore;
pub use evaluator::{CellSource, Evaluator, Model, Taker, whole_episodes};
pub use growing::{Growing, Grown};
pub use interval::{mean_of_runs, wilson};
pub use method::Method;
pub use paired::Paired;
pub use record::{SampleRecord, cell_score, chance};
pub use reply::Reply;
pub use retrieval::best_segments;
pub use ruler::string_match_all;
pub use scores::{Scores, scores};
pub use support::{Reasoning, SupportScore, SupportSummary};
