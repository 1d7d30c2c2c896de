//! The recipes behind the commands: each reads as the algorithm it runs.

pub mod ask;
mod at_once;
mod compute;
pub mod data;
pub mod doctor;
pub mod encode;
pub mod evaluate;
pub mod export;
pub mod fetch;
pub mod follow;
mod inner_start;
pub mod inspect;
mod merged;
pub mod meta_train;
mod model_card;
mod observer;
mod plan;
mod pretrain;
pub mod publish;
pub mod questions;
mod respondent;
mod setup;
pub mod verify_export;
mod work;

pub use compute::Compute;
pub use inner_start::InnerStart;
pub use observer::{Event, Observer, Silent};
pub use plan::{Plan, plan};
pub use pretrain::make_base;
pub use respondent::Respondent;
pub use setup::Setup;
pub(crate) use setup::recorded_tokenizer;
