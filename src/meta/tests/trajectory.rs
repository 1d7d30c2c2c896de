//! The adapter between the inner loop's steps.

use super::*;

#[test]
fn the_adapter_is_seen_before_every_step_and_behind_the_last_and_ends_as_it_does_unseen() {
    let Case { learner, params, segments, .. } = case(options());
    let context = learner.inner_loss(&segments).unwrap();
    let mut seen = vec![];
    let mut see = |step: usize, phi: &[Tensor]| -> crate::Result<()> {
        let tokens = learner.token_losses(&params, &context, phi)?;
        let plain = tokens.iter().map(|token| token.cross_entropy).sum::<f64>() / tokens.len() as f64;
        seen.push((step, plain));
        Ok(())
    };
    let phi = learner.adapt_seen(&params, &context, &mut see, &mut |_| Ok(())).unwrap();
    let mut expected = vec![];
    let unseen = learner.adapt_to(&params, &context, &mut |event| {
        if let Adapting::Step { before, .. } = event {
            expected.push(before.cross_entropy);
        }
        Ok(())
    });
    let unseen = unseen.unwrap().phi;
    assert_eq!(seen.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let after = learner.inner_loss_at(&params, &context, &unseen, &mut |_| Ok(())).unwrap();
    expected.push(after.cross_entropy);
    for ((_, found), expected) in seen.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-9 * expected, "{found} {expected}");
    }
    for (a, b) in phi.iter().zip(&unseen) {
        assert_eq!(a.to_vec2::<f64>().unwrap(), b.to_vec2::<f64>().unwrap());
    }
    let stop =
        &mut |step, _: &[Tensor]| if step == 1 { Err(crate::Error::Invalid("s".into())) } else { Ok(()) };
    assert!(learner.adapt_seen(&params, &context, stop, &mut |_| Ok(())).is_err());
}
