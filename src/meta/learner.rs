//! Inner loop and meta-gradient: reverse over the steps, forward over the gradient.

use candle_core::Tensor;

use crate::autodiff::{Dual, Ops};
use crate::model::lora::LoraLayout;
use crate::model::{Activations, Backbone, Decoder};
use crate::optim::State;
use crate::text::Sequence;
use crate::{Error, Result};

use super::batch::LabelledBatch;
use super::head::Head;
use super::inner::{self, States};
use super::options::InnerOptions;
use super::support::{Support, SupportLoss, longest};

/// A frozen decoder, the form of its adapter, and the settings of the inner loop.
#[derive(Debug, Clone)]
pub struct Learner {
    /// The decoder.
    pub backbone: Backbone,
    /// The adapter's form.
    pub layout: LoraLayout,
    /// The inner loop's settings.
    pub options: InnerOptions,
}

/// What meta-training learns, as the inner loop uses it.
#[derive(Debug, Clone)]
pub struct MetaParams {
    /// The adapter's start φ₀, in the layout's order.
    pub phi0: Vec<Tensor>,
    /// Learning rates α of every tensor (outer index) and inner step.
    pub inner_lr: Vec<Vec<f64>>,
    /// The token-weighting head, if the inner loss is weighted.
    pub head: Option<Head>,
}

/// How the inner loop goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Adapting {
    /// Part of a step's gradient is summed.
    MicroBatch {
        /// The inner step, from 0.
        step: usize,
        /// Micro-batches done in this step.
        micro_batches: usize,
    },
    /// A step was taken.
    Step {
        /// The inner step, from 0.
        step: usize,
        /// The loss before it.
        before: SupportLoss,
    },
}

/// An adapter that has learned a context.
#[derive(Debug, Clone)]
pub struct Adapted {
    /// Its tensors φ_N, in the layout's order.
    pub phi: Vec<Tensor>,
    /// The inner loss before each step.
    pub inner_losses: Vec<f64>,
}

/// Gradient of the outer loss with respect to [`MetaParams`], of the same shapes.
#[derive(Debug, Clone)]
pub struct MetaGradient {
    /// The inner loss before each step.
    pub inner_losses: Vec<f64>,
    /// The answer's loss under φ_N.
    pub outer_loss: f64,
    /// ∂L_out/∂φ_N, before it goes back through the steps.
    pub phi_n: Vec<Tensor>,
    /// ∂L_out/∂φ₀.
    pub phi0: Vec<Tensor>,
    /// ∂L_out/∂α.
    pub inner_lr: Vec<Vec<f64>>,
    /// ∂L_out/∂w of the head; zero if no step is differentiated.
    pub head: Option<Head>,
}

impl Learner {
    /// Joins a decoder with the adapter's form and the inner settings.
    ///
    /// # Errors
    /// An adapter without matrices, or more differentiated steps than steps.
    pub fn new(decoder: Decoder, layout: LoraLayout, options: InnerOptions) -> Result<Self> {
        if layout.sites.is_empty() {
            return Err(Error::Invalid(
                "the adapter has no matrix: name at least one target and layer".into(),
            ));
        }
        if options.differentiated > options.steps {
            let (t, n) = (options.differentiated, options.steps);
            return Err(Error::Invalid(format!("cannot differentiate {t} of {n} inner steps")));
        }
        Ok(Self { backbone: Backbone::new(decoder)?, layout, options })
    }

    /// The inner loss of a context.
    ///
    /// # Errors
    /// No segment, no token to predict, or a token outside the vocabulary.
    pub fn support(&self, segments: &[Sequence]) -> Result<Support> {
        Support::from_segments(&self.backbone, &self.layout, segments, &self.options)
    }

    /// The outer loss of the questions, with the answers' tokens labelled.
    ///
    /// # Errors
    /// As [`support`](Self::support).
    pub fn queries(&self, queries: &[Sequence]) -> Result<Support> {
        let decoder = &self.backbone.decoder;
        let width = longest(queries)?;
        let batch = LabelledBatch::from_sequences(queries, width, &decoder.config, &decoder.device)?;
        Support::queries(&self.backbone, &self.layout, batch, Activations::Keep)
    }

    /// Writes a context into the adapter: N inner steps from φ₀.
    ///
    /// # Errors
    /// Parameters that do not fit the adapter or the settings, and as [`support`](Self::support).
    pub fn adapt(&self, params: &MetaParams, segments: &[Sequence]) -> Result<Adapted> {
        self.adapt_to(params, &self.support(segments)?, &mut |_| {})
    }

