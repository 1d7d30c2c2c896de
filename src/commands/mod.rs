//! The recipes behind the commands: each reads as the algorithm it runs.

mod pretrain;

pub use pretrain::{Documents, PretrainObserver, PretrainStep, pretrain};
