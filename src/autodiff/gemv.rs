//! Products of a matrix with one row, as decoding takes them token by token.
//!
//! Every weight is read once for one multiplication, so the memory sets the pace: the rows are read from end
//! to end, in the type they are stored in, by all threads, and nothing is packed first as `gemm` does.

#![allow(clippy::disallowed_methods)] // The loops of the CPU: nothing is copied to another device.

use std::ops::Range;

use candle_core::{DType, Device, Tensor, WithDType};
use half::{bf16, f16};
use rayon::prelude::*;

use super::product::{Factor, Part, Sum, Term};
use super::{Dual, Ops, Real, rows};
use crate::Result;
use crate::vectors::vectorised;

/// Partial sums of a product: four vectors of AVX2 or two of AVX-512, enough to hide the additions' latency.
const LANES: usize = 32;
/// Partial sums of the low-rank term, whose rows are short.
const LOW_LANES: usize = 8;
/// Multiplications that are worth a piece of work of their own.
const PIECE: usize = 1 << 15;
/// Pieces a thread, so that a thread that is held up leaves some to the others.
const PIECES_PER_THREAD: usize = 4;

/// A type that weights are stored in, and that widens exactly to the type `R` of the product.
pub(super) trait Stored<R>: WithDType {
    /// The same number in the type of the product.
    fn widen(self) -> R;
}

impl<R: Real> Stored<R> for R {
    #[inline(always)]
    fn widen(self) -> R {
        self
    }
}

impl Stored<f32> for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Stored<f32> for f16 {
    /// Without branches, unlike `half`'s own, so that loops over it vectorise. The shifted bits are the number
    /// times 2⁻¹¹², subnormal or not; infinity and NaN get their exponent back.
    #[inline(always)]
    fn widen(self) -> f32 {
        let bits = u32::from(self.to_bits());
        let scaled = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
        let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
        f32::from_bits(scaled.to_bits() | special | (bits & 0x8000) << 16)
    }
}

/// `y = x Wᵀ + bias`, and to the columns of each low-rank term `z Bᵀ`, for one row on the CPU; `None` for any other sum.
///
/// x: `(1, in)`, Wᵀ: `(in, out)` of any float type, laid out as W is, row by row; bias: `(out)`; z: `(1, r)`,
/// Bᵀ: `(r, columns)` → y: `(1, out)`, of x's type f32 or f64, in which the sums are taken too.
pub(super) fn sum(sum: &Sum) -> Result<Option<Dual>> {
    let (first, out) = (&sum.terms[0], sum.columns);
    let Factor::Tensor(weight) = &first.right else { return Ok(None) };
    let fits = sum.terms.iter().all(suits) && weight.dims()[1] == out;
    if !fits || sum.bias.as_ref().is_some_and(|bias| bias.dims() != [out]) {
        return Ok(None);
    }
    let y = match (first.left.dtype(), weight.dtype()) {
        (DType::F32, DType::BF16) => sum_as::<f32, bf16>(sum, weight)?,
        (DType::F32, DType::F16) => sum_as::<f32, f16>(sum, weight)?,
        (DType::F32, _) => sum_as::<f32, f32>(sum, &first.widened()?)?,
        (DType::F64, _) => sum_as::<f64, f64>(sum, &first.widened()?)?,
        _ => return Ok(None),
    };
    Ok(Some(Dual::constant(&y)))
}

/// Whether a term is one row by a matrix that lies transposed.
fn suits(term: &Term) -> bool {
    let (left, Factor::Tensor(right)) = (&term.left, &term.right) else { return false };
    let one_row = term.part == Part::Primal && left.dims() == [1, left.elem_count()];
    let transposed = right.rank() == 2 && right.dims()[0] == left.elem_count() && right.stride()[0] == 1;
    one_row && transposed && left.device().is_cpu() && right.device().is_cpu()
}

fn sum_as<R: Real, W: Stored<R>>(sum: &Sum, weight: &Tensor) -> Result<Tensor> {
    let (x, out) = (&sum.terms[0].left, weight.dim(1)?);
    let mut y = match &sum.bias {
        Some(bias) => bias.to_dtype(R::DTYPE)?.to_vec1()?,
        None => vec![R::default(); out],
    };
    let row = |x: &Tensor| x.flatten_all()?.to_vec1::<R>();
    let low = sum.terms[1..].iter();
    let low = low.map(|low| Ok((row(&low.left)?, low.widened()?.t()?.contiguous()?, low.column)));
    let low = low.collect::<Result<Vec<_>>>()?;
    let guards: Vec<_> = low.iter().map(|(_, b, _)| b.storage_and_layout()).collect();
    let mut terms = vec![];
    for ((z, b, column), (storage, layout)) in low.iter().zip(&guards) {
        let numbers = rows::numbers::<R>(storage, layout.start_offset(), layout.shape())?;
        terms.push(LowRows { z, b: numbers, rows: *column..column + b.dim(0)? });
    }
    let weight = weight.t()?.contiguous()?;
    let (storage, layout) = weight.storage_and_layout();
    let numbers = rows::numbers::<W>(&storage, layout.start_offset(), layout.shape())?;
    accumulate(&mut y, &row(x)?, Rows { numbers, stride: x.elem_count() }, &terms);
    Ok(Tensor::from_vec(y, (1, out), &Device::Cpu)?)
}

