//! The mean of the meta-gradients of several episodes.

use candle_core::{DType, Tensor};

use crate::error::{Error, Result};

use super::{Affine, Head, MetaGradient};

/// Adds meta-gradients in the order in which they come, so that the sum does not depend on who computed
/// them, and divides by their number.
#[derive(Debug, Default)]
pub struct GradientMean {
    sum: Option<MetaGradient>,
    count: usize,
}

impl GradientMean {
    /// Adds one episode's meta-gradient.
    pub fn add(&mut self, next: MetaGradient) -> Result<()> {
        self.sum = Some(match self.sum.take() {
            None => next,
            Some(sum) => add(&sum, &next)?,
        });
        self.count += 1;
        Ok(())
    }

    /// The mean; losses are means too. Fails if nothing was added.
    pub fn finish(self) -> Result<MetaGradient> {
        let sum = self.sum.ok_or_else(|| Error::Invalid("an outer step needs at least one episode".to_owned()))?;
        scale(&sum, 1.0 / self.count as f64)
    }
}

/// Euclidean norm of a meta-gradient, over adapter, rates and head; summed in f64.
pub fn gradient_norm(gradient: &MetaGradient) -> Result<f64> {
    let mut squares: f64 = gradient.inner_lr.iter().flatten().map(|rate| rate * rate).sum();
    for tensor in gradient.phi0.iter().chain(gradient.head.iter().flat_map(parts)) {
        squares += tensor.sqr()?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    }
    Ok(squares.sqrt())
}

fn parts(head: &Head) -> [&Tensor; 4] {
    [&head.fc1.weight, &head.fc1.bias, &head.fc2.weight, &head.fc2.bias]
}

fn add(left: &MetaGradient, right: &MetaGradient) -> Result<MetaGradient> {
    let pairs = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<_>>();
    let phi0 = left.phi0.iter().zip(&right.phi0).map(|(a, b)| Ok((a + b)?)).collect::<Result<_>>()?;
    let head = match (&left.head, &right.head) {
        (Some(a), Some(b)) => Some(Head { fc1: add_affine(&a.fc1, &b.fc1)?, fc2: add_affine(&a.fc2, &b.fc2)? }),
        _ => None,
    };
    Ok(MetaGradient {
        inner_losses: pairs(&left.inner_losses, &right.inner_losses),
        outer_loss: left.outer_loss + right.outer_loss,
        phi0,
        inner_lr: left.inner_lr.iter().zip(&right.inner_lr).map(|(a, b)| pairs(a, b)).collect(),
        head,
    })
}

fn add_affine(left: &Affine, right: &Affine) -> Result<Affine> {
    Ok(Affine { weight: (&left.weight + &right.weight)?, bias: (&left.bias + &right.bias)? })
}

fn scale(gradient: &MetaGradient, factor: f64) -> Result<MetaGradient> {
    let numbers = |values: &[f64]| values.iter().map(|value| value * factor).collect::<Vec<_>>();
    let affine = |part: &Affine| -> Result<Affine> {
        Ok(Affine { weight: (&part.weight * factor)?, bias: (&part.bias * factor)? })
    };
    let head = match &gradient.head {
        Some(head) => Some(Head { fc1: affine(&head.fc1)?, fc2: affine(&head.fc2)? }),
        None => None,
    };
    Ok(MetaGradient {
        inner_losses: numbers(&gradient.inner_losses),
        outer_loss: gradient.outer_loss * factor,
        phi0: gradient.phi0.iter().map(|tensor| Ok((tensor * factor)?)).collect::<Result<_>>()?,
        inner_lr: gradient.inner_lr.iter().map(|rates| numbers(rates)).collect(),
        head,
    })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn gradient(value: f64) -> MetaGradient {
        let full = |shape: &[usize]| Tensor::full(value, shape, &Device::Cpu).unwrap();
        MetaGradient {
            inner_losses: vec![value, 2.0 * value],
            outer_loss: value,
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
