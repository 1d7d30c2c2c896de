//! What is known in few words: where an adapter or a checkpoint comes from, its recipe, its cost.

use serde::Serialize;

use crate::{
    checkpoint::Progress,
    commands::InnerStart,
    config::{InnerConfig, Layers, LoraConfig, Objective, Reduction},
    error::{Error, Result},
    report::inspection::Facts,
    report::{duration, gigabytes, three_digits},
    store::StoredAdapter,
};

use super::matrices::scale;

/// The groups of an adapter.
pub(super) fn of_adapter(stored: &StoredAdapter) -> Vec<Facts> {
    let record = &stored.record;
    let (context, checkpoint) = (&record.context, &record.checkpoint);
    let start = match &checkpoint.path {
        Some(path) => path.display().to_string(),
        None => "a configuration that was never meta-trained".to_owned(),
    };
    let peak = record.cost.peak_bytes.map_or_else(|| "not known".to_owned(), gigabytes);
    vec![
        Facts {
            name: "Context",
            entries: vec![
                ("files", context.sources.join(", ")),
                (
                    "length",
                    format!(
                        "{} tokens in {} segments, {} bytes",
                        context.tokens, context.segments, context.bytes
                    ),
                ),
                ("documents", context.documents.to_string()),
                ("digest", context.digest.to_string()),
            ],
        },
        Facts {
            name: "Adapter",
            entries: vec![
                ("key", record.key.to_string()),
                ("files", format!("{}, {}", gigabytes(record.adapter.bytes), record.adapter.digest)),
                ("form", lora(&record.recipe.lora)),
                ("written by", format!("perk {}", record.perk_version)),
            ],
        },
        Facts {
            name: "Start and base",
            entries: vec![
                ("start", start),
                ("outer steps", checkpoint.outer_steps.to_string()),
                ("digest of the start", checkpoint.digest.to_string()),
                ("base", record.base.model.base.clone()),
                ("digest of the base", record.base.digest.to_string()),
            ],
        },
        Facts {
            name: "Recipe",
            entries: recipe(&record.recipe.inner, record.recipe.segment_tokens, &record.recipe.prompt),
        },
        Facts {
            name: "Cost",
            entries: vec![
                ("inner steps", duration(record.cost.inner_secs)),
                ("speed", format!("{} tokens/s", three_digits(record.cost.tokens_per_sec))),
                ("peak memory", peak),
            ],
        },
    ]
}

/// The groups of a checkpoint.
pub(super) fn of_checkpoint(start: &InnerStart, progress: &Progress) -> Vec<Facts> {
    let config = &start.config;
    let score =
        progress.best_score.map_or_else(|| "none yet".to_owned(), |score| format!("{:.1}%", 100.0 * score));
    let objective = match config.outer.objective {
        Objective::Perk => "answers after the inner loop (perk meta-train)",
        Objective::InContext => "answers with the context in the prompt (perk finetune)",
    };
    let base = start.base.as_ref().map_or_else(|| "not known".to_owned(), ToString::to_string);
    vec![
        Facts {
            name: "Checkpoint",
            entries: vec![
                ("outer steps", format!("{} of {}", progress.step, config.outer.steps)),
                ("trained for", objective.to_owned()),
                ("best held-out score", score),
                ("digest", start.identity.digest.to_string()),
                ("adapter", lora(&config.lora)),
            ],
        },
        Facts { name: "Base", entries: vec![("base", config.model.base.clone()), ("digest", base)] },
        Facts {
            name: "Recipe",
            entries: recipe(&config.inner, config.data.segment_tokens, &config.data.prompt),
        },
        Facts {
            name: "Cost",
            entries: vec![
                ("outer steps", duration(progress.train_secs)),
                ("held-out scores", duration(progress.eval_secs)),
                ("seed", progress.seed.to_string()),
            ],
        },
    ]
}

/// `rank 16, scale 1.00, every layer, q_proj k_proj`
fn lora(lora: &LoraConfig) -> String {
    let layers = match lora.layers {
        Layers::All => "every layer".to_owned(),
        Layers::Top(count) => format!("the last {count} layers"),
    };
    format!("rank {}, scale {}, {layers}, {}", lora.rank, three_digits(scale(lora)), lora.targets.join(" "))
}

fn recipe(inner: &InnerConfig, segment_tokens: usize, prompt: &str) -> Vec<(&'static str, String)> {
    let reduction = match inner.reduction {
        Reduction::Positions => "all positions".to_owned(),
        Reduction::LabelledTokens => "the predicted tokens".to_owned(),
        Reduction::Constant => three_digits(inner.divisor),
    };
    let rates = if inner.learned_lr { "learned" } else { "not learned" };
    let head = if inner.head { "by a learned head" } else { "all 1" };
    vec![
        ("inner steps", format!("{} of {}", inner.steps, format!("{:?}", inner.optimizer).to_lowercase())),
        ("learning rates", format!("{rates}, from {}", three_digits(inner.lr))),
        ("token weights", head.to_owned()),
        ("loss divided by", reduction),
        ("weight decay", three_digits(inner.weight_decay)),
        ("segments", format!("{segment_tokens} tokens at most")),
        ("prompt", prompt.to_owned()),
    ]
}

/// The whole of it, as JSON.
///
/// # Errors
/// None for what was read from a file.
pub(super) fn as_text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map_err(|fault| Error::Invalid(format!("the record cannot be written: {fault}")))
}
