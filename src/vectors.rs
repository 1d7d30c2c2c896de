//! Loops compiled for the widest vectors that the processor has.

/// Runs `work`, whose loops are compiled once for each set of vector instructions, in the version for those that the
/// processor has. `work` is a closure with `#[inline(always)]`, and so is all that it calls: what is not inlined into it is
/// compiled for the least processor.
///
/// It may be called again, though it is not: a closure that is taken for one call only (`FnOnce`) is called through a
/// function of the compiler's own, which is not inlined where it is long. Then every `mul_add` becomes a call of C's `fmaf`.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnMut() -> R) -> R {
    struct Work<F>(F);

    impl<R, F: FnMut() -> R> pulp::WithSimd for Work<F> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: pulp::Simd>(mut self, _: S) -> R {
            (self.0)()
        }
    }

    pulp::Arch::new().dispatch(Work(work))
}
