//! The mean of the meta-gradients of several episodes.

use crate::error::{Error, Result};

use crate::ranks::{Ranks, is_alone, sum_tensors};

use super::{EpisodeGradient, MetaGradient, MetaGradients, MetaParams};

/// Adds meta-gradients in the order in which they come, so that the sum does not depend on who computed
/// them, and divides by their number. Holds one sum, however many are added.
#[derive(Debug, Default)]
pub struct GradientMean {
    sum: Option<MetaGradient>,
    count: usize,
}

impl GradientMean {
    /// Adds the meta-gradients of one or several episodes; fails if the tensors have other shapes.
    pub fn add(&mut self, next: MetaGradients) -> Result<()> {
        self.count += next.episodes.len();
        let steps = next.episodes.first().map_or(0, |episode| episode.inner_losses.len());
        let start = MetaGradient { inner_losses: vec![0.0; steps], outer_loss: 0.0, tree: next.tree };
        let mut sum = match self.sum.take() {
            None => start,
            Some(sum) => MetaGradient { tree: sum.tree.add(&start.tree)?, ..sum },
        };
        for EpisodeGradient { inner_losses, outer_loss, .. } in &next.episodes {
            sum.inner_losses.iter_mut().zip(inner_losses).for_each(|(sum, loss)| *sum += loss);
            sum.outer_loss += outer_loss;
        }
        self.sum = Some(sum);
        Ok(())
    }

    /// The same with what all `ranks` have added; `params` has the form of the sum for a rank that had no episode.
    ///
    /// # Errors
    /// Ranks that cannot be reached, or tensors of other shapes.
    pub fn over(self, ranks: &dyn Ranks, params: &MetaParams, steps: usize) -> Result<Self> {
        if is_alone(ranks) {
            return Ok(self);
        }
        let nothing = || -> Result<_> {
            let tree = params.zeros_like()?;
            Ok(MetaGradient { inner_losses: vec![0.0; steps], outer_loss: 0.0, tree })
        };
        let own = self.sum.map_or_else(nothing, Ok)?;
        let mut numbers = own.inner_losses;
        numbers.extend([own.outer_loss, self.count as f64]);
        ranks.sum_f64(&mut numbers)?;
        let (count, outer_loss) = (numbers.pop().unwrap_or_default(), numbers.pop().unwrap_or_default());
        let mut sums = sum_tensors(ranks, &own.tree.leaves().collect::<Vec<_>>())?.into_iter();
        let tree = own.tree.map(|_| Ok(sums.next().expect("there is a sum for every tensor")))?;
        Ok(Self {
            sum: Some(MetaGradient { inner_losses: numbers, outer_loss, tree }),
            count: count as usize,
        })
    }

    /// The mean; losses are means too. Fails if nothing was added.
    pub fn finish(self) -> Result<MetaGradient> {
        let nothing = || Error::Invalid("an outer step needs at least one episode".into());
        let sum = self.sum.ok_or_else(nothing)?;
        let factor = 1.0 / self.count as f64;
        Ok(MetaGradient {
            inner_losses: sum.inner_losses.iter().map(|loss| loss * factor).collect(),
            outer_loss: sum.outer_loss * factor,
            tree: sum.tree.scale(factor)?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use candle_core::{Device, Tensor};

    use crate::meta::MetaTree;

    use super::*;

    /// Meta-gradients of episodes with such losses, whose sum has `value` everywhere.
    fn gradients(losses: &[f64], value: f64) -> MetaGradients {
        let full = |shape: &[usize]| Tensor::full(value, shape, &Device::Cpu).unwrap();
        let tree = MetaTree { adapter: vec![full(&[2, 3])], inner_lr: full(&[1, 2]), head: None };
        let own =
            |&loss| EpisodeGradient { inner_losses: vec![loss, 2.0 * loss], outer_loss: loss, norm: 0.0 };
        MetaGradients { episodes: losses.iter().map(own).collect(), tree }
    }

    #[test]
    fn the_mean_of_two_meta_gradients_is_half_their_sum_in_every_part() {
        let mut mean = GradientMean::default();
        mean.add(gradients(&[1.0], 1.0)).unwrap();
        mean.add(gradients(&[4.0], 4.0)).unwrap();
        let mean = mean.finish().unwrap();
        assert_eq!((mean.outer_loss, mean.inner_losses.as_slice()), (2.5, [2.5, 5.0].as_slice()));
        assert_eq!(mean.tree.adapter[0].to_vec2::<f64>().unwrap(), [[2.5; 3]; 2]);
        assert_eq!(mean.tree.inner_lr.to_vec2::<f64>().unwrap(), [[2.5; 2]]);
    }

    #[test]
    fn episodes_that_were_computed_together_count_as_many() {
        let mut mean = GradientMean::default();
        mean.add(gradients(&[1.0], 1.0)).unwrap();
        mean.add(gradients(&[2.0, 6.0], 8.0)).unwrap();
        let mean = mean.finish().unwrap();
        assert_eq!((mean.outer_loss, mean.inner_losses.as_slice()), (3.0, [3.0, 6.0].as_slice()));
        assert_eq!(mean.tree.inner_lr.to_vec2::<f64>().unwrap(), [[3.0; 2]]);
    }

    #[test]
    fn a_step_without_episodes_is_refused() {
        assert!(GradientMean::default().finish().is_err());
    }
}
