//! The built-in bAbI tasks against a solver that reads their sentences, and against the published files.

use perk::tasks::babi_world::{BabiTask, tell};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

#[test]
#[ignore]
fn dump() {
    for task in BabiTask::ALL {
        for seed in 0..1000 {
            let s = tell(task, &mut ChaCha8Rng::seed_from_u64(seed));
            println!("@{}\t{}\t{}\t{}\t{:?}", task, s.facts.join("|"), s.question, s.answer, s.support);
        }
    }
}
