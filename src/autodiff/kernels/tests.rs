//! Every kernel: its tangent against central differences, its transposed product against its tangent, and
//! f32 against f64.

#![allow(clippy::disallowed_methods)]

use candle_core::{DType, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::Result;
use crate::autodiff::{Dual, Frozen, LowRankUp, MatmulOptions, Ops, Stored};
use crate::config::MatmulPrecision;
use crate::device::under_test;

/// A function of several tensors, over any arithmetic.
trait Function {
    fn eval<V: Ops>(&self, x: &[V]) -> Result<Vec<V>>;
}

macro_rules! function {
    ($name:ident, |$x:ident| $body:expr) => {
        struct $name;
        impl Function for $name {
            fn eval<V: Ops>(&self, $x: &[V]) -> Result<Vec<V>> {
                Ok($body)
            }
        }
    };
}

fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let count = shape.iter().product();
    let numbers: Vec<f64> = (0..count).map(|_| rng.random_range(-1.5..1.5)).collect();
    Tensor::from_vec(numbers, shape, &under_test()).unwrap()
}

fn several(shapes: &[&[usize]], seed: u64) -> Vec<Tensor> {
    shapes.iter().enumerate().map(|(i, shape)| random(shape, seed * 100 + i as u64)).collect()
}

fn dot(a: &[Tensor], b: &[Tensor]) -> f64 {
    let one = |(a, b): (&Tensor, &Tensor)| (a * b).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
    a.iter().zip(b).map(one).sum()
}

fn distance(a: &[Tensor], b: &[Tensor]) -> f64 {
    let difference: Vec<_> = a.iter().zip(b).map(|(a, b)| (a - b).unwrap()).collect();
    (dot(&difference, &difference) / dot(b, b).max(1e-30)).sqrt()
}

fn moved(x: &[Tensor], direction: &[Tensor], by: f64) -> Vec<Tensor> {
    x.iter().zip(direction).map(|(x, d)| (x + (d * by).unwrap()).unwrap()).collect()
}

/// The tangent of `f` at `x` along `direction`.
fn tangent(f: &impl Function, x: &[Tensor], direction: &[Tensor]) -> Vec<Tensor> {
    let dual = |(x, d): (&Tensor, &Tensor)| Dual::new(x.clone(), Some(d.clone())).unwrap();
    let x: Vec<_> = x.iter().zip(direction).map(dual).collect();
    f.eval(&x).unwrap().iter().map(|y| y.tangent_or_zeros().unwrap()).collect()
}

fn check_tangent(name: &str, f: &impl Function, shapes: &[&[usize]]) {
    let (x, direction) = (several(shapes, 1), several(shapes, 2));
    let step = 1e-5;
    let ahead = f.eval(&moved(&x, &direction, step)).unwrap();
    let behind = f.eval(&moved(&x, &direction, -step)).unwrap();
    let difference: Vec<_> =
        ahead.iter().zip(&behind).map(|(a, b)| ((a - b).unwrap() * (0.5 / step)).unwrap()).collect();
    let error = distance(&tangent(f, &x, &direction), &difference);
    assert!(error < 1e-8, "{name}: the tangent is {error:e} off the central difference");

    let small: Vec<_> = x.iter().map(|x| x.to_dtype(DType::F32).unwrap()).collect();
    let single: Vec<_> = f.eval(&small).unwrap().iter().map(|y| y.to_dtype(DType::F64).unwrap()).collect();
    let error = distance(&single, &f.eval(&x).unwrap());
    assert!(error < 2e-6, "{name}: f32 is {error:e} off f64");
}

/// ⟨J v, u⟩ = ⟨v, Jᵀ u⟩, where `vjp` maps `[x…, u…]` to the cotangents of x, and its own tangent.
fn check_vjp(name: &str, f: &impl Function, vjp: &impl Function, shapes: &[&[usize]]) {
    check_tangent(name, f, shapes);
    let (x, v) = (several(shapes, 3), several(shapes, 4));
    let y = f.eval(&x).unwrap();
    let dims: Vec<Vec<usize>> = y.iter().map(|y| y.dims().to_vec()).collect();
    let u = several(&dims.iter().map(Vec::as_slice).collect::<Vec<_>>(), 5);
    let forward = dot(&tangent(f, &x, &v), &u);
    let inputs: Vec<_> = x.iter().chain(&u).cloned().collect();
    let backward = dot(&v, &vjp.eval(&inputs).unwrap());
    let error = (forward - backward).abs() / forward.abs().max(1e-3);
    assert!(error < 1e-11, "{name}: ⟨Jv, u⟩ is {forward}, ⟨v, Jᵀu⟩ is {backward}");

    let all: Vec<&[usize]> = shapes.iter().copied().chain(dims.iter().map(Vec::as_slice)).collect();
    check_tangent(&format!("{name} backward"), vjp, &all);
}

