//! The engine against the authors' own code: every variant of a folder of golden files.
//!
//! `tests/golden/README.md` says how the files were made. `PERK_GOLDEN_DIR` names another folder of that
//! form: shapes, rank and variants are read from it.

mod support;

use support::golden::{Golden, Variant};

/// Agreement asked of f64, relative to the largest number of a tensor.
const F64: f64 = 1e-8;
/// Agreement asked of f32.
const F32: f64 = 1e-3;

fn check(variant: &Variant, golden: &Golden) -> Vec<String> {
    let limit = if variant.is_f32() { F32 } else { F64 };
    let mut faults = vec![];
    let mut worst = (0.0, String::new());
    for (name, distance) in golden.distances(variant) {
        // Where f32 itself is the limit, the authors' f32 run is that far from their own f64 run: Adam
        // divides by √v, so numbers with hardly any gradient lose their digits in any implementation.
        let allowed = limit.max(2.0 * golden.precision(variant, &name));
        if distance > worst.0 {
            worst = (distance, name.clone());
        }
        if distance.is_nan() || distance > allowed {
            faults.push(format!("{}: {name} is {distance:.1e} off, allowed {allowed:.1e}", variant.name));
        }
    }
    println!("{}: worst {:.1e} at {}", variant.name, worst.0, worst.1);
    faults
}

#[test]
fn every_variant_agrees_with_the_authors_code() {
    let golden = Golden::open();
    let faults: Vec<_> = golden.variants().iter().flat_map(|variant| check(variant, &golden)).collect();
    assert!(!golden.variants().is_empty(), "the folder's manifest lists no variant");
    assert!(faults.is_empty(), "{} tensors disagree:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn micro_batches_and_recomputed_activations_change_nothing() {
    let golden = Golden::open();
    let variant = golden.variants().iter().find(|v| !v.is_f32()).cloned().expect("a variant in f64");
    let whole = golden.meta_gradient_with(&variant, |_| {});
    let parts = golden.meta_gradient_with(&variant, |options| {
        options.micro_batch_segments = 1;
        options.activations = perk::model::Activations::Recompute;
    });
    for (index, (a, b)) in whole.tree.leaves().zip(parts.tree.leaves()).enumerate() {
        let distance = support::relative(a, b);
        assert!(distance < 1e-10, "tensor {index} is {distance:.1e} off");
    }
}

/// As every device but the CPU computes, in a process of its own.
#[test]
fn every_variant_agrees_when_kernels_are_composed_too() {
    let mut test = std::process::Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "every_variant_agrees_with_the_authors_code"]).env(perk::autodiff::COMPOSED, "1");
    let output = test.output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && report.contains("1 passed"), "{report}");
}
