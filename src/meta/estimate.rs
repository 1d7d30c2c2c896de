//! How much memory meta-training will need, before anything is loaded.

use crate::model::lora::LoraLayout;
use crate::model::{DecoderConfig, WeightSpec};

use super::batch_loss::rows_per_chunk;
use super::sequence_loss::PREFIX_BYTES;

/// What the estimate depends on.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// Bytes of the frozen weights, as they are held.
    pub base_bytes: u64,
    /// Bytes of one number of the adapter, of gradients and activations.
    pub compute_bytes: usize,
    /// Inner steps N.
    pub inner_steps: usize,
    /// Whether every tensor and step learns its own rate.
    pub learned_lr: bool,
    /// Whether a head weighs the tokens, and its hidden width.
    pub head_hidden: Option<usize>,
    /// Segments computed at once.
    pub micro_batch_segments: usize,
    /// Longest segment, in tokens, prefix included.
    pub segment_tokens: usize,
    /// A context, in tokens.
    pub context_tokens: usize,
    /// Whether all layers' intermediate values are kept at once.
    pub keep_activations: bool,
    /// Episodes at the same time, on threads of their own or together.
    pub episodes: usize,
}

/// The parts of the estimate, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Frozen weights.
    pub base_bytes: u64,
    /// Adapter-sized tensors: the inner loop's steps, moments and cotangents, and the outer optimiser.
    pub adapter_bytes: u64,
    /// Intermediate values of one micro-batch, with their tangents.
    pub activation_bytes: u64,
    /// Logits of one chunk of rows, with their tangents.
    pub vocab_bytes: u64,
}

/// Adapter-sized tensors that an episode holds beside one for each inner step: φ, two moments, their three
/// cotangents, a gradient and its tangent.
const WORKING_COPIES: usize = 8;
/// Numbers that are held for each logit of a chunk: itself, its gradient, and one of either while it is made.
const LOGIT_COPIES: usize = 4;
/// φ₀, the two moments of the outer optimiser, and the summed meta-gradient.
const OUTER_COPIES: usize = 4;

impl Estimate {
    /// The estimate for a decoder of shape `config` with adapters as in `layout`.
    pub fn new(config: &DecoderConfig, layout: &LoraLayout, work: &Workload) -> Self {
        let trainable = trainable_parameters(config, layout, work).iter().sum::<usize>();
        let per_episode = work.inner_steps + WORKING_COPIES;
        let copies = OUTER_COPIES + work.episodes * per_episode;
        let tokens = work.micro_batch_segments * work.segment_tokens;
        // The layers below the adapted ones leave nothing but their output.
        let adapted = config.num_layers - layout.first_layer().unwrap_or(0);
        let layers = if work.keep_activations { adapted } else { 1 };
        // Without keeping, each layer's input stays.
        let inputs = if work.keep_activations { 0 } else { adapted * config.hidden_size };
        let values = tokens * (layers * values_per_token(config, work.segment_tokens) + inputs);
        let logits = rows_per_chunk(tokens, config.vocab_size) * config.vocab_size * LOGIT_COPIES;
        // Primal and tangent.
        let dual = 2 * work.compute_bytes * work.episodes;
        Self {
            base_bytes: work.base_bytes,
            adapter_bytes: (copies * trainable * work.compute_bytes) as u64,
            activation_bytes: (values * dual + work.episodes * prefix_bytes(config, layout, work)) as u64,
            vocab_bytes: (logits * dual) as u64,
        }
    }

    /// All parts together.
    pub fn total_bytes(&self) -> u64 {
        self.base_bytes + self.adapter_bytes + self.activation_bytes + self.vocab_bytes
    }
}

/// What an episode keeps of the layers below the first adapted one.
fn prefix_bytes(config: &DecoderConfig, layout: &LoraLayout, work: &Workload) -> usize {
    let bytes = work.context_tokens.saturating_mul(config.hidden_size * work.compute_bytes);
    let is_kept = layout.first_layer().is_some_and(|first| first > 0) && bytes <= PREFIX_BYTES;
    if is_kept { bytes } else { 0 }
}

/// Numbers in the frozen weights.
pub fn base_parameters(config: &DecoderConfig) -> usize {
    config.weights().iter().map(WeightSpec::count).sum()
}

