//! The innermost loops of products with packed factors, one for each instruction set. All that is unsafe of such
//! products is here and in `amx.rs`.

#![allow(unsafe_code)] // Vector instructions, and pointers to the rows of a target that threads share by columns.

use half::bf16;

/// Columns of a panel: numbers of a row of a packed factor that stand side by side.
pub(super) const PANEL: usize = 16;

/// A block of a product: `c (+)= a · b` for `rows` rows of a and the columns of one or two panels.
#[derive(Clone, Copy)]
pub(super) struct Block<T> {
    /// The first row of the left factor: its rows are `a_stride` numbers apart, its numbers side by side.
    pub a: *const f32,
    pub a_stride: usize,
    pub rows: usize,
    /// How many numbers of a row, and rows of the panels.
    pub depth: usize,
    /// The first panel, from the first row that is meant: `depth` rows of 16 numbers; in bf16 two rows interleaved.
    pub b: *const T,
    /// From a panel to the next.
    pub panel_stride: usize,
    /// The first number of the target, whose rows are `c_stride` numbers apart.
    pub c: *mut f32,
    pub c_stride: usize,
    /// Columns that the target has here: those of a panel beyond them are zeros, and not written.
    pub columns: usize,
    /// Whether the product is added to what is there.
    pub add: bool,
}

/// Writes `columns` sums of a row to their places, or adds them.
///
/// # Safety
/// There must be so many places, and where sums are added, numbers in them.
#[inline(always)]
pub(super) unsafe fn write(c: *mut f32, columns: usize, add: bool, sums: &[f32]) {
    for (column, &sum) in sums.iter().enumerate().take(columns) {
        // SAFETY: by the caller's word. The place may never have been written, so that it is no slice.
        unsafe {
            let c = c.add(column);
            c.write(if add { c.read() + sum } else { sum });
        }
    }
}

/// Plain loops, for any processor: any rows by one panel.
///
/// # Safety
/// All pointers of the block must reach what it says.
pub(super) unsafe fn portable_f32(block: &Block<f32>) {
    for row in 0..block.rows {
        let mut sums = [0f32; PANEL];
        for k in 0..block.depth {
            // SAFETY: by the caller's word, row and k are within the left factor, and k within the panel.
            let (a, b) = unsafe {
                let b = std::slice::from_raw_parts(block.b.add(k * PANEL), PANEL);
                (*block.a.add(row * block.a_stride + k), b)
            };
            sums.iter_mut().zip(b).for_each(|(sum, b)| *sum += a * b);
        }
        // SAFETY: the row is one of the block's.
        unsafe { write(block.c.add(row * block.c_stride), block.columns, block.add, &sums) };
    }
}

