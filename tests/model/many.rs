//! Many prompts in one batch against each of them alone.

use super::*;
use perk::model::generate_many;

/// Prompts of different lengths, the longest of several pieces, and two that are equal.
fn prompts() -> Vec<Vec<u32>> {
    [9, 1, 600, 4, 33, 9].map(tokens).into()
}

/// The same for every prompt.
fn all<'p>(prompts: &'p [Vec<u32>], decoding: &'p Decoding) -> Vec<(&'p [u32], &'p Decoding)> {
    prompts.iter().map(|prompt| (prompt.as_slice(), decoding)).collect()
}

/// What `prompts` are continued with in one batch, and what each is continued with alone.
fn both(
    decoder: &Decoder,
    adapter: Option<perk::model::lora::AdapterRef<'_>>,
    prompts: &[Vec<u32>],
    decoding: &Decoding,
) -> [Vec<Generation>; 2] {
    let together =
        generate_many(decoder, adapter, &all(prompts, decoding), &mut |_, token| keep_going(token));
    let alone = prompts.iter().map(|prompt| {
        let mut session = Session::new(decoder, adapter, 1).unwrap();
        session.generate(prompt, decoding, &mut keep_going).unwrap()
    });
    [together.unwrap(), alone.collect()]
}

#[test]
fn many_prompts_give_the_tokens_that_each_gives_alone() {
    for (family, dtype) in [
        (Family::Qwen2, DType::F64),
        (Family::Llama, DType::F64),
        (Family::Qwen3, DType::F64),
        (Family::Qwen2, DType::F32),
        (Family::Llama, DType::F32),
        (Family::Qwen3, DType::F32),
    ] {
        let decoder = random(&shape(family, true), dtype);
        let adapter = adapter(&decoder.config, dtype);
        for adapter in [None, Some(adapter.parts())] {
            let [together, alone] = both(&decoder, adapter, &prompts(), &decoding(&[], 12, Sampling::Greedy));
            assert_eq!(together, alone, "{family:?} {dtype:?} {}", adapter.is_some());
            assert!(together.iter().all(|found| found.tokens.len() == 12));
        }
    }
}

#[test]
fn rows_that_end_early_do_not_disturb_the_others() {
    let decoder = random(&shape(Family::Qwen2, false), DType::F64);
    let free = both(&decoder, None, &prompts(), &decoding(&[], 12, Sampling::Greedy))[0].clone();
    // Stop tokens that end some rows at different steps, and others not at all.
    let stops = [free[0].tokens[3], free[2].tokens[7]];
    let [together, alone] = both(&decoder, None, &prompts(), &decoding(&stops, 12, Sampling::Greedy));
    assert_eq!(together, alone);
    let lengths: Vec<_> = together.iter().map(|found| found.tokens.len()).collect();
    assert!(together.iter().any(|found| found.ended == Ended::StopToken), "{lengths:?}");
    assert!(together.iter().any(|found| found.ended == Ended::Limit), "{lengths:?}");
    assert!(lengths.iter().any(|&length| length > lengths[0]), "{lengths:?}");
    for (found, free) in together.iter().zip(&free) {
        assert_eq!(found.tokens, free.tokens[..found.tokens.len()]);
    }
}

