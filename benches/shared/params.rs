//! A start for the benches: small numbers everywhere, so that every path is taken.

use perk::meta::{Learner, LrParameterization, MetaParams, OuterOptions, OuterState};
use perk::model::lora::LoraInit;
use perk::optim::{AdamW, Schedule};

/// Meta-parameters of a fresh run with all inner learning rates at `inner_lr`.
pub fn start(learner: &Learner, inner_lr: f64) -> MetaParams {
    let options = OuterOptions {
        steps: 1,
        lr: 1e-5,
        lr_inner_lr: 1e-5,
        lr_head: 1e-5,
        adamw: AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, eps_root: 0.0 },
        weight_decay: 0.0,
        clip_norm: Some(1.0),
        warmup_steps: 0,
        schedule: Schedule::Constant,
        final_lr_fraction: 1.0,
        inner_lr,
        learned_lr: true,
        lr_parameterization: LrParameterization::Linear,
        head_hidden: 128,
        init: LoraInit::SmallB { std: 0.01 },
    };
    let state = OuterState::new(learner, &options, 1).expect("shapes fit");
    state.params().expect("shapes fit")
}
