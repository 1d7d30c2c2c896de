//! Qwen3, dense (Qwen Team, 2025): a norm of each query and key head in the place of Qwen2's biases.

use serde_json::{Value, json};

use super::Form;
use crate::model::DecoderConfig;

pub(super) const FORM: Form = Form {
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    title: "Qwen3",
    models: "Qwen3, dense",
    biased: &[],
    head_norms: true,
    head_dim: Some(128),
    max_positions: 32_768,
    kv_heads_default_to_heads: false,
    rope_scaling: false,
    turns_neighbours_in_gguf: false,
    own_fields,
};

fn own_fields(config: &DecoderConfig) -> Value {
    json!({
        "attention_bias": false,
        "max_window_layers": config.num_layers,
        "sliding_window": null,
        "use_sliding_window": false,
    })
}
