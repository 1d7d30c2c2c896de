//! Blocks of numbers taken apart, as `ggml-quants.c` does it (`dequantize_row_*`), operation for operation.
//!
//! d is a block's scale, m its least number, q a number's bits: x = d (q − offset), or x = d q + m.

use half::{bf16, f16};

use super::TensorType;
use crate::vectors::vectorised;

/// Numbers of a block of the larger kind.
const SUPER: usize = 256;

/// The numbers of whole blocks.
pub(super) fn decode(tensor_type: TensorType, bytes: &[u8], into: &mut [f32]) {
    decode_rows(tensor_type, bytes, (bytes.len(), bytes.len()), into.len(), into);
}

/// The numbers of rows of `width` numbers, of which each begins `stride` bytes behind the one before and has `row` bytes.
/// As vectors, where the machine has them: the choice is made once for all rows.
pub(super) fn decode_rows(
    tensor_type: TensorType,
    bytes: &[u8],
    (stride, row): (usize, usize),
    width: usize,
    into: &mut [f32],
) {
    use TensorType::{Bf16, F16, F32, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    vectorised(
        #[inline(always)]
        || {
            for (nth, into) in into.chunks_exact_mut(width.max(1)).enumerate() {
                let bytes = &bytes[nth * stride..][..row];
                match tensor_type {
                    F32 => each(bytes, into, |b: &[u8; 4], x: &mut [f32; 1]| x[0] = f32::from_le_bytes(*b)),
                    F16 => each(bytes, into, |b: &[u8; 2], x: &mut [f32; 1]| {
                        x[0] = f16::from_le_bytes(*b).to_f32()
                    }),
                    Bf16 => each(bytes, into, |b: &[u8; 2], x: &mut [f32; 1]| {
                        x[0] = bf16::from_le_bytes(*b).to_f32()
                    }),
                    Q4_0 => each(bytes, into, q4_0),
                    Q4_1 => each(bytes, into, q4_1),
                    Q5_0 => each(bytes, into, q5_0),
                    Q5_1 => each(bytes, into, q5_1),
                    Q8_0 => each(bytes, into, q8_0),
                    Q4K => each(bytes, into, q4_k),
                    Q5K => each(bytes, into, q5_k),
                    Q6K => each(bytes, into, q6_k),
                }
            }
        },
    );
}

/// Takes one block after the other apart: BYTES bytes, NUMBERS numbers.
#[inline(always)]
fn each<const BYTES: usize, const NUMBERS: usize>(
    bytes: &[u8],
    into: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; NUMBERS]),
) {
    let (blocks, _) = bytes.as_chunks();
    let (numbers, _) = into.as_chunks_mut();
    for (block, numbers) in blocks.iter().zip(numbers) {
        decode(block, numbers);
    }
}

/// The half-precision number at a place of a block.
#[inline(always)]
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// N bytes from a place of a block on.
#[inline(always)]
fn bytes<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    block[at..].first_chunk().expect("a block's parts lie within it")
}

/// d: 2, q: 16. The low halves of the bytes are the first 16 numbers, the high halves the others.
#[inline(always)]
fn q4_0(block: &[u8; 18], x: &mut [f32; 32]) {
    let (d, qs) = (half(block, 0), bytes::<16>(block, 2));
    for (j, &q) in qs.iter().enumerate() {
        x[j] = (i32::from(q & 15) - 8) as f32 * d;
        x[j + 16] = (i32::from(q >> 4) - 8) as f32 * d;
    }
}

/// d: 2, m: 2, q: 16.
#[inline(always)]
fn q4_1(block: &[u8; 20], x: &mut [f32; 32]) {
    let (d, m, qs) = (half(block, 0), half(block, 2), bytes::<16>(block, 4));
    for (j, &q) in qs.iter().enumerate() {
        x[j] = f32::from(q & 15) * d + m;
        x[j + 16] = f32::from(q >> 4) * d + m;
    }
}

/// d: 2, fifth bits: 4, q: 16.
#[inline(always)]
fn q5_0(block: &[u8; 22], x: &mut [f32; 32]) {
    let d = half(block, 0);
    five_bits(u32::from_le_bytes(*bytes(block, 2)), bytes(block, 6), x, |q| (q as i32 - 16) as f32 * d);
}

/// d: 2, m: 2, fifth bits: 4, q: 16.
#[inline(always)]
fn q5_1(block: &[u8; 24], x: &mut [f32; 32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    five_bits(u32::from_le_bytes(*bytes(block, 4)), bytes(block, 8), x, |q| q as f32 * d + m);
}

/// Bit j of `fifth` belongs to number j.
#[inline(always)]
fn five_bits(fifth: u32, qs: &[u8; 16], x: &mut [f32; 32], number: impl Fn(u32) -> f32) {
    for (j, &q) in qs.iter().enumerate() {
        x[j] = number(u32::from(q & 15) | (fifth >> j & 1) << 4);
        x[j + 16] = number(u32::from(q >> 4) | (fifth >> (j + 16) & 1) << 4);
    }
}

/// d: 2, q: 32 with signs.
#[inline(always)]
fn q8_0(block: &[u8; 34], x: &mut [f32; 32]) {
    let (d, qs) = (half(block, 0), bytes::<32>(block, 2));
    for (x, &q) in x.iter_mut().zip(qs) {
        *x = f32::from(q as i8) * d;
    }
}

/// Scale and least number of part `j` of eight, 6 bits each, of 12 bytes.
#[inline(always)]
fn scale_and_least(j: usize, packed: &[u8; 12]) -> (f32, f32) {
    let (scale, least) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        (packed[j + 4] & 15 | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4)
    };
    (f32::from(scale), f32::from(least))
}

