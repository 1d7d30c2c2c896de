//! A small base from nothing, by next-token prediction on documents.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::ops::log_softmax;
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};

use crate::config::{BaseShape, PretrainConfig, PretrainTraining};
use crate::model::{Decoder, DecoderConfig, Family, tape};
use crate::optim::{Schedule, clip_factor, global_norm};
use crate::{Error, Result};

/// A token and its weight in the loss where it is predicted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightedToken {
    /// The token.
    pub token: u32,
    /// Its weight.
    pub weight: f64,
}

/// An endless stream of documents: the tokens of document `index`, a pure function of the index.
pub type Documents<'a> = &'a dyn Fn(u64) -> Result<Vec<WeightedToken>>;

/// What one step of pretraining did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PretrainStep {
    /// Steps done, this one included.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Weighted mean cross entropy of the step's tokens before it.
    pub loss: f64,
    /// Norm of the whole gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate of the step.
    pub lr: f64,
}

/// Follows pretraining.
pub trait PretrainObserver {
    /// Called after every step; an error ends the training with it.
    ///
    /// # Errors
    /// Whatever should stop the training.
    fn step(&mut self, done: &PretrainStep) -> Result<()>;
}

/// Trains `start` on `documents`, each followed by `end_token`.
///
/// A pure function of its arguments.
///
/// # Errors
/// A configuration with faults, what `documents` or `observer` return, a token outside the vocabulary, a
/// loss that is not a number, or a device out of memory.
pub fn pretrain(
    start: &Decoder,
    config: &PretrainConfig,
    documents: Documents<'_>,
    end_token: u32,
    observer: &mut dyn PretrainObserver,
) -> Result<Decoder> {
    let (vocab_size, device) = (start.config.vocab_size, start.device.clone());
    let mut trainer = Trainer::new(start, &config.train)?;
    let mut rows = Rows { documents, end_token, next: 0 };
    for step in 0..config.train.steps {
        let done = trainer.step(step, &rows.batch(&config.train, vocab_size, &device)?)?;
        observer.step(&done)?;
    }
    trainer.finish()
}

/// What training starts from: the base of `train.start_from`, or random weights of the configured shape.
/// `vocab_size` is the tokenizer's.
///
/// # Errors
/// A base that cannot be read, or that has another shape.
pub fn start(config: &PretrainConfig, vocab_size: usize, device: &Device) -> Result<Decoder> {
    let shape = decoder_shape(&config.model, vocab_size);
    let Some(folder) = &config.train.start_from else {
        return Decoder::random(&shape, config.train.seed, DType::F32, DType::F32, device);
    };
    let start = Decoder::load(folder, DType::F32, DType::F32, device)?;
    if start.config != shape {
        let reason = "is a base of another shape or vocabulary than this configuration makes";
        return Err(Error::file(folder, reason));
    }
    Ok(start)
}

fn decoder_shape(shape: &BaseShape, vocab_size: usize) -> DecoderConfig {
    DecoderConfig {
        family: Family::Qwen2,
        vocab_size,
        hidden_size: shape.hidden_size,
        intermediate_size: shape.intermediate_size,
        num_layers: shape.num_layers,
        num_heads: shape.num_heads,
        num_kv_heads: shape.num_kv_heads,
        head_dim: shape.hidden_size / shape.num_heads.max(1),
        max_positions: shape.max_positions,
        rms_norm_eps: shape.rms_norm_eps,
        rope_theta: shape.rope_theta,
        rope_scaling: None,
        tied: shape.tied,
    }
}

/// What a step learns from.
struct Batch {
    /// `(B, S)`.
    inputs: Tensor,
    /// The next tokens, `(B · S)`.
    targets: Tensor,
    /// Their weights, of sum 1, `(B · S)`; 0 for what fills a row up.
    weights: Tensor,
}

/// Documents, one a row: what is learned is to read a document from its start, without the tail of another
/// before it, whose people have the same names.
struct Rows<'a> {
    documents: Documents<'a>,
    end_token: u32,
    next: u64,
}