    /// As [`adapt`](Self::adapt), on a prepared context; `watch` is told how it goes on.
    ///
    /// # Errors
    /// Parameters that do not fit the adapter or the settings.
    pub fn adapt_to(
        &self,
        params: &MetaParams,
        support: &Support,
        watch: &mut dyn FnMut(Adapting),
    ) -> Result<Adapted> {
        self.check(params)?;
        let mut states = inner::start(&params.phi0)?;
        let mut inner_losses = vec![];
        for step in 0..self.options.steps {
            let phi = inner::params(&states);
            let mut done = |micro_batches| watch(Adapting::MicroBatch { step, micro_batches });
            let (loss, grads) =
                support.gradient(&self.backbone, &self.layout, &phi, params.head.as_ref(), &mut done)?;
            drop(phi);
            states = self.options.step(&states, &grads.adapter, step, &params.inner_lr)?;
            inner_losses.push(loss.loss);
            watch(Adapting::Step { step, before: loss });
        }
        Ok(Adapted { phi: inner::params(&states), inner_losses })
    }

    /// The inner loss of a context under the adapter `phi`: a forward pass; `done(n)` is called after the
    /// n-th micro-batch, from 1.
    ///
    /// # Errors
    /// Parameters that do not fit the adapter or the settings.
    pub fn support_loss(
        &self,
        params: &MetaParams,
        support: &Support,
        phi: &[Tensor],
        done: &mut dyn FnMut(usize),
    ) -> Result<SupportLoss> {
        self.check(params)?;
        support.loss(&self.backbone, &self.layout, phi, params.head.as_ref(), done)
    }

    /// Loss of an episode's answers after adapting to its context, and its gradient with respect to
    /// `params` through the last T inner steps (PERK, section 3.2).
    ///
    /// # Errors
    /// As [`adapt`](Self::adapt). Numbers that are not finite are no error here: the caller knows the episode.
    pub fn meta_gradient(
        &self,
        params: &MetaParams,
        segments: &[Sequence],
        queries: &[Sequence],
    ) -> Result<MetaGradient> {
        self.meta_gradient_of(params, &self.support(segments)?, &self.queries(queries)?)
    }

    /// As [`meta_gradient`](Self::meta_gradient), on a prepared context and questions.
    ///
    /// # Errors
    /// As [`adapt_to`](Self::adapt_to).
    pub fn meta_gradient_of(
        &self,
        params: &MetaParams,
        support: &Support,
        queries: &Support,
    ) -> Result<MetaGradient> {
        self.check(params)?;
        let mut states = inner::start(&params.phi0)?;
        let (mut grads, mut inner_losses) = (vec![], vec![]);
        for step in 0..self.options.steps {
            let (loss, grad) = inner_gradient(self, params, support, &inner::params(&states))?;
            states = self.options.step(&states, &grad, step, &params.inner_lr)?;
            inner_losses.push(loss);
            grads.push(grad);
        }
        let phi = inner::params(&states);
        let (outer_loss, outer) = queries.gradient(&self.backbone, &self.layout, &phi, None, &mut |_| {})?;
        drop((phi, states));
        let phi_n = outer.adapter;
        let mut sweep = Sweep::new(self, params, support, grads, &phi_n)?;
        for step in (0..self.options.steps).rev() {
            sweep.back_through(step)?;
        }
        Ok(MetaGradient {
            inner_losses,
            outer_loss: outer_loss.loss,
            phi_n,
            phi0: inner::params(&sweep.cotangents),
            inner_lr: sweep.inner_lr,
            head: sweep.head,
        })
    }

    /// Loss of answers under φ₀ itself, without an inner step, and its gradient: plain fine-tuning. The
    /// learning rates and the head get a gradient of zero.
    ///
    /// # Errors
    /// As [`adapt`](Self::adapt).
    pub fn answer_gradient(&self, params: &MetaParams, queries: &[Sequence]) -> Result<MetaGradient> {
        self.check(params)?;
        let queries = self.queries(queries)?;
        let (loss, gradient) =
            queries.gradient(&self.backbone, &self.layout, &params.phi0, None, &mut |_| {})?;
        Ok(MetaGradient {
            inner_losses: vec![],
            outer_loss: loss.loss,
            phi_n: gradient.adapter.clone(),
            phi0: gradient.adapter,
            inner_lr: params.inner_lr.iter().map(|rates| vec![0.0; rates.len()]).collect(),
            head: params.head.as_ref().map(|head| head.map(|t| Ok(t.zeros_like()?))).transpose()?,
        })
    }

