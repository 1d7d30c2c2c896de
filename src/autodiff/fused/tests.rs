//! The kernels on the CPU, against the row functions.

#![allow(clippy::disallowed_methods)]

use std::process::Command;

use candle_core::{DType, Device, Tensor};

use super::host::{HOST, build, is_wanted};
use super::launch::launches;
use crate::Result;
use crate::autodiff::kernels::{
    AttentionMask, Gain, HeadsOf, RopeTable, Targets, causal_softmax, cross_entropy, merge_heads, rms_norm,
    rms_norm_vjp, softmax_vjp, split_heads, swiglu, swiglu_vjp,
};
use crate::autodiff::{COMPOSED, Dual, Frozen, LowRankUp, Ops, Stored};
use crate::config::MatmulPrecision;

/// The numerical tests once more, in a process of their own where tensors on the CPU are computed by the kernels for a card
/// and their products are laid out as for cuBLAS.
#[test]
fn all_numerical_tests_pass_with_the_kernels_for_a_card_too() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = build(folder.path()) else {
        println!("skipped: there is no C++ compiler `c++` on this machine");
        return;
    };
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.args([
        "autodiff::",
        "optim::",
        "meta::tests",
        "model::backbone",
        "model::generate",
        "model::sampling",
    ]);
    // They start processes of their own, or are about forms of the CPU alone.
    tests.args([
        "--skip",
        "by_composition",
        "--skip",
        "for_a_card_too",
        "--skip",
        "packed::",
        "--skip",
        "gemv::",
    ]);
    // On the CPU, and with no other form chosen, whatever this process was asked for.
    tests.env_remove("PERK_TEST_DEVICE").env_remove(COMPOSED);
    let output = tests.env(HOST, library).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}");
    let witnesses = [
        "kernels::tests::attention_weights",
        "meta::tests",
        "low_rank_terms_and_bias_ride_along",
        "kernels_read_and_write_bf16",
        "products_of_narrow_factors",
        "few_rows::tests",
        "a_layer_reads_a_token",
    ];
    for ran in witnesses {
        assert!(report.contains(ran), "{ran} was not run:\n{report}");
    }
}

fn ramp(dims: &[usize], seed: usize) -> Tensor {
    let count: usize = dims.iter().product();
    let numbers: Vec<f32> =
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 500.0 - 1.0).collect();
    Tensor::from_vec(numbers, dims, &Device::Cpu).unwrap()
}

fn dual(dims: &[usize], seed: usize) -> Dual {
    Dual::from_stacked(ramp(&[&[2], dims].concat(), seed)).unwrap()
}

/// The same numbers, rounded where they are to be narrow.
fn in_type(x: &Dual, stored: Stored) -> Dual {
    match stored {
        Stored::Whole => x.clone(),
        Stored::Narrow => x.batched_linear(|x| x.to_dtype(DType::BF16)).unwrap(),
    }
}

const STORED: [Stored; 2] = [Stored::Whole, Stored::Narrow];

/// The largest difference, as a share of the largest number.
fn distance(found: &Tensor, expected: &Tensor) -> f64 {
    let wide = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
    let most = |x: Tensor| x.abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
    most((wide(found) - wide(expected)).unwrap()) / most(wide(expected))
}

fn frozen(out: usize, width: usize, precision: MatmulPrecision) -> (Frozen, Tensor) {
    let matrix = ramp(&[out, width], 3).to_dtype(DType::BF16).unwrap();
    let wide = matrix.to_dtype(DType::F64).unwrap();
    (Frozen::from(matrix).pack(precision).unwrap(), wide)
}

const PRECISIONS: [(MatmulPrecision, f64); 3] =
    [(MatmulPrecision::Highest, 3e-7), (MatmulPrecision::High, 1e-5), (MatmulPrecision::Medium, 4e-3)];

