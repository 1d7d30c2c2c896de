//! Pointwise formulas written down: run once on symbols, a formula leaves the list of its operations, which
//! Candle's own operations then follow over whole tensors, and of which kernels for a GPU are printed.

use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Neg, Sub};

use super::{Dual, Number, Ops, Pointwise};
use crate::Result;

#[cfg(test)]
mod print;
#[cfg(test)]
pub(crate) use print::source;

/// A number of a formula: its place in the list of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Symbol(usize);

/// Functions of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Neg,
    Exp,
    Ln,
    Ln1p,
    Sqrt,
    Erf,
}

/// Functions of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binary {
    Add,
    Sub,
    Mul,
    Div,
}

/// How a symbol comes about.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Input(usize),
    Constant(f64),
    Unary(Function, Symbol),
    Binary(Binary, Symbol, Symbol),
    IfPositive(Symbol, Symbol, Symbol),
}

thread_local! {
    /// The list that symbols of this thread are added to.
    static STEPS: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
}

fn note(step: Step) -> Symbol {
    STEPS.with_borrow_mut(|steps| {
        steps.push(step);
        Symbol(steps.len() - 1)
    })
}

macro_rules! operator {
    ($trait:ident, $method:ident) => {
        impl $trait for Symbol {
            type Output = Self;
            fn $method(self, other: Self) -> Self {
                note(Step::Binary(Binary::$trait, self, other))
            }
        }
    };
}
operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);

impl Neg for Symbol {
    type Output = Self;
    fn neg(self) -> Self {
        note(Step::Unary(Function::Neg, self))
    }
}

impl Number for Symbol {
    fn of(value: f64) -> Self {
        note(Step::Constant(value))
    }
    fn exp(self) -> Self {
        note(Step::Unary(Function::Exp, self))
    }
    fn ln(self) -> Self {
        note(Step::Unary(Function::Ln, self))
    }
    fn ln_1p(self) -> Self {
        note(Step::Unary(Function::Ln1p, self))
    }
    fn sqrt(self) -> Self {
        note(Step::Unary(Function::Sqrt, self))
    }
    fn erf(self) -> Self {
        note(Step::Unary(Function::Erf, self))
    }
    fn if_positive(self, yes: Self, no: Self) -> Self {
        note(Step::IfPositive(self, yes, no))
    }
}

impl Step {
    /// The symbols that it reads.
    fn reads(self) -> impl Iterator<Item = Symbol> {
        let read = match self {
            Self::Input(_) | Self::Constant(_) => [None; 3],
            Self::Unary(_, x) => [Some(x), None, None],
            Self::Binary(_, x, y) => [Some(x), Some(y), None],
            Self::IfPositive(x, y, z) => [Some(x), Some(y), Some(z)],
        };
        read.into_iter().flatten()
    }
}

/// A pointwise function of `I` numbers that makes `O`, as a list of operations.
pub(super) struct Formula<const I: usize, const O: usize> {
    steps: Vec<Step>,
    outputs: [Symbol; O],
    /// For each step the last one that reads it, after which its tensor is let go.
    last_read: Vec<usize>,
}

/// A number of a formula while it is followed.
#[derive(Clone)]
enum Value {
    Constant(f64),
    Varying(Dual),
}

impl<const I: usize, const O: usize> Formula<I, O> {
    /// Writes a function down.
    pub fn of(function: &impl Pointwise<I, O>) -> Self {
        STEPS.with_borrow_mut(Vec::clear);
        let inputs = std::array::from_fn(|index| note(Step::Input(index)));
        let outputs = function.eval::<Symbol>(inputs);
        let steps = STEPS.with_borrow_mut(std::mem::take);
        let mut last_read: Vec<usize> = (0..steps.len()).collect();
        for (index, step) in steps.iter().enumerate() {
            step.reads().for_each(|read| last_read[read.0] = index);
        }
        outputs.iter().for_each(|output| last_read[output.0] = usize::MAX);
        Self { steps, outputs, last_read }
    }

    /// Its constants, in the order in which they are noted. That order, as all of the list but their values, is the same for
    /// every function of a type.
    pub fn constants(&self) -> Vec<f64> {
        let constant = |step: &Step| if let Step::Constant(value) = step { Some(*value) } else { None };
        self.steps.iter().filter_map(constant).collect()
    }

