//! Stories of the built-in simulations, for all twenty subtasks.

use super::stories::{Stories, StoryQuestion};
use crate::Result;
use crate::tasks::Split;
use crate::tasks::babi_world::{BabiTask, tell};
use crate::tasks::stream::{Purpose, hash, stream};

/// Endless stories of [`babi_world`](crate::tasks::babi_world).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Simulated {
    /// Seed of the stories.
    pub seed: u64,
}

impl Stories for Simulated {
    fn subtasks(&self) -> Vec<String> {
        BabiTask::ALL.map(|task| task.name().to_owned()).to_vec()
    }

    fn count(&self, subtask: &str) -> Result<Option<usize>> {
        subtask.parse::<BabiTask>().map(|_| None)
    }

    fn story(&self, subtask: &str, index: usize) -> Result<StoryQuestion> {
        let seed = self.seed ^ hash(subtask);
        let mut rng = stream(seed, Split::HeldOut, Purpose::Facts, index as u64);
        let told = tell(subtask.parse()?, &mut rng);
        Ok(StoryQuestion {
            facts: told.facts,
            question: told.question,
            answer: told.answer,
            support: told.support,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_twenty_subtasks_tell_a_story_that_their_index_decides() {
        let simulated = Simulated { seed: 1 };
        assert_eq!(simulated.subtasks().len(), 20);
        for subtask in simulated.subtasks() {
            assert_eq!(simulated.count(&subtask).unwrap(), None);
            let story = simulated.story(&subtask, 5).unwrap();
            assert_eq!(story, simulated.story(&subtask, 5).unwrap());
            assert_ne!(story, simulated.story(&subtask, 6).unwrap());
            assert_ne!(story, Simulated { seed: 2 }.story(&subtask, 5).unwrap());
        }
        assert!(simulated.story("qa21", 0).is_err());
    }
}
