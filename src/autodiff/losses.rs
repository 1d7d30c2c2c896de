//! Next-token losses of hidden states, where a device takes them without the logits in memory.

#![allow(clippy::disallowed_methods)] // For the CPU: nothing is copied to another device.

use candle_core::{DType, Device, Tensor};

use super::frozen::Form;
use super::packed::{CpuKernel, Packed, Predictions};
use super::rows::numbers;
use super::{Dual, Frozen, Ops};
use crate::{Error, Result};

/// Fewer rows are multiplied otherwise.
const LEAST_ROWS: usize = 7;

/// `[ce, drows]` as of [`Ops::losses`](super::Ops::losses) on the CPU; `None` where logits are written down.
pub(super) fn on_tiles(
    rows: &Dual,
    weights: &Dual,
    matrix: &Frozen,
    targets: &[u32],
) -> Result<Option<[Dual; 2]>> {
    let Form::Packed(packed) = matrix.form() else { return Ok(None) };
    let fits = CpuKernel::chosen() == CpuKernel::Amx && targets.len() >= LEAST_ROWS;
    match fits && rows.primal().dtype() == DType::F32 && rows.primal().device().is_cpu() {
        true => run(rows, weights, packed, targets).map(Some),
        false => Ok(None),
    }
}

fn run(rows: &Dual, weights: &Dual, packed: &Packed, targets: &[u32]) -> Result<[Dual; 2]> {
    let (out, width) = packed.dims();
    let count = targets.len();
    if rows.primal().dims() != [count, width] || weights.primal().dims() != [count] {
        let (rows, weights) = (rows.primal().shape(), weights.primal().shape());
        return Err(Error::Invalid(format!("no {count} losses of rows {rows:?} weighted by {weights:?}")));
    }
    if let Some(target) = targets.iter().find(|target| **target as usize >= out) {
        return Err(Error::Invalid(format!("a vocabulary of {out} tokens has no token {target}")));
    }
    let varies = rows.tangent().is_some() || weights.tangent().is_some();
    let (rows, weights) = (flat(rows, varies)?, flat(weights, varies)?);
    let (rows_guard, rows_layout) = rows.storage_and_layout();
    let (weights_guard, weights_layout) = weights.storage_and_layout();
    let losses = packed.losses(Predictions {
        hidden: numbers(&rows_guard, rows_layout.start_offset(), rows_layout.shape())?,
        weights: numbers(&weights_guard, weights_layout.start_offset(), weights_layout.shape())?,
        targets,
        varies,
    });
    let dual = |numbers: Vec<f32>, shape: &[usize]| match varies {
        true => Dual::from_stacked(Tensor::from_vec(numbers, [&[2], shape].concat(), &Device::Cpu)?),
        false => Ok(Dual::constant(&Tensor::from_vec(numbers, shape, &Device::Cpu)?)),
    };
    Ok([dual(losses.ce, &[count])?, dual(losses.dhidden, &[count, width])?])
}