    /// Follows it over tensors of one shape.
    pub fn eval(&self, inputs: [Dual; I]) -> Result<[Dual; O]> {
        let like = inputs[0].primal().clone();
        let mut inputs = inputs.map(Some);
        let mut values: Vec<Option<Value>> = Vec::with_capacity(self.steps.len());
        for (index, step) in self.steps.iter().enumerate() {
            let value = match *step {
                Step::Input(input) => Value::Varying(inputs[input].take().expect("each input is noted once")),
                Step::Constant(value) => Value::Constant(value),
                other => follow(other, &values, &like)?,
            };
            values.push(Some(value));
            for read in step.reads().filter(|read| self.last_read[read.0] == index) {
                values[read.0] = None;
            }
        }
        let outputs = self
            .outputs
            .map(|output| values[output.0].clone().expect("an output is never let go").into_dual(&like));
        let outputs: Vec<Dual> = outputs.into_iter().collect::<Result<_>>()?;
        Ok(outputs.try_into().expect("one value an output"))
    }
}

impl Value {
    /// A constant as a tensor of the shape of `like`.
    fn into_dual(self, like: &candle_core::Tensor) -> Result<Dual> {
        match self {
            Self::Varying(dual) => Ok(dual),
            Self::Constant(value) => Ok(Dual::constant(&like.zeros_like()?.affine(1.0, value)?)),
        }
    }
}

fn follow(step: Step, values: &[Option<Value>], like: &candle_core::Tensor) -> Result<Value> {
    let read = |symbol: Symbol| values[symbol.0].clone().expect("kept until it was read last");
    let dual = |symbol| read(symbol).into_dual(like);
    Ok(Value::Varying(match step {
        Step::Input(_) | Step::Constant(_) => unreachable!("taken by the caller"),
        Step::Unary(function, x) => unary(function, &dual(x)?)?,
        Step::Binary(binary, x, y) => return pair(binary, read(x), read(y)),
        Step::IfPositive(x, yes, no) => dual(x)?.if_positive(&dual(yes)?, &dual(no)?)?,
    }))
}

fn unary(function: Function, x: &Dual) -> Result<Dual> {
    match function {
        Function::Neg => x.scale(-1.0),
        Function::Exp => x.exp(),
        Function::Ln => x.ln(),
        Function::Ln1p => x.ln_1p(),
        Function::Sqrt => x.sqrt(),
        Function::Erf => x.erf(),
    }
}

/// Constants are folded into a scaling and a shift, one pass over memory and none over a tensor of equal numbers.
fn pair(binary: Binary, x: Value, y: Value) -> Result<Value> {
    let varying = match (binary, x, y) {
        (_, Value::Constant(x), Value::Constant(y)) => {
            return Ok(Value::Constant(match binary {
                Binary::Add => x + y,
                Binary::Sub => x - y,
                Binary::Mul => x * y,
                Binary::Div => x / y,
            }));
        }
        (Binary::Add, Value::Varying(x), Value::Constant(c))
        | (Binary::Add, Value::Constant(c), Value::Varying(x)) => x.scaled(1.0, c)?,
        (Binary::Mul, Value::Varying(x), Value::Constant(c))
        | (Binary::Mul, Value::Constant(c), Value::Varying(x)) => x.scale(c)?,
        (Binary::Sub, Value::Varying(x), Value::Constant(c)) => x.scaled(1.0, -c)?,
        (Binary::Sub, Value::Constant(c), Value::Varying(x)) => x.scaled(-1.0, c)?,
        (Binary::Div, Value::Varying(x), Value::Constant(c)) => x.scale(1.0 / c)?,
        (Binary::Div, Value::Constant(c), Value::Varying(x)) => {
            Dual::constant(&x.primal().zeros_like()?.affine(1.0, c)?).broadcast_div(&x)?
        }
        (Binary::Add, Value::Varying(x), Value::Varying(y)) => x.broadcast_add(&y)?,
        (Binary::Sub, Value::Varying(x), Value::Varying(y)) => x.broadcast_sub(&y)?,
        (Binary::Mul, Value::Varying(x), Value::Varying(y)) => x.broadcast_mul(&y)?,
        (Binary::Div, Value::Varying(x), Value::Varying(y)) => x.broadcast_div(&y)?,
    };
    Ok(Value::Varying(varying))
}
