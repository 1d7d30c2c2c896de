//! The named weights of a decoder: which there are, of which shapes, and how they make a decoder.
//!
//! There is one list, [`DecoderConfig::weights`]. Loading, saving, random starts and pretraining follow it, and
//! so do, in its order, the two functions that put a decoder together and take it apart.

use std::iter::once;

use candle_core::{DType, Device, Tensor};

use super::{Decoder, DecoderConfig, Layer, Linear, Norms, Projection};
use crate::Result;

/// One weight of a decoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightSpec {
    /// Its name in Hugging Face checkpoints.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What it does.
    pub role: Role,
}

/// What a weight does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The embedding or the output matrix, `(V, D)`, in the storage type.
    Table,
    /// The matrix of a projection, `(out, in)`, in the storage type.
    Matrix(Projection),
    /// The bias of a projection, `(out)`, in the compute type.
    Bias,
    /// The gain of a norm, in the compute type.
    Gain,
}

impl WeightSpec {
    fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>, role: Role) -> Self {
        Self { name: name.into(), shape: shape.into(), role }
    }

    /// How many numbers it has.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The type that it is held in: of the two, `storage` for matrices and `compute` for all else.
    pub(super) fn dtype(&self, storage: DType, compute: DType) -> DType {
        match self.role {
            Role::Table | Role::Matrix(_) => storage,
            Role::Bias | Role::Gain => compute,
        }
    }
}

impl DecoderConfig {
    /// The weights of a decoder of this shape, from the input up; a tied output matrix is none of its own.
    pub fn weights(&self) -> Vec<WeightSpec> {
        let table = [self.vocab_size, self.hidden_size];
        let mut weights = vec![WeightSpec::new("model.embed_tokens.weight", table, Role::Table)];
        (0..self.num_layers).for_each(|index| self.layer_weights(index, &mut weights));
        weights.push(WeightSpec::new("model.norm.weight", [self.hidden_size], Role::Gain));
        if !self.tied {
            weights.push(WeightSpec::new("lm_head.weight", table, Role::Table));
        }
        weights
    }

    fn layer_weights(&self, index: usize, weights: &mut Vec<WeightSpec>) {
        let prefix = format!("model.layers.{index}");
        let heads = self.has_head_norms().then_some(["self_attn.q_norm", "self_attn.k_norm"]);
        let heads = heads.into_iter().flatten().map(|norm| (norm, self.head_dim));
        let norms = ["input_layernorm", "post_attention_layernorm"].map(|norm| (norm, self.hidden_size));
        for (norm, width) in norms.into_iter().chain(heads) {
            weights.push(WeightSpec::new(format!("{prefix}.{norm}.weight"), [width], Role::Gain));
        }
        for which in Projection::ALL {
            let (rows, columns) = self.projection_shape(which);
            let path = format!("{prefix}.{}", which.path());
            weights.push(WeightSpec::new(format!("{path}.weight"), [rows, columns], Role::Matrix(which)));
            if self.family.form().biased.contains(&which) {
                weights.push(WeightSpec::new(format!("{path}.bias"), [rows], Role::Bias));
            }
        }
    }
}

impl Decoder {
    /// A decoder of the weights that `source` gives for each of the list, in its order.
    ///
    /// # Errors
    /// Whatever `source` fails with.
    pub(super) fn build(
        config: DecoderConfig,
        dtype: DType,
        device: &Device,
        source: impl FnMut(&WeightSpec) -> Result<Tensor>,
    ) -> Result<Self> {
        let weights = config.weights();
        let mut tensors = weights.iter().map(source).collect::<Result<Vec<_>>>()?.into_iter();
        let mut next = || tensors.next().expect("the source gave one tensor for each weight");
        let embed_tokens = next();
        let layers = (0..config.num_layers).map(|_| Layer::build(&config, &mut next)).collect();
        let norm = next();
        let lm_head = if config.tied { embed_tokens.clone() } else { next() };
        Ok(Self { config, embed_tokens, layers, norm, lm_head, dtype, device: device.clone() })
    }

    /// The weights in the order of the list.
    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let layers = self.layers.iter().flat_map(Layer::tensors);
        let last = once(&self.norm).chain((!self.config.tied).then_some(&self.lm_head));
        once(&self.embed_tokens).chain(layers).chain(last)
    }

    /// Every weight with its name in Hugging Face checkpoints; a tied output matrix is left out.
    pub fn named_tensors(&self) -> Vec<(String, Tensor)> {
        self.config.weights().into_iter().map(|spec| spec.name).zip(self.tensors().cloned()).collect()
    }

    /// The decoder with `change` applied to each weight in turn; a tied matrix is changed once and stays tied.
    ///
    /// # Errors
    /// Whatever `change` fails with.
    pub fn map_weights(&self, mut change: impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        let mut tensors = self.tensors();
        Self::build(self.config.clone(), self.dtype, &self.device, |_| {
            change(tensors.next().expect("a decoder has every weight of its list"))
        })
    }
}

impl Layer {
    fn build(config: &DecoderConfig, next: &mut impl FnMut() -> Tensor) -> Self {
        let (input, post_attention) = (next(), next());
        let heads = config.has_head_norms().then(|| [next(), next()]);
        let biased = config.family.form().biased;
        let projections = Projection::ALL.map(|which| {
            let weight = next();
            Linear { weight, bias: biased.contains(&which).then(&mut *next) }
        });
        Self { norms: Norms { input, post_attention, heads }, projections }
    }

    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let projections = self.projections.iter().flat_map(|linear| once(&linear.weight).chain(&linear.bias));
        let Norms { input, post_attention, heads } = &self.norms;
        [input, post_attention].into_iter().chain(heads.iter().flatten()).chain(projections)
    }
}
