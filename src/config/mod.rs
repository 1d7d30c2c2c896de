//! One TOML file: blocks, defaults, overrides and every fault at once.

mod base_recipe;
mod chat;
mod check;
mod corpus;
mod data;
mod eval;
mod inner;
mod lora;
mod micro_batch;
mod model;
mod outer;
mod place;
mod pretrain;
mod raw;
mod run;
mod target;
mod whole;
mod world;

pub use base_recipe::{BaseRecipe, BaseRun};
pub use chat::ChatTemplate;
pub use check::Checker;
pub use corpus::CorpusConfig;
pub use data::{BackgroundSource, DataConfig, QuestionsAbout, Task};
pub use eval::EvalConfig;
pub use inner::{Activations, InnerConfig, LrParameterization, Optimizer, Reduction};
pub use lora::{Init, Layers, LoraConfig, PROJECTIONS};
pub use micro_batch::MicroBatch;
pub use model::{MatmulPrecision, ModelConfig, Storage};
pub use outer::{Objective, OuterConfig, Schedule};
pub use place::{PeftBase, Place};
pub use pretrain::{BaseShape, PretrainConfig, PretrainTraining};
pub use raw::Raw;
pub use run::RunConfig;
pub use target::{SupportOrder, Target, TargetConfig};
pub use whole::Config;
pub use world::WorldConfig;
