//! Several episodes together: what each has alone.

use super::*;

/// Contexts and questions that differ in number, length and weights.
fn episodes() -> Vec<(Vec<Sequence>, Vec<Sequence>)> {
    let sequence = |seed: u32, len: u32, loss_from| {
        Sequence::new((0..len).map(|i| (i * i * 5 + i * 2 + seed * 3) % 23).collect(), loss_from)
    };
    let heavy = |seed: u32, len: u32, loss_from: usize| Sequence {
        weights: Some((loss_from as u32..len).map(|i| 0.5 + f64::from(i % 3)).collect()),
        ..sequence(seed, len, loss_from)
    };
    vec![
        (vec![sequence(1, 7, 2), sequence(2, 9, 3), sequence(3, 5, 1)], vec![sequence(4, 6, 4)]),
        (vec![sequence(5, 4, 1)], vec![sequence(6, 5, 3), heavy(7, 8, 5)]),
        (
            vec![sequence(8, 11, 2), heavy(9, 6, 2), sequence(10, 3, 0), sequence(11, 8, 7)],
            vec![heavy(12, 4, 2)],
        ),
    ]
}

fn refs(lists: &[Vec<Sequence>]) -> Vec<&[Sequence]> {
    lists.iter().map(Vec::as_slice).collect()
}

fn check(name: &str, case: &Case) {
    let (learner, params) = (&case.learner, &case.params);
    let (contexts, queries): (Vec<_>, Vec<_>) = episodes().into_iter().unzip();
    let found = learner.meta_gradients(params, &refs(&contexts), &refs(&queries)).unwrap();
    let adapted = learner.adapt_together(params, &refs(&contexts)).unwrap();
    let mut sum = params.zeros_like().unwrap();
    for (nth, (context, queries)) in contexts.iter().zip(&queries).enumerate() {
        let alone = learner.meta_gradient(params, context, queries).unwrap();
        sum = sum.add(&alone.tree).unwrap();
        let own = &found.episodes[nth];
        let near = |a: f64, b: f64| {
            assert!((a - b).abs() < 1e-12 * b.abs().max(1.0), "{name}, {nth}: {a}, alone {b}")
        };
        near(own.outer_loss, alone.outer_loss);
        near(own.norm, dot(&alone.tree.adapter, &alone.tree.adapter).sqrt());
        assert_eq!(own.inner_losses.len(), learner.options.steps);
        own.inner_losses.iter().zip(&alone.inner_losses).for_each(|(a, b)| near(*a, *b));
        let expected = learner.adapt(params, context).unwrap();
        assert_eq!(adapted[nth].inner_losses, own.inner_losses);
        for (a, b) in adapted[nth].phi.iter().zip(&expected.phi) {
            assert!(squared(&(a - b).unwrap()).sqrt() < 1e-12, "{name}, {nth}: another adapter");
        }
    }
    for (a, b) in found.tree.leaves().zip(sum.leaves()) {
        let error = squared(&(a - b).unwrap()).sqrt() / squared(b).sqrt().max(1.0);
        assert!(error < 1e-11, "{name}: the sum of the gradients is {error:e} off");
    }
}

#[test]
fn episodes_together_have_the_meta_gradients_that_each_has_alone() {
    let sgd = InnerOptimizer::Sgd(Sgd);
    let settings = [
        ("adamw", options()),
        ("first order", InnerOptions { differentiated: 0, ..options() }),
        ("clipped", InnerOptions { clip_norm: Some(0.3), ..options() }),
        ("normalised", InnerOptions { normalize_weights: true, ..options() }),
        ("labelled tokens", InnerOptions { reduction: Reduction::LabelledTokens, ..options() }),
        ("plain", InnerOptions { head: false, optimizer: sgd, micro_batch_segments: 1, ..options() }),
        ("recomputed", InnerOptions { activations: Activations::Recompute, ..options() }),
    ];
    for (name, options) in settings {
        check(name, &case(options));
    }
    check("top layer", &case_on(Layers::Top(1), options()));
    check("Qwen3", &case_of(&DecoderConfig { family: Family::Qwen3, ..config() }, Layers::All, options()));
}

#[test]
fn contexts_and_questions_of_different_numbers_of_episodes_are_refused() {
    let case = case(options());
    let contexts = [&case.segments[..], &case.segments[..]];
    assert!(case.learner.meta_gradients(&case.params, &contexts, &[&case.queries[..]]).is_err());
    let context = case.learner.inner_losses(&contexts).unwrap();
    let refused = case.learner.adapt_to(&case.params, &context, &mut |_| Ok(())).unwrap_err().to_string();
    assert!(refused.contains("found 2"), "{refused}");
}
