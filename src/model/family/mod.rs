//! The families of decoders, each described in a file of its own: what its decoders have that others lack.

mod llama;
mod qwen2;
mod qwen3;

use serde_json::Value;

use super::{DecoderConfig, Projection};

/// Model family: decides the tensors that a checkpoint must hold, and how its `config.json` is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Qwen2 and Qwen2.5: biases on q, k and v.
    Qwen2,
    /// Llama 2, Llama 3.x and SmolLM2: no biases.
    Llama,
    /// Qwen3 without experts: norms of query and key heads, no biases.
    Qwen3,
}

/// All that the decoders of a family do not share with those of the others.
pub(super) struct Form {
    /// `model_type` in `config.json`, which is also llama.cpp's name of the architecture.
    pub model_type: &'static str,
    /// Class name in transformers.
    pub class: &'static str,
    /// What people call the family.
    pub title: &'static str,
    /// The models that belong to it.
    pub models: &'static str,
    /// Projections with a bias.
    pub biased: &'static [Projection],
    /// Whether each query and key head is normed before the rotation.
    pub head_norms: bool,
    /// Width of a head where `config.json` names none; without it, the hidden size divided by the heads.
    pub head_dim: Option<usize>,
    /// Longest sequence where `config.json` names none, in tokens.
    pub max_positions: usize,
    /// Whether there are as many key heads as query heads where `config.json` does not say; else it must.
    pub kv_heads_default_to_heads: bool,
    /// Whether Llama 3's rope scaling is known to the family.
    pub rope_scaling: bool,
    /// Whether llama.cpp turns neighbouring rows of q and k together, where Hugging Face turns the halves of a
    /// head.
    pub turns_neighbours_in_gguf: bool,
    /// Fields of `config.json` that only this family has.
    pub own_fields: fn(&DecoderConfig) -> Value,
}

impl Family {
    /// Every family, in the order in which messages name them.
    pub const ALL: [Self; 3] = [Self::Qwen2, Self::Llama, Self::Qwen3];

    /// The family's description.
    pub(super) fn form(self) -> &'static Form {
        match self {
            Self::Qwen2 => &qwen2::FORM,
            Self::Llama => &llama::FORM,
            Self::Qwen3 => &qwen3::FORM,
        }
    }

    /// All families with their models, for messages.
    pub(super) fn supported() -> String {
        let named = |family: Self| format!("{} ({})", family.form().model_type, family.form().models);
        let [first @ .., last] = Self::ALL.map(named);
        format!("supported are {} and {last}", first.join(", "))
    }
}
