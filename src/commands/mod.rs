//! The recipes behind the commands: each reads as the algorithm it runs.

pub mod meta_train;
mod observer;
mod plan;
mod pretrain;
mod scores;
mod session;
mod tiny_base;

pub use observer::{Event, Observer, Silent};
pub use plan::{Plan, plan};
pub use pretrain::{Documents, PretrainObserver, PretrainStep, pretrain};
pub use session::Session;
pub use tiny_base::make_base;
