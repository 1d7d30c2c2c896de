//! Arithmetic over which the gradient is written once: the [`Ops`] trait, [`Dual`] numbers, and kernels.
//!
//! A *kernel* is a formula over scalars ([`Kernel::row`]); evaluated on plain numbers it is the function,
//! evaluated on [`Pair`]s it is the function with its directional derivative. A gradient that is written
//! over [`Ops`] is a gradient on `Tensor`, and a Hessian-vector product on [`Dual`].
//!
//! On the CPU kernels are loops of our own, on NVIDIA's cards they are kernels of CUDA (`fused`). Elsewhere each is
//! composed of Candle's operations over [`Dual`]s: an element-wise formula writes itself down as a list of operations, the
//! others state it again in [`Kernel::compose`]. Products have forms likewise; `choose.rs` decides which one runs, and says
//! how to add one. All forms pass the same tests, on the CPU too ([`COMPOSED`]).
//!
//! Everything here fails only as the tensor operations below it do: shapes that do not fit, or a device out
//! of memory.

#![deny(clippy::disallowed_methods)]

mod choose;
mod dots;
mod dual;
mod exp;
mod formula;
mod frozen;
mod fused;
mod gemm;
mod gemv;
mod kernel;
#[cfg(target_arch = "x86_64")]
mod losses;
mod ops;
mod packed;
mod pointwise;
mod product;
mod resident;
mod room;
mod rows;
mod scalar;

pub mod kernels;

pub use choose::COMPOSED;
pub use dots::{dots, totals};
pub use dual::Dual;
#[cfg(test)]
pub(crate) use formula::source;
pub use frozen::Frozen;
#[cfg(test)]
pub(crate) use fused::launches;
pub(crate) use fused::{NextToken, attend_next, attends_next, largest, norm_rows};
pub use kernel::{Kernel, Stored};
pub use ops::{LowRankUp, MatmulOptions, Ops};
pub use packed::{BlockRows, Blocked, CpuKernel, KERNEL};
pub use pointwise::{Pointwise, pointwise, pointwise_each};
pub use resident::Resident;
pub use rows::{Rows, RowsMut};
pub use scalar::{Number, Pair, Real, Scalar};
