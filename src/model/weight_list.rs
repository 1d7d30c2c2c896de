//! The named weights of a decoder: which there are, of which shapes, and how they make a decoder.
//!
//! There is one list, [`DecoderConfig::weights`]. Loading, saving, random starts and pretraining follow it, and
//! so do, in its order, the two functions that put a decoder together and take it apart.

use candle_core::{DType, Device, Tensor};

use super::{Decoder, DecoderConfig, Joint, Layer, Linear, Norms, Projection};
use crate::autodiff::Frozen;
use crate::{Error, Result};

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

    /// The type that it is drawn in: of the two, `storage` for matrices and `compute` for all else.
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
    /// Whatever `source` fails with, or a device out of memory.
    pub(super) fn build(
        config: DecoderConfig,
        dtype: DType,
        device: &Device,
        source: impl FnMut(&WeightSpec) -> Result<Frozen>,
    ) -> Result<Self> {
        let weights = config.weights();
        let mut source = weights.iter().map(source);
        let mut next = || source.next().expect("as many weights as the list has");
        let embed_tokens = next()?;
        let layers = (0..config.num_layers).map(|_| Layer::build(&config, &mut next));
        let layers = layers.collect::<Result<_>>()?;
        let norm = next()?.tensor()?;
        let lm_head = if config.tied { embed_tokens.clone() } else { next()? };
        Ok(Self { config, embed_tokens, layers, norm, lm_head, dtype, device: device.clone() })
    }

    /// Every weight with its name in Hugging Face checkpoints; a tied output matrix is left out. What is kept joined is
    /// taken apart; without a copy, unless it is packed.
    ///
    /// # Errors
    /// Memory, where matrices are packed.
    pub fn named_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let mut tensors = Vec::new();
        self.each_weight(
            |index, which| Ok(self.projection(index, which)?.0),
            |tensor| {
                tensors.push(tensor.clone());
                Ok(())
            },
        )?;
        Ok(self.config.weights().into_iter().map(|spec| spec.name).zip(tensors).collect())
    }

    /// Gives `take` each weight in the order of the list, and makes no more than one at a time; those of projections
    /// are what `matrix` gives of a layer.
    ///
    /// # Errors
    /// What `matrix` and `take` return; memory.
    pub(super) fn each_weight(
        &self,
        mut matrix: impl FnMut(usize, Projection) -> Result<Tensor>,
        mut take: impl FnMut(&Tensor) -> Result<()>,
    ) -> Result<()> {
        take(&self.embed_tokens.tensor()?)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let Norms { input, post_attention, heads } = &layer.norms;
            [input, post_attention].into_iter().chain(heads.iter().flatten()).try_for_each(&mut take)?;
            for which in Projection::ALL {
                take(&matrix(index, which)?)?;
                if let Some(bias) = &layer.linear(which.joint()).bias {
                    let rows = self.config.rows_in_joint(which);
                    take(&bias.narrow(0, rows.start, rows.len())?)?;
                }
            }
        }
        take(&self.norm)?;
        if !self.config.tied {
            take(&self.lm_head.tensor()?)?;
        }
        Ok(())
    }

    /// The decoder with `change` applied to each tensor that it holds: a tied matrix once, so that it stays tied, and
    /// joined matrices as they are, and unpacked.
    ///
    /// # Errors
    /// Whatever `change` fails with.
    pub fn map_weights(&self, mut change: impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        let mut change_frozen = |frozen: &Frozen| Ok::<_, Error>(Frozen::from(change(&frozen.tensor()?)?));
        let embed_tokens = change_frozen(&self.embed_tokens)?;
        let lm_head = if self.config.tied { embed_tokens.clone() } else { change_frozen(&self.lm_head)? };
        let layers = self.layers.iter().map(|layer| layer.map(&mut change)).collect::<Result<_>>()?;
        let norm = change(&self.norm)?;
        Ok(Self { embed_tokens, layers, norm, lm_head, ..self.clone() })
    }
}

impl Layer {
    fn build(config: &DecoderConfig, next: &mut impl FnMut() -> Result<Frozen>) -> Result<Self> {
        let mut gain = || next()?.tensor();
        let (input, post_attention) = (gain()?, gain()?);
        let heads = if config.has_head_norms() { Some([gain()?, gain()?]) } else { None };
        let norms = Norms { input, post_attention, heads };
        let biased = config.family.form().biased;
        let linears = Joint::ALL.into_iter().map(|joint| {
            let (mut weights, mut biases) = (vec![], vec![]);
            for which in joint.parts() {
                weights.push(next()?);
                if biased.contains(which) {
                    biases.push(next()?);
                }
            }
            debug_assert!(
                biases.is_empty() || biases.len() == weights.len(),
                "a family biases all of {joint:?}"
            );
            let bias = if biases.is_empty() { None } else { Some(Frozen::join(biases)?.tensor()?) };
            Ok(Linear { weight: Frozen::join(weights)?, bias })
        });
        Ok(Self { norms, linears: four(linears)? })
    }

    fn map(&self, mut change: impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        let linears = four(self.linears.iter().map(|Linear { weight, bias }| {
            Ok(Linear {
                weight: change(&weight.tensor()?)?.into(),
                bias: bias.as_ref().map(&mut change).transpose()?,
            })
        }))?;
        let Norms { input, post_attention, heads } = &self.norms;
        let heads = match heads {
            Some([q, k]) => Some([change(q)?, change(k)?]),
            None => None,
        };
        let norms = Norms { input: change(input)?, post_attention: change(post_attention)?, heads };
        Ok(Self { norms, linears })
    }
}

fn four(linears: impl Iterator<Item = Result<Linear>>) -> Result<[Linear; 4]> {
    let linears: Vec<Linear> = linears.collect::<Result<_>>()?;
    Ok(linears.try_into().expect("one for each matrix of a layer"))
}