fn gain() -> Gain {
    let numbers: [f64; 19] =
        [0.3, 1.2, -0.7, 2.0, 0.9, 1.1, 0.2, -1.4, 0.6, 1.0, 0.8, 1.7, -0.1, 0.4, 1.3, 0.5, -2.0, 1.6, 0.05];
    Gain::new(&Tensor::new(&numbers, &under_test()).unwrap()).unwrap()
}

#[test]
fn activations() {
    function!(Swiglu, |x| vec![swiglu(&x[0], Stored::Whole)?]);
    function!(SwigluBack, |x| vec![swiglu_vjp(&x[0], &x[1], Stored::Whole)?]);
    check_vjp("swiglu", &Swiglu, &SwigluBack, &[&[3, 14]]);
    function!(Gelu, |x| vec![gelu(&x[0])?]);
    function!(GeluBack, |x| vec![gelu_vjp(&x[0], &x[1])?]);
    check_vjp("gelu", &Gelu, &GeluBack, &[&[5, 6]]);
    function!(Softplus, |x| vec![softplus(&x[0], 3.0)?]);
    function!(SoftplusBack, |x| vec![softplus_vjp(&x[0], &x[1], 3.0)?]);
    check_vjp("softplus", &Softplus, &SoftplusBack, &[&[40]]);
    function!(Product, |x| vec![product(&x[0], &x[1])?]);
    check_tangent("product", &Product, &[&[4, 5], &[4, 5]]);
}

#[test]
fn elements_beyond_one_row_and_one_thread() {
    // 2 · 3 · 5 · 7 · 11 · 13 · 2 numbers are split into rows of 1,001, and 331 · 337 into rows of 337.
    function!(Product, |x| vec![product(&x[0], &x[1])?]);
    for count in [60_060, 331 * 337, 65_537] {
        check_tangent("product", &Product, &[&[count], &[count]]);
    }
}

#[test]
fn norm() {
    function!(Norm, |x| vec![rms_norm(&x[0], &gain(), 1e-5, Stored::Whole)?]);
    function!(NormBack, |x| vec![rms_norm_vjp(&x[0], &gain(), 1e-5, &x[1])?]);
    check_vjp("rms_norm", &Norm, &NormBack, &[&[5, 19]]);
}

fn table() -> RopeTable {
    RopeTable::new(&[1.0, 0.3, 0.05], 4)
}

/// Three kinds of heads side by side in rows of five: the first two, one, and the last two.
const KINDS: [HeadsOf; 3] = [
    HeadsOf { first: 0, count: 2, width: 6 },
    HeadsOf { first: 2, count: 1, width: 6 },
    HeadsOf { first: 3, count: 2, width: 6 },
];

#[test]
fn rows_by_number() {
    fn index() -> RowIndex {
        RowIndex::new(vec![3, 0, 4], 6).unwrap()
    }
    function!(Gather, |x| vec![gather_rows(&x[0], &index())?]);
    function!(Scatter, |x| vec![scatter_rows(&x[1], &index())?]);
    check_vjp("gather_rows", &Gather, &Scatter, &[&[6, 5]]);
    check_vjp("gather_rows of numbers", &Gather, &Scatter, &[&[6]]);
}

#[test]
fn rotation_and_head_layout() {
    function!(Split, |x| {
        let table = table();
        let ropes = [Some(&table), Some(&table), None];
        let split =
            KINDS.iter().zip(ropes).map(|(&kind, rope)| split_heads(&x[0], kind, rope, Stored::Whole));
        split.collect::<Result<Vec<_>>>()?
    });
    function!(SplitBack, |x| {
        let table = table();
        vec![merge_heads([&x[1], &x[2], &x[3]], [Some(&table), Some(&table), None], Stored::Whole)?]
    });
    check_vjp("split_heads", &Split, &SplitBack, &[&[3, 4, 30]]);
}

