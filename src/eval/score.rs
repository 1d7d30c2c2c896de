//! Asking questions of held-out episodes.

use crate::{
    error::Result,
    meta::{Learner, MetaParams, Workers},
    model::{Decoding, Ended, Sampling, Session, keep_going},
    tasks::{EncodedEpisode, EncodedQuery},
    text::Tokenizer,
};

use super::{Method, Row, Tally};

/// Asks a model about held-out episodes.
#[derive(Debug)]
pub struct Scorer<'a> {
    /// Base, adapter layout and inner loop.
    pub learner: &'a Learner,
    /// For answers to read.
    pub tokenizer: &'a Tokenizer,
    /// Episodes at the same time.
    pub workers: &'a Workers,
    /// Longest answer, in tokens, the end token included.
    pub max_new_tokens: usize,
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
        let tallies = self.workers.map_while(episodes, done, |episode| self.ask(params, method, episode))?;
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
            secs: start.elapsed().as_secs_f64(),
            reason,
        })
    }

    fn ask(&self, params: &MetaParams, method: Method, episode: &EncodedEpisode) -> Result<Tally> {
        let adapted = match method {
            Method::Perk => Some(self.learner.adapt(params, &episode.segments)?.phi),
            Method::NoAdaptation | Method::FtIcr => Some(params.phi0.clone()),
            Method::Base | Method::Icr => None,
        };
        let adapter = adapted.as_deref().map(|phi| (&self.learner.layout, phi));
        let model = &self.learner.backbone.decoder;
        let longest = episode.queries.iter().map(|query| prompt(method, query).len()).max().unwrap_or(0);
        let mut session = Session::new(model, adapter, longest + self.max_new_tokens)?;
        let decoding = Decoding {
            stops: vec![self.tokenizer.end_id()],
            max_new_tokens: self.max_new_tokens,
            sampling: Sampling::Greedy,
        };
        let mut tally = Tally::default();
        for query in &episode.queries {
            session.clear();
            let given = session.generate(prompt(method, query), &decoding, &mut keep_going)?;
            // An answer must also be ended.
            let right = given.ended == Ended::StopToken
                && is_right(&self.tokenizer.decode(&given.tokens)?, &query.answer);
            tally.right += usize::from(right);
            tally.asked += 1;
        }
        Ok(tally)
    }

    fn too_long(&self, method: Method, episodes: &[EncodedEpisode]) -> Option<String> {
        let room = self.learner.backbone.decoder.config.max_positions;
        let queries = episodes.iter().flat_map(|episode| &episode.queries);
        let longest = queries.map(|query| prompt(method, query).len()).max()?;
        let needed = longest + self.max_new_tokens;
        (needed > room).then(|| format!("needs {needed} positions, the model has {room}"))
    }
}

/// What the model reads before it answers.
fn prompt(method: Method, query: &EncodedQuery) -> &[u32] {
    if method.reads_context() { query.in_context_prompt() } else { &query.prompt }
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
