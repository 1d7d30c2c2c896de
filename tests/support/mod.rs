//! What several test files share.
#![allow(clippy::unwrap_used, dead_code)] // Each test file uses a part of these helpers.

pub mod device;
pub mod golden;

use candle_core::{DType, Tensor};

/// Numbers of a tensor in f64.
pub fn numbers(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference, relative to the largest number of the second.
pub fn relative(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    distance(&numbers(found), &numbers(expected))
}

/// Largest difference, relative to the largest number of the second; NaN if any number is.
pub fn distance(found: &[f64], expected: &[f64]) -> f64 {
    let (mut difference, mut size) = (0f64, 0f64);
    for (a, b) in found.iter().zip(expected) {
        if !(a - b).is_finite() {
            return f64::NAN;
        }
        difference = difference.max((a - b).abs());
        size = size.max(b.abs());
    }
    // A gradient that is exactly zero for the reference may be rounding noise here.
    difference / size.max(1e-9)
}
