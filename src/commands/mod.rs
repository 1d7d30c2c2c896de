//! The recipes behind the commands: each reads as the algorithm it runs.

pub mod meta_train;
mod observer;
mod plan;
mod scores;
mod session;

pub use observer::{Event, Observer, Silent};
pub use plan::{Plan, plan};
pub use session::Session;
mod pretrain;

pub use pretrain::{Documents, PretrainObserver, PretrainStep, pretrain};
