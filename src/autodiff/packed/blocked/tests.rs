//! Products with matrices in blocks, against products in f64 with the same numbers.

#![allow(clippy::disallowed_methods)]

use std::mem::MaybeUninit;

use super::*;

/// What a target holds before a product.
const START: f32 = 1.0 / 64.0;

fn noise(count: usize, seed: u64) -> Vec<f32> {
    let bits =
        |i: u64| (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ seed.wrapping_mul(0xd134_2543_de82_ef95));
    (0..count as u64).map(|i| (bits(i) >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

/// Bytes of so many blocks, with scales of about 1/16, and numbers of all kinds.
fn bytes(tensor_type: TensorType, numbers: usize, seed: u64) -> Vec<u8> {
    if !tensor_type.is_quantised() {
        return tensor_type.encode(&noise(numbers, seed));
    }
    let count = tensor_type.bytes(numbers).unwrap();
    let byte = |i: u64| ((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ seed) >> 33) as u8;
    let mut bytes: Vec<u8> = (0..count as u64).map(byte).collect();
    let halves: &[usize] = match tensor_type {
        TensorType::Q6K => &[208],
        TensorType::Q4_0 | TensorType::Q5_0 | TensorType::Q8_0 => &[0],
        _ => &[0, 2],
    };
    for block in bytes.chunks_mut(tensor_type.bytes(tensor_type.block()).unwrap()) {
        halves.iter().for_each(|at| block[at + 1] = 0x28 | block[at + 1] & 0x83);
    }
    bytes
}

fn matrix(width: usize, parts: &[(TensorType, usize)]) -> Blocked {
    let rows = parts.iter().zip(1..).map(|(&(tensor_type, count), seed)| {
        BlockRows::new(tensor_type, count, width, bytes(tensor_type, count * width, seed)).unwrap()
    });
    Blocked::new(width, rows.collect())
}

fn places(numbers: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    // SAFETY: a place lies as its number does, and products write numbers alone.
    #[allow(unsafe_code)]
    unsafe {
        &mut *(std::ptr::from_mut(numbers) as *mut [MaybeUninit<f32>])
    }
}

/// Both ways of a product of `rows` rows, by one kernel, into rows that are wider than the product.
fn check(kernel: CpuKernel, matrix: &Blocked, rows: usize, precision: MatmulPrecision) {
    let (out, width) = matrix.dims();
    let matrix = matrix.at(precision);
    let whole = matrix.tensor(0..out).unwrap().to_dtype(DType::F64).unwrap();
    let tolerance = match precision {
        MatmulPrecision::Highest => 1e-6,
        MatmulPrecision::High => 3e-5,
        MatmulPrecision::Medium => 4e-3,
    };
    for (way, depth, columns, right) in
        [(Way::Forward, width, out, whole.t().unwrap()), (Way::Back, out, width, whole.clone())]
    {
        let left = noise(rows * depth, 7);
        let wide: Vec<f32> = left.chunks(depth).flat_map(|row| [row, &[f32::NAN; 3]].concat()).collect();
        let exact =
            Tensor::from_vec(left, (rows, depth), &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        let norm = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt();
        let size = norm(&exact) * norm(&right);
        let exact: Vec<f64> = exact.matmul(&right).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        for add in [false, true] {
            let stride = columns + 5;
            let mut target = vec![START; rows * stride];
            let left = Left { numbers: &wide, stride: depth + 3, rows, width: depth };
            let into = Target { numbers: places(&mut target), stride, add };
            matrix.multiply_by(kernel, way, left, into).unwrap();
            let found = target.chunks(stride).flat_map(|row| row[..columns].to_vec());
            let start = if add { f64::from(START) } else { 0.0 };
            let off = found.zip(&exact).map(|(a, b)| (f64::from(a) - b - start).powi(2)).sum::<f64>().sqrt();
            let what = format!("{kernel:?}, {rows} rows, {out} × {width}, {precision:?}, {way:?}, {add}");
            assert!(off < tolerance * size, "{what}: {:e}", off / size);
            assert!(
                target.chunks(stride).all(|row| row[columns..] == [START; 5]),
                "{what} wrote beside its columns"
            );
        }
    }
}

#[test]
fn every_kernel_that_the_machine_has_multiplies_with_blocks_of_every_type_at_every_precision() {
    for kernel in CpuKernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
        for tensor_type in TensorType::ALL {
            let matrix = matrix(512, &[(tensor_type, 37)]);
            for rows in [1, 6, 7, 13] {
                check(kernel, &matrix, rows, MatmulPrecision::Highest);
            }
            for precision in [MatmulPrecision::High, MatmulPrecision::Medium] {
                check(kernel, &matrix, 9, precision);
            }
        }
    }
}

#[test]
fn parts_of_several_types_are_one_matrix_wherever_they_end() {
    use TensorType::{Bf16, F32, Q4_1, Q4K, Q5_0, Q6K, Q8_0};
    for (width, parts) in [
        (256, &[(Q4K, 40), (Q6K, 9), (Q8_0, 24)][..]),
        (2304, &[(Q6K, 3), (Q4K, 300)]),
        (96, &[(Q5_0, 1), (Q4_1, 31), (Bf16, 17)]),
        (1376, &[(Q8_0, 600), (Q5_0, 5)]),
        (7, &[(F32, 5), (Bf16, 70)]),
    ] {
        let matrix = matrix(width, parts);
        for rows in [2, 19] {
            check(CpuKernel::chosen(), &matrix, rows, MatmulPrecision::Highest);
        }
    }
}

#[test]
fn large_products_are_shared_among_threads_and_come_out_the_same_for_any_number() {
    let matrix = matrix(768, &[(TensorType::Q4K, 300), (TensorType::Q6K, 77)]);
    for (way, depth, columns) in [(Way::Forward, 768, 377), (Way::Back, 377, 768)] {
        let left = noise(40 * depth, 4);
        let product = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut target = vec![0f32; 40 * columns];
            let left = Left { numbers: &left, stride: depth, rows: 40, width: depth };
            let into = Target { numbers: places(&mut target), stride: columns, add: false };
            pool.install(|| matrix.multiply(way, left, into)).unwrap();
            target
        };
        assert_eq!(product(1), product(3), "{way:?}");
    }
}

#[test]
fn rows_are_given_as_they_are_taken_apart_and_others_are_refused() {
    let matrix = matrix(64, &[(TensorType::Q8_0, 5), (TensorType::F16, 3)]);
    let all: Vec<Vec<f32>> = matrix.tensor(0..8).unwrap().to_vec2().unwrap();
    let mut expected = vec![0f32; 5 * 64];
    TensorType::Q8_0.decode(&bytes(TensorType::Q8_0, 5 * 64, 1), &mut expected);
    assert_eq!(all[..5].concat(), expected);
    let some: Vec<Vec<f32>> = matrix.rows(&[7, 0, 7]).unwrap().to_vec2().unwrap();
    assert_eq!(some, [&all[7], &all[0], &all[7]].map(Clone::clone));
    assert_eq!(matrix.tensor(4..6).unwrap().to_vec2::<f32>().unwrap(), all[4..6]);
    assert!(matrix.rows(&[8]).is_err() && matrix.tensor(7..9).is_err());
    assert_eq!(matrix.bytes(), 5 * 68 + 3 * 128);
}

#[test]
fn bytes_and_widths_that_do_not_fit_are_refused() {
    let rows = |count, width, bytes: usize| BlockRows::new(TensorType::Q4_0, count, width, vec![0; bytes]);
    assert!(rows(2, 64, 72).is_ok());
    assert!(rows(2, 64, 71).is_err() && rows(2, 48, 54).is_err() && rows(usize::MAX, 64, 0).is_err());
    let (a, b) = (matrix(64, &[(TensorType::Q4_0, 1)]), matrix(32, &[(TensorType::Q4_0, 1)]));
    assert!(Blocked::join(&[&a, &b]).is_none());
    assert_eq!(Blocked::join(&[&a, &a]).unwrap().dims(), (2, 64));
    let mut target = vec![0f32; 4];
    let left = [0f32; 32];
    let left = Left { numbers: &left, stride: 32, rows: 1, width: 32 };
    let into = Target { numbers: places(&mut target), stride: 1, add: false };
    assert!(a.multiply(Way::Forward, left, into).is_err());
}
