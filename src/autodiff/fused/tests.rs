//! The kernels on the CPU, against the row functions.

use std::process::Command;

use super::host::{HOST, build};

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
    let output = tests.env(HOST, library).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}");
    for ran in
        ["kernels::tests::attention_weights", "meta::tests", "few_rows::tests", "a_layer_reads_a_token"]
    {
        assert!(report.contains(ran), "{ran} was not run:\n{report}");
    }
}
