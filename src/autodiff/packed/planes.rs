//! An f32 number as a sum of numbers of bf16: of two to 16 bits or more, of three to all 24.

#![allow(unsafe_code)] // Memory that is written by all threads before it is read.

use std::mem::MaybeUninit;

use half::bf16;
use rayon::prelude::*;

use super::aligned::Aligned;
use super::layout::widened;
use crate::vectors::vectorised;

/// Most planes that a number is split in.
pub(super) const MOST: usize = 3;

/// Rows that kernels take at a time at most, and the multiple of numbers that they are deep: planes are padded to it.
const SIDE: usize = 32;

/// Rows that are split at a time.
const ROWS_AT_ONCE: usize = 8;

/// The bf16 number nearest to `value`, even of two, without branches, so that loops vectorise.
#[inline(always)]
fn nearest(value: f32) -> bf16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let quiet_nan = bits >> 16 | 0x40;
    bf16::from_bits(if value.is_nan() { quiet_nan } else { rounded } as u16)
}

/// The next plane of what the planes before it have left of a number. Of an infinity or a NaN nothing is left to take.
#[inline(always)]
fn take(rest: &mut f32) -> bf16 {
    let plane = nearest(*rest);
    let left = *rest - widened(plane);
    *rest = if left.is_finite() { left } else { 0.0 };
    plane
}

/// The rows of a left factor in planes: those of a row behind each other.
pub(super) struct Planes {
    pub count: usize,
    /// Numbers of a row in one plane, padded to a multiple of 32.
    width: usize,
    /// From a row to the next: an odd number of lines of the cache, so that rows do not crowd into a few of its sets.
    stride: usize,
    numbers: Aligned,
}

impl Planes {
    /// Splits `rows` rows of `depth` numbers, `stride` apart.
    pub fn split(left: &[f32], stride: usize, rows: usize, depth: usize, count: usize) -> Self {
        match count {
            1 => Self::split_in::<1>(left, stride, rows, depth),
            2 => Self::split_in::<2>(left, stride, rows, depth),
            _ => Self::split_in::<MOST>(left, stride, rows, depth),
        }
    }

    fn split_in<const COUNT: usize>(left: &[f32], left_stride: usize, rows: usize, depth: usize) -> Self {
        let width = depth.next_multiple_of(SIDE);
        let stride = ((COUNT * width / SIDE) | 1) * SIDE;
        let work = |(row, places): (usize, &mut [MaybeUninit<bf16>])| match row < rows {
            true => split_row::<COUNT>(&left[row * left_stride..][..depth], width, places),
            false => places.fill(MaybeUninit::new(bf16::ZERO)),
        };
        let split = |places: &mut [MaybeUninit<bf16>]| {
            places.par_chunks_mut(stride).with_min_len(ROWS_AT_ONCE).enumerate().for_each(work);
        };
        // SAFETY: all places of each row are written, by `split_row` or with zeros.
        let numbers = unsafe { Aligned::written(rows.next_multiple_of(SIDE) * stride, split) };
        Self { count: COUNT, width, stride, numbers }
    }

    /// The rows of a plane from `row` on, each from number `first` on.
    pub fn from(&self, plane: usize, row: usize, first: usize) -> &[bf16] {
        &self.numbers[row * self.stride + plane * self.width + first..]
    }

    /// Where each plane's rows from `row` on begin, each from number `first` on.
    pub fn pointers(&self, row: usize, first: usize) -> [*const bf16; MOST] {
        let start =
            |plane| if plane < self.count { self.from(plane, row, first).as_ptr() } else { std::ptr::null() };
        std::array::from_fn(start)
    }

    /// From a row to the next, in numbers.
    pub fn stride(&self) -> usize {
        self.stride
    }
}