impl Rows<'_> {
    /// The next documents, each with the end token, cut to the configured length. Shorter ones are filled up
    /// with tokens that are not predicted.
    fn batch(&mut self, train: &PretrainTraining, vocab_size: usize, device: &Device) -> Result<Batch> {
        let rows = (0..train.batch).map(|_| self.row(train.sequence_tokens, vocab_size));
        let rows = rows.collect::<Result<Vec<_>>>()?;
        let len = rows.iter().map(Vec::len).max().unwrap_or(0) - 1;
        let filler = WeightedToken { token: self.end_token, weight: 0.0 };
        let at = |row: &[WeightedToken], i: usize| row.get(i).copied().unwrap_or(filler);
        let cells = |shift| rows.iter().flat_map(move |row| (0..len).map(move |i| at(row, i + shift)));
        let sum: f64 = cells(1).map(|t| t.weight).sum();
        let inputs: Vec<u32> = cells(0).map(|t| t.token).collect();
        let targets: Vec<u32> = cells(1).map(|t| t.token).collect();
        let weights: Vec<f32> = cells(1).map(|t| (t.weight / sum) as f32).collect();
        Ok(Batch {
            inputs: Tensor::from_vec(inputs, (train.batch, len), device)?,
            targets: Tensor::from_vec(targets, train.batch * len, device)?,
            weights: Tensor::from_vec(weights, train.batch * len, device)?,
        })
    }

    /// The next document with the end token.
    fn row(&mut self, most_tokens: usize, vocab_size: usize) -> Result<Vec<WeightedToken>> {
        let index = self.next;
        self.next += 1;
        let mut document = (self.documents)(index)?;
        if document.is_empty() {
            return Err(Error::Invalid(format!("document {index} has no tokens")));
        }
        if let Some(token) = document.iter().find(|t| t.token as usize >= vocab_size) {
            let found = token.token;
            let reason = format!("document {index} has token {found}, beyond the {vocab_size} known");
            return Err(Error::Invalid(reason));
        }
        document.push(WeightedToken { token: self.end_token, weight: 1.0 });
        // One token more than is predicted: the first is only read.
        document.truncate(most_tokens + 1);
        Ok(document)
    }
}

/// A decoder whose weights are variables, and the optimisers of its matrices and of its vectors.
struct Trainer<'a> {
    train: &'a PretrainTraining,
    model: Decoder,
    vars: Vars,
    /// With decay, for matrices; without, for gains and biases.
    optimisers: [AdamW; 2],
}

impl<'a> Trainer<'a> {
    fn new(start: &Decoder, train: &'a PretrainTraining) -> Result<Self> {
        let (vars, model) = Vars::of(start)?;
        let params = |weight_decay| ParamsAdamW {
            lr: train.lr,
            beta1: train.beta1,
            beta2: train.beta2,
            eps: train.eps,
            weight_decay,
        };
        let of_rank = |matrices: bool| {
            vars.0.iter().filter(move |var| (var.rank() == 2) == matrices).cloned().collect::<Vec<Var>>()
        };
        let decayed = AdamW::new(of_rank(true), params(train.weight_decay))?;
        let plain = AdamW::new(of_rank(false), params(0.0))?;
        Ok(Self { train, model, vars, optimisers: [decayed, plain] })
    }

    fn step(&mut self, step: usize, batch: &Batch) -> Result<PretrainStep> {
        let logits = tape::logits(&self.model, None, &batch.inputs, None)?;
        let log_probabilities = log_softmax(&logits.flatten_to(1)?, 1)?;
        let chosen = log_probabilities.gather(&batch.targets.unsqueeze(1)?, 1)?.squeeze(1)?;
        let loss = (chosen * &batch.weights)?.sum_all()?.neg()?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        let mut gradients = loss.backward()?;
        let gradient_norm = self.vars.clip(&mut gradients, self.train.clip_norm)?;
        if !value.is_finite() || !gradient_norm.is_finite() {
            let reason = format!(
                "pretraining failed at step {step}: the loss is {value}, its gradient's norm {gradient_norm}; \
                 lower train.lr"
            );
            return Err(Error::Invalid(reason));
        }
        let lr = learning_rate(self.train, step);
        for optimiser in &mut self.optimisers {
            optimiser.set_learning_rate(lr);
            optimiser.step(&gradients)?;
        }
        Ok(PretrainStep { step: step + 1, steps: self.train.steps, loss: value, gradient_norm, lr })
    }

    /// The trained decoder, its weights constants again.
    fn finish(self) -> Result<Decoder> {
        self.model.map_weights(|tensor| Ok(tensor.copy()?.detach()))
    }
}

/// Rises over the warm-up, then falls in a straight line to its last fraction.
fn learning_rate(train: &PretrainTraining, step: usize) -> f64 {
    let PretrainTraining { lr, steps, warmup_steps, final_lr_fraction, .. } = *train;
    lr * Schedule::Linear.factor(step, steps, warmup_steps, final_lr_fraction)
}

/// Every weight of a decoder as a variable, a tied matrix once.
struct Vars(Vec<Var>);

impl Vars {
    /// The variables, and the decoder that computes with them.
    fn of(decoder: &Decoder) -> Result<(Self, Decoder)> {
        let mut vars = Vec::new();
        let model = decoder.map_weights(|tensor| {
            let var = Var::from_tensor(tensor)?;
            let tensor = var.as_tensor().clone();
            vars.push(var);
            Ok(tensor)
        })?;
        Ok((Self(vars), model))
    }

