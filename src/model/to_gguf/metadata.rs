//! The shape of a decoder as the metadata of a GGUF file: the way back from `from_gguf/shape.rs`.

use crate::gguf::Metadata;
use crate::model::DecoderConfig;

/// Sets the entries that describe a decoder of shape `config`, as llama.cpp's `convert_hf_to_gguf.py` does.
pub fn describe(config: &DecoderConfig, metadata: &mut Metadata) {
    let form = config.family.form();
    metadata.set_text("general.architecture", form.model_type);
    metadata.set_text("general.type", "model");
    let key = |name: &str| format!("{}.{name}", form.model_type);
    for (name, number) in [
        ("block_count", config.num_layers),
        ("context_length", config.max_positions),
        ("embedding_length", config.hidden_size),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.num_heads),
        ("attention.head_count_kv", config.num_kv_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("rope.dimension_count", config.head_dim),
        ("vocab_size", config.vocab_size),
    ] {
        metadata.set_whole(&key(name), u32::try_from(number).unwrap_or(u32::MAX));
    }
    metadata.set_real(&key("attention.layer_norm_rms_epsilon"), config.rms_norm_eps as f32);
    metadata.set_real(&key("rope.freq_base"), config.rope_theta as f32);
}

/// What the rotary frequencies are divided by, half a head's width of numbers; `None` where they are plain.
pub fn rope_divisors(config: &DecoderConfig) -> Option<Vec<f32>> {
    config.rope_scaling?;
    let plain = DecoderConfig { rope_scaling: None, ..config.clone() }.rope_frequencies();
    let divisor = |(plain, scaled)| (plain / scaled) as f32;
    Some(plain.into_iter().zip(config.rope_frequencies()).map(divisor).collect())
}
