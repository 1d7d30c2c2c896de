//! Asking questions of held-out episodes.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{
    error::Result,
    meta::{MetaParams, Workers},
    tasks::{EncodedEpisode, EncodedQuery},
};

use super::{Asker, EncodedContext, Method, Row, Tally};

/// Asks a model about held-out episodes.
#[derive(Debug)]
pub struct Scorer<'a> {
    /// Who answers.
    pub asker: Asker<'a>,
    /// Threads that share the episodes.
    pub workers: &'a Workers,
    /// How many episodes a thread encodes together.
    pub together: usize,
}

impl Scorer<'_> {
    /// Asks every question of `episodes` by `method` and counts the right answers.
    ///
    /// `done` is called after each episode, from several threads; once it returns false no further episode
    /// is begun, and the tally is of those that were done.
    pub fn tally(
        &self,
        params: &MetaParams,
        method: Method,
        episodes: &[EncodedEpisode],
        done: &(dyn Fn() -> bool + Sync),
    ) -> Result<Tally> {
        let groups: Vec<&[EncodedEpisode]> = episodes.chunks(self.together.max(1)).collect();
        let stopped = AtomicBool::new(false);
        let tallies = self.workers.map_while(&groups, &|| !stopped.load(Ordering::Relaxed), |group| {
            let contexts: Vec<&EncodedEpisode> = group.iter().collect();
            let encoded = self.asker.encode(Some(params), method, &contexts)?;
            let mut tallies = vec![];
            for (episode, encoded) in group.iter().zip(&encoded) {
                tallies.push(self.ask(encoded, method, episode)?);
                if !done() {
                    stopped.store(true, Ordering::Relaxed);
                    break;
                }
            }
            Ok(tallies.into_iter().sum::<Tally>())
        })?;
        Ok(tallies.into_iter().sum())
    }

    /// [`Scorer::tally`] as a row of the table. A prompt that is longer than the model's positions leaves
    /// the row without a score, with the reason.
    pub fn row(
        &self,
        params: &MetaParams,
        method: Method,
        multiple: usize,
        episodes: &[EncodedEpisode],
        done: &(dyn Fn() -> bool + Sync),
    ) -> Result<Row> {
        let start = std::time::Instant::now();
        let reason = self.too_long(method, episodes);
        let tally = match reason {
            None => self.tally(params, method, episodes, done)?,
            Some(_) => Tally::default(),
        };
        let context_tokens: usize = episodes.iter().map(|episode| episode.context_tokens).sum();
        Ok(Row {
            method,
            multiple,
            context_tokens: (context_tokens as f64 / episodes.len().max(1) as f64).round() as usize,
            exact_match: tally.share(),
            n: tally.asked,
            support: tally.support(),
            secs: start.elapsed().as_secs_f64(),
            reason,
        })
    }

    fn ask(&self, encoded: &EncodedContext, method: Method, episode: &EncodedEpisode) -> Result<Tally> {
        let asked = self.asker.ask(encoded, method, episode)?;
        let mut tally = Tally { asked: asked.replies.len(), ..Tally::default() };
        for (reply, query) in asked.replies.iter().zip(&episode.queries) {
            // An answer must also be ended.
            let is_right = reply.ended && is_right(&reply.answer.answer, &query.answer);
            tally.right += usize::from(is_right);
            tally.supports.extend(reply.support.map(|support| (support, is_right)));
        }
        Ok(tally)
    }

    fn too_long(&self, method: Method, episodes: &[EncodedEpisode]) -> Option<String> {
        let room = self.asker.learner.backbone.decoder.config.max_positions;
        let queries = episodes.iter().flat_map(|episode| &episode.queries);
        let tokens = |query: &EncodedQuery| match method.reads_context() {
            true => query.in_context_prompt().len(),
            false => query.prompt.len(),
        };
        let longest = queries.map(tokens).max()?;
        let needed = longest + self.asker.max_new_tokens;
        (needed > room).then(|| format!("needs {needed} positions, the model has {room}"))
    }
}

/// Exact match: the same words in the same order. Case and the amount of white space do not count;
/// everything else, punctuation too, does.
pub fn is_right(given: &str, answer: &str) -> bool {
    let words = |text: &str| text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>();
    words(given) == words(answer)
}

#[cfg(test)]
mod tests {
    use super::is_right;

    #[test]
    fn case_and_white_space_do_not_count_but_words_do() {
        assert!(is_right(" Kitchen\n", "kitchen"));
        assert!(is_right("Hall  way", "hall way"));
        assert!(!is_right("kitchen.", "kitchen"));
        assert!(!is_right("kitchen kitchen", "kitchen"));
        assert!(!is_right("", "kitchen"));
    }
}
