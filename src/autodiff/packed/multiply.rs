//! A product with a packed factor: cut into blocks that fit the caches, shared among the threads, given to a kernel.

#![allow(unsafe_code)] // Calls kernels, which take pointers: threads share the target by columns.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::Target;
use super::kernel::CpuKernel;
use super::layout::Panels;
use super::micro::{self, Block, PANEL};
#[cfg(target_arch = "x86_64")]
use super::planes::Planes;
#[cfg(target_arch = "x86_64")]
use super::varying::Low;
use super::widened::{DEPTH_STEP, MOST_DEPTH, Portion, Widened, blocks};

/// Multiplications that are worth a thread's while.
pub(super) const PIECE: usize = 1 << 16;

/// Parts of the work a thread, so that one that is held up leaves some to the others.
pub(super) const PARTS_PER_THREAD: usize = 4;

/// Up to so many rows a factor is widened as it is read, for memory sets the pace there; with more, once for all of them,
/// or not at all.
pub(super) const FEW_ROWS: usize = 6;

/// `target (+)= left · factor`: row-major, the rows of both this far apart.
pub(super) struct Product<'a> {
    pub left: &'a [f32],
    pub left_stride: usize,
    pub rows: usize,
    /// Written by all threads; where the product is added, it must hold numbers already.
    pub target: &'a mut [MaybeUninit<f32>],
    pub target_stride: usize,
    /// Whether the product is added to what is there.
    pub add: bool,
}

