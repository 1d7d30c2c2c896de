//! The inner loop with a look at the adapter between its steps.

use candle_core::Tensor;

use crate::Result;

use super::inner::{self, InnerSteps};
use super::learner::{Adapting, one_of};
use super::options::{InnerOptimizer, with_rule};
use super::{Learner, MetaParams, SequenceLoss};

impl Learner {
    /// As [`adapt_to`](Self::adapt_to), and returns the adapter alone; `see` is given the adapter φ_n before step n, from 0,
    /// and φ_N behind the last of the N steps.
    ///
    /// # Errors
    /// As [`adapt_to`](Self::adapt_to), and what `see` returns.
    pub fn adapt_seen(
        &self,
        params: &MetaParams,
        context: &SequenceLoss,
        see: &mut dyn FnMut(usize, &[Tensor]) -> Result<()>,
        watch: &mut dyn FnMut(Adapting) -> Result<()>,
    ) -> Result<Vec<Tensor>> {
        one_of(context)?;
        self.check(params)?;
        let (backbone, layout, head) = (&self.backbone, &self.layout, params.head.as_ref());
        with_rule!(self.options.optimizer, rule => {
            let steps = InnerSteps::new(&self.options, rule, params, 1)?;
            let mut at = steps.start();
            for step in 0..self.options.steps {
                let phi = inner::adapter(&at);
                see(step, &phi)?;
                let mut done = |micro_batches| watch(Adapting::MicroBatch { step, micro_batches });
                let (before, gradient) = context.gradient(backbone, layout, &phi, head, &mut done)?;
                drop(phi);
                at = steps.step(&at, &gradient.adapter, step)?;
                watch(Adapting::Step { step, before: before[0] })?;
            }
            let phi = inner::adapter(&at);
            see(self.options.steps, &phi)?;
            Ok(phi)
        })
    }
}