/// A low-rank term: what `B z` is added to `rows` of y, with B row-major.
pub(super) struct LowRows<'a, R> {
    z: &'a [R],
    b: &'a [R],
    rows: Range<usize>,
}

impl<R: Real> LowRows<'_, R> {
    /// Number `row` of `B z`; zero for a row that it does not change.
    #[inline(always)]
    fn get(&self, row: usize) -> R {
        if !self.rows.contains(&row) {
            return R::default();
        }
        dot::<LOW_LANES, R, R>(&self.b[(row - self.rows.start) * self.z.len()..][..self.z.len()], self.z)
    }
}

/// The rows of a matrix, each contiguous: row i begins at number `i · stride`.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, W> {
    pub numbers: &'a [W],
    pub stride: usize,
}

/// `y += W x` and the low-rank terms, on all threads. The number of threads changes no bit.
pub(super) fn accumulate<R: Real, W: Stored<R>>(
    y: &mut [R],
    x: &[R],
    weight: Rows<'_, W>,
    low: &[LowRows<'_, R>],
) {
    let pieces = (y.len() * x.len() / PIECE).clamp(1, PIECES_PER_THREAD * rayon::current_num_threads());
    if pieces == 1 {
        return add_rows(y, 0, x, weight, low);
    }
    let rows = y.len().div_ceil(pieces);
    let parts = y.par_chunks_mut(rows).enumerate();
    parts.for_each(|(index, y)| add_rows(y, index * rows, x, weight, low));
}

/// One thread's rows, those from `first` on, compiled for the widest vectors that the processor has.
fn add_rows<R: Real, W: Stored<R>>(
    y: &mut [R],
    first: usize,
    x: &[R],
    weight: Rows<'_, W>,
    low: &[LowRows<'_, R>],
) {
    vectorised(
        #[inline(always)]
        || {
            for (row, y) in (first..).zip(y.iter_mut()) {
                let mut sum = *y + dot::<LANES, R, W>(&weight.numbers[row * weight.stride..][..x.len()], x);
                for low in low {
                    sum += low.get(row);
                }
                *y = sum;
            }
        },
    );
}

/// `Σ wᵢ xᵢ` in `LANES` partial sums, which the compiler keeps in vectors as wide as the processor has. They are
/// added one after another: halved again and again, they would come out of the compiler two to a vector.
#[inline(always)]
fn dot<const LANES: usize, R: Real, W: Stored<R>>(w: &[W], x: &[R]) -> R {
    let ((w, w_rest), (x, x_rest)) = (w.as_chunks::<LANES>(), x.as_chunks::<LANES>());
    let mut sums = [R::default(); LANES];
    for (w, x) in w.iter().zip(x) {
        for lane in 0..LANES {
            sums[lane] += w[lane].widen() * x[lane];
        }
    }
    let rest = w_rest.iter().zip(x_rest).fold(R::default(), |sum, (w, &x)| sum + w.widen() * x);
    sums.into_iter().fold(rest, |sum, lane| sum + lane)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::LowRankUp;

    /// `x Wᵀ + bias + z Bᵀ` by the form under test, which must take it.
    fn affine(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, low: Option<(&Tensor, &Tensor)>) -> Tensor {
        taken(x, w, bias, low).expect("a sum of this form")
    }

    fn taken(
        x: &Tensor,
        w: &Tensor,
        bias: Option<&Tensor>,
        low: Option<(&Tensor, &Tensor)>,
    ) -> Option<Tensor> {
        let term = |(left, w): (&Tensor, &Tensor)| Term::new(Part::Primal, left, &w.t().unwrap());
        let terms = std::iter::once((x, w)).chain(low).map(term).collect();
        sum(&Sum::new(w.dim(0).unwrap(), bias, terms).unwrap()).unwrap().map(Dual::into_primal)
    }

    fn random(dims: &[usize], dtype: DType) -> Tensor {
        Tensor::randn(0f64, 1.0, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    }

    fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
        assert_eq!(a.dims(), b.dims());
        let difference = (a.to_dtype(DType::F64).unwrap() - b.to_dtype(DType::F64).unwrap()).unwrap();
        difference.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
    }

    /// The sum by Candle's products in f64.
    fn expected(x: &Tensor, w: &Tensor, bias: &Tensor, z: &Tensor, b: &Tensor) -> Tensor {
        let [x, w, bias, z, b] = [x, w, bias, z, b].map(|t| t.to_dtype(DType::F64).unwrap());
        let product = |x: &Tensor, w: &Tensor| x.matmul(&w.t().unwrap()).unwrap();
        (product(&x, &w) + product(&z, &b)).unwrap().broadcast_add(&bias).unwrap()
    }

    #[test]
    fn the_affine_map_of_one_row_equals_candles_product_for_every_stored_type_and_odd_sizes() {
        // The last two are cut into pieces, of which the last is shorter.
        for (out, width, rank) in
            [(1, 1, 1), (3, 31, 2), (5, 33, 8), (7, 100, 11), (517, 257, 16), (97, 4864, 3)]
        {
            for (compute, stored, tolerance) in [
                (DType::F64, DType::F64, 1e-12),
                (DType::F64, DType::F32, 1e-12),
                (DType::F32, DType::F32, 1e-5),
                (DType::F32, DType::BF16, 1e-5),
                (DType::F32, DType::F16, 1e-5),
            ] {
                let (x, w) = (random(&[1, width], compute), random(&[out, width], stored));
                let (bias, z, b) =
                    (random(&[out], compute), random(&[1, rank], compute), random(&[out, rank], compute));
                let found = affine(&x, &w, Some(&bias), Some((&z, &b)));
                assert_eq!(found.dtype(), compute);
                let difference = largest_difference(&found, &expected(&x, &w, &bias, &z, &b));
                let limit = tolerance * (width as f64).sqrt();
                assert!(difference < limit, "{out} {width} {compute:?} {stored:?}: {difference:e}");
                let plain = affine(&x, &w, None, None);
                let zero = |t: &Tensor| t.zeros_like().unwrap();
                let difference = largest_difference(&plain, &expected(&x, &w, &zero(&bias), &zero(&z), &b));
                assert!(difference < limit, "{out} {width} {compute:?} {stored:?} alone: {difference:e}");
            }
        }
    }

    #[test]
    fn weights_that_are_a_part_of_a_tensor_are_read_from_their_place() {
        let (x, all) = (random(&[1, 40], DType::F64), random(&[9, 50], DType::F64));
        let w = all.narrow(0, 2, 5).unwrap().narrow(1, 3, 40).unwrap();
        let found = affine(&x, &w, None, None);
        let plain = x.matmul(&w.t().unwrap().contiguous().unwrap()).unwrap();
        assert!(largest_difference(&found, &plain) < 1e-12);
    }

    #[test]
    fn every_half_precision_number_widens_exactly() {
        for bits in 0..=u16::MAX {
            let (short, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
            let same = |found: f32, exact: f32| {
                found.to_bits() == exact.to_bits() || exact.is_nan() && found.is_nan()
            };
            assert!(same(short.widen(), short.to_f32()), "f16 {bits:#x}");
            assert!(same(brain.widen(), brain.to_f32()), "bf16 {bits:#x}");
        }
    }

    #[test]
    fn sums_of_another_form_are_left_to_other_products() {
        let ones = |dims: &[usize]| Tensor::ones(dims, DType::F32, &Device::Cpu).unwrap();
        let (x, w) = (ones(&[1, 4]), ones(&[3, 4]));
        assert!(taken(&x, &w, None, None).is_some());
        assert!(taken(&ones(&[2, 4]), &w, None, None).is_none());
        assert!(taken(&ones(&[1, 5]), &w, None, None).is_none());
        assert!(taken(&x, &ones(&[4, 3]).t().unwrap(), None, None).is_none());
        assert!(taken(&x, &w, Some(&ones(&[4])), None).is_none());
        assert!(taken(&x.to_dtype(DType::U32).unwrap(), &w, None, None).is_none());
        // What fits no product at all is refused by the last of them.
        let up = |out: usize, column| [LowRankUp { b: ones(&[out, 2]), column }];
        let affine = |x: &Tensor, up: [LowRankUp<Tensor>; 1]| {
            Ops::affine(
                x,
                &w.clone().into(),
                None,
                Some((&ones(&[1, 2]), &up[..])),
                crate::autodiff::Stored::Whole,
            )
        };
        assert!(affine(&x, up(2, 1)).is_ok());
        assert!(affine(&ones(&[1, 5]), up(3, 0)).is_err());
        assert!(affine(&x, up(5, 0)).is_err());
        assert!(affine(&x, up(2, 2)).is_err());
    }
}