/// Writes the planes of a row, `width` places each, and zeros behind their numbers.
fn split_row<const COUNT: usize>(values: &[f32], width: usize, places: &mut [MaybeUninit<bf16>]) {
    vectorised(
        #[inline(always)]
        || {
            let (whole, end) = values.as_chunks::<SIDE>();
            for (nth, values) in whole.iter().enumerate() {
                split_chunk::<COUNT>(*values, width, nth * SIDE, places);
            }
            if !end.is_empty() {
                let mut last = [0f32; SIDE];
                last[..end.len()].copy_from_slice(end);
                split_chunk::<COUNT>(last, width, whole.len() * SIDE, places);
            }
            places[COUNT * width..].fill(MaybeUninit::new(bf16::ZERO));
        },
    );
}

#[inline(always)]
fn split_chunk<const COUNT: usize>(
    mut rest: [f32; SIDE],
    width: usize,
    first: usize,
    places: &mut [MaybeUninit<bf16>],
) {
    for plane in 0..COUNT {
        let places = &mut places[plane * width + first..][..SIDE];
        for (place, rest) in places.iter_mut().zip(&mut rest) {
            place.write(take(rest));
        }
    }
}

/// Writes the planes of some numbers of a row, as [`Planes`] has them, to places that hold numbers.
#[inline(always)]
pub(super) fn write<const COUNT: usize>(
    mut rest: [f32; SIDE],
    width: usize,
    first: usize,
    places: &mut [bf16],
) {
    for plane in 0..COUNT {
        let places = &mut places[plane * width + first..][..SIDE];
        for (place, rest) in places.iter_mut().zip(&mut rest) {
            *place = take(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `planes` planes keep of a number.
    fn kept(value: f32, planes: usize) -> f32 {
        let mut rest = value;
        (0..planes).fold(0.0, |sum, _| sum + widened(take(&mut rest)))
    }

    #[test]
    fn two_planes_keep_sixteen_bits_and_three_keep_all() {
        for seed in 1..2000u32 {
            let value = f32::from_bits(0x3f80_0000 | seed.wrapping_mul(0x9e37_79b9) & 0x7f_ffff) * 1e3;
            let error = |planes| ((kept(value, planes) - value) / value).abs();
            assert!(error(1) <= 1.0 / 256.0, "{value}");
            assert!(error(2) <= 1.0 / 65_536.0, "{value}");
            assert_eq!(kept(value, 3), value);
        }
    }

    #[test]
    fn what_is_no_number_stays_what_it_is() {
        for planes in 1..=MOST {
            for value in [f32::INFINITY, f32::NEG_INFINITY, 0.0] {
                assert_eq!(kept(value, planes), value);
            }
            for bits in [0x7f80_0001, 0x7fff_ffff, 0xffff_ffff, 0xff80_0001] {
                assert!(kept(f32::from_bits(bits), planes).is_nan());
            }
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_and_to_even_between_two() {
        for seed in 0..100_000u32 {
            // Every second one lies halfway between two.
            let bits = if seed % 2 == 0 { seed << 16 | 0x8000 } else { seed.wrapping_mul(0x9e37_79b9) };
            let value = f32::from_bits(bits);
            if !value.is_nan() {
                assert_eq!(nearest(value), bf16::from_f32(value), "{bits:x}");
            }
        }
    }

    #[test]
    fn planes_lie_row_by_row_and_are_padded_with_zeros() {
        let left: Vec<f32> = (0..5 * 47).map(|i| i as f32 * 1.37 + 0.001).collect();
        let planes = Planes::split(&left, 47, 5, 46, 2);
        assert_eq!((planes.stride() / SIDE % 2, planes.stride() >= 128), (1, true));
        for row in 0..32 {
            for column in 0..64 {
                let number = |plane| planes.from(plane, row, 0)[column].to_f32();
                let expected = if row < 5 && column < 46 { kept(left[row * 47 + column], 2) } else { 0.0 };
                assert_eq!(number(0) + number(1), expected);
            }
        }
        assert_eq!(planes.from(0, 31, 0).len(), planes.stride());
    }
}