const SPANS: [(usize, usize); 3] = [(0, 5), (2, 5), (0, 3)];

fn mask() -> AttentionMask {
    AttentionMask::new(5, SPANS.to_vec())
}

#[test]
fn attention_weights() {
    function!(Softmax, |x| vec![causal_softmax(&x[0], &mask(), 0.7, Stored::Whole)?]);
    function!(SoftmaxBack, |x| {
        let p = causal_softmax(&x[0], &mask(), 0.7, Stored::Whole)?;
        vec![softmax_vjp(&p, &x[1], 0.7, Stored::Whole)?]
    });
    check_vjp("causal_softmax", &Softmax, &SoftmaxBack, &[&[3, 2, 5, 5]]);
}

#[test]
fn a_query_sees_no_later_token_and_no_padding() {
    let p = causal_softmax(&random(&[3, 2, 5, 5], 8), &mask(), 1.0, Stored::Whole).unwrap();
    let p: Vec<Vec<f64>> = p.reshape((30, 5)).unwrap().to_vec2().unwrap();
    for (row, weights) in p.iter().enumerate() {
        let (query, (first, end)) = (row % 5, SPANS[row / 10]);
        let seen: Vec<usize> = (first..end.min(query + 1)).collect();
        let total: f64 = weights.iter().sum();
        let expected = if seen.is_empty() { 0.0 } else { 1.0 };
        assert!((total - expected).abs() < 1e-12, "row {row} sums to {total}");
        for (key, weight) in weights.iter().enumerate() {
            assert_eq!(*weight > 0.0, seen.contains(&key), "query row {row}, key {key}: {weight}");
        }
    }
}

#[test]
fn cross_entropy_and_its_gradient() {
    fn targets() -> Targets {
        Targets::new(vec![4, 2, 0, 18])
    }
    function!(Loss, |x| {
        let [_, ce] = cross_entropy(&x[0], &x[1], &targets(), 1..4, Stored::Whole)?;
        vec![product(&ce, &x[1])?]
    });
    function!(LossBack, |x| {
        // The cotangent of Σ u wₜ ceₜ: the kernel's own weights are w ⊙ u.
        let weights = product(&x[1], &x[2])?;
        let [dz, ce] = cross_entropy(&x[0], &weights, &targets(), 1..4, Stored::Whole)?;
        vec![dz, product(&ce, &x[2])?]
    });
    check_vjp("cross_entropy", &Loss, &LossBack, &[&[3, 19], &[3]]);
}

