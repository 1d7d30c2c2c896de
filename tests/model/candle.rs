//! The forward pass against Candle's own models of each family.

use candle_nn::VarBuilder;
use candle_transformers::models::{llama, qwen2, qwen3};
use perk::model::{CONFIG_FILE, WEIGHTS_FILE};

use super::*;

fn builder(folder: &Path) -> VarBuilder<'static> {
    let weights = candle_core::safetensors::load(folder.join(WEIGHTS_FILE), &under_test()).unwrap();
    VarBuilder::from_tensors(weights, DType::F32, &under_test())
}

#[test]
fn the_forward_pass_equals_candles_qwen2() {
    for tied in [true, false] {
        let folder = saved(&random(&shape(Family::Qwen2, tied), DType::F32));
        let decoder = load(folder.path(), DType::F32);
        let text = std::fs::read_to_string(folder.path().join(CONFIG_FILE)).unwrap();
        let config: qwen2::Config = serde_json::from_str(&text).unwrap();
        let mut oracle = qwen2::ModelForCausalLM::new(&config, builder(folder.path())).unwrap();
        let ids = Tensor::cat(&[row(&tokens(30)), row(&tokens(37)[7..])], 0).unwrap();
        let expected = oracle.forward(&ids, 0).unwrap();
        let difference = largest_difference(&last_logits(&decoder, &ids), &expected);
        assert!(difference < 1e-4, "tied {tied}: {difference}");
    }
}

#[test]
fn the_forward_pass_equals_candles_qwen3() {
    for tied in [true, false] {
        let folder = saved(&random(&shape(Family::Qwen3, tied), DType::F32));
        let mut decoder = load(folder.path(), DType::F32);
        let text = std::fs::read_to_string(folder.path().join(CONFIG_FILE)).unwrap();
        let config: qwen3::Config = serde_json::from_str(&text).unwrap();
        let mut oracle = qwen3::ModelForCausalLM::new(&config, builder(folder.path())).unwrap();
        let ids = Tensor::cat(&[row(&tokens(30)), row(&tokens(37)[7..])], 0).unwrap();
        let expected = oracle.forward(&ids, 0).unwrap();
        let difference = largest_difference(&last_logits(&decoder, &ids), &expected);
        assert!(difference < 1e-4, "tied {tied}: {difference}");
        for layer in &mut decoder.layers {
            layer.norms.heads = None;
        }
        let unnormed = largest_difference(&last_logits(&decoder, &ids), &expected);
        assert!(unnormed > 1e-3, "the norms of heads change nothing, so they are not tested");
    }
}

#[test]
fn the_forward_pass_equals_candles_llama_with_its_rope_scaling() {
    for tied in [true, false] {
        let folder = saved(&random(&shape(Family::Llama, tied), DType::F32));
        let mut decoder = load(folder.path(), DType::F32);
        let text = std::fs::read_to_string(folder.path().join(CONFIG_FILE)).unwrap();
        let config: llama::LlamaConfig = serde_json::from_str(&text).unwrap();
        let config = config.into_config(false);
        let mut cache = llama::Cache::new(false, DType::F32, &config, &under_test()).unwrap();
        let oracle = llama::Llama::load(builder(folder.path()), &config).unwrap();
        let ids = row(&tokens(200));
        let expected = oracle.forward(&ids, 0, &mut cache).unwrap().unsqueeze(0).unwrap();
        let difference = largest_difference(&last_logits(&decoder, &ids), &expected);
        assert!(difference < 1e-4, "tied {tied}: {difference}");
        decoder.config.rope_scaling = None;
        let unscaled = largest_difference(&last_logits(&decoder, &ids), &expected);
        assert!(unscaled > 1e-3, "the scaling changes nothing, so it is not tested");
    }
}
