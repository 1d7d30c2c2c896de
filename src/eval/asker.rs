//! Asking a model about a context, by one method.

use std::time::Instant;

use crate::{
    error::{Error, Result},
    meta::{Learner, MetaParams},
    model::{Decoding, Ended, Sampling, Session},
    tasks::{EncodedEpisode, EncodedQuery},
    text::{Answer, AnswerForm, Closing, Tokenizer},
};

use super::{Method, Reasoning, SupportScore};

/// Asks questions of episodes; answers are greedy.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Base, adapter layout and inner loop.
    pub learner: &'a Learner,
    /// For answers to read.
    pub tokenizer: &'a Tokenizer,
    /// Longest answer, in tokens, the end token included.
    pub max_new_tokens: usize,
    /// What the trained methods learned to write before the answer; `None` where it is the bare answer.
    pub reasoning: Option<&'a Reasoning>,
}

/// What the model answered to the questions of an episode.
#[derive(Debug, Clone, PartialEq)]
pub struct Replies {
    /// Seconds that the inner loop took.
    pub encode_secs: f64,
    /// One a question.
    pub replies: Vec<Reply>,
}

/// An answer, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// What the model wrote.
    pub output: String,
    /// The same, taken apart.
    pub answer: Answer,
    /// How well it recalled the facts; `None` where they are not known, or the model never learned to say them.
    pub support: Option<SupportScore>,
    /// Whether it ended the answer itself, before the limit.
    pub ended: bool,
    /// What it read.
    pub prompt: Vec<u32>,
    /// Tokens of the context that had no room in the prompt.
    pub dropped_tokens: usize,
    /// Seconds from the question to the end of the answer.
    pub ask_secs: f64,
}

impl Asker<'_> {
    /// Every question of `episode`, each for itself, by `method`. `params` are the meta-trained parameters of
    /// [`Method::Perk`] and [`Method::NoAdaptation`], or the fine-tuned adapter of [`Method::FtIcr`].
    ///
    /// # Errors
    /// A method without its parameters, a question that is longer than the model's positions, an adapter that
    /// has diverged.
    pub fn ask(
        &self,
        params: Option<&MetaParams>,
        method: Method,
        episode: &EncodedEpisode,
    ) -> Result<Replies> {
        let needed =
            || params.ok_or_else(|| Error::Invalid(format!("{} needs trained parameters", method.name())));
        let began = Instant::now();
        let adapted = match method {
            Method::Perk => Some(self.learner.adapt(needed()?, &episode.segments)?.phi),
            Method::NoAdaptation | Method::FtIcr => Some(needed()?.phi0.clone()),
            Method::Base | Method::Icr => None,
        };
        let encode_secs = if method == Method::Perk { began.elapsed().as_secs_f64() } else { 0.0 };
        let adapter = adapted.as_deref().map(|phi| (&self.learner.layout, phi));
        let prompts = episode.queries.iter().map(|query| self.prompt(method, query));
        let prompts = prompts.collect::<Result<Vec<_>>>()?;
        let longest = prompts.iter().map(|(prompt, _)| prompt.len()).max().unwrap_or(0);
        let model = &self.learner.backbone.decoder;
        let mut session = Session::new(model, adapter, longest + self.max_new_tokens)?;
        let reasoning = self.reasoning.filter(|_| method.is_trained());
        let replies = prompts.into_iter().zip(&episode.queries).map(|((prompt, dropped_tokens), query)| {
            let reply = self.reply(&mut session, reasoning, prompt)?;
            let support = reasoning.and_then(|reasoning| reasoning.score(&reply.answer, &query.support));
            Ok(Reply { dropped_tokens, support, ..reply })
        });
        Ok(Replies { encode_secs, replies: replies.collect::<Result<_>>()? })
    }

    fn reply(
        &self,
        session: &mut Session<'_>,
        reasoning: Option<&Reasoning>,
        prompt: Vec<u32>,
    ) -> Result<Reply> {
        let decoding = Decoding {
            stops: self.tokenizer.stop_ids().to_vec(),
            max_new_tokens: self.max_new_tokens,
            sampling: Sampling::Greedy,
        };
        let form = reasoning.map_or_else(AnswerForm::default, |reasoning| reasoning.form.clone());
        let began = Instant::now();
        session.clear();
        let mut closing = Closing::new(&form, self.tokenizer);
        let given = session.generate(&prompt, &decoding, &mut |token| closing.push(token))?;
        let output = self.tokenizer.decode(&given.tokens)?.trim().to_owned();
        Ok(Reply {
            answer: form.parse(&output),
            output,
            support: None,
            ended: given.ended != Ended::Limit,
            ask_secs: began.elapsed().as_secs_f64(),
            prompt,
            dropped_tokens: 0,
        })
    }

    /// What the model reads before it answers. A context that is too long loses its middle, and the number of
    /// tokens that it lost is returned too.
    fn prompt(&self, method: Method, query: &EncodedQuery) -> Result<(Vec<u32>, usize)> {
        let room = self.learner.backbone.decoder.config.max_positions.saturating_sub(self.max_new_tokens);
        if query.prompt.len() > room {
            let (tokens, needed) = (query.prompt.len(), query.prompt.len() + self.max_new_tokens);
            return Err(Error::Invalid(format!(
                "a question of {tokens} tokens and its answer need {needed} positions, the model has {}",
                room + self.max_new_tokens
            )));
        }
        let whole = if method.reads_context() { query.in_context_prompt() } else { &query.prompt };
        let dropped = whole.len().saturating_sub(room);
        if dropped == 0 {
            return Ok((whole.to_vec(), 0));
        }
        let kept = whole.len() - query.prompt.len() - dropped;
        let head = kept / 2;
        Ok(([&whole[..head], &whole[head + dropped..]].concat(), dropped))
    }
}
