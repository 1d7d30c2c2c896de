//! `[outer]`: meta-training.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Checker;
use crate::error::Fault;

/// How the outer rates fall after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine.
    Cosine,
    /// A straight line.
    Linear,
    /// Not at all.
    Constant,
}

/// What outer steps minimise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// The answer's loss after the inner loop has read the context: `perk meta-train`.
    #[default]
    Perk,
    /// The answer's loss with the context in the prompt and no inner loop, the paper's baseline FT-ICR:
    /// `perk finetune`.
    InContext,
}

/// The outer loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OuterConfig {
    /// What is minimised.
    pub objective: Objective,
    /// Outer steps.
    pub steps: usize,
    /// Episodes whose meta-gradients are averaged for one step.
    pub episodes_per_step: usize,
    /// Rate of the adapter's start.
    pub lr: f64,
    /// Rate of the inner learning rates.
    pub lr_inner_lr: f64,
    /// Rate of the head.
    pub lr_head: f64,
    /// Decay of AdamW's first moment.
    pub beta1: f64,
    /// Decay of AdamW's second moment.
    pub beta2: f64,
    /// Added to AdamW's root.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest norm of the whole meta-gradient; 0 does not clip.
    pub clip_norm: f64,
    /// Steps over which the rates rise from 0.
    pub warmup_steps: usize,
    /// How they fall afterwards.
    pub schedule: Schedule,
    /// What is left of them at the last step.
    pub final_lr_fraction: f64,
    /// Threads that each compute episodes of their own; 0 chooses by the size of the model. Results do not depend on
    /// it.
    pub parallel_episodes: usize,
    /// Episodes that one pass takes together, each under an adapter of its own; 0 takes one on a CPU, and on a GPU as many
    /// as there is memory for. Results depend on it in their last digits. A device that runs out of memory takes half as
    /// many, and goes on.
    pub episodes_together: usize,
    /// Memory of a GPU, in 10⁹ bytes, that `episodes_together = 0` and `inner.micro_batch_segments = "auto"` stay below by
    /// the estimate of `--dry-run`; by default most of what is free.
    pub memory_gb: Option<f64>,
    /// A checkpoint folder whose adapter, inner rates and head are the start; the optimiser starts anew.
    pub start_from: Option<PathBuf>,
}

impl Default for OuterConfig {
    fn default() -> Self {
        Self {
            objective: Objective::Perk,
            steps: 1000,
            episodes_per_step: 8,
            lr: 1e-5,
            lr_inner_lr: 1e-5,
            lr_head: 1e-5,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.0,
            clip_norm: 1.0,
            warmup_steps: 20,
            schedule: Schedule::Cosine,
            final_lr_fraction: 0.1,
            parallel_episodes: 0,
            episodes_together: 0,
            memory_gb: None,
            start_from: None,
        }
    }
}

impl OuterConfig {
    /// Adds what is wrong with the values to `faults`.
    pub fn validate(&self, faults: &mut Vec<Fault>) {
        let mut check = Checker::new("outer", faults);
        check.count("steps", self.steps);
        check.range("episodes_per_step", self.episodes_per_step, 1, 1 << 16);
        check.not_negative("lr", self.lr);
        check.not_negative("lr_inner_lr", self.lr_inner_lr);
        check.not_negative("lr_head", self.lr_head);
        check.decay("beta1", self.beta1);
        check.decay("beta2", self.beta2);
        check.positive("eps", self.eps);
        check.not_negative("weight_decay", self.weight_decay);
        check.not_negative("clip_norm", self.clip_norm);
        check.range("warmup_steps", self.warmup_steps, 0, Checker::MOST);
        check.fraction("final_lr_fraction", self.final_lr_fraction);
        check.require(self.parallel_episodes <= 1024, "parallel_episodes", "must be 1024 or less");
        check.require(self.episodes_together <= 1024, "episodes_together", "must be 1024 or less");
        if let Some(memory_gb) = self.memory_gb {
            check.positive("memory_gb", memory_gb);
        }
    }
}
