//! Products of a few rows with a matrix in blocks: each row of the matrix is taken apart once, and multiplied at once.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::super::{Left, Target};
use super::Blocked;
use crate::vectors::vectorised;

/// Rows of the matrix for a thread at a time, at least.
const ROWS_AT_ONCE: usize = 16;

/// Partial sums: enough vectors to hide the additions' latency.
const LANES: usize = 32;

/// `target (+)= left · Wᵀ`.
pub(super) fn multiply(matrix: &Blocked, left: Left<'_>, target: Target<'_>) {
    let Left { numbers, stride, rows, width } = left;
    let left: Vec<&[f32]> = (0..rows).map(|row| &numbers[row * stride..][..width]).collect();
    // A column of the target for each row of the matrix: threads write theirs side by side.
    let mut products = vec![0f32; matrix.out * rows];
    products.par_chunks_mut(rows.max(1) * ROWS_AT_ONCE).enumerate().for_each(|(nth, products)| {
        let mut row = vec![0f32; width];
        for (nth_row, products) in products.chunks_mut(rows.max(1)).enumerate() {
            let index = nth * ROWS_AT_ONCE + nth_row;
            matrix.decode(index..index + 1, 0..width, &mut row);
            for (product, left) in products.iter_mut().zip(&left) {
                *product = dot(&row, left);
            }
        }
    });
    for (row, places) in target.numbers.chunks_mut(target.stride.max(1)).enumerate().take(rows) {
        let products = products.iter().skip(row).step_by(rows);
        places.iter_mut().zip(products).for_each(|(place, &product)| write(place, product, target.add));
    }
}

/// Writes a number to its place, or adds it to what is there.
fn write(place: &mut MaybeUninit<f32>, product: f32, add: bool) {
    // SAFETY: where products are added, the target holds numbers, as `Target` says.
    #[allow(unsafe_code)]
    let before = if add { unsafe { place.assume_init() } } else { 0.0 };
    place.write(before + product);
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    vectorised(
        #[inline(always)]
        || {
            let (mut sums, (a, a_end), (b, b_end)) =
                ([0f32; LANES], a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
            for (a, b) in a.iter().zip(b) {
                for lane in 0..LANES {
                    sums[lane] = a[lane].mul_add(b[lane], sums[lane]);
                }
            }
            let end: f32 = a_end.iter().zip(b_end).map(|(a, b)| a * b).sum();
            sums.iter().sum::<f32>() + end
        },
    )
}
