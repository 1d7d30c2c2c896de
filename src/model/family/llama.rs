//! Llama 2 and 3.x (Llama Team, 2024), and SmolLM2, which has their form.

use serde_json::{Value, json};

use super::Form;
use crate::model::{DecoderConfig, RopeScaling};

pub(super) const FORM: Form = Form {
    model_type: "llama",
    class: "LlamaForCausalLM",
    title: "Llama",
    models: "Llama 2 and 3.x, SmolLM2",
    biased: &[],
    head_norms: false,
    head_dim: None,
    max_positions: 4_096,
    kv_heads_default_to_heads: true,
    rope_scaling: true,
    turns_neighbours_in_gguf: true,
    own_fields,
};

fn own_fields(config: &DecoderConfig) -> Value {
    json!({
        "attention_bias": false,
        "mlp_bias": false,
        "rope_scaling": config.rope_scaling.map(RopeScaling::to_json),
    })
}
