//! Qwen2 and Qwen2.5 (Qwen Team, 2024).

use serde_json::{Value, json};

use super::Form;
use crate::model::{DecoderConfig, Projection};

pub(super) const FORM: Form = Form {
    model_type: "qwen2",
    class: "Qwen2ForCausalLM",
    title: "Qwen2",
    models: "Qwen2, Qwen2.5",
    biased: &[Projection::QProj, Projection::KProj, Projection::VProj],
    head_norms: false,
    head_dim: None,
    max_positions: 32_768,
    kv_heads_default_to_heads: false,
    rope_scaling: false,
    turns_neighbours_in_gguf: false,
    own_fields,
};

fn own_fields(config: &DecoderConfig) -> Value {
    json!({
        "max_window_layers": config.num_layers,
        "sliding_window": config.max_positions,
        "use_sliding_window": false,
    })
}
