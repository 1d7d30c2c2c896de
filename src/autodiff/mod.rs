//! Arithmetic over which the gradient is written once: the [`Ops`] trait, [`Dual`] numbers, and kernels.
//!
//! A *kernel* is a formula over scalars ([`Kernel::row`]); evaluated on plain numbers it is the function,
//! evaluated on [`Pair`]s it is the function with its directional derivative. A gradient that is written
//! over [`Ops`] is a gradient on `Tensor`, and a Hessian-vector product on [`Dual`].
//!
//! Everything here fails only as the tensor operations below it do: shapes that do not fit, or a device out
//! of memory.

mod dual;
mod exp;
mod gemm;
mod gemv;
mod kernel;
mod ops;
mod pointwise;
mod scalar;

pub mod kernels;

pub use dual::Dual;
pub use kernel::{Kernel, Rows, RowsMut};
pub use ops::Ops;
pub use pointwise::{Pointwise, pointwise};
pub use scalar::{Pair, Real, Scalar};
