//! `perk pretrain`: the shape of a small base and its training.

use serde::{Deserialize, Serialize};

use crate::error::Fault;

/// Configuration of pretraining, by block.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainConfig {
    /// `[model]`: the shape.
    pub model: BaseShape,
    /// `[train]`: the training.
    pub train: PretrainTraining,
}

/// `[model]`: shape of a Qwen2 decoder; the vocabulary is the tokenizer's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainTraining {
    /// Optimiser steps.
    pub steps: usize,
    /// Sequences a step.
    pub batch: usize,
    /// Predicted tokens a sequence.
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

fn require(faults: &mut Vec<Fault>, holds: bool, key: &str, reason: impl Into<String>) {
    if !holds {
        faults.push(Fault { key: key.to_owned(), reason: reason.into() });
    }
}

impl BaseShape {
    /// Adds what is wrong with the values to `faults`.
    pub fn validate(&self, faults: &mut Vec<Fault>) {
        // Bases of this command are small; these bounds keep a slip of the pen out of the allocator.
        let sizes = [
            ("model.hidden_size", self.hidden_size, 1 << 14),
            ("model.intermediate_size", self.intermediate_size, 1 << 16),
            ("model.num_layers", self.num_layers, 1 << 8),
            ("model.num_heads", self.num_heads, 1 << 8),
            ("model.num_kv_heads", self.num_kv_heads, 1 << 8),
            ("model.max_positions", self.max_positions, 1 << 24),
        ];
        for (key, size, most) in sizes {
            require(
                faults,
                (1..=most).contains(&size),
                key,
                format!("must be from 1 to {most}, found {size}"),
            );
        }
        let (hidden, heads, kv_heads) = (self.hidden_size, self.num_heads, self.num_kv_heads);
        let even = heads > 0 && hidden.is_multiple_of(2 * heads);
        require(faults, even, "model.num_heads", format!("must divide {hidden} into heads of even width"));
        let shared = kv_heads > 0 && heads.is_multiple_of(kv_heads);
        require(faults, shared, "model.num_kv_heads", format!("must divide the {heads} heads"));
        for (key, value) in [("model.rope_theta", self.rope_theta), ("model.rms_norm_eps", self.rms_norm_eps)]
        {
            let positive = value > 0.0 && value.is_finite();
            require(faults, positive, key, format!("must be above 0, found {value}"));
        }
    }
}

impl PretrainTraining {
    /// Adds what is wrong with the values to `faults`.
    pub fn validate(&self, faults: &mut Vec<Fault>) {
        for (key, count, most) in [
            ("train.steps", self.steps, 1 << 32),
            ("train.batch", self.batch, 1 << 16),
            ("train.sequence_tokens", self.sequence_tokens, 1 << 16),
        ] {
            let reason = format!("must be from 1 to {most}, found {count}");
            require(faults, (1..=most).contains(&count), key, reason);
        }
        for (key, value) in [
            ("train.lr", self.lr),
            ("train.eps", self.eps),
            ("train.weight_decay", self.weight_decay),
            ("train.clip_norm", self.clip_norm),
        ] {
            let positive = value >= 0.0 && value.is_finite();
            require(faults, positive, key, format!("must be 0 or more, found {value}"));
        }
        for (key, value) in [("train.beta1", self.beta1), ("train.beta2", self.beta2)] {
            let decay = (0.0..1.0).contains(&value);
            require(faults, decay, key, format!("must be at least 0 and below 1, found {value}"));
        }
        let fraction = (0.0..=1.0).contains(&self.final_lr_fraction);
        require(faults, fraction, "train.final_lr_fraction", "must be from 0 to 1");
        let (warm, steps) = (self.warmup_steps, self.steps);
        let reason = format!("is {warm}, more than train.steps = {steps}");
        require(faults, warm <= steps, "train.warmup_steps", reason);
    }
}
