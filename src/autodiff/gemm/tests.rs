//! Sums of products by every form that the CPU has.

#![allow(clippy::disallowed_methods)]

use super::*;
use crate::autodiff::{Frozen, LowRankUp, Stored, choose};

fn ramp(dims: &[usize], seed: usize) -> Tensor {
    let count: usize = dims.iter().product();
    let numbers: Vec<f64> = (0..count).map(|i| ((i * 37 + seed * 11) % 19) as f64 - 9.0).collect();
    Tensor::from_vec(numbers, dims, &Device::Cpu).unwrap()
}

fn same(a: &Tensor, b: &Tensor) {
    assert_eq!(a.dims(), b.dims());
    let difference = (a - b).unwrap().abs().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
    assert_eq!(difference, 0.0);
}

fn term(part: Part, left: &Tensor, right: &Tensor) -> Term {
    Term::new(part, left, right)
}

fn found(bias: Option<&Tensor>, terms: Vec<Term>) -> Result<Dual> {
    let columns = terms.first().map_or(0, |term| *term.right.dims().last().unwrap());
    choose::product(&Sum::new(columns, bias, terms)?)
}

/// A sum that does not vary.
fn plain(bias: Option<&Tensor>, terms: Vec<Term>) -> Tensor {
    found(bias, terms).unwrap().into_primal()
}

#[test]
fn a_sum_of_products_equals_the_products_summed() {
    let (x, w, z, b) = (ramp(&[5, 7], 1), ramp(&[3, 7], 2), ramp(&[5, 2], 3), ramp(&[3, 2], 4));
    let bias = ramp(&[3], 5);
    let (wt, bt) = (w.t().unwrap(), b.t().unwrap());
    let terms = || vec![term(Part::Primal, &x, &wt), term(Part::Primal, &z, &bt)];
    let expected = (x.matmul(&wt).unwrap() + z.matmul(&bt).unwrap()).unwrap();
    same(&plain(None, terms()), &expected);
    same(&plain(Some(&bias), terms()), &expected.broadcast_add(&bias).unwrap());
}

#[test]
fn each_part_takes_its_own_terms_and_the_bias_goes_to_the_value() {
    let (x, w, z, b) = (ramp(&[2, 5, 7], 1), ramp(&[7, 3], 2), ramp(&[5, 2], 3), ramp(&[2, 3], 4));
    let bias = ramp(&[3], 5);
    let half = |i: usize| x.get(i).unwrap().matmul(&w).unwrap();
    let terms = || vec![term(Part::Both, &x, &w), term(Part::Tangent, &z, &b)];
    for bias in [None, Some(&bias)] {
        let found = found(bias, terms()).unwrap();
        assert!(found.stacked().is_some());
        let value = bias.map_or_else(|| half(0), |bias| half(0).broadcast_add(bias).unwrap());
        same(found.primal(), &value);
        same(found.tangent().unwrap(), &(half(1) + z.matmul(&b).unwrap()).unwrap());
    }
}

#[test]
fn a_term_is_added_to_its_columns_and_a_batch_to_its_blocks_of_rows() {
    for rows in [1, 3, THIN_ROWS + 1] {
        let (x, w) = (ramp(&[2 * rows, 7], 1), ramp(&[7, 9], 2));
        let (z, b) = (ramp(&[2, rows, 4], 3), ramp(&[2, 4, 5], 4));
        let low = z.matmul(&b).unwrap().reshape((2 * rows, 5)).unwrap();
        let expected = x.matmul(&w).unwrap() + low.pad_with_zeros(1, 3, 1).unwrap();
        let narrow = z.pad_with_zeros(2, 2, 1).unwrap().narrow(2, 2, 4).unwrap();
        for z in [&z, &narrow] {
            let terms = vec![term(Part::Primal, &x, &w), term(Part::Primal, z, &b).at(3)];
            same(&plain(None, terms), expected.as_ref().unwrap());
        }
    }
}

#[test]
fn batches_of_transposed_and_cut_factors_are_found_by_their_strides() {
    let a = ramp(&[2, 3, 6, 4], 1).narrow(2, 1, 5).unwrap();
    let b = ramp(&[2, 3, 8, 4], 2).transpose(2, 3).unwrap();
    let expected = a.contiguous().unwrap().matmul(&b.contiguous().unwrap()).unwrap();
    same(&plain(None, vec![term(Part::Primal, &a, &b)]), &expected);
}

#[test]
fn products_of_any_number_of_rows_add_to_the_bias_alike() {
    let (w, bias) = (ramp(&[37, 29], 2), ramp(&[37], 3));
    let wt = w.t().unwrap();
    // One row, few rows and many take different ways.
    for rows in [1, 2, 5, THIN_ROWS, THIN_ROWS + 1] {
        let x = ramp(&[rows, 29], rows);
        let term = || vec![term(Part::Primal, &x, &wt)];
        let expected = x.matmul(&wt).unwrap();
        same(&plain(None, term()), &expected);
        same(&plain(Some(&bias), term()), &expected.broadcast_add(&bias).unwrap());
    }
}

