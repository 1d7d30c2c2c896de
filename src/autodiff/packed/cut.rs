//! Factors that vary, cut into planes of bf16 and laid out for the tiles of AMX, by AVX-512.
//!
//! Tiles take rows of the left factor as they are, and of the right one two rows interleaved. Whichever way a factor lies,
//! its numbers are read in vectors: where they lie across, 16 × 16 pairs of them are transposed.

#![allow(unsafe_code)] // Vector instructions, and pointers to parts of buffers.
#![allow(clippy::needless_range_loop)] // A step of an iterator may be a call of what is compiled for no vectors.

use std::arch::x86_64::*;

use half::bf16;

use super::View;
use super::amx::DEPTH;
use super::micro::PANEL;

/// Numbers of a vector.
const LANES: usize = 16;

/// Where some rows of a left factor are written: the planes of a row behind each other.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub into: *mut bf16,
    /// From a row to the next.
    pub stride: usize,
    /// The first row and how many, a multiple of 32; and the first number of each.
    pub row: usize,
    pub rows: usize,
    pub first: usize,
    /// How many numbers of a row, a multiple of 32: zeros where the factor has none.
    pub depth: usize,
}

/// Cuts some rows of a left factor into P planes.
///
/// # Safety
/// The processor must have AVX512-BF16 and AVX512-BW, the view fit its numbers, and the block be there, its rows of P times
/// its depth.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn left<const P: usize>(view: &View<'_>, block: Block) {
    // SAFETY: by the caller's word.
    unsafe {
        if view.column_stride == 1 { left_along::<P>(view, block) } else { left_across::<P>(view, block) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn left_along<const P: usize>(view: &View<'_>, block: Block) {
    let Block { into, stride, row, rows, first, depth } = block;
    for nth in 0..rows {
        for k in (0..depth).step_by(DEPTH) {
            // SAFETY: numbers beyond the last row or column are not read; the block has the row and the planes.
            unsafe {
                let numbers = [view.from(row + nth, first + k), view.from(row + nth, first + k + LANES)];
                let planes = along::<P>(numbers);
                for plane in 0..P {
                    store(into.add(nth * stride + plane * depth + k), planes[plane]);
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn left_across<const P: usize>(view: &View<'_>, block: Block) {
    let Block { into, stride, row, rows, first, depth } = block;
    // What stands side by side in memory is read together: lines of the cache come in pairs, and more of them.
    for k in (0..depth).step_by(DEPTH) {
        for part in (0..rows).step_by(LANES) {
            let mut pairs = [[_mm512_setzero_si512(); LANES]; P];
            for nth in 0..LANES {
                let k = first + k + 2 * nth;
                // SAFETY: numbers beyond the last row or column are not read.
                let planes =
                    unsafe { interleaved::<P>([view.down(row + part, k), view.down(row + part, k + 1)]) };
                for plane in 0..P {
                    pairs[plane][nth] = planes[plane];
                }
            }
            for plane in 0..P {
                let rows = transposed(pairs[plane]);
                for nth in 0..LANES {
                    // SAFETY: the block has the row and the planes.
                    unsafe { store(into.add((part + nth) * stride + plane * depth + k), rows[nth]) }
                }
            }
        }
    }
}

/// Some panels of a right factor, of `depth` rows, a multiple of 32.
#[derive(Clone, Copy)]
pub(super) struct Cutting {
    pub first: usize,
    pub panels: usize,
    pub depth: usize,
}

/// Cuts panels of a right factor into P planes, each `depth` rows of 16 numbers, two rows interleaved; those of a panel behind
/// each other, and so are the panels. Zeros stand where the factor has no numbers.
///
/// # Safety
/// As [`left`], for P times `16 · depth` numbers a panel.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn panels<const P: usize>(view: &View<'_>, cutting: Cutting, into: *mut bf16) {
    let Cutting { first, panels, depth } = cutting;
    // SAFETY: by the caller's word.
    unsafe {
        if view.column_stride == 1 {
            return panels_along::<P>(view, cutting, into);
        }
        for nth in 0..panels {
            panel_across::<P>(view, (first + nth) * PANEL, depth, into.add(nth * P * depth * PANEL));
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn panels_along<const P: usize>(view: &View<'_>, cutting: Cutting, into: *mut bf16) {
    let Cutting { first, panels, depth } = cutting;
    for row in (0..depth).step_by(2) {
        for nth in 0..panels {
            let column = (first + nth) * PANEL;
            // SAFETY: numbers beyond the last row or column are not read; the planes are there.
            unsafe {
                let planes = interleaved::<P>([view.from(row, column), view.from(row + 1, column)]);
                for plane in 0..P {
                    store(into.add(((nth * P + plane) * depth + row) * PANEL), planes[plane]);
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn panel_across<const P: usize>(view: &View<'_>, column: usize, depth: usize, into: *mut bf16) {
    for row in (0..depth).step_by(DEPTH) {
        let mut columns = [[_mm512_setzero_si512(); LANES]; P];
        for nth in 0..LANES {
            // SAFETY: numbers beyond the last row or column are not read.
            let planes =
                unsafe { along::<P>([view.down(row, column + nth), view.down(row + LANES, column + nth)]) };
            for plane in 0..P {
                columns[plane][nth] = planes[plane];
            }
        }
        for plane in 0..P {
            let pairs = transposed(columns[plane]);
            for nth in 0..LANES {
                // SAFETY: the planes are there.
                unsafe { store(into.add((plane * depth + row + 2 * nth) * PANEL), pairs[nth]) }
            }
        }
    }
}

impl View<'_> {
    /// 16 numbers of a row from column `first` on, for a view whose rows lie along; zeros where there are none.
    #[target_feature(enable = "avx512f")]
    unsafe fn from(&self, row: usize, first: usize) -> __m512 {
        let count = if row < self.rows { self.columns.saturating_sub(first) } else { 0 };
        // SAFETY: so many numbers of the row are there, by the caller's word that the view fits its numbers.
        unsafe { load(self.numbers.as_ptr().wrapping_add(row * self.row_stride + first), count) }
    }

    /// Number `column` of 16 rows from row `first` on, for a view whose columns lie along; zeros where there are none.
    #[target_feature(enable = "avx512f")]
    unsafe fn down(&self, first: usize, column: usize) -> __m512 {
        let count = if column < self.columns { self.rows.saturating_sub(first) } else { 0 };
        // SAFETY: as of `from`.
        unsafe { load(self.numbers.as_ptr().wrapping_add(column * self.column_stride + first), count) }
    }
}

/// Up to 16 numbers; zeros in the place of those beyond `count`, which are not read.
#[target_feature(enable = "avx512f")]
unsafe fn load(from: *const f32, count: usize) -> __m512 {
    // SAFETY: what is masked is not read; the others are there by the caller's word.
    unsafe {
        match count {
            LANES.. => _mm512_loadu_ps(from),
            _ => _mm512_maskz_loadu_ps((1 << count) - 1, from),
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn store(into: *mut bf16, numbers: __m512i) {
    // SAFETY: by the caller's word there is room for 32 numbers.
    unsafe { _mm512_storeu_si512(into.cast(), numbers) }
}

/// What a plane has left of 16 numbers; of an infinity or a NaN, nothing.
#[target_feature(enable = "avx512f")]
fn rest(numbers: __m512, plane: __m512i) -> __m512 {
    let left = _mm512_sub_ps(numbers, _mm512_castsi512_ps(plane));
    let finite = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(_mm512_abs_ps(left), _mm512_set1_ps(f32::INFINITY));
    _mm512_maskz_mov_ps(finite, left)
}

/// Two vectors rounded to bf16, one behind the other.
#[target_feature(enable = "avx512f,avx512bf16")]
fn rounded([a, b]: [__m512; 2]) -> __m512i {
    // SAFETY: both are 512 bits of any kind.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(b, a)) }
}

/// P planes of 32 numbers, as they stand.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn along<const P: usize>(mut numbers: [__m512; 2]) -> [__m512i; P] {
    let mut planes = [_mm512_setzero_si512(); P];
    for plane in 0..P {
        planes[plane] = rounded(numbers);
        if plane + 1 < P {
            let low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(planes[plane]));
            let high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64::<1>(planes[plane]));
            let wide = [_mm512_slli_epi32::<16>(low), _mm512_slli_epi32::<16>(high)];
            numbers = [rest(numbers[0], wide[0]), rest(numbers[1], wide[1])];
        }
    }
    planes
}

/// P planes of two rows of 16 numbers, interleaved.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn interleaved<const P: usize>(mut rows: [__m512; 2]) -> [__m512i; P] {
    let places: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * LANES) as u16);
    // SAFETY: 32 numbers of 16 bits are 512 bits.
    let places = unsafe { std::mem::transmute::<[u16; 32], __m512i>(places) };
    let mut planes = [_mm512_setzero_si512(); P];
    for plane in 0..P {
        planes[plane] = _mm512_permutexvar_epi16(places, rounded(rows));
        if plane + 1 < P {
            let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            let even = _mm512_slli_epi32::<16>(planes[plane]);
            rows = [rest(rows[0], even), rest(rows[1], _mm512_and_si512(planes[plane], upper))];
        }
    }
    planes
}

/// The transpose of 16 × 16 numbers of 32 bits: two by two, four by four, then by lanes of 128 bits.
#[target_feature(enable = "avx512f")]
fn transposed(rows: [__m512i; LANES]) -> [__m512i; LANES] {
    let (mut pairs, mut fours, mut columns) = (rows, rows, rows);
    for i in (0..LANES).step_by(2) {
        pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for i in (0..LANES).step_by(4) {
        fours[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    // `fours[4 g + c]` has in lane l the numbers of column 4 l + c in rows 4 g to 4 g + 3.
    for c in 0..4 {
        let even = _mm512_shuffle_i32x4::<0x88>(fours[c], fours[c + 4]);
        let even_below = _mm512_shuffle_i32x4::<0x88>(fours[c + 8], fours[c + 12]);
        let odd = _mm512_shuffle_i32x4::<0xdd>(fours[c], fours[c + 4]);
        let odd_below = _mm512_shuffle_i32x4::<0xdd>(fours[c + 8], fours[c + 12]);
        columns[c] = _mm512_shuffle_i32x4::<0x88>(even, even_below);
        columns[c + 4] = _mm512_shuffle_i32x4::<0x88>(odd, odd_below);
        columns[c + 8] = _mm512_shuffle_i32x4::<0xdd>(even, even_below);
        columns[c + 12] = _mm512_shuffle_i32x4::<0xdd>(odd, odd_below);
    }
    columns
}
