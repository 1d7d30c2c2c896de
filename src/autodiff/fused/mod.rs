//! Kernels and products in one piece for NVIDIA's cards: the third form of a kernel, beside its row function and its
//! composed form.
//!
//! The kernels are CUDA sources in `cuda/`, compiled when the feature `cuda` is built; the element-wise ones are printed
//! from their formulas ([`print`](self::print)). Value and tangent are computed in one pass and come out stacked. Products
//! are laid out here and taken by cuBLAS, those of a few rows, as decoding has them, by a kernel (`few_rows.rs`). In tests
//! the same sources run on the CPU, behind `cuda/host.h`, so that all of this is checked on machines without a card
//! ([`HOST`](self::host::HOST)).

// A build without an engine prepares launches that it never makes.
#![cfg_attr(not(any(feature = "cuda", test)), allow(dead_code))]

mod address;
#[cfg(feature = "cuda")]
mod blas;
#[cfg(feature = "cuda")]
mod cuda;
mod decode;
mod dots;
mod each;
mod few_rows;
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

pub(crate) use decode::{NextToken, attend_next, attends_next, largest, norm_rows};
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

impl Engine {
    /// A number for a card, or another for the CPU, where a test has few threads and small sizes.
    fn pick(self, card: usize, host: usize) -> usize {
        #[cfg(test)]
        if self == Self::Host {
            return host;
        }
        let _ = host;
        card
    }

    /// Threads of a warp.
    fn lanes(self) -> usize {
        #[cfg(test)]
        return self.pick(32, host::WARP);
        #[cfg(not(test))]
        self.pick(32, 0)
    }
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
