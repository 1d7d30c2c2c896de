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
        questions.losses(backbone, layout, &case.params.adapter, None, &mut |_| Ok(())).unwrap()[0].loss
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

#[test]
fn a_segment_that_counts_three_times_is_as_three() {
    let case = case(InnerOptions { reduction: Reduction::Constant(5.0), ..options() });
    let adapted = |segments: &[Sequence]| case.learner.adapt(&case.params, segments).unwrap();
    let [first, second, third] = case.segments.clone().try_into().unwrap();
    let weights = Some(vec![3.0; second.tokens.len() - second.loss_from]);
    let counted = adapted(&[first.clone(), Sequence { weights, ..second.clone() }, third.clone()]);
    let repeated = adapted(&[first, second.clone(), second.clone(), second, third]);
    let apart: Vec<Tensor> = counted.phi.iter().zip(&repeated.phi).map(|(a, b)| (a - b).unwrap()).collect();
    assert!(dot(&apart, &apart).sqrt() < 1e-9 * dot(&counted.phi, &counted.phi).sqrt());
    assert!((counted.inner_losses[0] - repeated.inner_losses[0]).abs() < 1e-12);
}

#[test]
fn what_tokens_lose_and_count_adds_up_to_the_inner_loss() {
    for head in [false, true] {
        let reduction = Reduction::Constant(5.0);
        let case = case(InnerOptions { head, reduction, micro_batch_segments: 2, ..options() });
        let context = case.learner.inner_loss(&case.segments).unwrap();
        let phi = &case.params.adapter;
        let whole = case.learner.inner_loss_at(&case.params, &context, phi, &mut |_| Ok(())).unwrap();
        let tokens = case.learner.token_losses(&case.params, &context, phi).unwrap();
        assert_eq!(tokens.len(), case.segments.iter().map(Sequence::predicted).sum::<usize>());
        let loss: f64 = tokens.iter().map(|token| token.weight * token.cross_entropy / 5.0).sum();
        let mean = tokens.iter().map(|token| token.cross_entropy).sum::<f64>() / tokens.len() as f64;
        assert!((loss - whole.loss).abs() < 1e-12 && (mean - whole.cross_entropy).abs() < 1e-12);
        assert_eq!(tokens.iter().all(|token| token.weight == 1.0), !head);
    }
}
