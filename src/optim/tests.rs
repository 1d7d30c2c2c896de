//! The update rules against hand-worked numbers and, backwards, against central differences.

#![allow(clippy::disallowed_methods)]

use candle_core::Tensor;

use super::*;
use crate::device::under_test;

const RULE: AdamW = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, eps_root: 0.0 };
const SIZE: StepSize = StepSize { step: 3, lr: 0.02, weight_decay: 0.1 };

fn tensor(numbers: &[f64]) -> Tensor {
    Tensor::new(numbers, &under_test()).unwrap()
}

fn numbers(x: &Tensor) -> Vec<f64> {
    x.to_vec1().unwrap()
}

/// A state as a list of tensors, so that the tests need not know what a rule remembers.
trait Listed: Sized {
    fn list(&self) -> Vec<&Tensor>;
    fn from_list(tensors: Vec<Tensor>) -> Self;
}

impl Listed for () {
    fn list(&self) -> Vec<&Tensor> {
        vec![]
    }
    fn from_list(_: Vec<Tensor>) -> Self {}
}

impl Listed for Tensor {
    fn list(&self) -> Vec<&Tensor> {
        vec![self]
    }
    fn from_list(mut tensors: Vec<Tensor>) -> Self {
        tensors.remove(0)
    }
}

impl Listed for Moments {
    fn list(&self) -> Vec<&Tensor> {
        vec![&self.m, &self.v]
    }
    fn from_list(mut tensors: Vec<Tensor>) -> Self {
        let m = tensors.remove(0);
        Moments { m, v: tensors.remove(0) }
    }
}

const PARAM: [f64; 3] = [0.4, -1.0, 2.0];
const GRAD: [f64; 3] = [0.3, -0.8, 1.1];
const STATE: [[f64; 3]; 2] = [[0.1, 0.2, -0.3], [0.5, 0.02, 0.3]];
const PARAM_COTANGENT: [f64; 3] = [1.0, -2.0, 0.5];
const STATE_COTANGENTS: [[f64; 3]; 2] = [[0.3, 0.7, -1.0], [2.0, -0.4, 0.6]];

/// A state with as many tensors as a rule has, of the numbers given.
fn state_of<R: Rule<State: Listed>>(rule: &R, numbers: [[f64; 3]; 2]) -> R::State {
    let count = rule.init(&tensor(&PARAM)).unwrap().list().len();
    R::State::from_list(numbers[..count].iter().map(|numbers| tensor(numbers)).collect())
}

/// A number that depends on everything a step returns.
fn score<S: Listed>(after: &Iterate<S>) -> f64 {
    let sum =
        |x: &Tensor, weights: &[f64]| -> f64 { numbers(x).iter().zip(weights).map(|(x, w)| x * w).sum() };
    let states = after.state.list().into_iter().zip(&STATE_COTANGENTS);
    sum(&after.param, &PARAM_COTANGENT) + states.map(|(x, weights)| sum(x, weights)).sum::<f64>()
}

fn bump(x: &Tensor, index: usize, by: f64) -> Tensor {
    let mut numbers = numbers(x);
    numbers[index] += by;
    tensor(&numbers)
}

/// The way back through a step of `rule` against central differences, in every number that the step reads.
fn check_backwards<R: Rule<State: Listed>>(name: &str, rule: R) {
    let at = Iterate { param: tensor(&PARAM), state: state_of(&rule, STATE) };
    let grad = tensor(&GRAD);
    let after = Iterate { param: tensor(&PARAM_COTANGENT), state: state_of(&rule, STATE_COTANGENTS) };
    let back = rule.step_vjp(&at, &grad, SIZE, &after).unwrap();
    let h = 1e-6;
    let slope = |f: &dyn Fn(f64) -> f64| (f(h) - f(-h)) / (2.0 * h);
    let close = |part: &str, found: f64, expected: f64| {
        let error = (found - expected).abs() / expected.abs().max(1.0);
        assert!(error < 1e-7, "{name}, {part}: {found} against {expected}");
    };
    let step = |at: &Iterate<R::State>, grad: &Tensor, size| score(&rule.step(at, grad, size).unwrap());
    for i in 0..3 {
        let param = |by| Iterate { param: bump(&at.param, i, by), state: at.state.clone() };
        close("param", numbers(&back.before.param)[i], slope(&|by| step(&param(by), &grad, SIZE)));
        for (which, found) in back.before.state.list().into_iter().enumerate() {
            let moved = |by| {
                let mut list: Vec<Tensor> = at.state.list().into_iter().cloned().collect();
                list[which] = bump(&list[which], i, by);
                Iterate { param: at.param.clone(), state: R::State::from_list(list) }
            };
            close("state", numbers(found)[i], slope(&|by| step(&moved(by), &grad, SIZE)));
        }
        close("grad", numbers(&back.grad)[i], slope(&|by| step(&at, &bump(&grad, i, by), SIZE)));
    }
    let by_lr = |by| step(&at, &grad, StepSize { lr: SIZE.lr + by, ..SIZE });
    close("lr", back.lr.to_scalar().unwrap(), slope(&by_lr));
}

