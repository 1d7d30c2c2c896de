//! What llama.cpp calls a decoder's weights, and in which order it holds their rows.

use candle_core::Tensor;

use super::{DecoderConfig, Projection};
use crate::Result;

/// llama.cpp's name of a weight that Hugging Face calls `name`; `None` for a name that is none of a decoder's.
pub(super) fn tensor_name(name: &str) -> Option<String> {
    match name {
        "model.embed_tokens.weight" => return Some(EMBEDDING.to_owned()),
        "model.norm.weight" => return Some("output_norm.weight".to_owned()),
        "lm_head.weight" => return Some(OUTPUT.to_owned()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (path, kind) = rest.rsplit_once('.')?;
    let stem = match path {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" => "ffn_norm",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        _ => projection_name(Projection::ALL.into_iter().find(|which| which.path() == path)?),
    };
    Some(format!("blk.{layer}.{stem}.{kind}"))
}

/// The embedding.
pub(super) const EMBEDDING: &str = "token_embd.weight";
/// The output matrix.
pub(super) const OUTPUT: &str = "output.weight";

/// What llama.cpp calls a projection.
pub(super) fn projection_name(projection: Projection) -> &'static str {
    match projection {
        Projection::QProj => "attn_q",
        Projection::KProj => "attn_k",
        Projection::VProj => "attn_v",
        Projection::OProj => "attn_output",
        Projection::GateProj => "ffn_gate",
        Projection::UpProj => "ffn_up",
        Projection::DownProj => "ffn_down",
    }
}

/// For each row of a projection's matrix in llama.cpp's order, which row it is in Hugging Face's; `None` where the
/// orders are one.
///
/// Hugging Face's rotation turns the features j and j + d/2 of a head together. For the Llama family llama.cpp turns
/// neighbours, 2j and 2j + 1, so its converter interleaves the two halves of each head of q and k; for the others it
/// rotates as Hugging Face does.
pub(super) fn row_order(projection: Projection, base: &DecoderConfig) -> Option<Vec<usize>> {
    let turns = base.family.form().turns_neighbours_in_gguf;
    if !turns || !matches!(projection, Projection::QProj | Projection::KProj) {
        return None;
    }
    let (rows, width) = (base.projection_shape(projection).0, base.head_dim);
    let order = |row: usize| row / width * width + row % 2 * (width / 2) + row % width / 2;
    Some((0..rows).map(order).collect())
}

/// A matrix of a projection's rows, `(out, n)`, with them in llama.cpp's order.
///
/// # Errors
/// A device out of memory.
pub(super) fn rows_as_in_gguf(
    matrix: &Tensor,
    projection: Projection,
    base: &DecoderConfig,
) -> Result<Tensor> {
    let Some(order) = row_order(projection, base) else { return Ok(matrix.clone()) };
    let order: Vec<u32> = order.into_iter().map(|row| row as u32).collect();
    Ok(matrix.index_select(&Tensor::new(order, matrix.device())?, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Family;

    #[test]
    fn the_halves_of_each_head_are_interleaved_for_llama_alone() {
        let order = |family, projection| {
            let base = DecoderConfig {
                family,
                num_heads: 2,
                num_kv_heads: 1,
                head_dim: 6,
                ..DecoderConfig::qwen2_5_0_5b()
            };
            row_order(projection, &base)
        };
        let q = [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11];
        assert_eq!(order(Family::Llama, Projection::QProj), Some(q.to_vec()));
        assert_eq!(order(Family::Llama, Projection::KProj), Some(q[..6].to_vec()));
        assert_eq!(order(Family::Llama, Projection::VProj), None);
        for family in [Family::Qwen2, Family::Qwen3] {
            assert_eq!(order(family, Projection::QProj), None);
        }
    }

    #[test]
    fn every_weight_of_every_family_has_a_name_of_its_own_in_llama_cpp() {
        for family in Family::ALL {
            let base = DecoderConfig { family, num_layers: 2, tied: false, ..DecoderConfig::qwen2_5_0_5b() };
            let names = base.weights().into_iter().map(|spec| tensor_name(&spec.name).unwrap());
            let names: std::collections::HashSet<String> = names.collect();
            assert_eq!(names.len(), base.weights().len());
            assert!(names.contains("blk.1.ffn_down.weight") && names.contains("output.weight"));
        }
        for other in ["model.layers.0.mlp.weight", "model.layers.0", "lm_head.bias"] {
            assert_eq!(tensor_name(other), None, "{other}");
        }
    }
}
