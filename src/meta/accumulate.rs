//! The mean of the meta-gradients of several episodes.

use candle_core::Tensor;

use crate::{
    error::{Error, Result},
    optim::global_norm,
};

use super::MetaGradient;

/// Adds meta-gradients in the order in which they come, so that the sum does not depend on who computed
/// them, and divides by their number. Holds one sum, however many are added.
#[derive(Debug, Default)]
pub struct GradientMean {
    sum: Option<MetaGradient>,
    count: usize,
}

impl GradientMean {
    /// Adds one episode's meta-gradient; fails if its tensors have other shapes.
    pub fn add(&mut self, next: MetaGradient) -> Result<()> {
        match &mut self.sum {
            None => self.sum = Some(next),
            Some(sum) => add(sum, &next)?,
        }
        self.count += 1;
        Ok(())
    }

    /// The mean; losses are means too. Fails if nothing was added.
    pub fn finish(self) -> Result<MetaGradient> {
        let mut mean =
            self.sum.ok_or_else(|| Error::Invalid("an outer step needs at least one episode".into()))?;
        let factor = 1.0 / self.count as f64;
        let scale = |tensor: &Tensor| -> Result<Tensor> { Ok((tensor * factor)?) };
        mean.inner_losses
            .iter_mut()
            .chain(mean.inner_lr.iter_mut().flatten())
            .for_each(|value| *value *= factor);
        mean.outer_loss *= factor;
        mean.phi_n = mean.phi_n.iter().map(scale).collect::<Result<_>>()?;
        mean.phi0 = mean.phi0.iter().map(scale).collect::<Result<_>>()?;
        mean.head = mean.head.map(|head| head.map(scale)).transpose()?;
        Ok(mean)
    }
}

fn add(sum: &mut MetaGradient, next: &MetaGradient) -> Result<()> {
    let numbers =
        |sum: &mut [f64], next: &[f64]| sum.iter_mut().zip(next).for_each(|(sum, next)| *sum += next);
    numbers(&mut sum.inner_losses, &next.inner_losses);
    sum.inner_lr.iter_mut().zip(&next.inner_lr).for_each(|(sum, next)| numbers(sum, next));
    sum.outer_loss += next.outer_loss;
    let tensors = sum.phi_n.iter_mut().zip(&next.phi_n).chain(sum.phi0.iter_mut().zip(&next.phi0));
    for (sum, next) in tensors {
        *sum = (&*sum + next)?;
    }
    if let (Some(head), Some(next)) = (&sum.head, &next.head) {
        sum.head = Some(head.zip(next, |head, next| Ok((head + next)?))?);
    }
    Ok(())
}

/// Euclidean norm of a meta-gradient, over adapter, rates and head.
pub fn gradient_norm(gradient: &MetaGradient) -> Result<f64> {
    let head = gradient.head.iter().flat_map(|head| head.tensors().map(Tensor::clone));
    let tensors: Vec<Tensor> = gradient.phi0.iter().cloned().chain(head).collect();
    let rates = gradient.inner_lr.iter().flatten().map(|rate| rate * rate).sum::<f64>();
    Ok(global_norm(&tensors)?.hypot(rates.sqrt()))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use candle_core::Device;

    use crate::meta::{Affine, Head};

    use super::*;

    fn gradient(value: f64) -> MetaGradient {
        let full = |shape: &[usize]| Tensor::full(value, shape, &Device::Cpu).unwrap();
        MetaGradient {
            inner_losses: vec![value, 2.0 * value],
            outer_loss: value,
            phi_n: vec![full(&[2, 3]), full(&[3, 2])],
            phi0: vec![full(&[2, 3]), full(&[3, 2])],
            inner_lr: vec![vec![value; 2]; 2],
            head: Some(Head {
                fc1: Affine { weight: full(&[2, 3]), bias: full(&[2]) },
                fc2: Affine { weight: full(&[1, 2]), bias: full(&[1]) },
            }),
        }
    }

    #[test]
    fn the_mean_of_two_meta_gradients_is_half_their_sum_in_every_part() {
        let mut mean = GradientMean::default();
        mean.add(gradient(1.0)).unwrap();
        mean.add(gradient(4.0)).unwrap();
        let mean = mean.finish().unwrap();
        assert_eq!((mean.outer_loss, mean.inner_losses.as_slice()), (2.5, [2.5, 5.0].as_slice()));
        assert_eq!(mean.phi0[1].to_vec2::<f64>().unwrap(), [[2.5; 2]; 3]);
        assert_eq!(mean.phi_n[0].to_vec2::<f64>().unwrap(), [[2.5; 3]; 2]);
        assert_eq!(mean.inner_lr, [[2.5; 2]; 2]);
        assert_eq!(mean.head.unwrap().fc2.bias.to_vec1::<f64>().unwrap(), [2.5]);
    }

    #[test]
    fn the_norm_counts_every_number() {
        // 12 of the adapter, 4 rates, 6 + 2 + 2 + 1 of the head.
        let norm = gradient_norm(&gradient(2.0)).unwrap();
        assert!((norm - (27.0 * 4.0_f64).sqrt()).abs() < 1e-12, "{norm}");
    }

    #[test]
    fn a_step_without_episodes_is_refused() {
        assert!(GradientMean::default().finish().is_err());
    }
}
