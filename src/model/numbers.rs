//! The numbers of a weight, looked through before they are used.

use candle_core::DType;
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

/// So many bytes are looked through at once; a multiple of every number's size.
const PART: usize = 1 << 20;

/// Refuses numbers that are none, and those that `target` cannot hold. `bytes` are a tensor's, as safetensors has them.
///
/// # Errors
/// What is wrong, and what to do about it.
pub(super) fn check(dtype: Dtype, bytes: &[u8], target: DType) -> Result<(), String> {
    largest(dtype, bytes).map_or(Ok(()), |largest| judge(largest, target))
}

/// As [`check`], of numbers that are taken apart already.
///
/// # Errors
/// As [`check`].
pub(super) fn check_f32(numbers: &[f32], target: DType) -> Result<(), String> {
    let part = |part: &[f32]| part.iter().map(|number| number.to_bits() & (u32::MAX >> 1)).max();
    let largest = numbers.par_chunks(PART / 4).filter_map(part).max().unwrap_or_default();
    judge(f64::from(f32::from_bits(largest)), target)
}

fn judge(largest: f64, target: DType) -> Result<(), String> {
    if !largest.is_finite() {
        return Err(
            "holds a NaN or an infinity: the file is damaged, or the training that wrote it had failed"
                .to_owned(),
        );
    }
    match largest < beyond(target) {
        true => Ok(()),
        false => Err(format!(
            "holds numbers up to {largest:e}, beyond the {} that it would be kept in: choose another model.storage",
            target.as_str()
        )),
    }
}

/// The largest magnitude; a NaN where there is one. `None` for types that are not of real numbers.
///
/// Without its sign, a number's bits are ordered as its magnitude is, with infinity and then NaN at the end.
fn largest(dtype: Dtype, bytes: &[u8]) -> Option<f64> {
    Some(match dtype {
        Dtype::F16 => f16::from_bits(most(bytes, |b| u16::from_le_bytes(b) & 0x7fff)).to_f64(),
        Dtype::BF16 => bf16::from_bits(most(bytes, |b| u16::from_le_bytes(b) & 0x7fff)).to_f64(),
        Dtype::F32 => f64::from(f32::from_bits(most(bytes, |b| u32::from_le_bytes(b) & (u32::MAX >> 1)))),
        Dtype::F64 => f64::from_bits(most(bytes, |b| u64::from_le_bytes(b) & (u64::MAX >> 1))),
        _ => return None,
    })
}

fn most<const SIZE: usize, T: Ord + Default + Send>(
    bytes: &[u8],
    read: impl Fn([u8; SIZE]) -> T + Sync,
) -> T {
    let part = |part: &[u8]| part.as_chunks().0.iter().map(|&number| read(number)).max();
    bytes.par_chunks(PART).filter_map(part).max().unwrap_or_default()
}

/// The smallest number that becomes an infinity in a type: half a step above its largest.
fn beyond(target: DType) -> f64 {
    match target {
        DType::F16 => 65_520.0,
        DType::BF16 => f64::from(f32::from_bits(0x7f7f_8000)),
        DType::F32 => f64::from(f32::MAX) * (1.0 + 2f64.powi(-25)),
        _ => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32s(numbers: &[f32], target: DType) -> Result<(), String> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        check(Dtype::F32, &bytes, target)
    }

    #[test]
    fn a_number_that_is_none_is_found_wherever_it_is_and_of_whatever_type() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut numbers = vec![1.0; PART / 4 + 3];
            assert!(f32s(&numbers, DType::F32).is_ok());
            *numbers.last_mut().unwrap() = bad;
            assert!(f32s(&numbers, DType::F32).unwrap_err().contains("a NaN or an infinity"), "{bad}");
            let halves = [f16::from_f32(bad).to_le_bytes(), f16::ONE.to_le_bytes()].concat();
            assert!(check(Dtype::F16, &halves, DType::F32).is_err());
            let brain = [bf16::ONE.to_le_bytes(), bf16::from_f32(bad).to_le_bytes()].concat();
            assert!(check(Dtype::BF16, &brain, DType::F32).is_err());
            assert!(check(Dtype::F64, &f64::from(bad).to_le_bytes(), DType::F64).is_err());
        }
        assert!(f32s(&[f32::MAX, -f32::MAX, 0.0, f32::MIN_POSITIVE], DType::F32).is_ok());
        assert!(f32s(&[], DType::F32).is_ok());
    }

    #[test]
    fn a_number_that_the_storage_type_cannot_hold_is_refused_and_one_that_rounds_down_is_not() {
        assert!(f32s(&[65_519.0], DType::F16).is_ok());
        let message = f32s(&[-65_520.0], DType::F16).unwrap_err();
        assert!(message.contains("beyond the f16") && message.contains("model.storage"), "{message}");
        assert!(f32s(&[3.39e38], DType::BF16).is_ok());
        assert!(f32s(&[f32::MAX], DType::BF16).is_err());
        assert!(check(Dtype::F64, &1e39f64.to_le_bytes(), DType::F32).is_err());
        assert!(check(Dtype::F64, &1e39f64.to_le_bytes(), DType::F64).is_ok());
    }
}