    /// Scales all gradients so that their common norm is at most `clip_norm` (0: never); returns the norm
    /// before.
    fn clip(&self, gradients: &mut GradStore, clip_norm: f64) -> Result<f64> {
        let found = |var: &Var| {
            let found = gradients.get(var).cloned();
            found
                .ok_or_else(|| Error::Invalid(format!("a weight of shape {:?} gets no gradient", var.dims())))
        };
        let all = self.0.iter().map(found).collect::<Result<Vec<_>>>()?;
        let norm = global_norm(&all)?;
        let factor = clip_factor(norm, (clip_norm > 0.0).then_some(clip_norm));
        if factor < 1.0 {
            for (var, gradient) in self.0.iter().zip(all) {
                gradients.insert(var, (gradient * factor)?);
            }
        }
        Ok(norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Losses(Vec<f64>);

    impl PretrainObserver for Losses {
        fn step(&mut self, done: &PretrainStep) -> Result<()> {
            self.0.push(done.loss);
            Ok(())
        }
    }

    fn small() -> PretrainConfig {
        let mut config = PretrainConfig::default();
        config.model = BaseShape {
            hidden_size: 16,
            intermediate_size: 32,
            num_heads: 2,
            num_kv_heads: 1,
            ..config.model
        };
        let train = PretrainTraining { steps: 30, batch: 4, sequence_tokens: 12, ..config.train };
        config.train = PretrainTraining { lr: 1e-2, warmup_steps: 5, ..train };
        config
    }

    /// Counts up, from a start that depends on the index.
    fn counting(index: u64) -> Result<Vec<WeightedToken>> {
        let token = |i| WeightedToken { token: 1 + ((index + i) % 9) as u32, weight: 1.0 + i as f64 };
        Ok((0..5).map(token).collect())
    }

    fn run(config: &PretrainConfig) -> (Decoder, Vec<f64>) {
        let mut losses = Losses(Vec::new());
        let start = start(config, 10, &Device::Cpu).unwrap();
        let decoder = pretrain(&start, config, &counting, 0, &mut losses).unwrap();
        (decoder, losses.0)
    }

    #[test]
    fn the_loss_falls_and_the_same_seed_gives_the_same_losses() {
        let config = small();
        let (decoder, losses) = run(&config);
        assert!(losses[29] < 0.6 * losses[0], "{losses:?}");
        assert_eq!(losses, run(&config).1);
        let mut other = config;
        other.train.seed = 1;
        assert_ne!(losses, run(&other).1);
        assert!(decoder.named_tensors().unwrap().iter().all(|(_, tensor)| !tensor.is_variable()));
    }

    #[test]
    fn training_goes_on_from_a_saved_base_and_refuses_one_of_another_shape() {
        let (first, losses) = run(&small());
        let folder = tempfile::tempdir().unwrap();
        first.save(folder.path(), 0).unwrap();
        let mut config = small();
        config.train.start_from = Some(folder.path().to_owned());
        let (_, more) = run(&config);
        assert!(more[0] < losses[20], "{} after {losses:?}", more[0]);
        config.model.num_layers += 1;
        let error = start(&config, 10, &Device::Cpu).unwrap_err().to_string();
        assert!(error.contains("another shape"), "{error}");
    }

    #[test]
    fn a_row_is_a_document_and_what_fills_it_up_does_not_count() {
        let lengths = |index| {
            let token = |i| WeightedToken { token: i, weight: 2.0 };
            Ok((1..=2 + 2 * index as u32).map(token).collect())
        };
        let train = PretrainTraining { batch: 2, sequence_tokens: 8, ..PretrainTraining::default() };
        let mut rows = Rows { documents: &lengths, end_token: 0, next: 0 };
        let batch = rows.batch(&train, 10, &Device::Cpu).unwrap();
        assert_eq!(batch.inputs.to_vec2::<u32>().unwrap(), [[1, 2, 0, 0], [1, 2, 3, 4]]);
        assert_eq!(batch.targets.to_vec1::<u32>().unwrap(), [2, 0, 0, 0, 2, 3, 4, 0]);
        let weights = [2.0, 1.0, 0.0, 0.0, 2.0, 2.0, 2.0, 1.0].map(|weight| weight / 10.0);
        assert_eq!(batch.weights.to_vec1::<f32>().unwrap(), weights);
        let batch = rows.batch(&train, 10, &Device::Cpu).unwrap();
        assert_eq!(batch.inputs.dims2().unwrap(), (2, 8), "the longer document is cut");
    }

    #[test]
    fn the_rate_rises_to_its_peak_and_ends_at_its_fraction() {
        let train = PretrainTraining::default();
        assert!((learning_rate(&train, 0) - train.lr / 50.0).abs() < 1e-12);
        assert!((learning_rate(&train, 49) - train.lr).abs() < 1e-12);
        assert!((learning_rate(&train, 499) - 0.1 * train.lr).abs() < 1e-12);
    }

    #[test]
    fn a_document_with_an_unknown_token_is_an_error() {
        let documents = |_| Ok([1, 10].map(|token| WeightedToken { token, weight: 1.0 }).to_vec());
        let start = start(&small(), 10, &Device::Cpu).unwrap();
        let error = pretrain(&start, &small(), &documents, 0, &mut Losses(Vec::new())).unwrap_err();
        assert!(error.to_string().contains("token 10"), "{error}");
    }
}