#[test]
fn a_frozen_factor_of_a_smaller_type_counts_as_its_numbers_however_it_lies() {
    let w = ramp(&[37, 29], 2).to_dtype(DType::BF16).unwrap();
    let (wide, x) = (w.to_dtype(DType::F64).unwrap(), ramp(&[3, 29], 1));
    let back = ramp(&[3, 37], 4);
    let transposed = |w: &Tensor| w.t().unwrap();
    let product = |x: &Tensor, w: &Tensor| plain(None, vec![term(Part::Primal, x, w)]);
    same(&product(&x, &transposed(&w)), &x.matmul(&transposed(&wide)).unwrap());
    same(&product(&back, &w), &back.matmul(&wide).unwrap());
}

#[test]
fn factors_that_do_not_fit_are_refused() {
    let refused =
        |a: &[usize], b: &[usize]| found(None, vec![term(Part::Primal, &ramp(a, 1), &ramp(b, 2))]).is_err();
    assert!(refused(&[2, 3], &[4, 2]));
    assert!(refused(&[2, 2, 3], &[3, 3, 2]));
    assert!(refused(&[3], &[3, 2]));
    assert!(found(None, vec![]).is_err());
}

/// Random numbers in f32, of which bf16 holds few.
fn random(dims: &[usize], seed: u64) -> Tensor {
    let number = |i: u64| {
        let bits = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ seed.wrapping_mul(0xd134_2543_de82_ef95));
        (bits >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let numbers: Vec<f32> = (0..dims.iter().product::<usize>() as u64).map(number).collect();
    Tensor::from_vec(numbers, dims, &Device::Cpu).unwrap()
}

/// Distance of `found` from what the same products give in f64, relative to that.
fn distance(found: &Dual, expected: &Dual) -> f64 {
    let norm = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt();
    let pairs =
        [(found.primal(), expected.primal()), (found.tangent().unwrap(), expected.tangent().unwrap())];
    let error = |(a, b): (&Tensor, &Tensor)| norm(&(a.to_dtype(DType::F64).unwrap() - b).unwrap()) / norm(b);
    pairs.map(error).into_iter().fold(0.0, f64::max)
}

/// At each precision the products of dual numbers keep its promise, whatever takes them on this machine.
#[test]
fn products_that_vary_are_as_exact_as_their_precision_says() {
    let dual = |dims: &[usize], seed| Dual::from_stacked(random(&[&[2], dims].concat(), seed)).unwrap();
    let wide = |x: &Dual| x.linear(|x| x.to_dtype(DType::F64)).unwrap();
    let (q, k) = (dual(&[2, 3, 70, 64], 1), dual(&[2, 3, 40, 64], 2));
    let (x, w) = (dual(&[40, 96], 3), random(&[128, 96], 4).to_dtype(DType::BF16).unwrap());
    let (z, bs) = (dual(&[40, 24], 5), [dual(&[64, 16], 6), dual(&[64, 8], 7)]);
    let ups = |map: &dyn Fn(&Dual) -> Dual| {
        let up = |(nth, b): (usize, &Dual)| LowRankUp { b: map(b), column: 64 * nth };
        bs.iter().enumerate().map(up).collect::<Vec<_>>()
    };
    let (dy, a) = (dual(&[40, 128], 8), dual(&[24, 96], 9));
    for (precision, tolerance) in
        [(MatmulPrecision::Medium, 2e-2), (MatmulPrecision::High, 1e-4), (MatmulPrecision::Highest, 1e-5)]
    {
        let frozen = Frozen::from(w.clone()).pack(precision).unwrap();
        let exact = Frozen::from(w.to_dtype(DType::F64).unwrap());
        let all = [
            (q.matmul(&k.t().unwrap(), precision), wide(&q).matmul(&wide(&k).t().unwrap(), precision)),
            (dy.t().unwrap().matmul(&x, precision), wide(&dy).t().unwrap().matmul(&wide(&x), precision)),
            (dy.low_back(&ups(&Dual::clone), precision), wide(&dy).low_back(&ups(&wide), precision)),
            (
                x.affine(&frozen, None, Some((&z, &ups(&Dual::clone))), Stored::Whole),
                wide(&x).affine(&exact, None, Some((&wide(&z), &ups(&wide))), Stored::Whole),
            ),
            (
                dy.affine_back(&frozen, Some((&z, &a)), Stored::Whole),
                wide(&dy).affine_back(&exact, Some((&wide(&z), &wide(&a))), Stored::Whole),
            ),
        ];
        for (nth, (found, expected)) in all.into_iter().enumerate() {
            let off = distance(&found.unwrap(), &expected.unwrap());
            assert!(off < tolerance, "product {nth} at {precision:?}: {off:e}");
        }
    }
}
