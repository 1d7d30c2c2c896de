//! The update rules against hand-worked numbers and, backwards, against central differences.

#![allow(clippy::disallowed_methods)]

use candle_core::Tensor;

use super::*;
use crate::Result;
use crate::device::under_test;

const RULE: AdamW = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, eps_root: 0.0 };
const SIZE: StepSize = StepSize { step: 3, lr: 0.02, weight_decay: 0.1 };

fn tensor(numbers: &[f64]) -> Tensor {
    Tensor::new(numbers, &under_test()).unwrap()
}

fn numbers(x: &Tensor) -> Vec<f64> {
    x.to_vec1().unwrap()
}

fn state() -> State {
    State { param: tensor(&[0.4, -1.0, 2.0]), m: tensor(&[0.1, 0.2, -0.3]), v: tensor(&[0.5, 0.02, 0.3]) }
}

/// A number that depends on everything a step returns.
fn score(after: &State) -> f64 {
    let sum =
        |x: &Tensor, weights: &[f64]| -> f64 { numbers(x).iter().zip(weights).map(|(x, w)| x * w).sum() };
    sum(&after.param, &[1.0, -2.0, 0.5]) + sum(&after.m, &[0.3, 0.7, -1.0]) + sum(&after.v, &[2.0, -0.4, 0.6])
}

fn cotangents() -> State {
    State { param: tensor(&[1.0, -2.0, 0.5]), m: tensor(&[0.3, 0.7, -1.0]), v: tensor(&[2.0, -0.4, 0.6]) }
}

type Step = dyn Fn(&State, &Tensor, StepSize) -> Result<State>;

fn bump(x: &Tensor, index: usize, by: f64) -> Tensor {
    let mut numbers = numbers(x);
    numbers[index] += by;
    tensor(&numbers)
}

fn check_backwards(step: &Step, back: &StepVjp) {
    let grad = tensor(&[0.3, -0.8, 1.1]);
    let h = 1e-6;
    let slope = |f: &dyn Fn(f64) -> f64| (f(h) - f(-h)) / (2.0 * h);
    let close = |name: &str, found: f64, expected: f64| {
        assert!(
            (found - expected).abs() < 1e-7 * expected.abs().max(1.0),
            "{name}: {found} against {expected}"
        );
    };
    for i in 0..3 {
        let param = |by| State { param: bump(&state().param, i, by), ..state() };
        let m = |by| State { m: bump(&state().m, i, by), ..state() };
        let v = |by| State { v: bump(&state().v, i, by), ..state() };
        let of = |s: State| score(&step(&s, &grad, SIZE).unwrap());
        close("param", numbers(&back.state.param)[i], slope(&|by| of(param(by))));
        close("m", numbers(&back.state.m)[i], slope(&|by| of(m(by))));
        close("v", numbers(&back.state.v)[i], slope(&|by| of(v(by))));
        let by_grad = |by| score(&step(&state(), &bump(&grad, i, by), SIZE).unwrap());
        close("grad", numbers(&back.grad)[i], slope(&by_grad));
    }
    let by_lr = |by| score(&step(&state(), &grad, StepSize { lr: SIZE.lr + by, ..SIZE }).unwrap());
    close("lr", back.lr.to_scalar().unwrap(), slope(&by_lr));
}

#[test]
fn adamw_takes_the_step_that_its_formula_says() {
    let after = RULE.step(&state(), &tensor(&[0.3, -0.8, 1.1]), SIZE).unwrap();
    let m: f64 = 0.9 * 0.1 + 0.1 * 0.3;
    let v: f64 = 0.95 * 0.5 + 0.05 * 0.3 * 0.3;
    let (m_hat, v_hat) = (m / (1.0 - 0.9f64.powi(3)), v / (1.0 - 0.95f64.powi(3)));
    let expected = 0.4 * (1.0 - 0.02 * 0.1) - 0.02 * m_hat / (v_hat.sqrt() + 1e-8);
    assert!((numbers(&after.param)[0] - expected).abs() < 1e-15);
    assert!((numbers(&after.m)[0] - m).abs() < 1e-15 && (numbers(&after.v)[0] - v).abs() < 1e-15);
}

#[test]
fn adamw_backwards_equals_differences() {
    for eps_root in [0.0, 1e-3] {
        let rule = AdamW { eps_root, ..RULE };
        let step = move |s: &State, g: &Tensor, size| rule.step(s, g, size);
        let back = rule.step_vjp(&state(), &tensor(&[0.3, -0.8, 1.1]), SIZE, &cotangents()).unwrap();
        check_backwards(&step, &back);
    }
}

#[test]
fn sgd_backwards_equals_differences() {
    let step = |s: &State, g: &Tensor, size| sgd_step(s, g, size);
    let back = sgd_step_vjp(&state(), &tensor(&[0.3, -0.8, 1.1]), SIZE, &cotangents()).unwrap();
    check_backwards(&step, &back);
}

#[test]
fn a_number_that_never_had_a_gradient_sends_none_back() {
    let zero = State::new(tensor(&[1.0])).unwrap();
    let after = State { param: tensor(&[1.0]), m: tensor(&[0.0]), v: tensor(&[0.0]) };
    let back = RULE.step_vjp(&zero, &tensor(&[0.0]), StepSize { step: 1, ..SIZE }, &after).unwrap();
    assert!(numbers(&back.grad)[0].is_finite() && numbers(&back.state.v)[0].is_finite());
}

#[test]
fn clipping_backwards_equals_differences() {
    let grads = [tensor(&[3.0, -1.0]), tensor(&[2.0])];
    let cotangents = [tensor(&[0.4, 0.9]), tensor(&[-0.2])];
    for limit in [1.3, 100.0] {
        let back = clip_vjp(&grads, limit, &cotangents).unwrap();
        for (tensor, index) in [(0, 0), (0, 1), (1, 0)] {
            let of = |by: f64| {
                let mut moved = grads.clone();
                moved[tensor] = bump(&moved[tensor], index, by);
                let clipped = clip(&moved, limit).unwrap();
                clipped
                    .iter()
                    .zip(&cotangents)
                    .map(|(g, c)| numbers(&(g * c).unwrap()).iter().sum::<f64>())
                    .sum::<f64>()
            };
            let slope: f64 = (of(1e-6) - of(-1e-6)) / 2e-6;
            assert!((numbers(&back[tensor])[index] - slope).abs() < 1e-8);
        }
    }
}

#[test]
fn the_learning_rate_rises_then_falls_to_its_floor() {
    for schedule in [Schedule::Cosine, Schedule::Linear] {
        let at = |step| schedule.factor(step, 100, 10, 0.1);
        assert!((at(0) - 0.1).abs() < 1e-12 && (at(9) - 1.0).abs() < 1e-12 && (at(10) - 1.0).abs() < 1e-12);
        assert!((at(99) - 0.1).abs() < 1e-12 && (at(500) - 0.1).abs() < 1e-12);
        assert!((10..99).all(|step| at(step + 1) < at(step)));
    }
    assert_eq!(Schedule::Constant.factor(70, 100, 10, 0.1), 1.0);
}
