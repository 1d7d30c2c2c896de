//! The way back through the inner steps: reverse over the steps, forward over the gradient.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::autodiff::{Dual, Ops};
use crate::optim::{self, Iterate, Rule};

use super::inner::{self, InnerSteps, Iterates};
use super::{Head, Learner, MetaParams, MetaTree, SequenceLoss};

/// Cotangents on their way back from φ_N to what is meta-learned.
pub(super) struct Sweep<'a, R: Rule> {
    learner: &'a Learner,
    steps: InnerSteps<'a, R>,
    params: &'a MetaParams,
    context: &'a SequenceLoss,
    /// The gradient of each step. With φ₀ they are all that is kept of the way there: the adapter and its
    /// rule's state before a step are had again by taking the steps before it, which costs no model pass.
    grads: Vec<Vec<Tensor>>,
    /// Of the adapter and its rule's state after the step to go through next.
    cotangents: Iterates<R>,
    /// Of the learning rates of each step that was gone through, one a tensor, still on the device.
    inner_lr: Vec<(usize, Tensor)>,
    head: Option<Head>,
}

impl<'a, R: Rule> Sweep<'a, R> {
    /// At the end of the unroll: `outer` is the gradient of the outer loss with respect to φ_N.
    pub fn new(
        learner: &'a Learner,
        steps: InnerSteps<'a, R>,
        params: &'a MetaParams,
        context: &'a SequenceLoss,
        grads: Vec<Vec<Tensor>>,
        outer: &[Tensor],
    ) -> Result<Self> {
        let head = params.head.as_ref().map(|head| head.map(|t| Ok(t.zeros_like()?))).transpose()?;
        let cotangents = steps.end(outer)?;
        Ok(Self { learner, steps, params, context, grads, cotangents, inner_lr: vec![], head })
    }

    fn before(&self, step: usize) -> Result<Iterates<R>> {
        let mut at = self.steps.start();
        for (n, grads) in self.grads[..step].iter().enumerate() {
            at = self.steps.step(&at, grads, n)?;
        }
        Ok(at)
    }

    /// Through inner step `step`, from 0; the last step first.
    pub fn back_through(&mut self, step: usize) -> Result<()> {
        let options = self.steps.options;
        let at = self.before(step)?;
        let grads = self.grads.pop().expect("one gradient a step");
        let back = self.steps.step_vjp(&at, &grads, step, &self.cotangents)?;
        drop(grads);
        self.inner_lr.push((step, back.lrs));
        self.cotangents = back.before;
        if step + options.differentiated < options.steps {
            // The gradient of this step, and so its moments, count as constants.
            return Ok(());
        }
        let phi = inner::adapter(&at);
        // The rule's state is not needed while the product takes its memory.
        drop(at);
        self.add_product(&phi, back.grads)
    }

    /// Adds the Hessian-vector product: the tangent of the inner gradient along the gradient's cotangent.
    fn add_product(&mut self, phi: &[Tensor], direction: Vec<Tensor>) -> Result<()> {
        let dual = |(phi, tangent): (&Tensor, Tensor)| Dual::new(phi.clone(), Some(tangent));
        let phi = phi.iter().zip(direction).map(dual).collect::<Result<Vec<_>>>()?;
        let head = self.params.head.as_ref().map(|h| h.map(|t| Ok(Dual::constant(t)))).transpose()?;
        let (backbone, layout) = (&self.learner.backbone, &self.learner.layout);
        let (_, product) = self.context.gradient(backbone, layout, &phi, head.as_ref(), &mut |_| Ok(()))?;
        let parts = product.adapter.iter().map(Dual::tangent_or_zeros).collect::<Result<Vec<_>>>()?;
        let pairs: Vec<_> = self.cotangents.iter().zip(&parts).map(|(at, part)| [&at.param, part]).collect();
        let sums = Tensor::add_each(&pairs)?;
        for (at, param) in self.cotangents.iter_mut().zip(sums) {
            *at = Iterate { param, state: at.state.clone() };
        }
        if let (Some(sum), Some(part)) = (&self.head, &product.head) {
            let part = part.map(Dual::tangent_or_zeros)?;
            self.head = Some(sum.zip(&part, |a, b| Ok((a + b)?))?);
        }
        Ok(())
    }

    /// Norm of what has come back to φ₀, of each episode.
    #[expect(clippy::disallowed_methods, reason = "in one read, once a meta-gradient")]
    pub fn norms(&self) -> Result<Vec<f64>> {
        Ok(optim::norms(&inner::adapter(&self.cotangents), self.steps.episodes)?.to_vec1()?)
    }

    /// What has come back to φ₀, the rates and the head, summed over the episodes.
    #[expect(
        clippy::disallowed_methods,
        reason = "the rates are on the host as a rule; once a meta-gradient"
    )]
    pub fn finish(self) -> Result<MetaTree<Tensor>> {
        let (tensors, rates) = self.params.inner_lr.dims2()?;
        let mut numbers = vec![0.0; tensors * rates];
        for (step, cotangents) in &self.inner_lr {
            let cotangents: Vec<f64> = cotangents.to_vec1()?;
            cotangents.iter().enumerate().for_each(|(tensor, &lr)| numbers[tensor * rates + step] = lr);
        }
        let inner_lr = Tensor::from_vec(numbers, (tensors, rates), &Device::Cpu)?;
        let adapter = inner::total(&inner::adapter(&self.cotangents), self.steps.episodes)?;
        Ok(MetaTree { adapter, inner_lr, head: self.head })
    }
}
