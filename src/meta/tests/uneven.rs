//! Losses whose tokens count differently.

use super::*;

/// The case with targets of which the first token counts less, and context whose tokens count differently.
fn uneven(options: InnerOptions) -> Case {
    let mut case = case(options);
    case.queries[0].weights = Some(vec![0.25, 1.0]);
    case.segments[1].weights = Some((0..6).map(|i| 0.5 + 0.1 * f64::from(i)).collect());
    case
}

#[test]
fn the_meta_gradient_equals_differences_where_tokens_count_differently() {
    for (head, normalize_weights) in [(false, false), (true, false), (true, true)] {
        // The smaller divisor bends AdamW's unroll too much for differences.
        for (optimizer, reduction) in [
            (options().optimizer, Reduction::Positions),
            (InnerOptimizer::Sgd(Sgd), Reduction::LabelledTokens),
        ] {
            let options = InnerOptions { optimizer, head, normalize_weights, reduction, ..options() };
            check_meta_gradient(&format!("{options:?}"), &uneven(options));
        }
    }
}

#[test]
fn a_token_that_counts_twice_is_as_two_and_one_that_counts_nothing_as_none() {
    let case = case(options());
    let loss = |queries: &[Sequence]| {
        let questions = case.learner.outer_loss(queries).unwrap();
        let (backbone, layout) = (&case.learner.backbone, &case.learner.layout);
        questions.losses(backbone, layout, &case.params.adapter, None, &mut |_| {}).unwrap()[0].loss
    };
    let weighted = |weights: &[f64]| Sequence { weights: Some(weights.to_vec()), ..case.queries[0].clone() };
    // Of the two predicted tokens, each for itself.
    let [first, second] = [[1.0, 0.0], [0.0, 1.0]].map(|weights| loss(&[weighted(&weights)]));
    assert!((loss(&case.queries[..1]) - (first + second) / 2.0).abs() < 1e-12);
    assert!((loss(&[weighted(&[2.0, 1.0])]) - (2.0 * first + second) / 3.0).abs() < 1e-12);
    let last = Sequence::new(case.queries[0].tokens.clone(), case.queries[0].loss_from + 1);
    assert!((loss(&[last]) - second).abs() < 1e-12);
    assert!((first - second).abs() > 1e-3);
}