    /// Refuses parameters that do not fit the adapter or the settings.
    fn check(&self, params: &MetaParams) -> Result<()> {
        let expected = self.layout.num_tensors();
        if params.phi0.len() != expected || params.inner_lr.len() != expected {
            let (phi0, lr) = (params.phi0.len(), params.inner_lr.len());
            return Err(Error::Invalid(format!(
                "the adapter has {expected} tensors, but the start has {phi0} and the learning rates {lr}"
            )));
        }
        for (index, (tensor, lrs)) in params.phi0.iter().zip(&params.inner_lr).enumerate() {
            let (name, shape) = (self.layout.name(index), self.layout.shape(index));
            if tensor.dims2()? != shape {
                let found = tensor.dims();
                return Err(Error::Invalid(format!("`{name}` should be {shape:?}, but is {found:?}")));
            }
            if lrs.len() < self.options.steps {
                let (found, steps) = (lrs.len(), self.options.steps);
                return Err(Error::Invalid(format!("`{name}` has {found} learning rates for {steps} steps")));
            }
        }
        if params.head.is_some() != self.options.weighted {
            return Err(Error::Invalid(
                "a weighted inner loss needs a head, and an unweighted one none".into(),
            ));
        }
        Ok(())
    }
}

/// The inner loss and its gradient at `phi`.
pub(super) fn inner_gradient(
    learner: &Learner,
    params: &MetaParams,
    support: &Support,
    phi: &[Tensor],
) -> Result<(f64, Vec<Tensor>)> {
    let head = params.head.as_ref();
    let (loss, grads) = support.gradient(&learner.backbone, &learner.layout, phi, head, &mut |_| {})?;
    Ok((loss.loss, grads.adapter))
}

/// The way back through the inner steps.
struct Sweep<'a> {
    learner: &'a Learner,
    params: &'a MetaParams,
    support: &'a Support,
    /// The gradient of each step. With φ₀ they are all that is kept of the way there: the adapter and the
    /// moments before a step are had again by taking the steps before it, which costs no model pass.
    grads: Vec<Vec<Tensor>>,
    /// Of the adapter and its moments after the step to go through next.
    cotangents: States,
    inner_lr: Vec<Vec<f64>>,
    head: Option<Head>,
}

impl<'a> Sweep<'a> {
    fn new(
        learner: &'a Learner,
        params: &'a MetaParams,
        support: &'a Support,
        grads: Vec<Vec<Tensor>>,
        phi_n: &[Tensor],
    ) -> Result<Self> {
        let inner_lr = params.inner_lr.iter().map(|lrs| vec![0.0; lrs.len()]).collect();
        let head = params.head.as_ref().map(|head| head.map(|t| Ok(t.zeros_like()?))).transpose()?;
        Ok(Self { learner, params, support, grads, cotangents: inner::start(phi_n)?, inner_lr, head })
    }

    fn states_before(&self, step: usize) -> Result<States> {
        let mut states = inner::start(&self.params.phi0)?;
        for (n, grads) in self.grads[..step].iter().enumerate() {
            states = self.learner.options.step(&states, grads, n, &self.params.inner_lr)?;
        }
        Ok(states)
    }

    fn back_through(&mut self, step: usize) -> Result<()> {
        let options = &self.learner.options;
        let states = self.states_before(step)?;
        let grads = self.grads.pop().expect("one gradient a step");
        let back = options.step_vjp(&states, &grads, step, &self.params.inner_lr, &self.cotangents)?;
        drop(grads);
        for (sums, lr) in self.inner_lr.iter_mut().zip(&back.lrs) {
            sums[step] = *lr;
        }
        self.cotangents = back.states;
        if step + options.differentiated < options.steps {
            // The gradient of this step, and so its moments, count as constants.
            return Ok(());
        }
        self.add_product(&inner::params(&states), back.grads)
    }

    /// Adds the Hessian-vector product: the tangent of the inner gradient along the gradient's cotangent.
    fn add_product(&mut self, phi: &[Tensor], direction: Vec<Tensor>) -> Result<()> {
        let dual = |(phi, tangent): (&Tensor, Tensor)| Dual::new(phi.clone(), Some(tangent));
        let phi = phi.iter().zip(direction).map(dual).collect::<Result<Vec<_>>>()?;
        let head = self.params.head.as_ref().map(|h| h.map(|t| Ok(Dual::constant(t)))).transpose()?;
        let learner = self.learner;
        let (backbone, layout) = (&learner.backbone, &learner.layout);
        let (_, product) = self.support.gradient(backbone, layout, &phi, head.as_ref(), &mut |_| {})?;
        for (state, part) in self.cotangents.iter_mut().zip(&product.adapter) {
            let param = (&state.param + part.tangent_or_zeros()?)?;
            *state = State { param, ..state.clone() };
        }
        if let (Some(sum), Some(part)) = (&self.head, &product.head) {
            let part = part.map(Dual::tangent_or_zeros)?;
            self.head = Some(sum.zip(&part, |a, b| Ok((a + b)?))?);
        }
        Ok(())
    }
}
