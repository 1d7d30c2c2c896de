//! What the learner is given, what it refuses, and what it tells while it adapts.

use super::*;

#[test]
fn adapting_tells_every_micro_batch_and_the_loss_before_every_step() {
    let case = case(options());
    let context = case.learner.inner_loss(&case.segments).unwrap();
    let (mut batches, mut losses) = (vec![], vec![]);
    let mut watch = |event| {
        match event {
            Adapting::MicroBatch { step, micro_batches } => batches.push((step, micro_batches)),
            Adapting::Step { before, .. } => losses.push(before.loss),
        }
        Ok(())
    };
    let adapted = case.learner.adapt_to(&case.params, &context, &mut watch).unwrap();
    assert_eq!(batches, [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]);
    assert_eq!(losses, adapted.inner_losses);
    let after = case.learner.inner_loss_at(&case.params, &context, &adapted.phi, &mut |_| Ok(())).unwrap();
    assert!(after.loss < losses[0], "{losses:?}, then {after:?}");
}

#[test]
fn parameters_are_read_back_from_a_checkpoint_without_its_optimiser() {
    let case = case(options());
    let outer = OuterOptions {
        steps: 1,
        lr: 0.0,
        lr_inner_lr: 0.0,
        lr_head: 0.0,
        adamw: AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, eps_root: 0.0 },
        weight_decay: 0.0,
        clip_norm: None,
        warmup_steps: 0,
        schedule: crate::optim::Schedule::Constant,
        final_lr_fraction: 1.0,
        inner_lr: 0.02,
        learned_lr: true,
        lr_parameterization: LrParameterization::Log,
        head_hidden: 6,
        init: crate::model::lora::LoraInit::SmallB { std: 0.1 },
    };
    let state = OuterState::new(&case.learner, &outer, 4).unwrap();
    let path = std::path::Path::new("meta.safetensors");
    type Named = std::collections::HashMap<String, Tensor>;
    let read = |steps, change: &dyn Fn(&mut Named)| {
        let mut learner = case.learner.clone();
        learner.options.steps = steps;
        let mut named: Named = state.named_tensors().into_iter().collect();
        named.retain(|name, _| !name.starts_with("m.") && !name.starts_with("v."));
        change(&mut named);
        MetaParams::from_named(path, named, &learner, LrParameterization::Log)
    };
    let (expected, found) = (state.params().unwrap(), read(3, &|_| {}).unwrap());
    let rates = |params: &MetaParams| params.inner_lr.to_vec2::<f64>().unwrap();
    assert_eq!(rates(&expected), rates(&found));
    let phi = |params: &MetaParams| params.adapter.iter().map(squared).collect::<Vec<_>>();
    assert_eq!(phi(&expected), phi(&found));
    assert_eq!(squared(&expected.head.unwrap().fc1.weight), squared(&found.head.unwrap().fc1.weight));
    let longer = rates(&read(5, &|_| {}).unwrap());
    assert!(longer.iter().all(|rates| rates.len() == 5 && rates[4] == rates[2]));
    let refused = |change: &dyn Fn(&mut Named)| read(3, change).unwrap_err().to_string();
    let missing = refused(&|named| drop(named.remove("inner_lr")));
    assert!(missing.contains("`inner_lr`: is missing"), "{missing}");
    let wide = refused(&|named| drop(named.insert("head.fc1.bias".into(), random(&[6, 1], 1.0, 1))));
    assert!(wide.contains("should be [any], but is [6, 1]"), "{wide}");
    let extra = refused(&|named| drop(named.insert("extra".into(), random(&[6], 1.0, 1))));
    assert!(extra.contains("`extra`: does not belong"), "{extra}");
}

#[test]
fn parameters_that_do_not_fit_are_refused_by_name() {
    let mut case = case(options());
    case.params.adapter[1] = random(&[3, 3], 1.0, 1);
    let error = case.learner.adapt(&case.params, &case.segments).unwrap_err().to_string();
    assert!(error.contains("q_proj.lora_B") && error.contains("[3, 3]"), "{error}");
    let token = Sequence::new(vec![1, 23, 4], 1);
    let error = case.learner.inner_loss(&[token]).err().unwrap().to_string();
    assert!(error.contains("23"), "{error}");
    let masked = Sequence::new(vec![1, 2, 4], 3);
    assert!(case.learner.inner_loss(&[masked]).is_err());
    assert!(case.learner.inner_loss(&[]).is_err());
}