/// The target's first number, which threads share: each writes columns or rows of its own.
#[derive(Clone, Copy)]
pub(super) struct Shared(pub *mut f32);
// SAFETY: every part of the work writes columns or rows that no other part does.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl<'a> Product<'a> {
    pub fn new(left: &'a [f32], left_stride: usize, rows: usize, target: Target<'a>) -> Self {
        let Target { numbers, stride, add } = target;
        Self { left, left_stride, rows, target: numbers, target_stride: stride, add }
    }

    /// Panics where a slice does not hold what the kernels will reach for; `depth` and `columns` are the factor's.
    pub fn check(&self, depth: usize, columns: usize) {
        let reach = |rows: usize, stride: usize, width: usize| (rows.max(1) - 1) * stride + width;
        assert!(self.left_stride >= depth && self.target_stride >= columns, "rows overlap");
        assert!(
            self.rows == 0 || self.left.len() >= reach(self.rows, self.left_stride, depth),
            "left factor"
        );
        assert!(
            self.rows == 0 || self.target.len() >= reach(self.rows, self.target_stride, columns),
            "target"
        );
    }

    /// With sums and the left factor in f32: the factor is widened.
    pub fn by_panels(mut self, panels: &Panels, kernel: CpuKernel) {
        if self.rows > FEW_ROWS || !panels.depth.is_multiple_of(2) || kernel < CpuKernel::Avx2 {
            return self.by_widened(panels, kernel);
        }
        self.check(panels.depth, panels.columns);
        self.in_parts((panels.depth, panels.columns), 2, |this, target, range| {
            blocks(panels.depth, MOST_DEPTH, DEPTH_STEP, |first, depth| {
                range.clone().for_each(|panel| this.by_few(target, panels, panel, first, depth));
            });
        });
    }

    /// With sums and the left factor in f32, and a factor that is widened some panels at a time.
    pub fn by_widened<F: Widened>(mut self, factor: &F, kernel: CpuKernel) {
        let (depth, columns) = factor.dims();
        self.check(depth, columns);
        let run = f32_kernel(kernel);
        let Portion { panels, depth: most_depth, step } = factor.portion();
        let together = panels.next_multiple_of(run.panels);
        self.in_parts((depth, columns), together.next_multiple_of(2), |this, target, range| {
            let mut wide = vec![0f32; together * most_depth * PANEL];
            blocks(depth, most_depth, step, |first, depth| {
                // An odd last row has one of zeros beside it.
                let stride = depth.next_multiple_of(2) * PANEL;
                for group in range.clone().step_by(together) {
                    let group = group..range.end.min(group + together);
                    factor.widen(group.clone(), first, depth, wide.chunks_mut(stride));
                    for (panel, wide) in
                        group.clone().step_by(run.panels).zip(wide.chunks(stride * run.panels))
                    {
                        let at = At { first, depth, panel, panels: run.panels };
                        this.by_panel(run, target, &at, wide.as_ptr(), stride, columns);
                    }
                }
            });
        });
    }

    /// With the left factor as a sum of planes of bf16, by instructions that multiply those; by tiles with the low-rank
    /// products that ride along.
    #[cfg(target_arch = "x86_64")]
    pub fn by_planes(mut self, panels: &Panels, planes: usize, low: &[Low], kernel: CpuKernel) {
        self.check(panels.depth, panels.columns);
        let planes = Planes::split(self.left, self.left_stride, self.rows, panels.depth, planes);
        self.in_parts((panels.depth, panels.columns), 2, |this, target, range| {
            // SAFETY: the kernel is available, or it would not have been chosen; planes are padded as it wants them, and there
            // is an even number of panels.
            unsafe {
                match kernel {
                    CpuKernel::Amx => this.by_tiles(target, panels, range, &planes, low),
                    _ => this.by_pairs(target, panels, range, &planes),
                }
            }
        });
    }

    /// Cuts the panels of a factor `(depth, columns)` into parts of a multiple of `together`, and gives them to the threads.
    pub fn in_parts(
        &mut self,
        (depth, columns): (usize, usize),
        together: usize,
        work: impl Fn(&Self, Shared, Range<usize>) + Sync,
    ) {
        let count = columns.div_ceil(PANEL);
        if self.rows == 0 || count == 0 {
            return;
        }
        let target = Shared(self.target.as_mut_ptr().cast());
        let size = self.rows * depth * columns;
        let most = PARTS_PER_THREAD * rayon::current_num_threads();
        let parts = (size / PIECE).clamp(1, most);
        let each = count.div_ceil(parts).next_multiple_of(together);
        let part = |nth: usize| nth * each..count.min((nth + 1) * each);
        match count.div_ceil(each) {
            1 => work(self, target, part(0)),
            parts => (0..parts).into_par_iter().for_each(|nth| work(self, target, part(nth))),
        }
    }

    /// All rows by a panel, or two, from row `at.first` of the panel on.
    fn by_panel(
        &self,
        run: F32Kernel,
        target: Shared,
        at: &At,
        b: *const f32,
        panel_stride: usize,
        columns: usize,
    ) {
        for row in (0..self.rows).step_by(run.rows) {
            let block = Block {
                a: self.left[row * self.left_stride + at.first..].as_ptr(),
                a_stride: self.left_stride,
                rows: run.rows.min(self.rows - row),
                depth: at.depth,
                b,
                panel_stride,
                c: self.place(target, row, at.panel),
                c_stride: self.target_stride,
                columns: (columns - at.panel * PANEL).min(at.panels * PANEL),
                add: self.add || at.first > 0,
            };
            // SAFETY: `check` has seen that rows, depth and columns are within the slices, and the packing padded the panels;
            // the kernel is available, or it would not have been chosen.
            unsafe { (run.call)(&block) }
        }
    }

    /// A few rows by a panel in bf16.
    fn by_few(&self, target: Shared, panels: &Panels, panel: usize, first: usize, depth: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            let block = Block {
                a: self.left[first..].as_ptr(),
                a_stride: self.left_stride,
                rows: self.rows,
                depth,
                b: panels.rows(panel, first, depth).as_ptr(),
                panel_stride: panels.stride(),
                c: self.place(target, 0, panel),
                c_stride: self.target_stride,
                columns: (panels.columns - panel * PANEL).min(PANEL),
                add: self.add || first > 0,
            };
            // SAFETY: as in `by_panel`; the caller has seen that the kernel is AVX2 or better, and the depth even.
            unsafe { micro::x86::avx2_bf16(&block) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (target, panels, panel, first, depth);
    }

    /// The target's number in a row, and in the first column of a panel.
    pub fn place(&self, target: Shared, row: usize, panel: usize) -> *mut f32 {
        // SAFETY: the row is one of the target's, and the panel has at least one of its columns.
        unsafe { target.0.add(row * self.target_stride + panel * PANEL) }
    }

    /// Some panels, two at a time, by AVX512-BF16.
    ///
    /// # Safety
    /// The processor must have AVX512-BF16.
    #[cfg(target_arch = "x86_64")]
    unsafe fn by_pairs(&self, target: Shared, panels: &Panels, range: Range<usize>, planes: &Planes) {
        const ROWS: usize = 12;
        blocks(panels.padded, MOST_DEPTH, DEPTH_STEP, |first, depth| {
            for panel in range.clone().step_by(2) {
                for row in (0..self.rows).step_by(ROWS) {
                    for plane in 0..planes.count {
                        let block = Block {
                            a: planes.from(plane, row, first).as_ptr().cast(),
                            a_stride: planes.stride() / 2,
                            rows: ROWS.min(self.rows - row),
                            depth,
                            b: panels.rows(panel, first, depth).as_ptr(),
                            panel_stride: panels.stride(),
                            c: self.place(target, row, panel),
                            c_stride: self.target_stride,
                            columns: (panels.columns - panel * PANEL).min(2 * PANEL),
                            add: self.add || first > 0 || plane > 0,
                        };
                        // SAFETY: `check` has seen the target, planes and panels are padded to the same depth, and panels to
                        // an even number.
                        unsafe { micro::x86::avx512_bf16_pairs(&block) }
                    }
                }
            }
        });
    }
}

/// Where a block stands in the factor.
struct At {
    first: usize,
    depth: usize,
    panel: usize,
    /// How many panels are taken at a time.
    panels: usize,
}

/// A kernel for factors in f32: how many rows and panels it takes at a time.
#[derive(Clone, Copy)]
struct F32Kernel {
    rows: usize,
    panels: usize,
    call: unsafe fn(&Block<f32>),
}

fn f32_kernel(kernel: CpuKernel) -> F32Kernel {
    match kernel {
        #[cfg(target_arch = "x86_64")]
        CpuKernel::Avx2 => F32Kernel { rows: 6, panels: 1, call: micro::x86::avx2_f32 },
        #[cfg(target_arch = "x86_64")]
        CpuKernel::Avx512 | CpuKernel::Avx512Bf16 | CpuKernel::Amx => {
            F32Kernel { rows: 12, panels: 2, call: micro::x86::avx512_f32 }
        }
        _ => F32Kernel { rows: 6, panels: 1, call: micro::portable_f32 },
    }
}
