//! Which matrices of a decoder carry an adapter, and how their tensors are ordered and named.

pub use crate::config::Layers;
use crate::model::{DecoderConfig, Projection};

/// Form of a LoRA adapter: `y = x Wᵀ + b + s (x Aᵀ) Bᵀ` (Hu et al., 2021).
#[derive(Debug, Clone, PartialEq)]
pub struct LoraSpec {
    /// Rank r.
    pub rank: usize,
    /// Numerator of the scale.
    pub alpha: f64,
    /// Scale s = alpha / √r (rsLoRA) instead of alpha / r.
    pub rslora: bool,
    /// Adapted projections, in the order of [`Projection::ALL`].
    pub targets: Vec<Projection>,
    /// Adapted layers.
    pub layers: Layers,
}

impl LoraSpec {
    /// The scale s.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    /// The same scale without rsLoRA: alpha √r in the place of alpha, so that programs that divide by r
    /// whatever `use_rslora` says compute the same function. A form without rsLoRA is returned as it is.
    pub fn plain(&self) -> Self {
        let alpha = if self.rslora { self.alpha * (self.rank as f64).sqrt() } else { self.alpha };
        Self { alpha, rslora: false, ..self.clone() }
    }
}

/// One adapted matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// Layer index, from 0.
    pub layer: usize,
    /// Which of its projections.
    pub projection: Projection,
    /// Input width of the projection.
    pub in_features: usize,
    /// Output width of the projection.
    pub out_features: usize,
    /// Where its outputs begin among those of the projections that are kept as one matrix with it.
    pub first_row: usize,
}

/// The flat order of an adapter's tensors: for each site its A `(r, in)`, then its B `(out, r)`.
///
/// Every list that has one entry a tensor (parameters, gradients, learning rates) follows this order.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraLayout {
    /// The form.
    pub spec: LoraSpec,
    /// The adapted matrices, by layer, then by projection.
    pub sites: Vec<Site>,
    num_layers: usize,
}

impl LoraLayout {
    /// The layout of `spec` on a decoder of shape `config`.
    pub fn new(spec: LoraSpec, config: &DecoderConfig) -> Self {
        let first = match spec.layers {
            Layers::All => 0,
            Layers::Top(k) => config.num_layers.saturating_sub(k),
        };
        let sites = (first..config.num_layers)
            .flat_map(|layer| spec.targets.iter().map(move |&projection| (layer, projection)))
            .map(|(layer, projection)| {
                let (out_features, in_features) = config.projection_shape(projection);
                let first_row = config.rows_in_joint(projection).start;
                Site { layer, projection, in_features, out_features, first_row }
            })
            .collect();
        Self { spec, sites, num_layers: config.num_layers }
    }

    /// Number of tensors: two a site.
    pub fn num_tensors(&self) -> usize {
        2 * self.sites.len()
    }

    /// Number of layers of the decoder, adapted or not.
    pub fn num_layers(&self) -> usize {
        self.num_layers
    }

    /// The lowest adapted layer; `None` if nothing is adapted.
    pub fn first_layer(&self) -> Option<usize> {
        self.sites.first().map(|site| site.layer)
    }

    /// Number of trainable numbers.
    pub fn num_parameters(&self) -> usize {
        let widths: usize = self.sites.iter().map(|s| s.in_features + s.out_features).sum();
        widths * self.spec.rank
    }

    /// Shape of tensor `index` of the flat order.
    pub fn shape(&self, index: usize) -> (usize, usize) {
        let (site, rank) = (&self.sites[index / 2], self.spec.rank);
        if index.is_multiple_of(2) { (rank, site.in_features) } else { (site.out_features, rank) }
    }

    /// PEFT's name of tensor `index`:
    /// `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
    pub fn name(&self, index: usize) -> String {
        let site = &self.sites[index / 2];
        let matrix = if index.is_multiple_of(2) { "lora_A" } else { "lora_B" };
        format!("base_model.model.model.layers.{}.{}.{matrix}.weight", site.layer, site.projection.path())
    }
}
