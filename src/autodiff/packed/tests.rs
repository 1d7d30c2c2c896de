//! Packed products by every kernel that the machine has, against products in f64.

#![allow(clippy::disallowed_methods)]

use candle_core::{DType, Device, Tensor};

use super::*;

const PRECISIONS: [MatmulPrecision; 3] =
    [MatmulPrecision::Highest, MatmulPrecision::High, MatmulPrecision::Medium];

/// What a target holds before a product: small, so that it costs a sum no digits.
const START: f32 = 1.0 / 64.0;

fn random(dims: (usize, usize), dtype: DType, seed: u64) -> Tensor {
    let count = dims.0 * dims.1;
    let numbers: Vec<f32> = (0..count as u64)
        .map(|i| {
            let bits = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ seed.wrapping_mul(0xd134_2543_de82_ef95));
            (bits >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_vec(numbers, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

fn numbers(x: &Tensor) -> Vec<f32> {
    x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Numbers as places to write to.
fn places(numbers: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    // SAFETY: a place lies as its number does, and products write numbers alone.
    #[allow(unsafe_code)]
    unsafe {
        &mut *(std::ptr::from_mut(numbers) as *mut [MaybeUninit<f32>])
    }
}

/// Distance of `found` from the product in f64, relative to the product of the factors' norms.
fn error(found: &[f32], left: &Tensor, right: &Tensor, start: f64) -> f64 {
    let [left, right] = [left, right].map(|x| x.to_dtype(DType::F64).unwrap());
    let exact: Vec<f64> = left.matmul(&right).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let norm = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt();
    let squares = found.iter().zip(&exact).map(|(&a, b)| (f64::from(a) - b - start).powi(2)).sum::<f64>();
    squares.sqrt() / (norm(&left) * norm(&right)).max(1e-300)
}

/// Both ways of a product of `rows` rows with a matrix, by one kernel, into rows that are wider than the product.
fn check(
    kernel: CpuKernel,
    rows: usize,
    (out, width): (usize, usize),
    dtype: DType,
    precision: MatmulPrecision,
) {
    let matrix = random((out, width), dtype, 1);
    let packed = Packed::new(&matrix, precision).unwrap().unwrap();
    let tolerance = match precision {
        MatmulPrecision::Highest => 1e-6,
        MatmulPrecision::High => 3e-5,
        MatmulPrecision::Medium => 4e-3,
    };
    for (way, depth, columns, right) in
        [(Way::Forward, width, out, matrix.t().unwrap()), (Way::Back, out, width, matrix.clone())]
    {
        let left = random((rows, depth), DType::F32, 2);
        let wide: Vec<f32> =
            numbers(&left).chunks(depth).flat_map(|row| [row, &[f32::NAN; 3]].concat()).collect();
        for add in [false, true] {
            let stride = columns + 5;
            let mut target = vec![START; rows * stride];
            packed
                .multiply_by(
                    kernel,
                    way,
                    Left { numbers: &wide, stride: depth + 3, rows, width: depth },
                    &[],
                    Target { numbers: places(&mut target), stride, add },
                )
                .unwrap();
            let found: Vec<f32> = target.chunks(stride).flat_map(|row| row[..columns].to_vec()).collect();
            let error = error(&found, &left, &right, if add { START.into() } else { 0.0 });
            let what =
                format!("{kernel:?} {rows} rows, {out} × {width}, {dtype:?}, {precision:?}, {way:?}, {add}");
            assert!(error < tolerance, "{what}: {error:e}");
            assert!(
                target.chunks(stride).all(|row| row[columns..] == [START; 5]),
                "{what} wrote beside its columns"
            );
        }
    }
}

#[test]
fn every_kernel_that_the_machine_has_multiplies_odd_sizes_at_every_precision() {
    let (there, missing): (Vec<_>, Vec<_>) =
        CpuKernel::ALL.into_iter().partition(|kernel| kernel.is_available());
    // Read by whoever wonders which were tested: cargo test -- --nocapture every_kernel
    println!("tested: {there:?}; this machine lacks: {missing:?}");
    let shapes = [(1, 1), (3, 2), (16, 32), (17, 33), (31, 100), (64, 64), (97, 130), (48, 1100)];
    for kernel in there {
        for rows in [1, 2, 5, 6, 7, 12, 13, 33] {
            for shape in shapes {
                for precision in PRECISIONS {
                    check(kernel, rows, shape, DType::BF16, precision);
                }
                check(kernel, rows, shape, DType::F32, MatmulPrecision::Medium);
            }
        }
        // More rows than are taken together, of one, two and three planes.
        for precision in PRECISIONS {
            check(kernel, 530, (97, 130), DType::BF16, precision);
        }
    }
}

#[test]
fn large_products_are_shared_among_threads_and_come_out_the_same_for_any_number() {
    let matrix = random((300, 700), DType::BF16, 3);
    let packed = Packed::new(&matrix, MatmulPrecision::Highest).unwrap().unwrap();
    let left = numbers(&random((40, 700), DType::F32, 4));
    let product = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut target = vec![0f32; 40 * 300];
        let left = Left { numbers: &left, stride: 700, rows: 40, width: 700 };
        let into = Target { numbers: places(&mut target), stride: 300, add: false };
        pool.install(|| packed.multiply(Way::Forward, left, &[], into)).unwrap();
        target
    };
    assert_eq!(product(1), product(3));
}

#[test]
fn what_bf16_holds_is_packed_and_gives_its_numbers_and_rows_back() {
    let matrix = random((37, 19), DType::BF16, 5);
    for matrix in [matrix.clone(), matrix.to_dtype(DType::F32).unwrap()] {
        let packed = Packed::new(&matrix, MatmulPrecision::Highest).unwrap().unwrap();
        assert_eq!((packed.dims(), packed.dtype()), ((37, 19), matrix.dtype()));
        assert_eq!(packed.tensor().unwrap().dtype(), matrix.dtype());
        assert_eq!(numbers(&packed.tensor().unwrap()), numbers(&matrix));
        let rows = packed.rows(&[36, 0, 36]).unwrap();
        let expected = matrix.index_select(&Tensor::new(&[36u32, 0, 36], &Device::Cpu).unwrap(), 0).unwrap();
        assert_eq!(numbers(&rows), numbers(&expected));
        assert!(packed.rows(&[37]).is_err());
    }
}

#[test]
fn what_bf16_would_round_is_left_as_it_is_unless_that_is_asked_for() {
    let matrix = random((3, 3), DType::F32, 6);
    assert!(Packed::new(&matrix, MatmulPrecision::Highest).unwrap().is_none());
    assert!(Packed::new(&matrix, MatmulPrecision::High).unwrap().is_none());
    let rounded = Packed::new(&matrix, MatmulPrecision::Medium).unwrap().unwrap().tensor().unwrap();
    assert_eq!(numbers(&rounded), numbers(&matrix.to_dtype(DType::BF16).unwrap()));
    assert!(Packed::new(&random((3, 3), DType::F64, 6), MatmulPrecision::Medium).unwrap().is_none());
}

#[test]
fn factors_that_do_not_fit_are_refused() {
    let packed = Packed::new(&random((4, 3), DType::BF16, 7), MatmulPrecision::Highest).unwrap().unwrap();
    let refused = |width: usize, len: usize, stride: usize| {
        let (left, mut target) = (vec![0f32; 2 * width], vec![0f32; len]);
        let left = Left { numbers: &left, stride: width, rows: 2, width };
        packed
            .multiply(Way::Forward, left, &[], Target { numbers: places(&mut target), stride, add: false })
            .is_err()
    };
    assert!(!refused(3, 8, 4));
    assert!(refused(2, 8, 4));
    assert!(refused(3, 7, 4));
    assert!(refused(3, 8, 3));
}

/// A matrix as a view: as it lies, or as the transpose of how it lies.
#[cfg(target_arch = "x86_64")]
fn view<'a>(numbers: &'a [f32], (rows, columns): (usize, usize), stride: usize, turned: bool) -> View<'a> {
    let (row_stride, column_stride) = if turned { (1, stride) } else { (stride, 1) };
    View { numbers, rows, columns, row_stride, column_stride }
}

/// The numbers of a matrix, or of its transpose, in rows that are two numbers wider; and from a row to the next.
#[cfg(target_arch = "x86_64")]
fn laid_out(x: &Tensor, turned: bool) -> (Vec<f32>, usize) {
    let x = if turned { x.t().unwrap().contiguous().unwrap() } else { x.clone() };
    let width = x.dims()[1];
    (numbers(&x).chunks(width).flat_map(|row| [row, &[f32::NAN; 2]].concat()).collect(), width + 2)
}

#[test]
#[cfg(target_arch = "x86_64")]
fn factors_that_both_vary_are_multiplied_however_they_lie() {
    if !CpuKernel::Amx.is_available() {
        return println!("this machine lacks AMX");
    }
    let sizes =
        [(1, 1, 1), (7, 3, 2), (33, 31, 65), (40, 100, 16), (97, 70, 33), (65, 1100, 48), (3, 16, 530)];
    for (m, k, n) in sizes {
        let (left, right) = (random((m, k), DType::F32, 1), random((k, n), DType::F32, 2));
        for (planes, tolerance) in [(1, 4e-3), (2, 3e-5)] {
            for (turned, add) in [(0, false), (1, true), (2, false), (3, true)] {
                let (a, a_stride) = laid_out(&left, turned & 1 == 1);
                let (b, b_stride) = laid_out(&right, turned & 2 == 2);
                let (a, b) = (
                    view(&a, (m, k), a_stride, turned & 1 == 1),
                    view(&b, (k, n), b_stride, turned & 2 == 2),
                );
                // Twice the same, below each other.
                let mut target = vec![START; 2 * m * (n + 5)];
                let into = Target { numbers: places(&mut target), stride: n + 5, add };
                multiply_varying((&[a; 2], &[b; 2]), planes, into).unwrap();
                for target in target.chunks(m * (n + 5)) {
                    let found: Vec<f32> = target.chunks(n + 5).flat_map(|row| row[..n].to_vec()).collect();
                    let error = error(&found, &left, &right, if add { START.into() } else { 0.0 });
                    assert!(error < tolerance, "{m} × {k} × {n}, {planes}, {turned}: {error:e}");
                    assert!(
                        target.chunks(n + 5).all(|row| row[n..] == [START; 5]),
                        "wrote beside its columns"
                    );
                }
            }
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn low_rank_products_ride_along() {
    if !CpuKernel::Amx.is_available() {
        return println!("this machine lacks AMX");
    }
    let (out, width, rows) = (100, 1100, 70);
    let (w, x) = (random((out, width), DType::BF16, 1), random((rows, width), DType::F32, 2));
    // The second goes to the last rows and columns alone.
    let (z, b) = (random((rows, 5), DType::F32, 3), random((64, 5), DType::F32, 4));
    let (late, c) = (random((31, 7), DType::F32, 5), random((7, 36), DType::F32, 6));
    let zeros = |dims| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
    let left = Tensor::cat(&[&x, &z, &Tensor::cat(&[&zeros((rows - 31, 7)), &late], 0).unwrap()], 1).unwrap();
    let right = Tensor::cat(
        &[
            &w.to_dtype(DType::F32).unwrap().t().unwrap(),
            &Tensor::cat(&[&b.t().unwrap(), &zeros((5, out - 64))], 1).unwrap(),
            &Tensor::cat(&[&zeros((7, out - 36)), &c], 1).unwrap(),
        ],
        0,
    );
    let numbers_of = [&z, &b, &late, &c].map(numbers);
    let low = [
        LowTerm {
            first_row: 0,
            left: view(&numbers_of[0], (rows, 5), 5, false),
            column: 0,
            right: view(&numbers_of[1], (5, 64), 5, true),
        },
        LowTerm {
            first_row: rows - 31,
            left: view(&numbers_of[2], (31, 7), 7, false),
            column: 64,
            right: view(&numbers_of[3], (7, 36), 36, false),
        },
    ];
    let product = |precision, low: &[LowTerm<'_>]| {
        let packed = Packed::new(&w, precision).unwrap().unwrap();
        let (x, mut target) = (numbers(&x), vec![f32::NAN; rows * out]);
        let into = Target { numbers: places(&mut target), stride: out, add: false };
        let left = Left { numbers: &x, stride: width, rows, width };
        let rode = packed.multiply_by(CpuKernel::Amx, Way::Forward, left, low, into).unwrap();
        (rode, target)
    };
    let (rode, found) = product(MatmulPrecision::Medium, &low);
    let error = error(&found, &left, right.as_ref().unwrap(), 0.0);
    assert!(rode && error < 4e-3, "{error:e}");
    // What is to be more exact, or goes to columns that do not begin with a block, is left to others.
    assert!(!product(MatmulPrecision::High, &low).0 && !product(MatmulPrecision::Highest, &low).0);
    assert!(!product(MatmulPrecision::Medium, &[LowTerm { column: 8, ..low[0] }]).0);
}