#[test]
fn adamw_takes_the_step_that_its_formula_says() {
    let at = Iterate { param: tensor(&PARAM), state: state_of(&RULE, STATE) };
    let after = RULE.step(&at, &tensor(&GRAD), SIZE).unwrap();
    let m: f64 = 0.9 * 0.1 + 0.1 * 0.3;
    let v: f64 = 0.95 * 0.5 + 0.05 * 0.3 * 0.3;
    let (m_hat, v_hat) = (m / (1.0 - 0.9f64.powi(3)), v / (1.0 - 0.95f64.powi(3)));
    let expected = 0.4 * (1.0 - 0.02 * 0.1) - 0.02 * m_hat / (v_hat.sqrt() + 1e-8);
    assert!((numbers(&after.param)[0] - expected).abs() < 1e-15);
    let Moments { m: found_m, v: found_v } = &after.state;
    assert!((numbers(found_m)[0] - m).abs() < 1e-15 && (numbers(found_v)[0] - v).abs() < 1e-15);
}

#[test]
fn momentum_takes_the_step_that_its_formula_says_and_without_decay_is_plain_descent() {
    let at = Iterate { param: tensor(&PARAM), state: tensor(&STATE[0]) };
    let after = Momentum { momentum: 0.9 }.step(&at, &tensor(&GRAD), SIZE).unwrap();
    let velocity = 0.9 * 0.1 + 0.3;
    let expected = 0.4 * (1.0 - 0.02 * 0.1) - 0.02 * velocity;
    assert!((numbers(&after.param)[0] - expected).abs() < 1e-15);
    assert!((numbers(&after.state)[0] - velocity).abs() < 1e-15);
    let plain = Sgd.step(&Iterate { param: tensor(&PARAM), state: () }, &tensor(&GRAD), SIZE).unwrap();
    let none = Momentum { momentum: 0.0 }.step(&at, &tensor(&GRAD), SIZE).unwrap();
    assert_eq!(numbers(&plain.param), numbers(&none.param));
}

#[test]
fn every_rule_backwards_equals_differences() {
    for eps_root in [0.0, 1e-3] {
        check_backwards("adamw", AdamW { eps_root, ..RULE });
    }
    check_backwards("sgd", Sgd);
    check_backwards("momentum", Momentum { momentum: 0.9 });
}

#[test]
fn a_second_moment_of_zero_sends_nothing_back_through_its_root() {
    let zero = RULE.start(tensor(&[1.0])).unwrap();
    let after = Iterate { param: tensor(&[1.0]), state: RULE.init(&tensor(&[1.0])).unwrap() };
    let size = StepSize { step: 1, ..SIZE };
    let back = RULE.step_vjp(&zero, &tensor(&[0.0]), size, &after).unwrap();
    let Moments { v, .. } = &back.before.state;
    // Through the first moment alone: the root's slope at zero counts as zero.
    let along_m = -SIZE.lr / RULE.eps;
    let grad = numbers(&back.grad)[0];
    assert!((grad - along_m).abs() < 1e-9 * along_m.abs(), "{grad} against {along_m}");
    assert_eq!(numbers(v), [0.0]);
}

#[test]
fn clipping_backwards_equals_differences() {
    let grads = [tensor(&[3.0, -1.0]), tensor(&[2.0])];
    let cotangents = [tensor(&[0.4, 0.9]), tensor(&[-0.2])];
    for limit in [1.3, 100.0] {
        let back = clip_vjp(&grads, limit, &cotangents, 1).unwrap();
        for (tensor, index) in [(0, 0), (0, 1), (1, 0)] {
            let of = |by: f64| {
                let mut moved = grads.clone();
                moved[tensor] = bump(&moved[tensor], index, by);
                let clipped = clip(&moved, limit, 1).unwrap();
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
fn gradients_beside_each_other_are_clipped_each_by_its_own_norm() {
    let together = |rows: &[&[f64]]| {
        let rows: Vec<Tensor> = rows.iter().map(|row| tensor(row)).collect();
        vec![Tensor::stack(&rows, 0).unwrap()]
    };
    let (large, small) = ([3.0, -4.0], [0.1, 0.2]);
    let (grads, cotangents) = (together(&[&large, &small]), together(&[&[0.4, 0.9], &[-0.2, 0.3]]));
    let clipped = clip(&grads, 1.0, 2).unwrap();
    let back = clip_vjp(&grads, 1.0, &cotangents, 2).unwrap();
    for episode in 0..2 {
        let own = |tensors: &[Tensor]| vec![tensors[0].get(episode).unwrap()];
        assert_eq!(numbers(&own(&clipped)[0]), numbers(&clip(&own(&grads), 1.0, 1).unwrap()[0]));
        let alone = clip_vjp(&own(&grads), 1.0, &own(&cotangents), 1).unwrap();
        assert_eq!(numbers(&own(&back)[0]), numbers(&alone[0]));
    }
    assert_eq!(numbers(&clipped[0].get(1).unwrap()), small);
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
