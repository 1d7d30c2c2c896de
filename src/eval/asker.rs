//! Asking a model about a context, by one method.

use std::time::Instant;

use candle_core::Tensor;

use crate::{
    error::{Error, Result},
    meta::{Learner, MetaParams},
    model::{Decoding, Ended, Sampling, generate_many, lora::AdapterRef},
    tasks::{EncodedEpisode, EncodedQuery},
    text::{Answer, AnswerForm, Closing, Tokenizer},
};

use super::{Method, Reasoning, SupportScore};

/// Most tokens that the questions of one batch and their answers may fill in the cache of keys and values: 400 MB
/// in f32 at the shapes of Qwen2.5-0.5B, for each episode that is asked at the same time. A question that is longer
/// is answered alone.
const BATCH_TOKENS: usize = 16_384;

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

/// What questions about a context are answered with.
#[derive(Debug, Clone)]
pub struct EncodedContext {
    /// The adapter's tensors, in the layout's order; `None` for the base alone.
    adapter: Option<Vec<Tensor>>,
    encode_secs: f64,
}

/// What the model answered to the questions of an episode.
#[derive(Debug, Clone, PartialEq)]
pub struct EpisodeReplies {
    /// Seconds that the inner loop took: of contexts that were learned together, divided by their number.
    pub encode_secs: f64,
    /// One a question.
    pub replies: Vec<EpisodeReply>,
}

/// An answer, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct EpisodeReply {
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
    /// Seconds from the questions that were read side by side to the last of their answers, divided by their
    /// number.
    pub ask_secs: f64,
}

impl Asker<'_> {
    /// What the model reads the questions of `episodes` with, by `method`: an adapter that has learned the context, or none.
    /// `params` are the meta-trained parameters of [`Method::Perk`] and [`Method::NoAdaptation`], or the fine-tuned adapter
    /// of [`Method::FtIcr`]. The contexts are learned together.
    ///
    /// # Errors
    /// A method without its parameters, or a context without a token to learn.
    pub fn encode(
        &self,
        params: Option<&MetaParams>,
        method: Method,
        episodes: &[&EncodedEpisode],
    ) -> Result<Vec<EncodedContext>> {
        let needed =
            || params.ok_or_else(|| Error::Invalid(format!("{} needs trained parameters", method.name())));
        let began = Instant::now();
        let adapters: Vec<_> = match method {
            Method::Perk => {
                let contexts: Vec<_> = episodes.iter().map(|episode| &episode.segments[..]).collect();
                let adapted = self.learner.adapt_together(needed()?, &contexts)?;
                adapted.into_iter().map(|adapted| Some(adapted.phi)).collect()
            }
            Method::NoAdaptation | Method::FtIcr => vec![Some(needed()?.adapter.clone()); episodes.len()],
            Method::Base | Method::Icr => vec![None; episodes.len()],
        };
        let secs = began.elapsed().as_secs_f64() / episodes.len().max(1) as f64;
        let encode_secs = if method == Method::Perk { secs } else { 0.0 };
        Ok(adapters.into_iter().map(|adapter| EncodedContext { adapter, encode_secs }).collect())
    }

    /// Every question of `episode`, each for itself but many side by side, by `method`, with what
    /// [`encode`](Self::encode) made of its context.
    ///
    /// # Errors
    /// A question that is longer than the model's positions, an adapter that has diverged.
    pub fn ask(
        &self,
        encoded: &EncodedContext,
        method: Method,
        episode: &EncodedEpisode,
    ) -> Result<EpisodeReplies> {
        let adapter = encoded.adapter.as_deref().map(|phi| (&self.learner.layout, phi));
        let prompts = episode.queries.iter().map(|query| self.prompt(method, query));
        let prompts = prompts.collect::<Result<Vec<_>>>()?;
        let longest = prompts.iter().map(|(prompt, _)| prompt.len()).max().unwrap_or(0);
        let rows = (BATCH_TOKENS / longest.saturating_add(self.max_new_tokens).max(1)).max(1);
        let reasoning = self.reasoning.filter(|_| method.is_trained());
        let form = reasoning.map_or_else(AnswerForm::default, |reasoning| reasoning.form.clone());
        let batches = prompts.chunks(rows).map(|batch| self.replies(adapter, batch, &form));
        let mut replies = batches.collect::<Result<Vec<_>>>()?.concat();
        for (reply, query) in replies.iter_mut().zip(&episode.queries) {
            reply.support = reasoning.and_then(|reasoning| reasoning.score(&reply.answer, &query.support));
        }
        Ok(EpisodeReplies { encode_secs: encoded.encode_secs, replies })
    }

    /// One reply a prompt, from one batch; each prompt comes with the number of tokens that it lost.
    fn replies(
        &self,
        adapter: Option<AdapterRef<'_>>,
        batch: &[(Vec<u32>, usize)],
        form: &AnswerForm,
    ) -> Result<Vec<EpisodeReply>> {
        let decoding = Decoding {
            stops: self.tokenizer.stop_ids().to_vec(),
            max_new_tokens: self.max_new_tokens,
            sampling: Sampling::Greedy,
        };
        let (prompts, dropped): (Vec<_>, Vec<_>) = batch.iter().cloned().unzip();
        let model = &self.learner.backbone.decoder;
        let began = Instant::now();
        let mut closings: Vec<_> = batch.iter().map(|_| Closing::new(form, self.tokenizer)).collect();
        let mut watch = |row: usize, token| closings[row].push(token);
        let given = generate_many(model, adapter, &prompts, &decoding, &mut watch)?;
        let ask_secs = began.elapsed().as_secs_f64() / batch.len() as f64;
        let replies = prompts.into_iter().zip(dropped).zip(given).map(|((prompt, dropped_tokens), given)| {
            let output = self.tokenizer.decode(&given.tokens)?.trim().to_owned();
            Ok(EpisodeReply {
                answer: form.parse(&output),
                output,
                support: None,
                ended: given.ended != Ended::Limit,
                prompt,
                dropped_tokens,
                ask_secs,
            })
        });
        replies.collect()
    }

    /// What the model reads before it answers. A context that is too long loses its middle, and the number of
    /// tokens that it lost is returned too.
    fn prompt(&self, method: Method, query: &EncodedQuery) -> Result<(Vec<u32>, usize)> {
        let positions = self.learner.backbone.decoder.config.max_positions;
        let room = positions.saturating_sub(self.max_new_tokens);
        if query.prompt.len() > room {
            let (tokens, answer) = (query.prompt.len(), self.max_new_tokens);
            return Err(Error::Invalid(format!(
                "a question of {tokens} tokens and an answer of up to {answer} (--max-tokens, eval.max_new_tokens) \
                 do not fit the {positions} positions of the model"
            )));
        }
        let whole = if method.reads_context() { query.in_context_prompt() } else { &query.prompt };
        let dropped = whole.len().saturating_sub(room);
        if dropped == 0 {
            return Ok((whole.to_vec(), 0));
        }
        let kept = whole.len() - query.prompt.len() - dropped;
        // What comes before the context stays, whatever else goes: the begin token, or a chat template's opening.
        let opening = whole.iter().zip(&query.prompt).take_while(|(a, b)| a == b).count();
        let head = (kept / 2).max(opening);
        Ok(([&whole[..head], &whole[head + dropped..]].concat(), dropped))
    }
}