/// d: 2, dmin: 2, scales: 12, q: 128. The halves of 32 bytes are a part of 32 numbers each.
#[inline(always)]
fn q4_k(block: &[u8; 144], x: &mut [f32; SUPER]) {
    let (d, dmin, scales) = (half(block, 0), half(block, 2), bytes(block, 4));
    for (pair, x) in x.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let qs = bytes::<32>(block, 16 + 32 * pair);
        for high in 0..2 {
            let (scale, least) = scale_and_least(2 * pair + high, scales);
            let (scale, least) = (d * scale, dmin * least);
            for (x, &q) in x[32 * high..][..32].iter_mut().zip(qs) {
                *x = scale * f32::from(q >> (4 * high) & 15) - least;
            }
        }
    }
}

/// d: 2, dmin: 2, scales: 12, fifth bits: 32, q: 128. Bit i of byte j of the fifth bits is of number j of part i.
#[inline(always)]
fn q5_k(block: &[u8; 176], x: &mut [f32; SUPER]) {
    let (d, dmin, scales) = (half(block, 0), half(block, 2), bytes(block, 4));
    let fifth = bytes::<32>(block, 16);
    for (pair, x) in x.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let qs = bytes::<32>(block, 48 + 32 * pair);
        for high in 0..2 {
            let part = 2 * pair + high;
            let (scale, least) = scale_and_least(part, scales);
            let (scale, least) = (d * scale, dmin * least);
            for ((x, &q), &fifth) in x[32 * high..][..32].iter_mut().zip(qs).zip(fifth) {
                *x = scale * f32::from(q >> (4 * high) & 15 | (fifth >> part & 1) << 4) - least;
            }
        }
    }
}

/// Low four bits: 128, high two bits: 64, scales with signs: 16, d: 2. Each half of the block has parts of its own.
#[inline(always)]
fn q6_k(block: &[u8; 210], x: &mut [f32; SUPER]) {
    let (scales, d) = (bytes::<16>(block, 192), half(block, 208));
    for (nth, x) in x.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        let (low, high) = (bytes::<64>(block, 64 * nth), bytes::<32>(block, 128 + 32 * nth));
        for quarter in 0..4 {
            let low = &low[quarter % 2 * 32..][..32];
            for half in 0..2 {
                let scale = d * f32::from(scales[8 * nth + 2 * quarter + half] as i8);
                for j in 16 * half..16 * half + 16 {
                    let q = low[j] >> (quarter / 2 * 4) & 15 | (high[j] >> (2 * quarter) & 3) << 4;
                    x[32 * quarter + j] = scale * (i32::from(q) - 32) as f32;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::{GgmlDType, QTensor, ggml_file::qtensor_from_ggml};
    use candle_core::{Device, Tensor};

    use super::*;

    fn candle(tensor_type: TensorType) -> GgmlDType {
        use GgmlDType as C;
        use TensorType as T;
        match tensor_type {
            T::F32 => C::F32,
            T::F16 => C::F16,
            T::Bf16 => C::BF16,
            T::Q4_0 => C::Q4_0,
            T::Q4_1 => C::Q4_1,
            T::Q5_0 => C::Q5_0,
            T::Q5_1 => C::Q5_1,
            T::Q8_0 => C::Q8_0,
            T::Q4K => C::Q4K,
            T::Q5K => C::Q5K,
            T::Q6K => C::Q6K,
        }
    }

    fn noise(count: usize) -> Vec<f32> {
        let bits = |i: usize| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        (0..count).map(|i| bits(i) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    #[test]
    fn every_type_is_taken_apart_as_candle_does_it_bit_by_bit() {
        let numbers = Tensor::from_vec(noise(1024), (2, 512), &Device::Cpu).unwrap();
        for tensor_type in TensorType::ALL {
            let stored = QTensor::quantize(&numbers, candle(tensor_type)).unwrap();
            let expected = stored.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap();
            let mut found = vec![f32::NAN; 1024];
            tensor_type.decode(&stored.data().unwrap(), &mut found);
            assert_eq!(found, expected.to_vec1::<f32>().unwrap(), "{tensor_type}");
            // Four bits keep a number of [-1, 1] to a fifteenth and the rounding of the scale.
            let worst = found.iter().zip(noise(1024)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 0.2 && (tensor_type.is_quantised() || worst < 0.01), "{tensor_type}: {worst}");
        }
    }

    /// All bits of a block count, those that `quantize` never sets too.
    #[test]
    fn any_bytes_are_taken_apart_as_candle_does_it() {
        for tensor_type in TensorType::ALL.into_iter().filter(|tensor_type| tensor_type.is_quantised()) {
            let count = tensor_type.bytes(1024).unwrap();
            let mut bytes: Vec<u8> =
                (0..count as u64).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
            let block = tensor_type.bytes(tensor_type.block()).unwrap();
            // Scales that are numbers.
            for block in bytes.chunks_mut(block) {
                let halves = if tensor_type == TensorType::Q6K { vec![208] } else { vec![0, 2] };
                let four_bits = matches!(tensor_type, TensorType::Q4_0 | TensorType::Q5_0 | TensorType::Q8_0);
                for at in halves.into_iter().take(if four_bits { 1 } else { 2 }) {
                    block[at + 1] = 0x2c;
                }
            }
            let stored = qtensor_from_ggml(candle(tensor_type), &bytes, vec![1024], &Device::Cpu).unwrap();
            let expected = stored.dequantize(&Device::Cpu).unwrap().to_vec1::<f32>().unwrap();
            let mut found = vec![f32::NAN; 1024];
            tensor_type.decode(&bytes, &mut found);
            assert_eq!(found, expected, "{tensor_type}");
        }
    }
}
