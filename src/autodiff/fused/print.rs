//! `cuda/formulas.cuh`: every element-wise formula, printed from the one that the CPU runs.

use std::path::Path;

/// With this environment variable set the test below writes the file anew.
const WRITE: &str = "PERK_PRINT_FORMULAS";

const HEAD: &str = "// Element-wise formulas, printed from src/autodiff/kernels and src/optim: not to be edited. To print them
// anew: PERK_PRINT_FORMULAS=1 cargo test --lib formulas_for_a_gpu
#pragma once
#include \"params.cuh\"
";

fn printed() -> String {
    let mut sources = vec![HEAD.to_owned(), crate::autodiff::source(&crate::autodiff::ops::Plus)];
    sources.extend(crate::autodiff::kernels::sources());
    sources.extend(crate::optim::sources());
    sources.join("\n") + "\n"
}

#[test]
fn the_formulas_for_a_gpu_are_those_of_the_cpu() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/autodiff/fused/cuda/formulas.cuh");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, printed()).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert!(found == printed(), "{} is not what the formulas are now: set {WRITE}=1", path.display());
}
