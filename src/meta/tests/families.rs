//! Bases of the other families: their layers differ from Qwen2's, the engine does not.

use super::*;

#[test]
fn the_meta_gradient_equals_differences_where_query_and_key_heads_are_normed() {
    let config = DecoderConfig { family: Family::Qwen3, tied: false, ..config() };
    for (layers, differentiated) in [(Layers::All, 3), (Layers::All, 1), (Layers::Top(1), 3)] {
        let options = InnerOptions { differentiated, ..options() };
        check_meta_gradient("Qwen3", &case_of(&config, layers, options));
    }
    let recomputed = InnerOptions { activations: Activations::Recompute, ..options() };
    check_meta_gradient("Qwen3, recomputed", &case_of(&config, Layers::All, recomputed));
}