#[test]
fn products_with_a_frozen_matrix_of_bf16_keep_what_their_precision_promises() {
    if !is_wanted() {
        return;
    }
    for (precision, bound) in PRECISIONS {
        let ((weight, exact), x, dy) = (frozen(13, 24, precision), dual(&[5, 24], 1), dual(&[5, 13], 2));
        let found = [
            x.affine(&weight, None, None, Stored::Whole).unwrap(),
            dy.affine_back(&weight, None, Stored::Whole).unwrap(),
        ];
        for (found, (left, right)) in found.iter().zip([(&x, exact.t().unwrap()), (&dy, exact.clone())]) {
            for half in 0..2 {
                let left = left.stacked().unwrap().get(half).unwrap().to_dtype(DType::F64).unwrap();
                let expected = left.matmul(&right).unwrap();
                let error = distance(&found.stacked().unwrap().get(half).unwrap(), &expected);
                assert!(error < bound, "{precision}: {error:e}");
                assert!(
                    precision == MatmulPrecision::Highest || error > bound / 1e4,
                    "{precision}: {error:e}"
                );
            }
        }
    }
}

#[test]
fn low_rank_terms_and_bias_ride_along_with_the_product_at_medium() {
    if !is_wanted() {
        return;
    }
    let (weight, _) = frozen(40, 24, MatmulPrecision::Medium);
    let (wide, bias) = (weight.clone().with_room().unwrap(), ramp(&[40], 9));
    let up = |b: Dual, column| LowRankUp { b, column };
    let b = [dual(&[12, 3], 5), dual(&[20, 5], 6)];
    let constant = |x: &Dual| Dual::constant(x.primal());
    // What varies: everything, all but B, B alone, nothing; and whether x, dy and the result are in bf16.
    let varying = [(true, true), (true, false), (false, true), (false, false)];
    for ((of_x, of_b), stored) in varying.into_iter().flat_map(|of| STORED.map(|stored| (of, stored))) {
        let kept = |x: &Dual, varies: bool| if varies { x.clone() } else { constant(x) };
        let (x, z, dy) = (dual(&[5, 24], 1), dual(&[5, 8], 4), dual(&[5, 40], 7));
        let (x, z, dy) = (kept(&x, of_x), kept(&z, of_x), kept(&dy, of_x));
        let (x, dy) = (in_type(&x, stored), in_type(&dy, stored));
        let ups = [up(kept(&b[0], of_b), 2), up(kept(&b[1], of_b), 17)];
        let a = kept(&dual(&[8, 24], 8), of_b);
        let run = |weight: &Frozen| {
            let y = x.affine(weight, Some(&bias), Some((&z, &ups)), stored).unwrap();
            (y, dy.affine_back(weight, Some((&z, &a)), stored).unwrap())
        };
        let before = launches();
        let found = run(&wide);
        let launched = launches() - before;
        let expected = run(&weight);
        let dtype = if stored == Stored::Narrow { DType::BF16 } else { DType::F32 };
        assert!((of_b && !of_x) || (found.0.primal().dtype(), found.1.primal().dtype()) == (dtype, dtype));
        // A constant x with B's that vary has no stack for the tangent's rows.
        assert!(launched <= 6 || (!of_x && of_b), "{launched} launches");
        for (found, expected) in [(&found.0, &expected.0), (&found.1, &expected.1)] {
            assert!(distance(found.primal(), expected.primal()) < 8e-3);
            assert_eq!(found.tangent().is_some(), expected.tangent().is_some());
            if let (Some(found), Some(expected)) = (found.tangent(), expected.tangent()) {
                let error = distance(found, expected);
                assert!(error < 8e-3, "{error:e}");
            }
        }
    }
    // The bias keeps all of its digits.
    let nothing = Dual::constant(&Tensor::zeros((2, 24), DType::F32, &Device::Cpu).unwrap());
    let y = nothing.affine(&wide, Some(&bias), None, Stored::Whole).unwrap();
    assert!(distance(&y.primal().get(1).unwrap(), &bias) < 1e-7);
}