/// Numbers that are trained: of the adapter's start, of the inner rates (one a tensor and step), of the head.
pub fn trainable_parameters(config: &DecoderConfig, layout: &LoraLayout, work: &Workload) -> [usize; 3] {
    let head = work.head_hidden.map_or(0, |width| width * (config.hidden_size + 2) + 1);
    let rates = if work.learned_lr { layout.num_tensors() * work.inner_steps } else { 0 };
    [layout.num_parameters(), rates, head]
}

/// Intermediate values that a layer keeps for each token: norms, attention and its input and output, keys
/// and values, queries and keys once more where they are normed, the feed-forward's three, and the attention
/// weights.
fn values_per_token(config: &DecoderConfig, segment_tokens: usize) -> usize {
    let (q, kv) = (config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim);
    let before_norms = if config.has_head_norms() { q + kv } else { 0 };
    4 * config.hidden_size
        + 2 * q
        + 2 * kv
        + before_norms
        + 3 * config.intermediate_size
        + config.num_heads * segment_tokens
}

#[cfg(test)]
mod tests {
    use crate::{
        model::Projection,
        model::lora::{Layers, LoraSpec},
    };

    use super::*;

    fn qwen() -> (DecoderConfig, LoraLayout) {
        with_layers(Layers::All)
    }

    fn with_layers(layers: Layers) -> (DecoderConfig, LoraLayout) {
        let config = DecoderConfig::qwen2_5_0_5b();
        let targets = Projection::ALL.to_vec();
        let spec = LoraSpec { rank: 16, alpha: 16.0, rslora: true, targets, layers };
        let layout = LoraLayout::new(spec, &config);
        (config, layout)
    }

    fn work() -> Workload {
        Workload {
            base_bytes: 4 * base_parameters(&DecoderConfig::qwen2_5_0_5b()) as u64,
            compute_bytes: 4,
            inner_steps: 4,
            learned_lr: true,
            head_hidden: Some(128),
            micro_batch_segments: 1,
            segment_tokens: 256,
            context_tokens: 1024,
            keep_activations: true,
            episodes: 1,
        }
    }

    #[test]
    fn the_base_is_counted_as_published() {
        assert_eq!(base_parameters(&qwen().0), 494_032_768);
    }

    #[test]
    fn the_estimate_for_half_a_billion_weights_lies_between_their_size_and_the_bar() {
        let (config, layout) = qwen();
        let total = Estimate::new(&config, &layout, &work()).total_bytes();
        assert!((2_000_000_000..5_500_000_000).contains(&total), "{total}");
    }

    #[test]
    fn smaller_storage_recomputing_and_fewer_episodes_need_less() {
        let (config, layout) = qwen();
        let full = Estimate::new(&config, &layout, &work());
        let half = Workload { base_bytes: work().base_bytes / 2, ..work() };
        let half = Estimate::new(&config, &layout, &half).total_bytes();
        assert_eq!(full.total_bytes() - half, work().base_bytes / 2);
        let recomputed = Estimate::new(&config, &layout, &Workload { keep_activations: false, ..work() });
        assert!(recomputed.activation_bytes < full.activation_bytes / 4);
        let many = Estimate::new(&config, &layout, &Workload { episodes: 2, ..work() });
        assert_eq!(many.activation_bytes, 2 * full.activation_bytes);
    }

    #[test]
    fn layers_below_the_adapted_ones_leave_their_output_for_each_token_unless_there_are_too_many() {
        let (config, layout) = with_layers(Layers::Top(4));
        let of = |layout: &LoraLayout, work: Workload| Estimate::new(&config, layout, &work).activation_bytes;
        let kept = 1024 * 896 * 4;
        assert_eq!(of(&layout, work()) - kept, of(&qwen().1, work()) / 6);
        let long = Workload { context_tokens: 1 << 20, ..work() };
        assert_eq!(of(&layout, long), of(&layout, work()) - kept);
        assert_eq!(of(&qwen().1, long), of(&qwen().1, work()));
    }

    #[test]
    fn what_is_trained_is_adapter_rates_and_head() {
        let (config, layout) = qwen();
        let head = 128 * 896 + 128 + 128 + 1;
        let rates = 24 * 7 * 2 * 4;
        assert_eq!(trainable_parameters(&config, &layout, &work()), [layout.num_parameters(), rates, head]);
        let fixed = Workload { learned_lr: false, head_hidden: None, ..work() };
        assert_eq!(trainable_parameters(&config, &layout, &fixed)[1..], [0, 0]);
    }
}
