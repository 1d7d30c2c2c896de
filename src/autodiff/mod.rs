//! Arithmetic over which the gradient is written once: the Ops trait, dual numbers, kernels with their derivatives.
