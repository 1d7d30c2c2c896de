//! An f32 number as a sum of numbers of bf16: of two to 16 bits or more, of three to all 24.

use half::bf16;
use rayon::prelude::*;

/// Rows that kernels take at a time at most: planes are padded to a multiple of it, with zeros.
const ROWS: usize = 32;

/// The next plane of what the planes before it have left of a number.
#[inline(always)]
fn take(rest: &mut f32) -> bf16 {
    let plane = bf16::from_f32(*rest);
    *rest -= f32::from_bits(u32::from(plane.to_bits()) << 16);
    plane
}

/// What `planes` planes keep of a number.
#[inline(always)]
pub(super) fn kept(value: f32, planes: usize) -> f32 {
    let mut rest = value;
    let sum = (0..planes).map(|_| take(&mut rest).to_f32()).sum::<f32>();
    // Of an infinity or a NaN nothing is left to take.
    if value.is_finite() { sum } else { value }
}

/// The rows of a left factor in planes, row-major.
pub(super) struct Planes {
    pub count: usize,
    /// Numbers of a row, padded to a multiple of 32.
    width: usize,
    /// Rows, padded.
    rows: usize,
    numbers: Vec<bf16>,
}

impl Planes {
    /// Splits `rows` rows of `depth` numbers, `stride` apart.
    pub fn split(left: &[f32], stride: usize, rows: usize, depth: usize, count: usize) -> Self {
        let (width, padded) = (depth.next_multiple_of(ROWS), rows.next_multiple_of(ROWS));
        let mut numbers = vec![bf16::ZERO; count * padded * width];
        let mut planes: Vec<_> = numbers.chunks_mut((padded * width).max(1)).map(Some).collect();
        let mut rows_of: Vec<Vec<&mut [bf16]>> = (0..rows).map(|_| Vec::with_capacity(count)).collect();
        for plane in &mut planes {
            let plane = plane.take().into_iter().flat_map(|plane| plane.chunks_mut(width.max(1)));
            rows_of.iter_mut().zip(plane).for_each(|(row, part)| row.push(part));
        }
        rows_of.par_iter_mut().with_min_len(8).enumerate().for_each(|(row, planes)| {
            for (column, &value) in left[row * stride..][..depth].iter().enumerate() {
                let mut rest = value;
                planes.iter_mut().for_each(|plane| {
                    plane[column] = take(&mut rest);
                    rest = if value.is_finite() { rest } else { 0.0 };
                });
            }
        });
        Self { count, width, rows: padded, numbers }
    }

    /// The rows of a plane from `row` on.
    pub fn row(&self, plane: usize, row: usize) -> &[bf16] {
        let size = self.rows * self.width;
        &self.numbers[plane * size..(plane + 1) * size][row * self.width..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_planes_keep_sixteen_bits_and_three_keep_all() {
        for seed in 1..2000u32 {
            let value = f32::from_bits(0x3f80_0000 | seed.wrapping_mul(0x9e37_79b9) & 0x7f_ffff) * 1e3;
            let error = |planes| ((kept(value, planes) - value) / value).abs();
            assert!(error(1) <= 1.0 / 256.0, "{value}");
            assert!(error(2) <= 1.0 / 65_536.0, "{value}");
            assert_eq!(kept(value, 3), value);
        }
        for planes in 1..=3 {
            assert_eq!(kept(f32::INFINITY, planes), f32::INFINITY);
            assert!(kept(f32::NAN, planes).is_nan());
            assert_eq!(kept(0.0, planes), 0.0);
        }
    }

    #[test]
    fn planes_lie_row_by_row_and_are_padded_with_zeros() {
        let left: Vec<f32> = (0..5 * 7).map(|i| i as f32 * 1.37 + 0.001).collect();
        let planes = Planes::split(&left, 7, 5, 6, 2);
        for row in 0..5 {
            for column in 0..32 {
                let sum = planes.row(0, row)[column].to_f32() + planes.row(1, row)[column].to_f32();
                let expected = if column < 6 { kept(left[row * 7 + column], 2) } else { 0.0 };
                assert_eq!(sum, expected);
            }
        }
        assert!(planes.row(1, 5).iter().all(|number| *number == bf16::ZERO));
        assert_eq!(planes.row(1, 0).len(), 32 * 32);
    }
}