/// The numbers of a value, and behind them those of its derivative if it is to vary.
fn flat(x: &Dual, varies: bool) -> Result<Tensor> {
    match (x.stacked(), varies) {
        (_, false) => Ok(x.primal().contiguous()?),
        (Some(stacked), true) => Ok(stacked.contiguous()?),
        (None, true) => Ok(Tensor::stack(&[x.primal(), &x.tangent_or_zeros()?], 0)?),
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernels::{Targets, cross_entropy};
    use super::super::{choose, fused};
    use super::*;
    use crate::autodiff::Stored;
    use crate::config::MatmulPrecision;

    fn random(dims: &[usize], scale: f64, seed: u64) -> Tensor {
        let number = |i: u64| {
            let bits = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ seed.wrapping_mul(0xd134_2543_de82_ef95));
            (bits >> 40) as f64 / (1u64 << 23) as f64 - 1.0
        };
        let numbers: Vec<f64> =
            (0..dims.iter().product::<usize>() as u64).map(|i| scale * number(i)).collect();
        let numbers = Tensor::from_vec(numbers, dims, &Device::Cpu).unwrap();
        // What f32 holds, so that both ways begin with the same numbers.
        numbers.to_dtype(DType::F32).unwrap()
    }

    fn wide(x: &Tensor) -> Tensor {
        x.to_dtype(DType::F64).unwrap()
    }

    /// Distance of two tensors relative to the second one's norm.
    fn off(found: &Tensor, expected: &Tensor) -> f64 {
        let norm = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt();
        norm(&(wide(found) - expected).unwrap()) / norm(expected)
    }

    /// Losses and gradients by logits that are written down, in f64.
    fn expected(rows: &Dual, weights: &Dual, matrix: &Tensor, targets: &[u32]) -> [Dual; 2] {
        let [rows, weights] = [rows, weights].map(|x| x.linear(|x| x.to_dtype(DType::F64)).unwrap());
        let matrix = Frozen::from(wide(matrix));
        let logits = rows.affine(&matrix, None, None, Stored::Whole).unwrap();
        let (count, targets) = (targets.len(), Targets::new(targets.to_vec()));
        let [dlogits, ce] = cross_entropy(&logits, &weights, &targets, 0..count, Stored::Whole).unwrap();
        [ce, dlogits.affine_back(&matrix, None, Stored::Whole).unwrap()]
    }

    /// Rows of a vocabulary of several blocks; the targets of some are all but certain, of others all but impossible.
    fn check(varies: bool, precision: MatmulPrecision, tolerance: f64) {
        let (count, width, vocab) = (301, 70, 1100);
        let matrix = random(&[vocab, width], 1.0, 1).to_dtype(DType::BF16).unwrap();
        let targets: Vec<u32> = (0..count).map(|i| (i * 367 % vocab) as u32).collect();
        let target_rows = matrix
            .to_dtype(DType::F32)
            .unwrap()
            .index_select(&Tensor::new(targets.as_slice(), &Device::Cpu).unwrap(), 0)
            .unwrap();
        let strength: Vec<f32> = (0..count).map(|i| [0.0, 1.0, -2.0, 3.0][i % 4]).collect();
        let strength = Tensor::from_vec(strength, (count, 1), &Device::Cpu).unwrap();
        let primal =
            (random(&[count, width], 1.0, 2) + target_rows.broadcast_mul(&strength).unwrap()).unwrap();
        let dual = |x: Tensor, seed| match varies {
            true => Dual::new(x.clone(), Some(random(x.dims(), 1.0, seed))).unwrap(),
            false => Dual::constant(&x),
        };
        let (rows, weights) = (dual(primal, 3), dual(random(&[count], 1.0, 4), 5));
        let frozen = Frozen::from(matrix.clone()).pack(precision).unwrap();
        let found = choose::losses(&rows, &weights, &frozen, &targets).unwrap().unwrap();
        for (nth, (found, expected)) in
            found.iter().zip(&expected(&rows, &weights, &matrix, &targets)).enumerate()
        {
            let value = off(found.primal(), expected.primal());
            assert!(value < tolerance, "{precision:?}, {nth}: {value:e} off");
            assert_eq!(found.tangent().is_some(), varies);
            if varies {
                let tangent = off(found.tangent().unwrap(), expected.tangent().unwrap());
                assert!(tangent < tolerance, "{precision:?}, derivative {nth}: {tangent:e} off");
            }
        }
    }

    /// Whether matrices are packed for AMX here.
    fn is_asked() -> bool {
        let otherwise = choose::composed_only() || fused::is_for(&Device::Cpu);
        CpuKernel::chosen() == CpuKernel::Amx && !otherwise
    }

    #[test]
    fn losses_without_logits_are_those_with_them() {
        if !is_asked() {
            return println!("this machine lacks AMX, or is not to use it");
        }
        for varies in [false, true] {
            check(varies, MatmulPrecision::Medium, 2e-2);
            check(varies, MatmulPrecision::High, 1e-4);
            check(varies, MatmulPrecision::Highest, 2e-6);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_few_rows_are_left_to_others() {
        if !is_asked() {
            return println!("this machine lacks AMX, or is not to use it");
        }
        let matrix = random(&[40, 8], 1.0, 1).to_dtype(DType::BF16).unwrap();
        let frozen = Frozen::from(matrix).pack(MatmulPrecision::Medium).unwrap();
        let losses = |rows: usize, width: usize, target: u32| {
            let rows = (random(&[rows, width], 1.0, 2), random(&[rows], 1.0, 3), vec![target; rows]);
            rows.0.losses(&rows.1, &frozen, &rows.2)
        };
        assert!(losses(9, 8, 39).unwrap().is_some());
        assert!(losses(3, 8, 39).unwrap().is_none());
        assert!(losses(9, 8, 40).is_err());
        assert!(losses(9, 7, 39).is_err());
    }
}
