//! `perk pretrain`: the shape of a small base and its training.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Checker;
use crate::error::Fault;

/// Configuration of pretraining, by block.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainConfig {
    /// `[model]`: the shape.
    pub model: BaseShape,
    /// `[train]`: the training.
    pub train: PretrainTraining,
}

/// `[model]`: shape of a Qwen2 decoder; the vocabulary is the tokenizer's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BaseShape {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_layers: usize,
    /// Number of query heads; divides `hidden_size`.
    pub num_heads: usize,
    /// Number of key and value heads; divides `num_heads`.
    pub num_kv_heads: usize,
    /// Longest sequence that the model is declared for, in tokens.
    pub max_positions: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// ε of the RMS norms.
    pub rms_norm_eps: f64,
    /// Whether the output matrix is the embedding.
    pub tied: bool,
}

impl Default for BaseShape {
    fn default() -> Self {
        Self {
            hidden_size: 64,
            intermediate_size: 128,
            num_layers: 2,
            num_heads: 4,
            num_kv_heads: 2,
            max_positions: 4096,
            rope_theta: 1e4,
            rms_norm_eps: 1e-6,
            tied: true,
        }
    }
}

/// `[train]`: next-token training with AdamW.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainTraining {
    /// Optimiser steps.
    pub steps: usize,
    /// Documents a step.
    pub batch: usize,
    /// Most predicted tokens of a document; longer ones are cut.
    pub sequence_tokens: usize,
    /// Learning rate at the end of warm-up.
    pub lr: f64,
    /// Decay of AdamW's first moment.
    pub beta1: f64,
    /// Decay of AdamW's second moment.
    pub beta2: f64,
    /// Added to AdamW's root.
    pub eps: f64,
    /// Decoupled weight decay, on matrices only.
    pub weight_decay: f64,
    /// Largest norm of the whole gradient; 0 does not clip.
    pub clip_norm: f64,
    /// Steps over which the rate rises from 0.
    pub warmup_steps: usize,
    /// What is left of the rate at the last step, after a straight fall.
    pub final_lr_fraction: f64,
    /// Weight of an answer's tokens in the loss; all others have 1. Answers are few and hard to guess.
    pub answer_weight: f64,
    /// A base of this shape whose training goes on, instead of random weights; the optimiser starts anew.
    pub start_from: Option<PathBuf>,
    /// Seed of the first weights.
    pub seed: u64,
}

impl Default for PretrainTraining {
    fn default() -> Self {
        Self {
            steps: 500,
            batch: 32,
            sequence_tokens: 128,
            lr: 3e-3,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.01,
            clip_norm: 1.0,
            warmup_steps: 50,
            final_lr_fraction: 0.1,
            answer_weight: 1.0,
            start_from: None,
            seed: 0,
        }
    }
}

impl PretrainConfig {
    /// Adds what is wrong with the values to `faults`.
    pub fn validate(&self, faults: &mut Vec<Fault>) {
        self.model.validate(faults);
        self.train.validate(faults);
    }
}

impl BaseShape {
    /// Adds what is wrong with the values to `faults`.
    pub fn validate(&self, faults: &mut Vec<Fault>) {
        let mut check = Checker::new("model", faults);
        // Bases of this command are small; these bounds keep a slip of the pen out of the allocator.
        check.range("hidden_size", self.hidden_size, 1, 1 << 14);
        check.range("intermediate_size", self.intermediate_size, 1, 1 << 16);
        check.range("num_layers", self.num_layers, 1, 1 << 8);
        check.range("num_heads", self.num_heads, 1, 1 << 8);
        check.range("num_kv_heads", self.num_kv_heads, 1, 1 << 8);
        check.range("max_positions", self.max_positions, 1, 1 << 24);
        let (hidden, heads, kv_heads) = (self.hidden_size, self.num_heads, self.num_kv_heads);
        let even = heads > 0 && hidden.is_multiple_of(2 * heads);
        check.require(even, "num_heads", format!("must divide {hidden} into heads of even width"));
        let shared = kv_heads > 0 && heads.is_multiple_of(kv_heads);
        check.require(shared, "num_kv_heads", format!("must divide the {heads} heads"));
        check.positive("rope_theta", self.rope_theta);
        check.positive("rms_norm_eps", self.rms_norm_eps);
    }
}

impl PretrainTraining {
    /// Adds what is wrong with the values to `faults`.
    pub fn validate(&self, faults: &mut Vec<Fault>) {
        let mut check = Checker::new("train", faults);
        check.range("steps", self.steps, 1, u32::MAX as usize);
        check.range("batch", self.batch, 1, 1 << 16);
        check.range("sequence_tokens", self.sequence_tokens, 1, 1 << 16);
        check.not_negative("lr", self.lr);
        check.not_negative("eps", self.eps);
        check.not_negative("weight_decay", self.weight_decay);
        check.not_negative("clip_norm", self.clip_norm);
        check.decay("beta1", self.beta1);
        check.decay("beta2", self.beta2);
        check.fraction("final_lr_fraction", self.final_lr_fraction);
        check.positive("answer_weight", self.answer_weight);
        check.range("warmup_steps", self.warmup_steps, 0, self.steps);
    }
}
