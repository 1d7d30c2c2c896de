//! Names of tasks, and how samples are drawn.

use std::collections::HashMap;

use perk::tasks::babi_world::{BabiSample, BabiTask};

use crate::{published_samples, told};

#[test]
fn tasks_read_back_from_their_names_and_others_are_refused_with_the_known_ones() {
    for (index, task) in BabiTask::ALL.into_iter().enumerate() {
        assert_eq!(task.number(), index + 1);
        assert_eq!(task.name(), format!("qa{}", index + 1));
        assert_eq!(task.to_string(), task.name());
        assert_eq!(task.name().parse::<BabiTask>().unwrap(), task);
    }
    for name in ["qa0", "qa21", "QA1", "1", ""] {
        let message = name.parse::<BabiTask>().unwrap_err().to_string();
        assert!(message.contains("qa1, qa2") && message.contains("qa20"), "{message}");
    }
}

#[test]
fn the_same_stream_tells_the_same_sample_and_others_tell_others() {
    for task in BabiTask::ALL {
        let once: Vec<_> = told(task, 50).collect();
        assert!(told(task, 50).eq(once.iter().cloned()), "{task}");
        let same = once.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!(same < 5, "{task}: {same} neighbours of 50 are the same");
    }
}

#[test]
fn no_answer_is_right_most_of_the_time() {
    for task in BabiTask::ALL {
        let mut counts: HashMap<String, usize> = HashMap::new();
        told(task, 1_000).for_each(|sample| *counts.entry(sample.answer).or_default() += 1);
        let most = *counts.values().max().unwrap();
        assert!(counts.len() > 1 && most <= 680, "{task}: {counts:?}");
        if !matches!(task, BabiTask::Qa6 | BabiTask::Qa7 | BabiTask::Qa9 | BabiTask::Qa17 | BabiTask::Qa18) {
            assert!(counts.len() > 2 && most <= 560, "{task}: {counts:?}");
        }
    }
}

fn mean_facts(samples: &[BabiSample]) -> f64 {
    samples.iter().map(|sample| sample.facts.len()).sum::<usize>() as f64 / samples.len() as f64
}

fn times(samples: &[BabiSample], answer: &str) -> usize {
    samples.iter().filter(|sample| sample.answer == answer).count()
}

/// What holds of the real data that is not part of this repository.
mod shared_data {
    use super::*;

    /// The mean length within a fifth, and each answer within 100 of 1,000.
    #[test]
    #[ignore = "needs the folder ../shared, or PERK_SHARED_DIR"]
    fn lengths_and_answers_are_spread_as_in_the_published_files() {
        for task in BabiTask::ALL {
            let theirs = published_samples(task);
            let ours: Vec<_> = told(task, 1_000).collect();
            let [our_mean, their_mean] = [&ours, &theirs].map(|samples| mean_facts(samples));
            println!("{task}: {our_mean:.1} facts, published {their_mean:.1}");
            assert!(
                (our_mean / their_mean - 1.0).abs() < 0.2,
                "{task}: {our_mean} facts, published {their_mean}"
            );
            for BabiSample { answer, .. } in &theirs {
                let [ours, theirs] = [&ours, &theirs].map(|samples| times(samples, answer));
                assert!(ours.abs_diff(theirs) <= 100, "{task}: {answer} {ours} times, published {theirs}");
            }
        }
    }
}