/// Calls a kernel of as many rows as the block has, so that its sums stay in registers.
macro_rules! by_rows {
    ($kernel:ident, $block:expr, $($rows:literal)*) => {
        match $block.rows {
            $($rows => $kernel::<$rows>($block),)*
            rows => unreachable!("a block of {rows} rows"),
        }
    };
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::{Block, PANEL, bf16, write};

    /// AVX2: six rows by one panel.
    ///
    /// # Safety
    /// The processor must have AVX2 and FMA, and all pointers of the block reach what it says.
    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn avx2_f32(block: &Block<f32>) {
        // SAFETY: by the caller's word.
        unsafe { by_rows!(avx2_f32_rows, block, 1 2 3 4 5 6) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2_f32_rows<const R: usize>(block: &Block<f32>) {
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        for k in 0..block.depth {
            // SAFETY: by the caller's word, k is within the rows of the panel and of the left factor.
            unsafe {
                let b = block.b.add(k * PANEL);
                let b = [_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8))];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let a = _mm256_set1_ps(*block.a.add(row * block.a_stride + k));
                    sums[0] = _mm256_fmadd_ps(a, b[0], sums[0]);
                    sums[1] = _mm256_fmadd_ps(a, b[1], sums[1]);
                }
            }
        }
        // SAFETY: the sums are those of the block.
        unsafe { avx2_write(block, &sums) };
    }

    /// AVX2: six rows by one panel in bf16, which is widened as it is read: for few rows, where memory sets the pace.
    ///
    /// # Safety
    /// As [`avx2_f32`].
    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn avx2_bf16(block: &Block<bf16>) {
        // SAFETY: by the caller's word.
        unsafe { by_rows!(avx2_bf16_rows, block, 1 2 3 4 5 6) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2_bf16_rows<const R: usize>(block: &Block<bf16>) {
        let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        for k in (0..block.depth).step_by(2) {
            // SAFETY: by the caller's word, k and k + 1 are within the rows of the panel and of the left factor.
            unsafe {
                // One row of the two after the other: with both at hand the sums would not stay in registers.
                let b = block.b.add(k * PANEL).cast::<__m256i>();
                let shifted = |b| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_loadu_si256(b)));
                let even = [shifted(b), shifted(b.add(1))];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let a = _mm256_set1_ps(*block.a.add(row * block.a_stride + k));
                    sums[0] = _mm256_fmadd_ps(a, even[0], sums[0]);
                    sums[1] = _mm256_fmadd_ps(a, even[1], sums[1]);
                }
                let masked = |b| _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(b), upper));
                let odd = [masked(b), masked(b.add(1))];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let a = _mm256_set1_ps(*block.a.add(row * block.a_stride + k + 1));
                    sums[0] = _mm256_fmadd_ps(a, odd[0], sums[0]);
                    sums[1] = _mm256_fmadd_ps(a, odd[1], sums[1]);
                }
            }
        }
        // SAFETY: the sums are those of the block.
        unsafe { avx2_write(block, &sums) };
    }

    #[target_feature(enable = "avx2")]
    unsafe fn avx2_write<T, const R: usize>(block: &Block<T>, sums: &[[__m256; 2]; R]) {
        for (row, sums) in sums.iter().enumerate() {
            // SAFETY: a row of the block; where it has all columns, there are 16 to read and to write.
            unsafe {
                if block.columns >= PANEL {
                    let c = block.c.add(row * block.c_stride);
                    for (half, &sum) in sums.iter().enumerate() {
                        let c = c.add(8 * half);
                        let sum = if block.add { _mm256_add_ps(_mm256_loadu_ps(c), sum) } else { sum };
                        _mm256_storeu_ps(c, sum);
                    }
                } else {
                    let mut numbers = [0f32; PANEL];
                    _mm256_storeu_ps(numbers.as_mut_ptr(), sums[0]);
                    _mm256_storeu_ps(numbers.as_mut_ptr().add(8), sums[1]);
                    write(block.c.add(row * block.c_stride), block.columns, block.add, &numbers);
                }
            }
        }
    }

    /// AVX-512: twelve rows by two panels.
    ///
    /// # Safety
    /// The processor must have AVX-512F, and all pointers of the block reach what it says, of two panels.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn avx512_f32(block: &Block<f32>) {
        // SAFETY: by the caller's word.
        unsafe { by_rows!(avx512_f32_rows, block, 1 2 3 4 5 6 7 8 9 10 11 12) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn avx512_f32_rows<const R: usize>(block: &Block<f32>) {
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        for k in 0..block.depth {
            // SAFETY: by the caller's word, k is within the rows of both panels and of the left factor.
            unsafe {
                let b = block.b.add(k * PANEL);
                let b = [_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(block.panel_stride))];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let a = _mm512_set1_ps(*block.a.add(row * block.a_stride + k));
                    sums[0] = _mm512_fmadd_ps(a, b[0], sums[0]);
                    sums[1] = _mm512_fmadd_ps(a, b[1], sums[1]);
                }
            }
        }
        // SAFETY: the sums are those of the block.
        unsafe { avx512_write(block, &sums) };
    }

    /// AVX512-BF16: twelve rows of bf16 by two panels. The left factor is of pairs of bf16, each in the place of an f32:
    /// `a_stride` counts pairs.
    ///
    /// # Safety
    /// The processor must have AVX512-BF16, and all pointers of the block reach what it says, of two panels.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub unsafe fn avx512_bf16_pairs(block: &Block<bf16>) {
        // SAFETY: by the caller's word.
        unsafe { by_rows!(avx512_pairs_rows, block, 1 2 3 4 5 6 7 8 9 10 11 12) }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn avx512_pairs_rows<const R: usize>(block: &Block<bf16>) {
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        for pair in 0..block.depth / 2 {
            // SAFETY: by the caller's word, the pair is within the rows of both panels and of the left factor. A vector of
            // 32 bf16 is 512 bits, whatever it is loaded as.
            unsafe {
                // Not `map`: it would be a call.
                let b = block.b.add(2 * pair * PANEL);
                let b = [_mm512_loadu_si512(b.cast()), _mm512_loadu_si512(b.add(block.panel_stride).cast())];
                let b: [__m512bh; 2] = std::mem::transmute::<[__m512i; 2], [__m512bh; 2]>(b);
                for (row, sums) in sums.iter_mut().enumerate() {
                    let a = *block.a.add(row * block.a_stride + pair).cast::<i32>();
                    let a = std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(a));
                    sums[0] = _mm512_dpbf16_ps(sums[0], a, b[0]);
                    sums[1] = _mm512_dpbf16_ps(sums[1], a, b[1]);
                }
            }
        }
        // SAFETY: the sums are those of the block.
        unsafe { avx512_write(block, &sums) };
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn avx512_write<T, const R: usize>(block: &Block<T>, sums: &[[__m512; 2]; R]) {
        for (row, sums) in sums.iter().enumerate() {
            // SAFETY: a row of the block; where it has all columns, there are 32 to read and to write.
            unsafe {
                if block.columns >= 2 * PANEL {
                    let c = block.c.add(row * block.c_stride);
                    for (half, &sum) in sums.iter().enumerate() {
                        let c = c.add(PANEL * half);
                        let sum = if block.add { _mm512_add_ps(_mm512_loadu_ps(c), sum) } else { sum };
                        _mm512_storeu_ps(c, sum);
                    }
                } else {
                    let mut numbers = [0f32; 2 * PANEL];
                    _mm512_storeu_ps(numbers.as_mut_ptr(), sums[0]);
                    _mm512_storeu_ps(numbers.as_mut_ptr().add(PANEL), sums[1]);
                    write(block.c.add(row * block.c_stride), block.columns, block.add, &numbers);
                }
            }
        }
    }
}
