//! Kernels and products in one piece for NVIDIA's cards: the third form of a kernel, beside its row function and its
//! composed form.
//!
//! The kernels are CUDA sources in `cuda/`, compiled when the feature `cuda` is built; the element-wise ones are printed
//! from their formulas ([`print`](self::print)). Value and tangent are computed in one pass and come out stacked. Products
//! are laid out here and taken by cuBLAS. In tests the same sources run on the CPU, behind `cuda/host.h`, so that all of
//! this is checked on machines without a card ([`HOST`](self::host::HOST)).

mod address;
#[cfg(feature = "cuda")]
mod blas;
#[cfg(feature = "cuda")]
mod cuda;
mod dots;
mod each;
mod gemm;
#[cfg(test)]
mod host;
mod launch;
#[cfg(test)]
mod print;
mod sum;
mod wide;

#[cfg(test)]
mod tests;

pub(super) use dots::dots;
pub(super) use each::{Each, run_each};
#[cfg(test)]
pub(crate) use launch::launches;
pub(super) use launch::{Call, Grid, run};
pub(super) use sum::sum;
pub(super) use wide::Wide;

use candle_core::Device;

/// What runs these kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    /// A card.
    #[cfg(feature = "cuda")]
    Cuda,
    /// The CPU, in a test that asks for it.
    #[cfg(test)]
    Host,
}

/// Whether a device has kernels of its own.
pub(super) fn is_for(device: &Device) -> bool {
    engine(device).is_some()
}

/// The engine of a device, if it has one.
fn engine(device: &Device) -> Option<Engine> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => Some(Engine::Cuda),
        #[cfg(test)]
        Device::Cpu if host::is_wanted() => Some(Engine::Host),
        _ => None,
    }
}