#[test]
fn products_of_narrow_factors_are_those_of_their_numbers() {
    if !is_wanted() {
        return;
    }
    let turned = |x: &Dual| x.linear(|x| x.transpose(1, 2)?.contiguous()?.transpose(1, 2)).unwrap();
    for (of_left, of_right) in STORED.into_iter().flat_map(|left| STORED.map(|right| (left, right))) {
        let left = in_type(&dual(&[2, 6, 16], 1), of_left);
        let right = in_type(&dual(&[2, 16, 8], 2), of_right);
        let exact = |x: &Dual| x.batched_linear(|x| x.to_dtype(DType::F64)).unwrap();
        let expected = exact(&left).matmul(&exact(&right), MatmulPrecision::Highest).unwrap();
        for (left, right) in [(&left, &right), (&turned(&left), &right), (&left, &turned(&right))] {
            let found = left.matmul(right, MatmulPrecision::Medium).unwrap();
            assert_eq!(found.primal().dtype(), DType::F32);
            assert!(distance(found.primal(), expected.primal()) < 4e-3);
            assert!(distance(found.tangent().unwrap(), expected.tangent().unwrap()) < 4e-3);
        }
    }
}

/// Every kernel of the model with its first output in one type or the other.
fn outputs(x: &Dual, dy: &Dual, scores: &Dual, stored: Stored) -> Result<Vec<Dual>> {
    let gain = Gain::new(&ramp(&[16], 5))?;
    let table = RopeTable::new(&[1.0, 0.1, 0.01, 0.001], 6);
    let heads = HeadsOf { first: 1, count: 2, width: 8 };
    let (mask, targets) = (AttentionMask::new(8, vec![(0, 8), (1, 6)]), Targets::new(vec![3, 0, 7, 5, 1, 2]));
    let split = split_heads(&x.reshape((1, 6, 32))?, heads, Some(&table), stored)?;
    let p = causal_softmax(scores, &mask, 0.7, stored)?;
    let weights = Dual::constant(&ramp(&[6], 4));
    let [dz, _] = cross_entropy(x, &weights, &targets, 0..6, stored)?;
    Ok(vec![
        swiglu(x, stored)?,
        swiglu_vjp(x, dy, stored)?,
        rms_norm(dy, &gain, 1e-5, stored)?,
        merge_heads([&split, &split], [Some(&table), None], stored)?,
        softmax_vjp(&p, scores, 0.7, stored)?,
        rms_norm_vjp(dy, &gain, 1e-5, dy)?,
        split,
        p,
        dz,
    ])
}

#[test]
fn kernels_read_and_write_bf16() {
    if !is_wanted() {
        return;
    }
    let inputs = [dual(&[6, 32], 1), dual(&[6, 16], 2), dual(&[2, 2, 8, 8], 3)];
    let [x, dy, scores] = inputs.each_ref().map(|x| in_type(x, Stored::Narrow));
    let narrow = outputs(&x, &dy, &scores, Stored::Narrow).unwrap();
    let wide = |x: &Dual| x.batched_linear(|x| x.to_dtype(DType::F32)).unwrap();
    let whole = outputs(&wide(&x), &wide(&dy), &wide(&scores), Stored::Whole).unwrap();
    for (nth, (narrow, whole)) in narrow.iter().zip(&whole).enumerate() {
        // The gradient of a norm is added to what layers pass on.
        let expected = if nth == 5 { DType::F32 } else { DType::BF16 };
        assert_eq!((narrow.primal().dtype(), whole.primal().dtype()), (expected, DType::F32), "{nth}");
        let halves =
            [(narrow.primal(), whole.primal()), (narrow.tangent().unwrap(), whole.tangent().unwrap())];
        for (narrow, whole) in halves {
            assert!(distance(narrow, whole) < 1e-2, "{nth}: {:e}", distance(narrow, whole));
        }
    }
}
