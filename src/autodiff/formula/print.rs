//! Formulas as C++: each a structure that evaluates it on numbers or pairs of them.

use super::{Binary, Formula, Function, Step, Symbol};
use crate::autodiff::Pointwise;

/// A formula as a structure of C++ with the name of its kernel, in camel case.
pub(crate) fn source<const I: usize, const O: usize, P: Pointwise<I, O>>(function: &P) -> String {
    let formula = Formula::of(function);
    let mut lines = vec![
        format!("struct {} {{", camel_case(P::NAME)),
        format!("  static constexpr int inputs = {I}, outputs = {O};"),
        "  template <class S> static __device__ __forceinline__ void eval(const S *x, S *y, Numbers<S> c) {"
            .into(),
    ];
    let mut constants = 0;
    for (index, step) in formula.steps.iter().enumerate() {
        let value = match *step {
            Step::Input(input) => format!("x[{input}]"),
            Step::Constant(_) => {
                constants += 1;
                format!("c[{}]", constants - 1)
            }
            Step::Unary(Function::Neg, x) => format!("-{}", name(x)),
            Step::Unary(function, x) => format!("{}({})", called(function), name(x)),
            Step::Binary(binary, x, y) => format!("{} {} {}", name(x), sign(binary), name(y)),
            Step::IfPositive(x, yes, no) => format!("pick({}, {}, {})", name(x), name(yes), name(no)),
        };
        lines.push(format!("    S s{index} = {value};"));
    }
    let outputs = formula.outputs.iter().enumerate();
    lines.extend(outputs.map(|(place, output)| format!("    y[{place}] = {};", name(*output))));
    lines.extend(["  }".into(), "};".into()]);
    lines.join("\n")
}

fn name(symbol: Symbol) -> String {
    format!("s{}", symbol.0)
}

fn called(function: Function) -> &'static str {
    match function {
        Function::Neg => "-",
        Function::Exp => "f_exp",
        Function::Ln => "f_ln",
        Function::Ln1p => "f_ln_1p",
        Function::Sqrt => "f_sqrt",
        Function::Erf => "f_erf",
    }
}

fn sign(binary: Binary) -> char {
    match binary {
        Binary::Add => '+',
        Binary::Sub => '-',
        Binary::Mul => '*',
        Binary::Div => '/',
    }
}

fn camel_case(name: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('_').map(word).collect()
}