#[test]
fn the_callers_break_of_one_row_leaves_the_others_going() {
    let decoder = random(&shape(Family::Qwen2, false), DType::F64);
    let decoding = decoding(&[], 8, Sampling::Greedy);
    let mut seen = vec![Vec::new(); 6];
    let mut on_token = |row: usize, token| {
        seen[row].push(token);
        // The longest row and the first one go.
        let enough = matches!((row, seen[row].len()), (2, 2) | (0, 5));
        Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    let found = generate_many(&decoder, None, &all(&prompts(), &decoding), &mut on_token).unwrap();
    let [_, alone] = both(&decoder, None, &prompts(), &decoding);
    for (row, (found, alone)) in found.iter().zip(&alone).enumerate() {
        let (count, ended) = match row {
            0 => (5, Ended::Caller),
            2 => (2, Ended::Caller),
            _ => (8, Ended::Limit),
        };
        assert_eq!(found, &Generation { tokens: alone.tokens[..count].to_vec(), ended }, "{row}");
        assert_eq!(found.tokens, seen[row], "{row}");
    }
}

#[test]
fn every_prompt_has_a_decoding_of_its_own() {
    let decoder = random(&shape(Family::Qwen2, true), DType::F64);
    let sampling = Sampling::Random { temperature: 1.2, top_p: 0.9, seed: 5 };
    let free = both(&decoder, None, &prompts(), &decoding(&[], 12, Sampling::Greedy))[0].clone();
    let decodings = [
        decoding(&[], 12, Sampling::Greedy),
        decoding(&[], 0, Sampling::Greedy),
        decoding(&[], 3, Sampling::Greedy),
        decoding(&[], 7, sampling),
        decoding(&[free[4].tokens[2]], 12, Sampling::Greedy),
        decoding(&[], 1, Sampling::Greedy),
    ];
    let prompts = prompts();
    let asked: Vec<_> = prompts.iter().map(Vec::as_slice).zip(&decodings).collect();
    let together = generate_many(&decoder, None, &asked, &mut |_, token| keep_going(token)).unwrap();
    for ((prompt, decoding), together) in prompts.iter().zip(&decodings).zip(&together) {
        let mut session = Session::new(&decoder, None, 1).unwrap();
        assert_eq!(*together, session.generate(prompt, decoding, &mut keep_going).unwrap());
    }
    assert_eq!(together.iter().map(|found| found.tokens.len()).collect::<Vec<_>>()[..4], [12, 0, 3, 7]);
}

#[test]
fn the_order_of_prompts_does_not_matter() {
    let decoder = random(&shape(Family::Llama, true), DType::F64);
    let first = both(&decoder, None, &prompts(), &decoding(&[], 8, Sampling::Greedy))[0].clone();
    let stops = [first[1].tokens[4]];
    let decoding = decoding(&stops, 8, Sampling::Greedy);
    let [forward, _] = both(&decoder, None, &prompts(), &decoding);
    let reversed: Vec<_> = prompts().into_iter().rev().collect();
    let [mut backward, _] = both(&decoder, None, &reversed, &decoding);
    backward.reverse();
    assert_eq!(forward, backward);
    assert_eq!(forward[0], forward[5], "equal prompts are continued equally");
}

#[test]
fn sampled_tokens_do_not_depend_on_the_company() {
    let decoder = random(&shape(Family::Qwen2, false), DType::F64);
    let sampling = |seed| Sampling::Random { temperature: 1.5, top_p: 0.95, seed };
    let [together, alone] = both(&decoder, None, &prompts(), &decoding(&[3], 12, sampling(1)));
    assert_eq!(together, alone);
    let [other, _] = both(&decoder, None, &prompts(), &decoding(&[3], 12, sampling(2)));
    assert_ne!(together, other);
}

#[test]
fn no_prompts_give_nothing_and_bad_ones_are_the_errors_of_one() {
    let decoder = random(&shape(Family::Qwen2, false), DType::F32);
    let greedy = decoding(&[], 4, Sampling::Greedy);
    let many = |prompts: &[Vec<u32>], decoding: &Decoding| {
        generate_many(&decoder, None, &all(prompts, decoding), &mut |_, token| keep_going(token))
    };
    assert_eq!(many(&[], &greedy).unwrap(), []);
    let error = |prompts: &[Vec<u32>]| many(prompts, &greedy).unwrap_err().to_string();
    assert!(error(&[vec![1], vec![]]).contains("empty"));
    assert!(error(&[vec![1], vec![50]]).contains("token 50"));
    let nothing = Generation { tokens: vec![], ended: Ended::Limit };
    assert_eq!(
        many(&prompts()[..2], &decoding(&[], 0, Sampling::Greedy)).unwrap(),
        [nothing.clone(), nothing]
    );
    let mut fail = |row, token| match row {
        1 => Err(perk::Error::Invalid("the pipe is closed".to_owned())),
        _ => keep_going(token),
    };
    let failed = generate_many(&decoder, None, &all(&prompts(), &greedy), &mut fail);
    assert!(failed.unwrap_err().to_string().contains("pipe"));
}