#[test]
fn large_logits_neither_overflow_nor_vanish() {
    let logits = Tensor::new(&[[1e4f32, -1e4, 0.0], [-3e38, 0.0, -3e38]], &under_test()).unwrap();
    let weights = Tensor::ones(2, DType::F32, &under_test()).unwrap();
    let [dz, ce] = cross_entropy(&logits, &weights, &Targets::new(vec![1, 1]), 0..2, Stored::Whole).unwrap();
    assert_eq!(ce.to_vec1::<f32>().unwrap(), [2e4, 0.0]);
    assert_eq!(dz.to_vec2::<f32>().unwrap(), [[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]);
}

#[test]
fn products_of_dual_numbers_follow_leibniz() {
    function!(Products, |x| {
        let frozen = |seed| random(&[4, 6], seed).to_dtype(x[0].primal().dtype()).map(Frozen::from);
        let bias = random(&[4], 79).to_dtype(x[0].primal().dtype())?;
        let ups = [LowRankUp { b: x[4].clone(), column: 0 }, LowRankUp { b: x[5].clone(), column: 3 }];
        let projected = x[0].affine(&frozen(77)?, Some(&bias), Some((&x[3], &ups)), Stored::Whole)?;
        let sum = projected.affine_back(&frozen(78)?, Some((&x[1].t()?, &x[2])), Stored::Whole)?;
        vec![
            sum.scale(1.7)?,
            V::cat(&[sum.clone(), x[2].clone()])?,
            sum.reshape((6, 3))?,
            projected.low_back(&ups, MatmulOptions { scale: 1.3, ..Default::default() })?,
            projected.columns(1, 2)?.t()?.matmul(&sum, MatmulOptions { scale: 0.7, ..Default::default() })?,
        ]
    });
    check_tangent("products", &Products, &[&[3, 6], &[2, 3], &[2, 6], &[3, 4], &[2, 2], &[1, 2]]);
    function!(Batched, |x| {
        let highest = MatmulPrecision::Highest;
        vec![x[0].matmul(&x[1].t()?, highest)?, x[0].scale(2.0)?.matmul(&x[2], highest)?]
    });
    check_tangent("batched", &Batched, &[&[2, 3, 5, 4], &[2, 3, 6, 4], &[2, 3, 4, 3]]);
}

#[test]
fn low_rank_products_of_blocks_of_rows_equal_those_of_each_block() {
    function!(Together, |x| {
        let frozen = Frozen::from(random(&[4, 6], 77).to_dtype(x[0].primal().dtype())?);
        let ups = [LowRankUp { b: x[2].clone(), column: 1 }];
        let y = x[0].affine(&frozen, None, Some((&x[1], &ups)), Stored::Whole)?;
        vec![
            y.affine_back(&frozen, Some((&x[1], &x[3])), Stored::Whole)?,
            y.low_back(&ups, MatmulPrecision::Highest)?,
        ]
    });
    let shapes: [&[usize]; 4] = [&[6, 6], &[6, 2], &[2, 3, 2], &[2, 2, 6]];
    check_tangent("blocks", &Together, &shapes);
    let (x, v) = (several(&shapes, 5), several(&shapes, 6));
    let block = |x: &Tensor, nth: usize| match x.rank() {
        3 => x.get(nth).unwrap(),
        _ => x.narrow(0, 3 * nth, 3).unwrap(),
    };
    let part = |x: &[Tensor], nth| x.iter().map(|x| block(x, nth)).collect::<Vec<_>>();
    for nth in 0..2 {
        let found = [Together.eval(&x).unwrap(), tangent(&Together, &x, &v)];
        let (x, v) = (part(&x, nth), part(&v, nth));
        let alone = [Together.eval(&x).unwrap(), tangent(&Together, &x, &v)];
        for (found, alone) in found.iter().zip(&alone) {
            assert!(distance(&part(found, nth), alone) < 1e-14);
        }
    }
}

#[test]
fn a_constant_stays_without_a_tangent() {
    let x = Dual::constant(&random(&[2, 8], 1));
    let y = swiglu(&x, Stored::Whole)
        .unwrap()
        .affine(&random(&[3, 4], 2).into(), None, None, Stored::Whole)
        .unwrap();
    assert!(y.tangent().is_none());
    let z = product(&x, &Dual::new(random(&[2, 8], 3), Some(random(&[2, 8], 4))).unwrap()).unwrap();
    assert!(z.tangent().is_some());
}

#[test]
fn saturated_activations_have_finite_tangents() {
    let extreme: Vec<f32> = vec![-1e4, -200.0, -89.0, -30.0, 0.0, 30.0, 89.0, 200.0, 1e4];
    let x = Tensor::new(extreme.as_slice(), &under_test()).unwrap();
    let dual = |x: Tensor| Dual::new(x.clone(), Some(x.ones_like().unwrap())).unwrap();
    let column = x.unsqueeze(1).unwrap();
    let (gate_up, dy) = (dual(Tensor::cat(&[&column, &column], 1).unwrap()), dual(column));
    let x = dual(x);
    let softplus_back = softplus_vjp(&x, &x, 3.0).unwrap();
    let all = [
        swiglu(&gate_up, Stored::Whole).unwrap(),
        swiglu_vjp(&gate_up, &dy, Stored::Whole).unwrap(),
        softplus(&x, 3.0).unwrap(),
        softplus_back,
        gelu(&x).unwrap(),
        gelu_vjp(&x, &x).unwrap(),
    ];
    for (index, y) in all.iter().enumerate() {
        for half in [y.primal(), y.tangent().unwrap()] {
            let numbers = half.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(numbers.iter().all(|n| n.is_finite()), "function {index}: {numbers:?}");
        }
    }
}
