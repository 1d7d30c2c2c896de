//! Products of a matrix with one row, as decoding takes them token by token.
//!
//! Every weight is read once for one multiplication, so the memory sets the pace: the rows are read from end
//! to end, in the type they are stored in, by all threads, and nothing is packed first as `gemm` does.

#![allow(clippy::disallowed_methods)] // The loops of the CPU: nothing is copied to another device.

use candle_core::{DType, Device, Tensor, WithDType};
use half::{bf16, f16};
use rayon::prelude::*;

use super::{Real, kernel};
use crate::{Error, Result};

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

/// `y = x Wᵀ + bias + z Bᵀ` for one row.
///
/// x: `(1, in)`, W: `(out, in)` of any float type, bias: `(out)`, `low = (z, B)` of shapes `(1, r)` and
/// `(out, r)` → y: `(1, out)`, of x's type f32 or f64, in which the sums are taken too.
pub(super) fn affine(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    low: Option<(&Tensor, &Tensor)>,
) -> Result<Tensor> {
    match (x.dtype(), weight.dtype()) {
        (DType::F32, DType::F32) => affine_as::<f32, f32>(x, weight, bias, low),
        (DType::F32, DType::BF16) => affine_as::<f32, bf16>(x, weight, bias, low),
        (DType::F32, DType::F16) => affine_as::<f32, f16>(x, weight, bias, low),
        (DType::F64, DType::F64) => affine_as::<f64, f64>(x, weight, bias, low),
        (DType::F32 | DType::F64, _) => affine(x, &weight.to_dtype(x.dtype())?, bias, low),
        (other, _) => Err(Error::Invalid(format!("products are taken in f32 or f64, not {other:?}"))),
    }
}

fn affine_as<R: Real, W: Stored<R>>(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    low: Option<(&Tensor, &Tensor)>,
) -> Result<Tensor> {
    let (out, width) = weight.dims2()?;
    let low_fits =
        low.is_none_or(|(z, b)| z.dims() == [1, z.elem_count()] && b.dims() == [out, z.elem_count()]);
    let bias_fits = bias.is_none_or(|bias| bias.dims() == [out]);
    if x.dims() != [1, width] || !low_fits || !bias_fits {
        let shape = x.shape();
        return Err(Error::Invalid(format!("no affine map ({out}, {width}) of {shape:?} with its terms")));
    }
    let mut y = match bias {
        Some(bias) => bias.to_dtype(R::DTYPE)?.to_vec1()?,
        None => vec![R::default(); out],
    };
    let row = |x: &Tensor| x.flatten_all()?.to_vec1::<R>();
    let low = low.map(|(z, b)| Ok::<_, Error>((row(z)?, b.contiguous()?))).transpose()?;
    let low_guard = low.as_ref().map(|(z, b)| (z, b.storage_and_layout()));
    let low = match &low_guard {
        Some((z, (storage, layout))) => {
            Some((z.as_slice(), kernel::numbers::<R>(storage, layout.start_offset(), layout.shape())?))
        }
        None => None,
    };
    let weight = weight.contiguous()?;
    let (storage, layout) = weight.storage_and_layout();
    let numbers = kernel::numbers::<W>(&storage, layout.start_offset(), layout.shape())?;
    accumulate(&mut y, &row(x)?, Rows { numbers, stride: width }, low);
    Ok(Tensor::from_vec(y, (1, out), &Device::Cpu)?)
}

/// The rows of a matrix, each contiguous: row i begins at number `i · stride`.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, W> {
    pub numbers: &'a [W],
    pub stride: usize,
}

/// `y += W x + B z` on all threads, with `low = (z, B)` and B row-major. The number of threads changes no bit.
pub(super) fn accumulate<R: Real, W: Stored<R>>(
    y: &mut [R],
    x: &[R],
    weight: Rows<'_, W>,
    low: Option<(&[R], &[R])>,
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
    low: Option<(&[R], &[R])>,
) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for (row, y) in (first..).zip(y) {
                let mut sum = *y + dot::<LANES, R, W>(&weight.numbers[row * weight.stride..][..x.len()], x);
                if let Some((z, b)) = low {
                    sum += dot::<LOW_LANES, R, R>(&b[row * z.len()..][..z.len()], z);
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
                let found = affine(&x, &w, Some(&bias), Some((&z, &b))).unwrap();
                assert_eq!(found.dtype(), compute);
                let difference = largest_difference(&found, &expected(&x, &w, &bias, &z, &b));
                let limit = tolerance * (width as f64).sqrt();
                assert!(difference < limit, "{out} {width} {compute:?} {stored:?}: {difference:e}");
                let plain = affine(&x, &w, None, None).unwrap();
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
        let found = affine(&x, &w, None, None).unwrap();
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
    fn terms_that_do_not_fit_are_refused() {
        let ones = |dims: &[usize]| Tensor::ones(dims, DType::F32, &Device::Cpu).unwrap();
        let (x, w) = (ones(&[1, 4]), ones(&[3, 4]));
        assert!(affine(&ones(&[1, 5]), &w, None, None).is_err());
        assert!(affine(&x, &w, Some(&ones(&[4])), None).is_err());
        assert!(affine(&x, &w, None, Some((&ones(&[1, 2]), &ones(&[3, 3])))).is_err());
        assert!(affine(&x.to_dtype(DType::U32).unwrap(), &w, None, None).is_err());
    }
}
