//! The recipes behind the commands: each reads as the algorithm it runs.

pub mod ask;
mod at_once;
mod base;
mod compute;
pub mod doctor;
pub mod encode;
pub mod evaluate;
pub mod export;
pub mod fetch;
mod inner_start;
mod merged;
pub mod meta_train;
mod model_card;
mod observer;
mod plan;
mod pretrain;
pub mod questions;
mod scores;
mod setup;
pub mod verify_export;

pub use base::make_base;
pub use compute::Compute;
pub use inner_start::InnerStart;
pub use observer::{Event, Observer, Silent};
pub use plan::{Plan, plan};
pub use pretrain::{
    Documents, PretrainObserver, PretrainStep, WeightedToken, pretrain, start as pretrain_start,
};
pub use setup::Setup;
