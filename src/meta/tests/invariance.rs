//! What changes how a gradient is computed, and not the gradient.

use super::*;

#[test]
fn a_context_whose_frozen_layers_are_too_large_to_keep_gives_the_same_gradient() {
    let case = case_on(Layers::Top(1), options());
    let learner = &case.learner;
    let gradient = |context: &SequenceLoss| {
        let head = case.params.head.as_ref();
        let phi = &case.params.adapter;
        context.gradient(&learner.backbone, &learner.layout, phi, head, &mut |_| Ok(())).unwrap().1.adapter
    };
    let mut context = learner.inner_loss(&case.segments).unwrap();
    let kept = gradient(&context);
    context.forget_prefixes();
    for (kept, again) in kept.iter().zip(gradient(&context)) {
        assert_eq!(squared(&(kept - again).unwrap()), 0.0);
    }
}

#[test]
fn micro_batches_padding_and_recomputation_change_nothing() {
    let whole = case(InnerOptions { micro_batch_segments: 3, ..options() });
    let expected = whole.learner.meta_gradient(&whole.params, &whole.segments, &whole.queries).unwrap();
    for (micro_batch_segments, activations) in
        [(1, Activations::Keep), (2, Activations::Recompute), (1, Activations::Recompute)]
    {
        let parts = case(InnerOptions { micro_batch_segments, activations, ..options() });
        let found = parts.learner.meta_gradient(&parts.params, &parts.segments, &parts.queries).unwrap();
        for (a, b) in found.tree.leaves().zip(expected.tree.leaves()) {
            let difference = [(a - b).unwrap()];
            assert!(dot(&difference, &difference).sqrt() < 1e-12);
        }
    }
}

#[test]
fn a_learner_that_goes_on_with_smaller_micro_batches_is_as_one_that_began_with_them() {
    let [large, small] =
        [3, 1].map(|segments| case(InnerOptions { micro_batch_segments: segments, ..options() }));
    assert!(matches!(large.learner.with_micro_batch(3), std::borrow::Cow::Borrowed(_)));
    let gradient = |learner: &Learner| {
        let gradient = learner.meta_gradient(&large.params, &large.segments, &large.queries).unwrap();
        gradient
            .tree
            .leaves()
            .flat_map(|t| t.flatten_all().unwrap().to_vec1::<f64>().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(gradient(&large.learner.with_micro_batch(1)), gradient(&small.learner));
}

#[test]
fn the_same_start_gives_the_same_bits() {
    let case = case(options());
    let run = || case.learner.meta_gradient(&case.params, &case.segments, &case.queries).unwrap();
    let (a, b) = (run(), run());
    assert_eq!(a.outer_loss.to_bits(), b.outer_loss.to_bits());
    for (a, b) in a.tree.leaves().zip(b.tree.leaves()) {
        let bits = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(bits(a), bits(b));
    }
}
