//! Arithmetic over which the gradient is written once: the [`Ops`] trait, [`Dual`] numbers, and kernels.
//!
//! A *kernel* is a formula over scalars ([`Kernel::row`]); evaluated on plain numbers it is the function,
//! evaluated on [`Pair`]s it is the function with its directional derivative. A gradient that is written
//! over [`Ops`] is a gradient on `Tensor`, and a Hessian-vector product on [`Dual`].
//!
//! On the CPU kernels are loops of our own. On other devices each is composed of Candle's operations over
//! [`Jet`]s: an element-wise formula writes itself down as a list of operations, the others state it again in
//! [`Kernel::compose`]. Both ways pass the same tests, on the CPU too ([`COMPOSED`]).
//!
//! Everything here fails only as the tensor operations below it do: shapes that do not fit, or a device out
//! of memory.

#![deny(clippy::disallowed_methods)]

mod dual;
mod exp;
mod formula;
mod gemm;
mod gemv;
mod jet;
mod kernel;
mod ops;
mod place;
mod pointwise;
mod scalar;

pub mod kernels;

pub use dual::Dual;
pub use jet::Jet;
pub use kernel::{Kernel, Rows, RowsMut};
pub use ops::Ops;
pub use place::{COMPOSED, Resident};
pub use pointwise::{Pointwise, pointwise};
pub use scalar::{Number, Pair, Real, Scalar};
